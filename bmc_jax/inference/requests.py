"""Hands to predict: image files, folders of images, and the boxes of a COCO file."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bmc_jax.core.choices import LEAST_SCORE
from bmc_jax.data import images as pictures
from bmc_jax.inference import boxes as box_files

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
    """Origin of the box."""
    intrinsics: np.ndarray | None = None
    """K `[3, 3]`, pixels; None for K from the image's EXIF, or the default."""
    intrinsics_from: str = ""
    """Origin of K."""
    size: tuple[int, int] | None = None
    """(width, height) of the image of box and K, if known."""


@dataclass(frozen=True)
class Gathered:
    """The hands to predict."""

    hands: list[Request]
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    """Images and boxes that cannot be used, each with the reason."""
    unused: dict[str, int] = field(default_factory=dict)
    """Number of boxes that are not used, by reason, see `boxes.Found`."""


def files(inputs: Sequence[Path], out: Path | None = None) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Returns the image files of `inputs`, with the images of each folder sorted by name, and the files left out.

    Two kinds are left out, with the reason: subfolders with images, and files whose names are not UTF-8, which the
    results cannot name.

    Args:
      inputs: image files, and folders of images.
      out: folder of the results, which is no subfolder to report.

    Raises:
      FileNotFoundError: if a file does not exist or a folder has no images.
      ValueError: if an image occurs twice or a video is among the inputs.
    """
    named = {os.path.abspath(one) for one in (*inputs, out) if one is not None}
    found: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for one in inputs:
        if one.is_dir():
            entries = sorted(one.iterdir())
            inside = [entry for entry in entries if not entry.is_dir() and _is_image(entry)]
            others = [entry for entry in entries if entry.is_dir() and os.path.abspath(entry) not in named]
            below = [
                entry for entry in others if not entry.name.startswith(".") and any(map(_is_image, entry.rglob("*")))
            ]
            left_out += [(entry, f"{entry} is a subfolder; give it too to predict its images") for entry in below]
            if not inside:
                names = f"; give its subfolder {below[0].name}, which has images" if below else ""
                raise FileNotFoundError(
                    f"expected images ({', '.join(pictures.SUFFIXES)}) in the folder {one}, got none{names}"
                )
            found += inside
        elif not one.exists():
            raise FileNotFoundError(f"the image {one} does not exist; check the path")
        elif one.suffix.lower() in VIDEOS:
            raise ValueError(f"expected images, got the video {one}; give it as the only input")
        else:
            found.append(one)
    twice = {file for file in found if found.count(file) > 1} if len(set(found)) < len(found) else set()
    if twice:
        raise ValueError(f"expected each image once, got {min(twice)} more than once; give it once")
    nameless = [file for file in found if readable(file) != str(file)]
    left_out += [
        (Path(readable(file)), f"the file name {readable(file)} is not UTF-8; rename the file") for file in nameless
    ]
    return [file for file in found if file not in set(nameless)], left_out


def readable(path: Path) -> str:
    """Returns a path as text, with escape sequences in place of bytes that are not UTF-8."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def named(left_out: tuple[Path, str]) -> str:
    """Returns the name of an image that is left out, followed by the reason."""
    file, reason = left_out
    return reason if reason.startswith(str(file)) else f"{file}: {reason}"


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in pictures.SUFFIXES


def gather(
    images: Sequence[Path],
    *,
    left: bool = False,
    box: Sequence[float | int] | None = None,
    boxes: Path | None = None,
    score: float = LEAST_SCORE,
    image_ids: Path | None = None,
    intrinsics: Sequence[float | int] | None = None,
) -> Gathered:
    """Returns the hands of the images.

    Args:
      images: the image files.
      left: whether hands are left hands, if `boxes` does not state the side.
      box: (x, y, width, height) of the hand in the only image, pixels.
      boxes: a COCO file with a `bbox` for each hand, or a list of COCO results, see `boxes.find`. An image may have
        several hands.
      score: lowest score of the boxes that are used; boxes without a score are used.
      image_ids: a COCO file of the images of a result list.
      intrinsics: (fx, fy, cx, cy) of all images, pixels. K in `boxes` has precedence.

    Raises:
      FileNotFoundError: if `boxes` or `image_ids` does not exist.
      ValueError: if arguments contradict each other, or `boxes.find` cannot use `boxes`.
    """
    if box is not None and (boxes is not None or len(images) != 1):
        raise ValueError(
            f"box: expected one image and no file of boxes, got {len(images)} images{' and a file' * bool(boxes)}; "
            "give a COCO file of boxes for several images or hands"
        )
    if not 0 <= score <= 1:
        raise ValueError(f"score: expected a number from 0 to 1, got {score:g}")
    if image_ids is not None and boxes is None:
        raise ValueError(f"image ids: expected a result list with {image_ids}, got no file of boxes; give the list too")
    common = Request(Path(), left=left)
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        common = dataclasses.replace(common, intrinsics=k, intrinsics_from=GIVEN)
    if box is not None:
        x, y, width, height = box
        common = dataclasses.replace(common, box=(x, y, x + width, y + height), box_from=GIVEN)
    if boxes is None:
        return Gathered([dataclasses.replace(common, file=file) for file in images])
    found = box_files.find(images, boxes, score=score, image_ids=image_ids)
    hands = [_request(common, file, boxes, hand) for file, hand in found.hands]
    return Gathered(hands, found.left_out, dict(+found.unused))


def _request(common: Request, file: Path, boxes: Path, hand: box_files.HandBox) -> Request:
    changes = {"file": file, "box": hand.box, "box_from": f"{boxes}, {hand.where}", "size": hand.size}
    if hand.side is not None:
        changes["left"] = hand.side == "left"
    if hand.intrinsics is not None:
        changes |= {"intrinsics": hand.intrinsics, "intrinsics_from": f"K in {boxes}"}
    return dataclasses.replace(common, **changes)
