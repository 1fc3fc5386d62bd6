"""Hands to predict: image files, folders of them, and the boxes of a COCO file."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bmc_jax.data import images as pictures
from bmc_jax.data.readers import coco_hand

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".gif")
GIVEN = "given"
WHOLE = "the middle square of the image"


@dataclass(frozen=True)
class Request:
    """A hand to predict, before its image is opened."""

    file: Path
    left: bool = False
    """Whether it is a left hand."""
    box: tuple[float | int, float | int, float | int, float | int] | None = None
    """(left, top, right, bottom) of the hand, pixels; None for the middle square of the image."""
    box_from: str = WHOLE
    intrinsics: np.ndarray | None = None
    """K `[3, 3]`, pixels; None to take it from the image's EXIF or a default."""
    intrinsics_from: str = ""
    size: tuple[int, int] | None = None
    """(width, height) of the image that box and K refer to, if known."""


def files(inputs: Sequence[Path]) -> list[Path]:
    """Returns the image files of `inputs`, with the images of each folder sorted by name.

    Raises:
      FileNotFoundError: if a file does not exist or a folder has no images.
      ValueError: if an image occurs twice or a video is among the inputs.
    """
    found = []
    for one in inputs:
        if one.is_dir():
            inside = sorted(file for file in one.iterdir() if file.suffix.lower() in pictures.SUFFIXES)
            if not inside:
                raise FileNotFoundError(f"no images in the folder {one} ({', '.join(pictures.SUFFIXES)})")
            found += inside
        elif not one.exists():
            raise FileNotFoundError(f"there is no image {one}")
        elif one.suffix.lower() in VIDEOS:
            raise ValueError(f"{one} is a video; give it alone")
        else:
            found.append(one)
    twice = {file for file in found if found.count(file) > 1} if len(set(found)) < len(found) else set()
    if twice:
        raise ValueError(f"{min(twice)} was named more than once")
    return found


def gather(
    images: Sequence[Path],
    *,
    left: bool = False,
    box: Sequence[float | int] | None = None,
    boxes: Path | None = None,
    intrinsics: Sequence[float | int] | None = None,
) -> tuple[list[Request], list[tuple[Path, str]]]:
    """Returns the hands of the images, and the images left out with the reason.

    Args:
      left: whether hands are left ones, where `boxes` does not say.
      box: (x, y, width, height) of the hand in the only image, pixels.
      boxes: a COCO file with a `bbox` for every hand, from whatever detector, and perhaps `hand_side` and K. Several
        hands in one image are several predictions. Images are matched by file name.
      intrinsics: (fx, fy, cx, cy) in pixels, of all the images. K in `boxes` has precedence.

    Raises:
      FileNotFoundError: if `boxes` does not exist.
      ValueError: if arguments contradict each other or `boxes` is not a COCO file.
    """
    if box is not None and (boxes is not None or len(images) != 1):
        raise ValueError(
            "a box is that of the hand in one image; for several images or hands give a COCO file of boxes"
        )
    common = Request(Path(), left=left)
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        common = dataclasses.replace(common, intrinsics=k, intrinsics_from=GIVEN)
    if box is not None:
        x, y, width, height = box
        common = dataclasses.replace(common, box=(x, y, x + width, y + height), box_from=GIVEN)
    if boxes is None:
        return [dataclasses.replace(common, file=file) for file in images], []
    return _from_coco(images, boxes, common)


def _from_coco(images: Sequence[Path], boxes: Path, common: Request) -> tuple[list[Request], list[tuple[Path, str]]]:
    content = coco_hand.load(boxes)
    by_name: dict[str, list[dict]] = {}
    for listed in content["images"]:
        by_name.setdefault(Path(str(listed.get("file_name", ""))).name, []).append(listed)
    hands: dict[object, list[dict]] = {}
    for annotation in content["annotations"]:
        hands.setdefault(annotation.get("image_id"), []).append(annotation)
    found, left_out = [], []
    for file in images:
        named = by_name.get(file.name, [])
        if len(named) > 1:  # of one name in several folders
            named = [one for one in named if file.as_posix().endswith(f"/{one['file_name']}")]
        listed = named[0] if len(named) == 1 else {}
        of_it = hands.get(listed["id"], []) if "id" in listed else []
        if not of_it:
            left_out.append((file, f"{boxes} has no hand for it"))
        for annotation in of_it:
            try:
                found.append(_request(file, boxes, listed, annotation, common))
            except ValueError as error:
                left_out.append((file, str(error)))
    return found, left_out


def _request(file: Path, boxes: Path, listed: dict, annotation: dict, common: Request) -> Request:
    of = f"annotation {annotation.get('id', '?')}"
    where = f"{boxes}: {of} ({file.name})"
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} has the bbox {annotation.get('bbox')}; it must be x, y, width, height") from error
    side = annotation.get("hand_side")
    if side not in (None, "left", "right"):
        raise ValueError(f"{where} has the hand_side {side!r}; it must be 'right' or 'left'")
    box = (x, y, x + width, y + height)
    request = dataclasses.replace(common, file=file, box=box, box_from=f"{boxes}, {of}")
    if side:
        request = dataclasses.replace(request, left=side == "left")
    if listed.get("K"):
        request = dataclasses.replace(request, intrinsics=_k(where, listed["K"]), intrinsics_from=f"K in {boxes}")
    if "width" in listed and "height" in listed:
        request = dataclasses.replace(request, size=(listed["width"], listed["height"]))
    return request


def _k(where: str, given: object) -> np.ndarray:
    try:
        return np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: K is {given}, not a 3x3 matrix") from error
