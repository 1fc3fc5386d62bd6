"""Boxes of hands in image files, from a COCO file or a COCO result list of any detector.

    {"images":      [{"id", "file_name", "width", "height" (optional), "K": 3x3 (optional)}],
     "annotations": [{"image_id", "bbox": [x, y, width, height], "category_id", "id", "score",
                      "hand_side", "hand_type" or "handedness": "right" or "left" (all but the first two optional)}],
     "categories":  [{"id", "name"}] (optional)}

A result list is the list of annotations alone. A box is a hand if the name of its category says so, see
`coco_hand.category_side`; without categories all boxes are hands. Boxes with a score below a threshold are not used.
"""

import json
import math
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as _short
from typing import Any

import numpy as np

from bmc_jax.core.choices import LEAST_SCORE, SIDES
from bmc_jax.data import images as pictures
from bmc_jax.data.readers.coco_hand import SIDE_FIELDS, category_side

MOST_NAMES = 5
"""Largest number of names in a message."""


@dataclass(frozen=True)
class HandBox:
    """A hand's box in an image."""

    where: str
    """Its position in the file, for messages."""
    box: tuple[float, float, float, float]
    """(left, top, right, bottom), pixels."""
    side: str | None
    """"left" or "right"; None if the file does not state it."""
    intrinsics: np.ndarray | None
    """K `[3, 3]` of the image; None if the file does not state it."""
    size: tuple[int, int] | None
    """(width, height) of the image; None if the file does not state it."""


@dataclass
class Found:
    """The hands of image files."""

    hands: list[tuple[Path, HandBox]] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    """Images and boxes that cannot be used, each with the reason."""
    unused: Counter[str] = field(default_factory=Counter)
    """Number of boxes that are not used, by reason: another category, a group of hands, a low score, another image."""


def find(images: Sequence[Path], file: Path, *, score: float = LEAST_SCORE, image_ids: Path | None = None) -> Found:
    """Returns the hands of image files.

    An image is matched by the trailing parts of its path, with any separators: "a/0.jpg" in the file matches the image
    0.jpg in a folder `a`, and never "b/0.jpg". Images that match several entries, or whose entry matches several
    images, are left out.

    Args:
      images: the image files.
      file: COCO file, or result list.
      score: lowest score of the boxes that are used; boxes without a score are used.
      image_ids: COCO file with the `images`, and optionally the `categories`, of a result list.

    Raises:
      FileNotFoundError: if a file does not exist.
      ValueError: if the file has another form, names no images, or has no category that is a hand. The message names
        the file, the value and a remedy.
    """
    listed, annotations, sides = _load(file, image_ids)
    of_image: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for number, annotation in enumerate(annotations):
        of_image.setdefault(annotation["image_id"], []).append((number, annotation))
    same_name: dict[str, list[str]] = {}
    for entry in listed:
        same_name.setdefault(_parts(entry["file_name"])[0], []).append(entry["file_name"])
    matches = _matches(images, listed)
    images_of = Counter(index for indices in matches for index in indices)
    found, ids = Found(), {entry["id"] for entry in listed}
    found.unused["of an image that is not listed"] = sum(one["image_id"] not in ids for one in annotations)
    for image, indices in zip(images, matches, strict=True):
        names = _some(listed[index]["file_name"] for index in indices)
        if not indices:
            others = same_name.get(_parts(image.name)[0])
            reason = f"{file} does not list it"
            if others:
                reason += f"; it lists {_some(others)}, in another folder; write the end of {image.absolute()} there"
            found.left_out.append((image, reason))
        elif len(indices) > 1:
            found.left_out.append((image, f"{file} lists it more than once, as {names}; list it once"))
        elif images_of[indices[0]] > 1:
            reason = f"{file} lists {names}, which matches several of the images; add the folder to the name there"
            found.left_out.append((image, reason))
        else:
            entry = listed[indices[0]]
            _add(found, image, file, entry, of_image.get(entry["id"], []), sides, score)
    return found


