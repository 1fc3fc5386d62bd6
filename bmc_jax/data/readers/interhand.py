"""InterHand2.6M: photographs of one and two hands in a studio, with 3D joints.

    images/{train,val,test}/Capture*/SEQUENCE/camCAMERA/image*.jpg
    annotations/{train,val,test}/InterHand2.6M_{train,val,test}_{data,camera,joint_3d}.json

In version 0.0, annotations are in annotations/{all,machine_annot,human_annot}; a split is read from the first of these
folders that contains it. `data` has `images` (`file_name`, `width`, `height`, `capture`, `camera`, `frame_idx`) and
`annotations` (`image_id`, `hand_type` "right", "left" or "interacting", `joint_valid [42, 1]`: annotated and in the
image). For each capture, `camera` has `campos` (millimetres), `camrot` (from the world to the camera), `focal` and
`princpt` (pixels) of each camera, x right, y down, z forward. For each capture and frame, `joint_3d` has `world_coord
[42, 3]` (millimetres) and `joint_valid [42, 1]`. Joints 0 to 20 are the right hand, 21 to 41 the left one, each finger
from its tip to its base, the wrist at the end. Joints that are not valid are (1, 1, 1).
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data.readers.annotation import Annotation, DatasetInfo, SkipRow, find_image, listed_size

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="1,361,062 training, 380,125 validation and 849,160 test photographs of one and two hands, 3D joints of both",
    needs="InterHand2.6M: annotations with the data, camera and joint_3d files of each split, images",
    licence="CC BY-NC 4.0, no commercial use",
    address="https://mks0601.github.io/InterHand2.6M/",
)
OPTIONS = {
    "images": "folder of the images, if it is not images/ in the dataset's folder",
    "minimum_valid": "leave out, and count, hands with fewer valid joints",
    "partial": "leave out, and count, hands without an image",
}

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Names of the splits in the files, by this package's names."""
HANDS = {"right": slice(0, 21), "left": slice(21, 42)}
"""Rows of each hand."""
MINIMUM_VALID = 5
"""Number of joints of the wrist and one finger. With fewer joints, the pose is not known."""
FOLDERS = ("annotations/{split}", "annotations/all", "annotations/machine_annot", "annotations/human_annot",
           "annotations", "{split}", "")  # fmt: skip
"""Folders of the annotations of a split, in the order of the search."""


class Row(NamedTuple):
    """A hand in an image."""

    file: str
    id: str
    number: int | str
    """Id of the annotation."""
    side: str
    image: dict[str, Any]
    folders: tuple[str, ...]
    """Folders of images, in the order of the search."""
    camera: dict[str, Any]
    """`campos`, `camrot`, `focal` and `princpt` of the image's camera."""
    world: np.ndarray
    """`[21, 3]` millimetres in the world frame and InterHand2.6M's order."""
    valid: np.ndarray
    """Mask of valid joints, `[21]`."""
    minimum_valid: int
    partial: bool


def splits(
    source: Path, *, images: str | None = None, minimum_valid: int = MINIMUM_VALID, partial: bool = False
) -> dict[str, list[Row]]:
    """Returns the hands of "train", "validation" and "test", right before left, in the order of their annotations.

    `source` is the folder of annotations and images. Missing splits are left out.

    Raises:
      FileNotFoundError: for missing files.
      ValueError: for files that are damaged or of another form, and for unknown options.
    """
    if not 1 <= minimum_valid <= hand.NUM_JOINTS:
        raise ValueError(f"minimum_valid: expected 1 to {hand.NUM_JOINTS} valid joints, got {minimum_valid}; change it")
    if images is not None and not Path(images).is_dir():
        raise FileNotFoundError(f"--images: expected the folder of the images, got {images}, which is none; correct it")
    result = {}
    for name, split in SPLITS.items():
        places = [source / folder.format(split=split) for folder in FOLDERS]
        found = [place for place in places if (place / f"InterHand2.6M_{split}_data.json").is_file()]
        if found:
            bases = (source / "images", source) if images is None else (Path(images),)
            folders = tuple(os.path.abspath(base / folder) for base in bases for folder in (split, ""))
            result[name] = list(_rows(found[0], split, folders, minimum_valid, partial))
    if not result:
        raise FileNotFoundError(
            f"{source}: expected annotations/train/InterHand2.6M_train_data.json, or that of val or test, got none; "
            "name the folder of annotations and images"
        )
    return result


