"""The user's own images: a COCO keypoint file with 21 keypoints a hand, and optional 3D joints.

    {"images":      [{"id", "file_name", "width", "height", "K": 3x3 (optional)}],
     "annotations": [{"id", "image_id", "category_id", "hand_side", "hand_type" or "handedness": "right" or "left",
                      "keypoints": 21 x (u, v, visibility), "bbox": [x, y, width, height] (optional),
                      "joints_3d": 21 x ([x, y, z] or null) (optional)}],
     "categories":  [{"id", "name": "hand", "left_hand" or "right_hand"}]}

Keypoints and joints are in FreiHAND order, or in that of the names in the category's `keypoints`, which `--order`
overrides. Pixel centres are at integers. Visibility is 0 unlabelled, 1 occluded, 2 visible, or a score if
`--visibility-threshold` is given. `joints_3d` are metres in the camera's frame x right, y down, z forward, null where
unknown. Images lie in `images/` beside the file, directly beside it, or in the folder of `--images`; `file_name` may
have subfolders.
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
    what="your own images of hands with 2D keypoints, and with 3D joints and K where you have them",
    needs="FILE.json, or a folder with annotations.json or train.json, validation.json, test.json; images in images/",
    licence="yours",
    address="https://cocodataset.org/#format-data",
)
OPTIONS = {
    "split": "name of the split of a single file",
    "side": "'right' or 'left' for all; needed where neither annotation nor category states it, refused if another",
    "order": f"joint order, whatever the categories' keypoint names say: one of {', '.join(JOINT_ORDERS)}",
    "focal": "focal length over the longer image side, for images without K",
    "images": "folder of the images, if they are not in images/ beside the file or directly beside it",
    "visibility_threshold": "take the third number of each keypoint as a score, and label those of this score or more",
}

DEFAULT_FOCAL = 1.0
"""Focal length over the longer image side of photographs without K: 53 degrees of view, between webcams and phones."""
IN_ORDER = tuple(range(hand.NUM_JOINTS))
"""`Row.order` of FreiHAND's order."""
SIDE_FIELDS = ("hand_side", "hand_type", "handedness")
"""Fields of an annotation that state its side; `hand_type` is mmpose's."""
_SIDE = "(left|right|l|r)?"
_HAND = re.compile(f"(?:human|person)?{_SIDE}hands?{_SIDE}(?:pose|keypoints?)?")
_WHOLE_BODIES = ". The hands of whole bodies are read by `bmc data build coco_wholebody`"
CHECKED = 1000
"""Annotations, evenly over a file, whose joints are compared with their order."""


@dataclass(frozen=True)
class Stated:
    """What the user states about the annotations of a file."""

    side: str = ""
    """Side of all hands; "" for that which annotation or category states."""
    order: str | None = None
    """Joint order, a key of `hand.TO_FREIHAND`; None for that of the categories' keypoint names, or FreiHAND's."""
    focal: float = DEFAULT_FOCAL
    """Focal length over the longer image side, of images without K."""
    visibility_threshold: float | None = None
    """Least score of a labelled keypoint; None if the file has COCO's visibility."""

    def __post_init__(self) -> None:
        if self.side not in ("", *SIDES):
            raise ValueError(f"side {self.side!r} is neither 'right' nor 'left'")
        if self.order is not None and self.order not in JOINT_ORDERS:
            raise ValueError(f"order {self.order!r} is none of {', '.join(JOINT_ORDERS)}")
        if not 0 < self.focal < math.inf:
            raise ValueError(f"focal {self.focal:g} is not a positive number")
        if self.visibility_threshold is not None and not 0 < self.visibility_threshold < math.inf:
            raise ValueError(f"visibility_threshold {self.visibility_threshold:g} is not a positive score")