def _load(
    file: Path, image_ids: Path | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[Any, str | None] | None]:
    """Returns images, annotations, and the side of each category, None if it is not a hand; None without categories."""
    content = _json(file)
    if isinstance(content, list):
        content = {"annotations": content}
    annotations = _objects(content, "annotations", file, {"image_id": (int, float, str)})
    names, source = content, file
    if image_ids is not None:
        names, source = _json(image_ids), image_ids
        names = names if isinstance(names, dict) else {}
        if "categories" in content:
            names = names | {"categories": content["categories"]}
    if names.get("images") is None and image_ids is None:
        names = names | {"images": _named(annotations, file)}
    images = _objects(names, "images", source, {"id": (int, float, str), "file_name": (str,)})
    twice = [number for number, count in Counter(one["id"] for one in images).items() if count > 1]
    if twice:
        raise ValueError(f"{source}: expected a different id for each image, got {twice[0]!r} twice; renumber them")
    if not names.get("categories"):
        return images, annotations, None
    categories = _objects(names, "categories", source, {"id": (int, float, str), "name": (str,)})
    sides = {one["id"]: category_side(one["name"]) for one in categories}
    if all(side is None for side in sides.values()):
        raise ValueError(
            f"{source}: expected a category of hands, got {_some(one['name'] for one in categories)}; name it 'hand', "
            "'left_hand' or 'right_hand', or remove the categories if every box is a hand's"
        )
    return images, annotations, sides


