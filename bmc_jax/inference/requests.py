"""Which hands are asked about: image files, folders of them, and the boxes that a COCO file has for them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bmc_jax.data import images as pictures
from bmc_jax.data.readers import coco_hand
from bmc_jax.inference.hand_crop import Ask

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".gif")
GIVEN = "given"


def files(inputs: Sequence[Path]) -> list[Path]:
    """The images that are named, and those that lie in folders that are, in the order of their names.

    Raises FileNotFoundError for what is not there and for a folder without images, and ValueError for an image that
    comes twice and for a video among other things.
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


def asks(
    images: Sequence[Path],
    *,
    left: bool = False,
    box: Sequence[float | int] | None = None,
    boxes: Path | None = None,
    intrinsics: Sequence[float | int] | None = None,
) -> tuple[list[Ask], list[tuple[Path, str]]]:
    """The hands of some images, and the images that are left out with the reason.

    Args:
      left: whether hands are left ones, where `boxes` does not say.
      box: (x, y, width, height) of the hand in the only image, pixels.
      boxes: a COCO file with a `bbox` for every hand, from whatever detector, and perhaps `hand_side` and K. Several
        hands in one image are several answers. Its images are recognised by their file names.
      intrinsics: (fx, fy, cx, cy) in pixels, of all the images. K in `boxes` goes before it.

    Raises FileNotFoundError and ValueError for arguments that contradict each other, and a file that is not COCO's.
    """
    if box is not None and (boxes is not None or len(images) != 1):
        raise ValueError(
            "a box is that of the hand in one image; for several images or hands give a COCO file of boxes"
        )
    common = Ask(Path(), left=left)
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


def _from_coco(images: Sequence[Path], boxes: Path, common: Ask) -> tuple[list[Ask], list[tuple[Path, str]]]:
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
                found.append(_one(file, boxes, listed, annotation, common))
            except ValueError as error:
                left_out.append((file, str(error)))
    return found, left_out


def _one(file: Path, boxes: Path, listed: dict, annotation: dict, common: Ask) -> Ask:
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
    ask = dataclasses.replace(common, file=file, box=box, box_from=f"{boxes}, {of}")
    if side:
        ask = dataclasses.replace(ask, left=side == "left")
    if listed.get("K"):
        ask = dataclasses.replace(ask, intrinsics=_k(where, listed["K"]), intrinsics_from=f"K in {boxes}")
    if "width" in listed and "height" in listed:
        ask = dataclasses.replace(ask, size=(listed["width"], listed["height"]))
    return ask


def _k(where: str, given: object) -> np.ndarray:
    try:
        return np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: K is {given}, not a 3x3 matrix") from error