class Row(NamedTuple):
    """An annotation and its image, as in the file."""

    file: str
    id: str
    annotation: dict[str, Any]
    image: dict[str, Any] | None
    category: object
    """Name of the category, None if the file does not list it."""
    folders: tuple[str, ...]
    """Folders of images, in the order in which the image is searched there."""
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
      FileNotFoundError: if there is no such file, or no folder `images`.
      ValueError: for a file that is no COCO keypoint file, for joints that are in another order than the file states,
        or in none of a hand, and for unknown options.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
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
    """Returns an annotation's hand.

    Raises:
      SkipRow: if no keypoint is labelled, or a single one without a box, or the annotation is of a crowd.
      FileNotFoundError: if there is no such image.
      ValueError: naming file, annotation and remedy, for another category than a hand, an image that the file does not
        list, no side or two that contradict each other, another number of keypoints than 21, a visibility that is none,
        keypoints that are normalised or outside of the image, a box that cannot be theirs, a `file_name` that leaves
        the folder of the images, or fields of another form.
    """
    where = f"{row.file}: annotation {row.annotation.get('id', '?')}"
    if row.category is None:
        raise ValueError(
            f"{where} has the category_id {row.annotation.get('category_id')!r}, which the file does not list; give it "
            'the id of a category, such as {"id": 1, "name": "hand"}'
        )
    if category_side(row.category) is None:
        raise ValueError(
            f"{where} is of the category {row.category!r}; this reader takes hands only: leave it out, or all such "
            "annotations with --faults skip" + _WHOLE_BODIES * ("lefthand_kpts" in row.annotation)
        )
    if row.image is None:
        raise ValueError(f"{where} is of image {row.annotation.get('image_id')!r}, which the file does not list")
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
    """Returns "left" or "right" of a category such as "left_hand", "" of "hand"; None if it is not one of hands."""
    found = _HAND.fullmatch(re.sub(r"[\W_]", "", str(name).lower()))
    if not found:
        return None
    side = found[1] or found[2] or ""
    return next((one for one in SIDES if side and one.startswith(side)), "")


def _side(row: Row, where: str) -> str:
    """Returns the side that the annotation, its category and the user state.

    Raises:
      ValueError: if none of them states it, one states something else, or they contradict each other.
    """
    stated = {name: row.annotation[name] for name in SIDE_FIELDS if row.annotation.get(name) is not None}
    for name, value in stated.items():
        if str(value).lower() not in SIDES:
            raise ValueError(f"{where} has the {name} {value!r}; it must be 'right' or 'left'")
    stated |= {"category": category_side(row.category), "--side": row.stated.side}
    stated = {name: str(value).lower() for name, value in stated.items() if value}
    if not stated:
        raise ValueError(
            f"{where} has the hand_side None; it must be 'right' or 'left', or be given as --side, or by the category "
            "left_hand or right_hand"
        )
    if len(set(stated.values())) > 1:
        found = " and ".join(f"{name} {value!r}" for name, value in stated.items())
        raise ValueError(f"{where} has {found}, which contradict each other; correct the file, or leave --side out")
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
            id=str(one.get("id", number)),
            annotation=one,
            image=images.get(one.get("image_id")),
            category=categories.get(one.get("category_id")),
            folders=folders,
            order=orders.get(one.get("category_id"), IN_ORDER),
            stated=stated,
        )
        for number, one in enumerate(content["annotations"])
    ]
    require_order(rows)
    return rows


def warn_of_missing_k(file: Path, images: Sequence[dict[str, Any]], stated: Stated) -> None:
    """Warns of images without K, with the focal length that is taken."""
    without_k = [image.get("file_name", "?") for image in images if not image.get("K")]
    if without_k:
        many = f"{counted(len(without_k), 'image')} {plural(len(without_k), 'has')}"
        warnings.warn(
            f"{file}: {many} no 'K', {without_k[0]} first; the focal length is taken to be "
            f"{stated.focal:g} x the longer image side. Depths are as wrong as that is: add 'K' to the images.",
            stacklevel=4,
        )


def joint_indices(category: dict[str, Any], stated: Stated) -> tuple[int, ...]:
    """Returns the index in the file of each joint in FreiHAND order, as stated or by the category's keypoint names."""
    if stated.order is not None:
        return tuple(hand.TO_FREIHAND[stated.order].tolist())
    names = category.get("keypoints")
    named = joint_order.by_names(names) if isinstance(names, list) else None
    return IN_ORDER if named is None else tuple(named.tolist())


