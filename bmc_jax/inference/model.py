"""A trained network in memory: arrays in, arrays out. `predict` and `video` use it for files."""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from bmc_jax.config import Config
from bmc_jax.core.types import Array, Limits, Prediction
from bmc_jax.data import images as pictures
from bmc_jax.data.images import Picture
from bmc_jax.inference import hand_crop, outputs
from bmc_jax.inference.hand_crop import HandCrop
from bmc_jax.inference.requests import WHOLE, Request
from bmc_jax.training import forward, parallel, step
from bmc_jax.training.forward import Trained


@dataclass(frozen=True)
class Hands:
    """Hands found by a `Model`: host numpy, one row for each hand, in the order of the images and of their boxes.

    The arrays and their names are those of `joints.npz` of `bmc predict`. "Beyond" is the distance to the nearest
    allowed value, 0 within the limits.
    """

    image: Int[np.ndarray, " hand"]
    """Number of the image."""
    left: Bool[np.ndarray, " hand"]
    """Whether it is a left hand, as given."""
    size: Int[np.ndarray, "hand 2"]
    """(width, height) of the image."""
    box: Float[np.ndarray, "hand 4"]
    """(left, top, right, bottom), pixels of the image."""
    intrinsics: Float[np.ndarray, "hand 3 3"]
    """K of the image, pixels: the given one, or the assumed one."""
    joints_2d: Float[np.ndarray, "hand 21 2"]
    """Pixels of the image, the centre of the first at (0, 0). FreiHAND order."""
    joints_3d: Float[np.ndarray, "hand 21 3"]
    """Metres, camera frame: x right, y down, z forward. Left hands are left hands."""
    joints_3d_scale: Float[np.ndarray, "hand 21 3"]
    """The same in scale units, lengths of the bone from middle MCP to middle PIP."""
    within_limits: Bool[np.ndarray, " hand"]
    """Whether every quantity is within its limit."""
    angles: Float[np.ndarray, "hand 5 3 2"]
    """(flexion, abduction), radians, of each finger's PIP, DIP and TIP bone; signs are the same on both hands."""
    angles_beyond: Float[np.ndarray, "hand 5 3"]
    """Radians."""
    bone_length: Float[np.ndarray, "hand 5 4"]
    """Scale units."""
    bone_length_beyond: Float[np.ndarray, "hand 5 4"]
    """Scale units."""
    curvature: Float[np.ndarray, "hand 4"]
    """Of the palm, reciprocal of scale units."""
    curvature_beyond: Float[np.ndarray, "hand 4"]
    """Reciprocal of scale units."""
    spread: Float[np.ndarray, "hand 4"]
    """Of the palm, radians."""
    spread_beyond: Float[np.ndarray, "hand 4"]
    """Radians."""

    def __len__(self) -> int:
        return len(self.image)


class Model:
    """A trained network on all local devices, with the limits that it was trained with.

    Hands are padded to a power of two, at most `data.batch_size`, and more are predicted in parts of that size: the
    network is compiled once for each size. Calls from several threads at once are safe. Nothing is written or printed.
    """

    def __init__(self, trained: Trained, *, passes: int = 1, turns: int = 1) -> None:
        """Puts the weights on the devices.

        Args:
          trained: content of a run's folder, see `training.forward.load`.
          passes: number of passes, each with the crop of the one before: 1 or 2.
          turns: number of rotated copies that are averaged, see `training.forward`.
        """
        self.trained = trained
        self._passes = passes
        self._run = forward.program(trained.config, passes=passes, turns=turns)
        self._state = parallel.replicate(step.evaluated(trained.saved))

    def __repr__(self) -> str:
        return f"Model({os.fspath(self.trained.folder)!r}, step {int(self.trained.saved['step'])})"

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return self.trained.config

    @property
    def limits(self) -> Limits:
        """The limits of the run."""
        return self.trained.limits

    def __call__(
        self,
        images: Array | Sequence[Array],
        boxes: Array | Sequence[Array] | None = None,
        *,
        intrinsics: Array | None = None,
        left: Array | bool = False,
        scale: float | int | None = None,
    ) -> Hands:
        """Predicts the hands in images.

        Args:
          images: one image, RGB, uint8 `[height, width, 3]`, or a batch or list of them.
          boxes: of one image, the boxes of its hands `[n, 4]`: left, top, right, bottom in pixels. Of several images,
            for each its boxes `[n, 4]`, or its only one `[4]`; none, `[0, 4]`, is possible. None for the middle square
            of every image.
          intrinsics: K `[3, 3]` of all images or `[images, 3, 3]`, pixels. By default the focal length is assumed, see
            `hand_crop.DEFAULT`.
          left: whether the hands are left ones: one value, or one for each hand.
          scale: metres of the bone from middle MCP to middle PIP; by default `outputs.assumed_scale`.

        Raises:
          ValueError: naming the argument, its value and a remedy, if an argument has the wrong shape, type or range, or
            the network takes 2D joints.
          FloatingPointError: if a prediction is not finite.
        """
        if self.config.network.input != "image":
            raise ValueError(
                f"{self.trained.folder}: the network takes {self.config.network.input} (network.input), not images; "
                "load a run whose network.input is 'image'"
            )
        outputs.validate_scale(scale)
        arrays = _images(images)
        number, requests = _requests(list(arrays), boxes, intrinsics, left)
        opened = [Picture(Image.fromarray(array)) for array in arrays.values()]
        crops = [
            hand_crop.cut(request, opened[i], self.config, passes=self._passes)
            for i, request in zip(number, requests, strict=True)
        ]
        image, side = np.array(number, np.int64), np.array([request.left for request in requests], bool)
        if not crops:
            return Hands(image, side, **_none())
        in_pictures = hand_crop.to_pictures(crops, self.predict(crops), self.config)
        return Hands(image, side, **outputs.arrays(outputs.assessed(self.limits, crops, *in_pictures, scale)))

    def predict(self, crops: Sequence[HandCrop], advance: Callable[[int], Any] | None = None) -> Prediction:
        """Returns the predictions of one or more crops of `hand_crop.cut`, host numpy in their order.

        Args:
          crops: cut with this configuration and number of passes.
          advance: called with the number of hands that were predicted since the call before.
        """
        padded = 1 << (len(crops) - 1).bit_length()
        most = self.config.data.batch_size
        return forward.in_batches(self._run, self._state, hand_crop.batch(crops), min(padded, most), advance=advance)


