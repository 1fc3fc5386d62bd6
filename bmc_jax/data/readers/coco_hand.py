"""The user's images: a COCO keypoint file with 21 keypoints per hand, and optional 3D joints.

    {"images":      [{"id", "file_name", "width", "height", "K": 3x3 (optional)}],
     "annotations": [{"id", "image_id", "category_id", "hand_side", "hand_type" or "handedness": "right" or "left",
                      "keypoints": 21 x (u, v, visibility), "bbox": [x, y, width, height] (optional),
                      "joints_3d": 21 x ([x, y, z] or null) (optional)}],
     "categories":  [{"id", "name": "hand", "left_hand" or "right_hand"}]}

Keypoints and joints are in FreiHAND order, or in that of the names in the category's `keypoints`; `--order` overrides
both. Pixel centres are at integers. Visibility is 0 unlabelled, 1 occluded, 2 visible, or a score if
`--visibility-threshold` is given. `joints_3d` are in metres in the camera frame (x right, y down, z forward), null if
unknown. Images are in `images/` in the folder of the file, in that folder, or in the folder of `--images`; `file_name`
may contain subfolders.
"""

import contextlib
import json
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bmc_jax.core import hand
from bmc_jax.core.choices import JOINT_ORDERS, SIDES, SPLITS
from bmc_jax.core.plural import counted, plural
from bmc_jax.data.readers import joint_order
from bmc_jax.data.readers.annotation import (
    OCCLUDED,
    UNLABELLED,
    VISIBLE,
    Annotation,
    DatasetInfo,
    SkipRow,
    find_image,
    listed_size,
)

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="your images of hands with 2D keypoints and, optionally, 3D joints and K",
    needs="FILE.json, or a folder with annotations.json or train.json, validation.json, test.json; images in images/",
    licence="yours",
    address="https://cocodataset.org/#format-data",
)
OPTIONS = {
    "split": "name of the split of a single file",
    "side": "'right' or 'left' for all hands; required if neither annotations nor categories state it",
    "order": f"joint order, which overrides the categories' keypoint names: one of {', '.join(JOINT_ORDERS)}",
    "focal": "focal length over the longer image side, for images without K",
    "images": "folder of the images, if they are neither in images/ in the file's folder nor in that folder",
    "visibility_threshold": "read the third number of each keypoint as a score; label keypoints of this score or more",
}

DEFAULT_FOCAL = 1.0
"""Focal length over the longer image side, for images without K: 53 degrees of view, between webcams and phones."""
IN_ORDER = tuple(range(hand.NUM_JOINTS))
"""`Row.order` of FreiHAND's order."""
SIDE_FIELDS = ("hand_side", "hand_type", "handedness")
"""Fields of an annotation that state its side; `hand_type` is mmpose's."""
_SIDE = "(left|right|l|r)?"
_HAND = re.compile(f"(?:human|person)?{_SIDE}hands?{_SIDE}(?:pose|keypoints?)?")
_WHOLE_BODIES = ". `bmc data build coco_wholebody` reads the hands of whole bodies"
CHECKED = 1000
"""Maximum number of annotations, spread evenly over a file, whose joints are compared with their order."""


@dataclass(frozen=True)
class Stated:
    """Statements of the user about the annotations of a file."""

    side: str = ""
    """Side of all hands; "" for the side stated by annotation or category."""
    order: str | None = None
    """Joint order, a key of `hand.TO_FREIHAND`; None for that of the categories' keypoint names, or FreiHAND's."""
    focal: float = DEFAULT_FOCAL
    """Focal length over the longer image side, for images without K."""
    visibility_threshold: float | None = None
    """Minimum score of a labelled keypoint; None if the file has COCO's visibility."""

    def __post_init__(self) -> None:
        if self.side not in ("", *SIDES):
            raise ValueError(f"side: expected 'right' or 'left', got {self.side!r}; choose one")
        if self.order is not None and self.order not in JOINT_ORDERS:
            raise ValueError(f"order: expected one of {', '.join(JOINT_ORDERS)}, got {self.order!r}; choose one")
        if not 0 < self.focal < math.inf:
            raise ValueError(f"focal: expected a positive, finite number, got {self.focal:g}; change it")
        if self.visibility_threshold is not None and not 0 < self.visibility_threshold < math.inf:
            raise ValueError(
                f"visibility_threshold: expected a positive, finite score, got {self.visibility_threshold:g}; change it"
            )


