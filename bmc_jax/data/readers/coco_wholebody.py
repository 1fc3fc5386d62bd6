"""COCO-WholeBody: 2D keypoints of the hands of people in COCO 2017's images.

    coco_wholebody_train_v1.0.json   coco_wholebody_val_v1.0.json     also in annotations/
    train2017/%012d.jpg              val2017/%012d.jpg                also in images/, or in the folder of --images

A person's annotation has `lefthand_kpts` and `righthand_kpts` (21 times u, v, visibility, in FreiHAND's order, 0 where
not labelled), `lefthand_valid` and `righthand_valid`, and `lefthand_box` and `righthand_box` (x, y, width, height, the
box of the keypoints). The visibility is often a float; the format's description calls keypoints above 0 reliable.
Instead, an annotation may have the 133 `keypoints` of a whole body, which estimators write: 91 to 111 are the left
hand, 112 to 132 the right one.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from bmc_jax.core.choices import SIDES, SPLITS
from bmc_jax.data.readers import coco_hand
from bmc_jax.data.readers.annotation import SMALLEST_BOX, UNLABELLED, Annotation, DatasetInfo, SkipRow

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="COCO 2017's photographs, the valid hands of their people (about 40,000 of each side), 2D keypoints",
    needs="coco_wholebody_{train,val}_v1.0.json or one JSON file, and COCO's train2017 and val2017",
    licence="annotations: CC BY-NC 4.0, research only; images: that of COCO",
    address="https://github.com/jin-s13/COCO-WholeBody",
)
OPTIONS = {
    "split": "name of the split of a single file",
    "order": "joint order of the hands, if it is not COCO-WholeBody's",
    "focal": "focal length over the longer image side, since the images have no K",
    "images": "folder of the images, or of train2017 and val2017, if they are not in the file's folder",
    "visibility_threshold": "label keypoints of this visibility or more; by default those above 0",
}

FILES = {"train": "coco_wholebody_train_v1.0.json", "validation": "coco_wholebody_val_v1.0.json"}
FOLDERS = ("", "images", "train2017", "val2017", "images/train2017", "images/val2017")
"""Folders searched for images, below `--images` or the folder of the file (that of `annotations` if it is in there)."""
POINTS = 133
"""Number of keypoints of a whole body."""
WHOLE_BODY = {"left": slice(91, 112), "right": slice(112, 133)}


def splits(
    source: Path,
    *,
    split: str = "train",
    order: str | None = None,
    focal: float = coco_hand.DEFAULT_FOCAL,
    images: str | None = None,
    visibility_threshold: float | None = None,
) -> dict[str, list[coco_hand.Row]]:
    """Returns the valid hands of a file, or of "train" and "validation" (COCO's val) of a folder, in their order.

    Warns that the images have no K.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: for a file that is not a COCO keypoint file, hands in another order, and unknown options.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}; choose one")
    stated = coco_hand.Stated(order=order, focal=focal, visibility_threshold=visibility_threshold)
    files = {split: source}
    if source.is_dir():
        found = [(name, source / folder / file) for name, file in FILES.items() for folder in ("", "annotations")]
        files = {name: file for name, file in found if file.is_file()}
        if not files:
            raise FileNotFoundError(
                f"{source}: expected {' or '.join(FILES.values())}, also in annotations/, got none; name the JSON file"
            )
    result = {}
    for name, file in files.items():
        root = file.parent.parent if file.parent.name == "annotations" else file.parent
        bases = coco_hand.image_folders(images, (root,))
        folders = tuple(os.path.join(base, folder) for base in bases for folder in FOLDERS)
        result[name] = _rows(file, stated, folders)
    return result


def annotation(row: coco_hand.Row) -> Annotation:
    """Returns a hand (see `coco_hand.annotation`).

    Raises:
      SkipRow: for a hand of less than `SMALLEST_BOX` pixels, and as `coco_hand.annotation`.
      FileNotFoundError, ValueError: as `coco_hand.annotation`.
    """
    found = coco_hand.annotation(row)
    labelled = np.asarray(found.joints_2d)[np.asarray(found.visibility) > UNLABELLED]
    extent = np.ptp(labelled, axis=0) if found.box is None else np.diff(np.reshape(found.box, (2, 2)), axis=0)
    if extent.max() < SMALLEST_BOX:
        raise SkipRow(f"its box is smaller than {SMALLEST_BOX:g} pixels")
    return dataclasses.replace(found, source="coco_wholebody")


def _rows(file: Path, stated: coco_hand.Stated, folders: tuple[str, ...]) -> list[coco_hand.Row]:
    content = coco_hand.load(file)
    coco_hand.require_distinct(file, content)
    coco_hand.warn_of_missing_k(file, content["images"], stated)
    images = {image.get("id"): image for image in content["images"]}
    # In the fields of hands, but not in the 133 keypoints, visibility is a float, and all keypoints above 0 are labels.
    reliable = dataclasses.replace(
        stated, visibility_threshold=stated.visibility_threshold or float(np.nextafter(0, 1))
    )
    order = coco_hand.joint_indices({}, stated)
    rows = []
    for number, person in enumerate(content["annotations"]):
        identifier = person.get("id", number)
        for side in SIDES:
            own, box = person.get(f"{side}hand_kpts"), person.get(f"{side}hand_box")
            keypoints = of_whole_body(person.get("keypoints"), side) if own is None else own
            valid = person.get(f"{side}hand_valid", True)
            if valid not in (True, False, None):
                raise ValueError(
                    f"{file}: annotation {identifier}: {side}hand_valid: expected true or false, got "
                    f"{str(valid)[:80]!r}; correct it"
                )
            if keypoints is None or not valid:
                continue
            fields = {name: person.get(name) for name in ("image_id", "iscrowd")}
            fields |= {"id": identifier, "hand_side": side, "keypoints": keypoints}
            rows.append(
                coco_hand.Row(
                    file=os.fspath(file),
                    id=f"{identifier}-{side}",
                    annotation=fields | ({"bbox": box} if isinstance(box, list) and any(box) else {}),
                    image=images.get(person.get("image_id")),
                    category="hand",
                    folders=folders,
                    order=order,
                    stated=stated if own is None else reliable,
                )
            )
    coco_hand.require_order(rows)
    return rows


def of_whole_body(keypoints: object, side: str) -> list | None:
    """Returns the keypoints of a hand from those of a whole body; None for another number of keypoints."""
    if not isinstance(keypoints, list) or len(keypoints) not in (POINTS, 3 * POINTS):
        return None
    width = len(keypoints) // POINTS
    return keypoints[WHOLE_BODY[side].start * width : WHOLE_BODY[side].stop * width]