def load(folder: str | os.PathLike, *, step: int | str | None = None, passes: int = 1, turns: int = 1) -> Model:
    """Loads a trained network into memory.

    Args:
      folder: of a run, or of an export.
      step: number of a saved step, "best" for the one with the best `training.best`, None for the newest.
      passes: see `Model`.
      turns: see `Model`.

    Raises:
      FileNotFoundError: if the folder holds no run or not that checkpoint.
      ValueError: if its files cannot be read, or `step` is "best" and the run kept no best checkpoint.
    """
    return Model(forward.load(folder, step), passes=passes, turns=turns)


def _images(images: Any) -> dict[str, np.ndarray]:
    """Returns the images by their names in messages."""
    several = isinstance(images, list | tuple) or np.ndim(images) == 4
    named = {f"images[{i}]": one for i, one in enumerate(images)} if several else {"images": images}
    if not named:
        raise ValueError("images: expected one or more, got none; leave the call out where there is no image")
    arrays = {name: np.asarray(one) for name, one in named.items()}
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(
                f"{name}: expected RGB, uint8 [height, width, 3], got {_kind(array)}; convert it, for instance with "
                "np.asarray(PIL.Image.fromarray(array).convert('RGB'))"
            )
        if min(array.shape[:2]) < pictures.SMALLEST:
            raise ValueError(
                f"{name}: expected {pictures.SMALLEST} pixels or more along each side, got {_kind(array)}; no hand can "
                "be recognized in it"
            )
    return arrays


def _requests(names: list[str], boxes: Any, intrinsics: Any, left: Any) -> tuple[list[int], list[Request]]:
    """Returns the number of the image of each hand, and its request."""
    places = _boxes(names, boxes)
    count = sum(map(len, places))
    try:
        sides = np.broadcast_to(left, count)
    except ValueError:
        sides = np.asarray(left, object)
    if sides.dtype != bool:
        raise ValueError(f"left: expected True or False, or one of them for each of the {count} hands, got {left!r}")
    number = [i for i, of_image in enumerate(places) for _ in of_image]
    cameras = _cameras(names, intrinsics)
    requests = [
        Request(Path(names[i]), side, box, "boxes" if box else WHOLE, cameras[i], "intrinsics")
        for i, box, side in zip(number, itertools.chain(*places), sides.tolist(), strict=True)
    ]
    return number, requests


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
        array = _numbers("boxes", of_image)
        rows = array[None] if array.shape == (4,) else array
        if rows.shape != (0,) and (rows.ndim != 2 or rows.shape[1] != 4):
            raise ValueError(
                f"boxes of {name}: expected numbers [n, 4], got {_kind(array)}; give left, top, right, bottom in pixels"
            )
        found.append([tuple(row) for row in rows.tolist()])
    return found


def _cameras(names: list[str], intrinsics: Any) -> list[np.ndarray | None]:
    """Returns K of each image."""
    if intrinsics is None:
        return [None] * len(names)
    array = _numbers("intrinsics", intrinsics)
    if array.shape not in ((3, 3), (len(names), 3, 3)):
        raise ValueError(
            f"intrinsics: expected K [3, 3], or [{len(names)}, 3, 3] with one for each image, got {_kind(array)}; give "
            "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels"
        )
    return list(np.broadcast_to(array, (len(names), 3, 3)))


def _numbers(name: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers, got {given!r}") from error


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _none() -> dict[str, np.ndarray]:
    """The arrays of no hand, with the shapes of those of one."""
    finger_joints = {"angles": (5, 3, 2), "angles_beyond": (5, 3), "bone_length": (5, 4), "bone_length_beyond": (5, 4)}
    palm = dict.fromkeys(("curvature", "curvature_beyond", "spread", "spread_beyond"), (4,))
    pose = {"box": (4,), "intrinsics": (3, 3), "joints_2d": (21, 2), "joints_3d": (21, 3), "joints_3d_scale": (21, 3)}
    return {
        "size": np.zeros((0, 2), np.int64),
        "within_limits": np.zeros(0, bool),
        **{name: np.zeros((0, *shape)) for name, shape in pose.items()},
        **{name: np.zeros((0, *shape), np.float32) for name, shape in (finger_joints | palm).items()},
    }
