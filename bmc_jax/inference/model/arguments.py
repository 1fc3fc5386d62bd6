"""Checks of a model's arguments. Each error names the argument, its value and a remedy."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data import images as pictures
from bmc_jax.inference.requests import WHOLE, Request
from bmc_jax.poses.lifting import Landmarks


def images(images: Any) -> dict[str, np.ndarray]:
    """Returns the images by their names in messages."""
    several = isinstance(images, list | tuple) or np.ndim(images) == 4
    named = {f"images[{i}]": one for i, one in enumerate(images)} if several else {"images": images}
    if not named:
        raise ValueError("images: expected one or more images, got none; omit the call if there is no image")
    arrays = {name: np.asarray(one) for name, one in named.items()}
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(
                f"{name}: expected RGB, uint8 [height, width, 3], got {_kind(array)}; convert it, for example with "
                "np.asarray(PIL.Image.fromarray(array).convert('RGB'))"
            )
        if min(array.shape[:2]) < pictures.SMALLEST:
            raise ValueError(
                f"{name}: expected at least {pictures.SMALLEST} pixels along each side, got {_kind(array)}; give a "
                "larger image"
            )
    return arrays


def requests(names: list[str], boxes: Any, intrinsics: Any, left: Any) -> tuple[list[int], list[Request]]:
    """Returns the number of each hand's image, and each hand's request."""
    places = _boxes(names, boxes)
    number = [i for i, of_image in enumerate(places) for _ in of_image]
    side = sides(left, len(number))
    known = cameras(intrinsics, len(names), f"[{len(names)}, 3, 3] with one for each image")
    found = [
        Request(Path(names[i]), side, box, "boxes" if box else WHOLE, known[i], "intrinsics")
        for i, box, side in zip(number, itertools.chain(*places), side.tolist(), strict=True)
    ]
    return number, found


def _boxes(names: list[str], boxes: Any) -> list[list[Any]]:
    """Returns the boxes of each image."""
    if boxes is None:
        return [[None] for _ in names]
    if names == ["images"]:
        boxes = [boxes]
    elif not hasattr(boxes, "__len__") or len(boxes) != len(names):
        got = f"{len(boxes)} entries" if hasattr(boxes, "__len__") else repr(boxes)
        raise ValueError(
            f"boxes: expected an entry for each of the {len(names)} images, got {got}; give the boxes [n, 4] of each"
        )
    found = []
    for name, of_image in zip(names, boxes, strict=True):
        array = numbers("boxes", of_image)
        rows = array[None] if array.shape == (4,) else array
        if rows.shape != (0,) and (rows.ndim != 2 or rows.shape[1] != 4):
            raise ValueError(
                f"boxes of {name}: expected numbers [n, 4], got {_kind(array)}; give left, top, right, bottom in pixels"
            )
        found.append([tuple(row) for row in rows.tolist()])
    return found


def sides(left: Any, count: int) -> np.ndarray:
    """Returns whether each hand is a left hand, `[count]`."""
    found = np.asarray(left)
    if found.dtype != bool or found.shape not in ((), (count,)):
        raise ValueError(f"left: expected a boolean, or one for each of the {count} hands, got {left!r}; give booleans")
    return np.broadcast_to(found, count).copy()


def cameras(intrinsics: Any, count: int, each: str) -> list[np.ndarray | None]:
    """Returns K of each of `count` images or hands, None if it is not given."""
    if intrinsics is None:
        return [None] * count
    array = numbers("intrinsics", intrinsics)
    if array.shape not in ((3, 3), (count, 3, 3)):
        raise ValueError(
            f"intrinsics: expected K [3, 3], or {each}, got {_kind(array)}; give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] "
            "in pixels"
        )
    return list(np.broadcast_to(array, (count, 3, 3)))


def landmarks(given: Landmarks) -> Landmarks:
    """Returns the landmarks of hands as float64 arrays `[n, ...]`."""
    if not isinstance(given, Landmarks):
        raise ValueError(
            f"landmarks: expected bmc_jax.poses.Landmarks(pixels, z, world), got {type(given).__name__}; give at least "
            "Landmarks(pixels)"
        )
    shapes = {"pixels": (hand.NUM_JOINTS, 2), "z": (hand.NUM_JOINTS,), "world": (hand.NUM_JOINTS, 3)}
    parts = {name: numbers(f"landmarks.{name}", part) for name, part in given._asdict().items() if part is not None}
    if "pixels" not in parts:
        raise ValueError("landmarks.pixels: expected numbers [n, 21, 2], got None; give the pixels of every landmark")
    count = len(parts["pixels"]) if parts["pixels"].ndim == 3 else "n"
    for name, part in parts.items():
        if part.shape != (count, *shapes[name]):
            wanted = ", ".join(map(str, (count, *shapes[name])))
            raise ValueError(
                f"landmarks.{name}: expected numbers [{wanted}], got {_kind(part)}; give a row for each hand, in "
                "FreiHAND order"
            )
    return Landmarks(**parts)


def image_size(given: Any) -> tuple[int, int]:
    """Returns (width, height)."""
    found = numbers("size", given)
    if found.shape != (2,) or not (np.isfinite(found) & (found >= 1) & (found == np.round(found))).all():
        raise ValueError(f"size: expected (width, height) in pixels, got {given!r}; give the size of the image")
    return int(found[0]), int(found[1])


def numbers(name: str, given: Any) -> np.ndarray:
    """Returns a float64 array."""
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers, got {given!r}; give a numeric array") from error


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