def _named(annotations: Sequence[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """Returns the images of a result list whose annotations name their image."""
    names = {one["image_id"]: one.get("file_name", one["image_id"]) for one in annotations}
    if not all(isinstance(name, str) for name in names.values()):
        raise ValueError(
            f"{file}: expected a list of images, or names as image_id, got numbers alone; give the COCO file whose "
            'images have these ids as --image-ids FILE, or write {"images": [{"id", "file_name"}, ...], '
            '"annotations": [...]}'
        )
    return [{"id": key, "file_name": name} for key, name in names.items()]


def _json(file: Path) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"expected a COCO file, got no regular file {file}; check the path")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not a JSON file: {error}; give a COCO file") from error
    if not isinstance(content, dict | list):
        raise ValueError(f"{file}: expected a COCO file or a list of results, got {_short(content)}; give one of them")
    return content


def _objects(content: Any, name: str, file: Path, fields: dict[str, tuple[type, ...]]) -> list[dict[str, Any]]:
    """Returns a list of objects with fields of these types."""
    rows = content.get(name)
    if not isinstance(rows, list):
        raise ValueError(f"{file}: expected a COCO file, got no list of {name}; add it")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(
                f"{file}: {name}[{number}]: expected an object with {', '.join(fields)}, got {_short(row)}"
            )
        for key, types in fields.items():
            if not isinstance(row.get(key), types):
                expected = "a string" if types == (str,) else "a number or a string"
                raise ValueError(f"{file}: {name}[{number}].{key}: expected {expected}, got {_short(row.get(key))}")
    return rows


def _parts(name: str) -> tuple[str, ...]:
    """Returns the parts of a path of any system in reverse order, without drive, root and ".."."""
    composed = unicodedata.normalize("NFC", name)  # macOS writes accents as separate characters
    parts = posixpath.normpath(composed.replace("\\", "/")).split("/")
    parts = [part for part in parts if part not in ("", ".", "..") and not re.fullmatch("[A-Za-z]:", part)]
    return tuple(reversed(parts)) or ("",)


def _matches(images: Sequence[Path], listed: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Returns, for each image, the indices of the listed images that match the last parts of its path."""
    by_parts: dict[tuple[str, ...], list[int]] = {}
    for index, entry in enumerate(listed):
        by_parts.setdefault(_parts(entry["file_name"]), []).append(index)
    longest = max(map(len, by_parts), default=0)

    def matching(path: str) -> list[int]:
        parts = _parts(path)
        ends = [parts[:length] for length in range(1, min(longest, len(parts)) + 1)]
        stem, suffix = os.path.splitext(parts[0])
        if suffix.lower() in pictures.SUFFIXES:  # some detectors omit the suffix
            ends += [(stem, *end[1:]) for end in ends]
        return [index for end in ends for index in by_parts.get(end, [])]

    return [matching(os.path.abspath(image)) or matching(os.path.realpath(image)) for image in images]


def _add(
    found: Found,
    image: Path,
    file: Path,
    entry: dict[str, Any],
    annotations: Sequence[tuple[int, dict[str, Any]]],
    sides: dict[Any, str | None] | None,
    least: float,
) -> None:
    """Adds the hands of an image."""
    before = len(found.hands) + len(found.left_out)
    unused = Counter[str]()
    for number, annotation in annotations:
        where = f"annotation {str(annotation.get('id', f'number {number}'))[:40]}"
        try:
            side, score = _side(annotation, sides), annotation.get("score")
            score = None if score is None else _number(score, "score")
            if side is None:
                unused["of another category"] += 1
            elif annotation.get("iscrowd"):
                unused["of a group, not one hand (iscrowd)"] += 1
            elif score is not None and not score >= least:
                unused[f"with a score below {least:g}"] += 1
            else:
                where += "" if score is None else f", score {score:g}"
                found.hands.append((image, _hand_box(where, entry, annotation, side)))
        except ValueError as error:
            found.left_out.append((image, f"{file}: {where} ({image.name}) {error}"))
    if len(found.hands) + len(found.left_out) == before:
        only = f", only boxes {' and '.join(unused)}" if unused else ""
        found.left_out.append((image, f"{file} has no hand for it{only}"))
    found.unused += unused


def _side(annotation: dict[str, Any], sides: dict[Any, str | None] | None) -> str | None:
    """Returns the side that the category states, "" if it states none, None if it is not a hand."""
    if sides is None:
        return ""
    key = annotation.get("category_id")
    if key is None and None not in sides.values():
        return ""
    if not isinstance(key, int | float | str) or key not in sides:
        raise ValueError(f"has the category_id {_short(key)}; expected one of the file's categories")
    return sides[key]


def _hand_box(where: str, entry: dict[str, Any], annotation: dict[str, Any], category: str) -> HandBox:
    given = annotation.get("bbox")
    if not isinstance(given, list) or len(given) != 4:
        raise ValueError(f"has the bbox {_short(given)}; expected x, y, width, height")
    x, y, width, height = (_number(value, "bbox") for value in given)
    stated = {name: annotation[name] for name in SIDE_FIELDS if annotation.get(name) is not None}
    stated = {name: str(value).lower() for name, value in (stated | {"category": category}).items() if value != ""}
    for name, value in stated.items():
        if value not in SIDES:
            raise ValueError(f"has the {name} {_short(value)}; expected 'right' or 'left'")
    if len(set(stated.values())) > 1:
        both = " and ".join(f"{value} by its {name}" for name, value in stated.items())
        raise ValueError(f"is {both}; correct one of them")
    of_hand = next(iter(stated.values()), None)
    return HandBox(where, (x, y, x + width, y + height), of_hand, _k(entry.get("K")), _size(entry))


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    given = entry.get("width"), entry.get("height")
    if given == (None, None):
        return None
    width, height = (_number(length, name) for length, name in zip(given, ("width", "height"), strict=True))
    if not (width.is_integer() and height.is_integer()):
        raise ValueError(f"has an image of {width:g}x{height:g} pixels; expected whole numbers")
    return int(width), int(height)


def _k(given: Any) -> np.ndarray | None:
    if not given:
        return None
    try:
        return np.array([[_number(value, "K") for value in row] for row in given])
    except (TypeError, ValueError) as error:
        raise ValueError(f"has an image whose K is {_short(given)}; expected a 3x3 matrix") from error


def _number(value: Any, name: str) -> float:
    """Returns a number of the file; infinity if it is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"has the {name} {_short(value)}; expected a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _some(names: Iterable[str]) -> str:
    """Returns the first of some names, for a message."""
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:MOST_NAMES]) + ", ..." * (len(distinct) > MOST_NAMES)