def annotation(row: Row) -> Annotation:
    """Returns a hand in the frame of its camera. Its 2D joints are projections.

    Raises:
      SkipRow: if fewer than `minimum_valid` joints are valid, or if the image does not exist and `partial`.
      FileNotFoundError: if the image does not exist.
      ValueError: naming file and annotation, for a camera of another form.
    """
    where = f"{row.file}: annotation {row.number}, {row.side} hand ({row.image.get('file_name')})"
    if row.valid.sum() < row.minimum_valid:
        raise SkipRow(f"fewer than {row.minimum_valid} valid joints")
    try:
        image = find_image(row.image.get("file_name"), map(Path, row.folders), where)
    except FileNotFoundError:
        if row.partial:
            raise SkipRow("its image is missing") from None
        raise
    rotation, position = _camera(row, "camrot", (3, 3), where), _camera(row, "campos", (3,), where)
    (fx, fy), (cx, cy) = _camera(row, "focal", (2,), where), _camera(row, "princpt", (2,), where)
    joints = (row.world.astype(np.float64) - position) @ rotation.T / 1000
    joints = np.where(row.valid[:, None], joints, np.nan)[hand.TO_FREIHAND["interhand"]]
    return Annotation(
        where=where,
        source="interhand",
        id=row.id,
        image=image,
        image_size=listed_size(row.image, where),
        intrinsics=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        left=row.side == "left",
        joints_3d=joints,
    )


def _rows(place: Path, split: str, folders: tuple[str, ...], minimum_valid: int, partial: bool) -> Iterator[Row]:
    """Yields the hands of a split, one or two for each annotation."""
    file, camera_file, joint_file = (
        place / f"InterHand2.6M_{split}_{name}.json" for name in ("data", "camera", "joint_3d")
    )
    content, cameras, joints = _load(file), _load(camera_file), _load(joint_file)
    try:
        images = {image["id"]: image for image in content["images"]}
        annotations = [(entry, images[entry["image_id"]]) for entry in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: expected a data file of InterHand2.6M, got a file without {error}; fetch it again"
        ) from error
    hands: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for entry, image in annotations:
        where = f"{file}: annotation {entry.get('id')}"
        capture, frame, camera = (str(image.get(name)) for name in ("capture", "frame_idx", "camera"))
        if (capture, frame) not in hands:
            hands[capture, frame] = _hands(joints, joint_file, capture, frame)
        try:
            view = {name: cameras[capture][name][camera] for name in ("campos", "camrot", "focal", "princpt")}
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{where}: expected camera {camera} of capture {capture} in {camera_file}, got no such camera; fetch "
                "both files again"
            ) from error
        inside = _joints(entry.get("joint_valid"), (42,), f"{where}: joint_valid") > 0
        kind = entry.get("hand_type")
        sides = tuple(HANDS) if kind == "interacting" else (kind,)
        for side in sides:
            if side not in tuple(HANDS):
                raise ValueError(
                    f"{where}: hand_type: expected 'right', 'left' or 'interacting', got {side!r}; fetch the file again"
                )
            world, annotated = hands[capture, frame][side]
            yield Row(
                file=os.fspath(file),
                id=f"{split}/{entry.get('id')}-{side}",
                number=entry.get("id", "?"),
                side=side,
                image=image,
                folders=folders,
                camera=view,
                world=world,
                valid=annotated & inside[HANDS[side]],
                minimum_valid=minimum_valid,
                partial=partial,
            )


def _hands(joints: Any, file: Path, capture: str, frame: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the joints of each hand in the world frame and the mask of annotated ones."""
    where = f"{file}: frame {frame} of capture {capture}"
    try:
        entry = joints[capture][frame]
        world, valid = entry["world_coord"], entry["joint_valid"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{where}: expected joints, got no entry {error}; fetch the file of the version of its data file"
        ) from error
    world, valid = _joints(world, (42, 3), f"{where}: world_coord"), _joints(valid, (42,), f"{where}: joint_valid") > 0
    if not np.isfinite(world[valid]).all():
        raise ValueError(f"{where}: expected finite valid joints, got one that is not finite; fetch the file again")
    return {side: (world[rows], valid[rows]) for side, rows in HANDS.items()}


def _load(file: Path) -> Any:
    """Reads a JSON file. Lists of joints become float32 arrays during parsing, since those of training would take
    gigabytes as lists."""
    if not file.is_file():
        raise FileNotFoundError(f"expected {file}, got no such file; unpack all of InterHand2.6M's annotations")
    try:
        return json.loads(file.read_bytes(), object_hook=_compact)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON, got a damaged file ({error}); fetch it again") from error


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    for name in ("world_coord", "joint_valid"):
        if isinstance(entry.get(name), list):
            # Other values than finite numbers raise an error later, which states their place.
            with contextlib.suppress(ValueError, TypeError, OverflowError), np.errstate(over="ignore"):
                entry[name] = np.array(entry[name], np.float32)
    return entry


def _joints(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns a field of joints in the given shape. Masks have an additional axis of length 1 in the file."""
    if not isinstance(value, np.ndarray) or value.size != np.prod(shape):
        found = list(value.shape) if isinstance(value, np.ndarray) else str(value)[:40]
        raise ValueError(f"{where}: expected numbers {list(shape)}, got {found}; fetch the file again")
    return value.reshape(shape)


def _camera(row: Row, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns a field of the camera."""
    try:
        value = np.array(row.camera[name], np.float64)
    except (ValueError, TypeError, OverflowError):
        value = np.zeros(0)
    if value.shape != shape or not np.isfinite(value).all():
        raise ValueError(
            f"{where}: {name} of the camera: expected numbers {list(shape)}, got {row.camera[name]}; fetch it again"
        )
    return value