def require_order(rows: Sequence[Row]) -> None:
    """Raises ValueError for joints that contradict their order, and warns if the user states it.

    Keypoints and 3D joints are compared by `joint_order.contradiction`, of at most `CHECKED` annotations in each order.
    """
    for order in {row.order for row in rows}:
        alike = [row for row in rows if row.order == order]
        alike = alike[:: -(-len(alike) // CHECKED)]
        for read, what in ((_labelled, "keypoints"), (_joints_3d, "joints_3d")):
            joints = []
            for row in alike:
                with contextlib.suppress(ValueError, SkipRow):  # `annotation` raises it for that row
                    found = read(row, "")
                    joints += [] if found is None else [found[np.argsort(order)]]
            evidence, fits = joint_order.contradiction(np.array(joints), np.array(order)) if joints else ("", "")
            if not evidence:
                continue
            stated = rows[0].stated.order
            named = "FreiHAND order" if order == IN_ORDER else "the order of its category's keypoint names"
            message = f"{rows[0].file}: the {what} are not in {f'the order {stated}' if stated else named}: {evidence}"
            if not stated:
                raise ValueError(
                    f"{message}; give --order {fits or 'NAME'} to `bmc data build`, or name the 21 keypoints in the "
                    "file's categories" + f". If {named} is right, give --order freihand" * (order == IN_ORDER)
                )
            warnings.warn(f"{message}. They are read in the order {stated}, because --order states it", stacklevel=4)


def load(file: Path) -> dict[str, Any]:
    """Reads the content of a COCO keypoint file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, if it is no COCO keypoint file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no annotation file {file}; name the JSON file, or the folder of annotations.json")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not a JSON file: {error}") from error
    if isinstance(content, list):
        raise ValueError(
            f"{file} is not a COCO keypoint file but a list, as COCO's results are; make a file of it with the lists "
            "images, annotations (these results) and categories"
        )
    missing = [
        name
        for name in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(name), list)
    ]
    if missing:
        raise ValueError(f"{file} is not a COCO keypoint file: it has no list of {', '.join(missing)}")
    for name in ("images", "annotations", "categories"):
        _require_entries(content[name], f"{file}: {name}")
    return content


def _require_entries(entries: list[Any], where: str) -> None:
    """Raises ValueError for entries that are not objects, or whose ids are neither numbers nor strings."""
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(f"{where}[{number}] is {str(entry)[:80]!r}, which is not an object")
        for field in ("id", "image_id", "category_id"):
            if not isinstance(entry.get(field), int | str | float | None):
                raise ValueError(f"{where}[{number}] has the {field} {str(entry[field])[:80]}; it must be a number")


def require_distinct(file: Path, content: dict[str, Any]) -> None:
    """Raises ValueError for ids that occur more than once: annotations would be those of another image."""
    for name in ("images", "annotations", "categories"):
        counts = Counter(entry["id"] for entry in content[name] if "id" in entry)
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{file}: the id {twice[0]!r} occurs more than once in {name}; every id must be unique")


def _numbers(value: Any, where: str, field: str) -> np.ndarray:
    """Returns a field as a float64 array.

    Raises:
      ValueError: naming the field, if it holds something other than numbers, or lists of unequal lengths.
    """
    try:
        numbers = np.array(value)
    except ValueError:
        numbers = np.array(None)
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {field} is {str(value)[:80]}, which is not an array of numbers")
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
            f"{where} has {keypoints.size / 3:g} keypoints; a hand has {hand.NUM_JOINTS}, each as u, v, visibility"
            + _WHOLE_BODIES * whole
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
            f"{where}: the visibility of keypoint {number} (keypoints[{3 * number + 2}]) is {given[joint]:g}; it must "
            "be 0 (not labelled), 1 (occluded) or 2 (visible). If these numbers are scores, give "
            "--visibility-threshold T to `bmc data build`: scores of T or more then count as labelled and visible"
        )
    if threshold is not None:
        return np.where(given >= threshold, VISIBLE, UNLABELLED).astype(np.uint8)
    return given.astype(np.uint8)


def _labels(keypoints: np.ndarray, size: tuple[int, int], row: Row, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the visibility of keypoints in FreiHAND order, `[21]`, and the reasons for which labels are left out.

    Keypoints at (0, 0), which tools write for missing ones, and keypoints outside of the image become unlabelled.

    Raises:
      SkipRow: if no keypoint is labelled.
      ValueError: for labelled keypoints that are not finite, normalised, or for the most part outside of the image.
    """
    visibility, points = _visibility(keypoints[:, 2], row, where), keypoints[:, :2]
    missing = (visibility > UNLABELLED) & (points == 0).all(axis=1)
    visibility[missing] = UNLABELLED
    labelled = visibility > UNLABELLED
    if not labelled.any():
        raise SkipRow("no keypoint is labelled")
    if not np.isfinite(points[labelled]).all():
        raise ValueError(f"{where} has a labelled keypoint that is not finite; give it the visibility 0")
    if (points[labelled] >= 0).all() and (points[labelled] <= 1).all():
        raise ValueError(
            f"{where}: keypoints are from {points[labelled].min():g} to {points[labelled].max():g}, which are shares "
            "of the image's sides; multiply u by its width and v by its height"
        )
    outside = labelled & ((points < -1) | (points > size)).any(axis=1)
    if outside.sum() > labelled.sum() / 2:
        first = points[np.flatnonzero(outside)[0]]
        raise ValueError(
            f"{where}: {outside.sum()} of {labelled.sum()} labelled keypoints are outside of the image of "
            f"{size[0]}x{size[1]} pixels, the first at {first[0]:g}, {first[1]:g}; see that they are pixels of this "
            "image, or leave such hands out with --faults skip"
        )
    visibility[outside] = UNLABELLED
    reasons = {"keypoints at (0, 0)": missing, "keypoints outside of their image": outside}
    return visibility, tuple(reason for reason, joints in reasons.items() if joints.any())


def _labelled(row: Row, where: str) -> np.ndarray:
    """Returns the keypoints whose labels are used, in pixels and FreiHAND order, NaN elsewhere, `[21, 2]`."""
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
    """Returns the folders of images: that of the option `images`, or by default others.

    Raises:
      FileNotFoundError: if there is no folder `images`.
    """
    if images is not None and not Path(images).is_dir():
        raise FileNotFoundError(f"there is no folder {images}; --images names the folder of the images")
    return tuple(os.path.abspath(folder) for folder in (default if images is None else (images,)))


def _image(row: Row, where: str) -> Path:
    """Returns the path of an image. Its `file_name` may begin with the name of the folder."""
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
        raise ValueError(f"{where}: joints_3d must be {hand.NUM_JOINTS} times (x, y, z) in metres, or null")
    if not np.isfinite(joints[known]).all():
        raise ValueError(
            f"{where}: joints_3d has a number that is not finite; write null for a joint that is not known"
        )
    return joints[list(row.order)]


def _box(row: Row, labelled: np.ndarray, size: tuple[int, int], where: str) -> tuple[float, float, float, float] | None:
    """Returns the box, None if the annotation has none.

    The origin of COCO's `bbox` is the corner of the first pixel in some tools and its centre in others, which is half a
    pixel.

    Raises:
      ValueError: for a box that has no size, reaches beyond the image by more than half of it, or holds fewer than half
        of the labelled keypoints, even at twice its size.
    """
    given = row.annotation.get("bbox")
    if given is None:
        return None
    box = _numbers(given, where, "bbox")
    if box.shape != (4,):
        raise ValueError(f"{where}: bbox is {given}; it must be x, y, width, height")
    corner, extent = box[:2], box[2:]
    if not (np.isfinite(box).all() and (extent > 0).all()):
        raise ValueError(f"{where}: bbox is {given}; its width and height must be positive, or leave bbox out")
    low, high = corner, corner + extent
    if (low < -np.array(size) / 2).any() or (high > 1.5 * np.array(size)).any():
        raise ValueError(
            f"{where}: bbox is {given}, which reaches far beyond the image of {size[0]}x{size[1]} pixels; it must be "
            "x, y, width, height in pixels, not two corners, or leave bbox out"
        )
    inside = ((labelled >= low - extent / 2) & (labelled <= high + extent / 2)).all(axis=1)
    if inside.sum() < len(labelled) / 2:
        raise ValueError(
            f"{where}: bbox is {given}, and {len(labelled) - inside.sum()} of {len(labelled)} labelled keypoints are "
            "far outside of it; it must be x, y, width, height in pixels, or leave bbox out"
        )
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