class Row(NamedTuple):
    """An annotation and its image, unchanged from the file."""

    file: str
    id: str
    annotation: dict[str, Any]
    image: dict[str, Any] | None
    category: object
    """Name of the category, None if the file does not list it."""
    folders: tuple[str, ...]
    """Folders of images, in the order of the search."""
    order: tuple[int, ...]
    """Index in the file of each joint in FreiHAND order."""
    stated: Stated


def splits(
    source: Path,
    *,
    split: str = "train",
    side: str = "",
    order: str | None = None,
    focal: float = DEFAULT_FOCAL,
    images: str | None = None,
    visibility_threshold: float | None = None,
) -> dict[str, list[Row]]:
    """Returns the annotations of a COCO file, or of the files of a folder, in their order.

    Warns of images without K, and of joints that contradict a stated `order`.

    Raises:
      FileNotFoundError: if the file or the folder `images` does not exist.
      ValueError: for a file that is not a COCO keypoint file, for joints in another order than the file states or in no
        order of a hand, and for unknown options.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}; choose one")
    stated = Stated(side, order, focal, visibility_threshold)
    files = {split: source}
    if source.is_dir():
        files = {name: source / f"{name}.json" for name in SPLITS if (source / f"{name}.json").is_file()}
        files = files or {split: source / "annotations.json"}
    return {
        name: _rows(file, stated, image_folders(images, (file.parent / "images", file.parent)))
        for name, file in files.items()
    }


def annotation(row: Row) -> Annotation:
    """Returns the hand of an annotation.

    Raises:
      SkipRow: if no keypoint is labelled, or only one and there is no box, or if the annotation is of a crowd.
      FileNotFoundError: if the image does not exist.
      ValueError: naming file, annotation and remedy, for another category than a hand, an image that the file does not
        list, no side or contradicting ones, another number of keypoints than 21, an invalid visibility, keypoints that
        are normalised or outside the image, a box that does not fit them, a `file_name` outside the folder of the
        images, or fields of another form.
    """
    where = f"{row.file}: annotation {row.annotation.get('id', '?')}"
    if row.category is None:
        raise ValueError(
            f"{where}: expected the category_id of a listed category, got {row.annotation.get('category_id')!r}; give "
            'it the id of a category, such as {"id": 1, "name": "hand"}'
        )
    if category_side(row.category) is None:
        raise ValueError(
            f"{where}: expected a category of hands, got {row.category!r}; leave the annotation out, or all such "
            "annotations by --faults skip" + _WHOLE_BODIES * ("lefthand_kpts" in row.annotation)
        )
    if row.image is None:
        raise ValueError(
            f"{where}: expected the image_id of a listed image, got {row.annotation.get('image_id')!r}; add the image"
        )
    where = f"{where} ({row.image.get('file_name')})"
    if row.annotation.get("iscrowd"):
        raise SkipRow("iscrowd is set: a group, not one hand")
    size = listed_size(row.image, where)
    keypoints = _keypoints(row, where)
    visibility, left_out = _labels(keypoints, size, row, where)
    side = _side(row, where)
    box = _box(row, keypoints[visibility > UNLABELLED, :2], size, where)
    if box is None and (visibility > UNLABELLED).sum() == 1:
        raise SkipRow("one labelled keypoint and no bbox: the size of the hand is unknown")
    return Annotation(
        where=where,
        source="coco_hand",
        id=row.id,
        image=_image(row, where),
        image_size=size,
        intrinsics=_intrinsics(row, size, where),
        left=side == "left",
        joints_3d=_joints_3d(row, where),
        joints_2d=keypoints[:, :2],
        visibility=visibility,
        box=box,
        left_out=left_out,
    )


def category_side(name: object) -> str | None:
    """Returns "left" or "right" for a category such as "left_hand", "" for "hand", and None for other categories."""
    found = _HAND.fullmatch(re.sub(r"[\W_]", "", str(name).lower()))
    if not found:
        return None
    abbreviation = found[1] or found[2] or ""
    return next((side for side in SIDES if abbreviation and side.startswith(abbreviation)), "")


def _side(row: Row, where: str) -> str:
    """Returns the side stated by the annotation, its category and the user.

    Raises:
      ValueError: if none of them states it, a value is invalid, or they contradict each other.
    """
    stated = {name: row.annotation[name] for name in SIDE_FIELDS if row.annotation.get(name) is not None}
    for name, value in stated.items():
        if str(value).lower() not in SIDES:
            raise ValueError(f"{where}: {name}: expected 'right' or 'left', got {value!r}; correct it")
    stated |= {"category": category_side(row.category), "--side": row.stated.side}
    stated = {name: str(value).lower() for name, value in stated.items() if value}
    if not stated:
        raise ValueError(
            f"{where}: hand_side: expected 'right' or 'left', got None; add it, give --side, or use the category "
            "left_hand or right_hand"
        )
    if len(set(stated.values())) > 1:
        found = " and ".join(f"{name} {value!r}" for name, value in stated.items())
        raise ValueError(f"{where}: expected one side, got {found}; correct the file, or leave --side out")
    return next(iter(stated.values()))


def _rows(file: Path, stated: Stated, folders: tuple[str, ...]) -> list[Row]:
    content = load(file)
    require_distinct(file, content)
    images = {image.get("id"): image for image in content["images"]}
    categories = {category.get("id"): category.get("name", "") for category in content["categories"]}
    warn_of_missing_k(file, content["images"], stated)
    orders = {category.get("id"): joint_indices(category, stated) for category in content["categories"]}
    rows = [
        Row(
            file=os.fspath(file),
            id=str(entry.get("id", number)),
            annotation=entry,
            image=images.get(entry.get("image_id")),
            category=categories.get(entry.get("category_id")),
            folders=folders,
            order=orders.get(entry.get("category_id"), IN_ORDER),
            stated=stated,
        )
        for number, entry in enumerate(content["annotations"])
    ]
    require_order(rows)
    return rows


def warn_of_missing_k(file: Path, images: Sequence[dict[str, Any]], stated: Stated) -> None:
    """Warns of images without K and states the assumed focal length."""
    without_k = [image.get("file_name", "?") for image in images if not image.get("K")]
    if without_k:
        many = f"{counted(len(without_k), 'image')} {plural(len(without_k), 'has')}"
        warnings.warn(
            f"{file}: {many} no 'K', such as {without_k[0]}; their focal length is assumed to be {stated.focal:g} x "
            "the longer image side, and depths have its relative error; add 'K' to the images",
            stacklevel=4,
        )


def joint_indices(category: dict[str, Any], stated: Stated) -> tuple[int, ...]:
    """Returns the index in the file of each joint in FreiHAND order, stated or by the category's keypoint names."""
    if stated.order is not None:
        return tuple(hand.TO_FREIHAND[stated.order].tolist())
    names = category.get("keypoints")
    named = joint_order.by_names(names) if isinstance(names, list) else None
    return IN_ORDER if named is None else tuple(named.tolist())


def require_order(rows: Sequence[Row]) -> None:
    """Raises ValueError for joints that contradict their order, or warns if the user states that order.

    `joint_order.contradiction` compares keypoints and 3D joints of at most `CHECKED` annotations in each order.
    """
    for order in {row.order for row in rows}:
        alike = [row for row in rows if row.order == order]
        alike = alike[:: -(-len(alike) // CHECKED)]
        for read, what in ((_labelled, "keypoints"), (_joints_3d, "joints_3d")):
            joints = []
            for row in alike:
                with contextlib.suppress(ValueError, SkipRow):  # `annotation` raises the error of this row
                    found = read(row, "")
                    joints += [] if found is None else [found[np.argsort(order)]]
            evidence, fits = joint_order.contradiction(np.array(joints), np.array(order)) if joints else ("", "")
            if not evidence:
                continue
            stated = rows[0].stated.order
            named = "FreiHAND order" if order == IN_ORDER else "the order of its category's keypoint names"
            expected = f"the order {stated}" if stated else named
            message = f"{rows[0].file}: expected {what} in {expected}, got another order: {evidence}"
            if not stated:
                raise ValueError(
                    f"{message}; give --order {fits or 'NAME'} to `bmc data build`, or name the 21 keypoints in the "
                    "file's categories" + f". If {named} is right, give --order freihand" * (order == IN_ORDER)
                )
            warnings.warn(f"{message}; they are read in the order {stated}, which --order states", stacklevel=4)


def load(file: Path) -> dict[str, Any]:
    """Reads the content of a COCO keypoint file.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: naming the file, if it is not a COCO keypoint file.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"expected the annotation file {file}, got no such file; name the JSON file, or the folder of "
            "annotations.json"
        )
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON, got a damaged or other file ({error}); write it again") from error
    if isinstance(content, list):
        raise ValueError(
            f"{file}: expected a COCO keypoint file, got a list, the form of COCO's results; write a file with the "
            "lists images, annotations (these results) and categories"
        )
    missing = [
        name
        for name in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(name), list)
    ]
    if missing:
        raise ValueError(
            f"{file}: expected a COCO keypoint file, got a file without the lists {', '.join(missing)}; add them"
        )
    for name in ("images", "annotations", "categories"):
        _require_entries(content[name], f"{file}: {name}")
    return content


def _require_entries(entries: list[Any], where: str) -> None:
    """Raises ValueError for entries that are not objects, or whose ids are neither numbers nor strings."""
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{where}[{number}]: expected an object, got {str(entry)[:80]!r}; correct it")
        for field in ("id", "image_id", "category_id"):
            if not isinstance(entry.get(field), int | str | float | None):
                raise ValueError(
                    f"{where}[{number}]: {field}: expected a number, got {str(entry[field])[:80]}; correct it"
                )


def require_distinct(file: Path, content: dict[str, Any]) -> None:
    """Raises ValueError for repeated ids, which would assign annotations to wrong images."""
    for name in ("images", "annotations", "categories"):
        counts = Counter(entry["id"] for entry in content[name] if "id" in entry)
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{file}: {name}: expected unique ids, got {twice[0]!r} more than once; correct the file")


def _numbers(value: Any, where: str, field: str) -> np.ndarray:
    """Converts a field to a float64 array.

    Raises:
      ValueError: naming the field, if it contains something other than numbers, or lists of unequal lengths.
    """
    try:
        numbers = np.array(value)
    except ValueError:
        numbers = np.array(None)
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {field}: expected an array of numbers, got {str(value)[:80]}; correct it")
    return numbers.astype(np.float64)


def _keypoints(row: Row, where: str) -> np.ndarray:
    """Returns u, v and visibility or score of the keypoints in FreiHAND order, NaN where null, `[21, 3]`.

    Raises:
      SkipRow: if the annotation has no keypoints.
      ValueError: for another number of keypoints than a hand's, or something other than numbers.
    """
    given = row.annotation.get("keypoints")
    if given is None or given == []:
        raise SkipRow("it has no keypoints")
    if isinstance(given, list):
        given = [math.nan if value is None else value for value in given]
    keypoints = _numbers(given, where, "keypoints")
    if keypoints.size != 3 * hand.NUM_JOINTS:
        whole = keypoints.size == 3 * 133 or "lefthand_kpts" in row.annotation
        raise ValueError(
            f"{where}: keypoints: expected {hand.NUM_JOINTS} of a hand, each as u, v, visibility, got "
            f"{keypoints.size / 3:g}; give all of them" + _WHOLE_BODIES * whole
        )
    return keypoints.reshape(hand.NUM_JOINTS, 3)[list(row.order)]


def _visibility(given: np.ndarray, row: Row, where: str) -> np.ndarray:
    """Returns COCO's visibility of keypoints in FreiHAND order, from their visibility or scores in the file."""
    threshold = row.stated.visibility_threshold
    known = np.isfinite(given) if threshold is not None else np.isin(given, (UNLABELLED, OCCLUDED, VISIBLE))
    if not known.all():
        joint = int(np.flatnonzero(~known)[0])
        number = row.order[joint]
        raise ValueError(
            f"{where}: visibility of keypoint {number} (keypoints[{3 * number + 2}]): expected 0 (not labelled), 1 "
            f"(occluded) or 2 (visible), got {given[joint]:g}; correct it or, if these numbers are scores, give "
            "--visibility-threshold T to `bmc data build`: scores of T or more then count as labelled and visible"
        )
    if threshold is not None:
        return np.where(given >= threshold, VISIBLE, UNLABELLED).astype(np.uint8)
    return given.astype(np.uint8)


def _labels(keypoints: np.ndarray, size: tuple[int, int], row: Row, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the visibility of keypoints in FreiHAND order, `[21]`, and the reasons for which labels are left out.

    Keypoints at (0, 0), which tools write for missing keypoints, and keypoints outside the image become unlabelled.

    Raises:
      SkipRow: if no keypoint is labelled.
      ValueError: for labelled keypoints that are not finite, normalised, or for the most part outside the image.
    """
    visibility, points = _visibility(keypoints[:, 2], row, where), keypoints[:, :2]
    missing = (visibility > UNLABELLED) & (points == 0).all(axis=1)
    visibility[missing] = UNLABELLED
    labelled = visibility > UNLABELLED
    if not labelled.any():
        raise SkipRow("no keypoint is labelled")
    if not np.isfinite(points[labelled]).all():
        raise ValueError(
            f"{where}: expected finite labelled keypoints, got one that is not finite; give it the visibility 0"
        )
    if (points[labelled] >= 0).all() and (points[labelled] <= 1).all():
        raise ValueError(
            f"{where}: keypoints: expected pixels, got {points[labelled].min():g} to {points[labelled].max():g}, which "
            "are shares of the image's sides; multiply u by its width and v by its height"
        )
    outside = labelled & ((points < -1) | (points > size)).any(axis=1)
    if outside.sum() > labelled.sum() / 2:
        first = points[np.flatnonzero(outside)[0]]
        raise ValueError(
            f"{where}: expected keypoints inside the image of {size[0]}x{size[1]} pixels, got {outside.sum()} of "
            f"{labelled.sum()} labelled ones outside, the first at {first[0]:g}, {first[1]:g}; check that they are "
            "pixels of this image, or leave such hands out by --faults skip"
        )
    visibility[outside] = UNLABELLED
    reasons = {"keypoints at (0, 0)": missing, "keypoints outside of their image": outside}
    return visibility, tuple(reason for reason, joints in reasons.items() if joints.any())


def _labelled(row: Row, where: str) -> np.ndarray:
    """Returns the used keypoints in pixels and FreiHAND order, NaN elsewhere, `[21, 2]`."""
    keypoints = _keypoints(row, where)
    visibility, _ = _labels(keypoints, listed_size(row.image or {}, where), row, where)
    return np.where(visibility[:, None] > UNLABELLED, keypoints[:, :2], np.nan)


def _intrinsics(row: Row, size: tuple[int, int], where: str) -> np.ndarray:
    given = (row.image or {}).get("K")
    if given:
        return _numbers(given, where, "K")
    focal = row.stated.focal * max(size)
    return np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])


def image_folders(images: str | None, default: Iterable[Path]) -> tuple[str, ...]:
    """Returns the folders of images: the option `images`, or `default` without it.

    Raises:
      FileNotFoundError: if the folder `images` does not exist.
    """
    if images is not None and not Path(images).is_dir():
        raise FileNotFoundError(f"--images: expected the folder of the images, got {images}, which is none; correct it")
    return tuple(os.path.abspath(folder) for folder in (default if images is None else (images,)))


def _image(row: Row, where: str) -> Path:
    """Returns the path of an image, whose `file_name` may begin with the name of the folder."""
    name = (row.image or {}).get("file_name")
    first = str(name).replace("\\", "/").split("/")[0]
    folders = [Path(folder) for folder in row.folders]
    return find_image(
        name, dict.fromkeys(folders + [folder.parent for folder in folders if folder.name == first]), where
    )


def _joints_3d(row: Row, where: str) -> np.ndarray | None:
    """Returns the joints in metres and FreiHAND order, `[21, 3]`, NaN where null; None if there are none."""
    given = row.annotation.get("joints_3d")
    if given is None:
        return None
    known = [joint is not None for joint in given] if isinstance(given, list) else []
    joints = _numbers([joint or [np.nan] * 3 for joint in given] if known else given, where, "joints_3d")
    if joints.shape != (hand.NUM_JOINTS, 3):
        raise ValueError(
            f"{where}: joints_3d: expected {hand.NUM_JOINTS} times (x, y, z) in metres, or null, got the shape "
            f"{list(joints.shape)}; correct it"
        )
    if not np.isfinite(joints[known]).all():
        raise ValueError(
            f"{where}: joints_3d: expected finite numbers, got one that is not finite; write null for unknown joints"
        )
    return joints[list(row.order)]


def _box(row: Row, labelled: np.ndarray, size: tuple[int, int], where: str) -> tuple[float, float, float, float] | None:
    """Returns the box; None if the annotation has none.

    The origin of COCO's `bbox` is the corner of the first pixel in some tools and its centre in others, a difference of
    half a pixel.

    Raises:
      ValueError: for a box without size, one that extends beyond the image by more than half of it, or one with fewer
        than half of the labelled keypoints, even at twice its size.
    """
    given = row.annotation.get("bbox")
    if given is None:
        return None
    box = _numbers(given, where, "bbox")
    if box.shape != (4,):
        raise ValueError(f"{where}: bbox: expected x, y, width, height, got {given}; correct it, or leave bbox out")
    corner, extent = box[:2], box[2:]
    if not (np.isfinite(box).all() and (extent > 0).all()):
        raise ValueError(
            f"{where}: bbox: expected a positive width and height, got {given}; correct it, or leave bbox out"
        )
    low, high = corner, corner + extent
    if (low < -np.array(size) / 2).any() or (high > 1.5 * np.array(size)).any():
        raise ValueError(
            f"{where}: bbox: expected x, y, width, height in pixels, not two corners, got {given}, which extends far "
            f"beyond the image of {size[0]}x{size[1]} pixels; correct it, or leave bbox out"
        )
    inside = ((labelled >= low - extent / 2) & (labelled <= high + extent / 2)).all(axis=1)
    if inside.sum() < len(labelled) / 2:
        raise ValueError(
            f"{where}: bbox: expected x, y, width, height in pixels, got {given}, with {len(labelled) - inside.sum()} "
            f"of {len(labelled)} labelled keypoints far outside of it; correct it, or leave bbox out"
        )
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
