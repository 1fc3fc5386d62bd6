"""HO-3D, versions 2 and 3 (Hampali et al. 2020): video of a right hand with an object, 21 joints in 3D.

    SOURCE/train.txt, evaluation.txt       lines SEQUENCE/FRAME
    SOURCE/{train,evaluation}/SEQUENCE/    rgb/FRAME.png (version 2) or .jpg (version 3), meta/FRAME.pkl
    SOURCE/evaluation_xyz.json             the evaluation's joints, published in 2024; optional

Joints are in metres in OpenGL's camera frame (x right, y up, z backward), in MANO's order. The evaluation's own files
have the box and the wrist only. The split "test" is the evaluation in the order of its list, which prediction files
follow.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data.readers import safe_pickle
from bmc_jax.data.readers.annotation import Annotation, DatasetInfo, SkipRow

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="66,034 (version 2) or 78,297 (version 3) video frames of a right hand with an object, 21 joints in 3D; "
    "11,524 or 20,137 to test on",
    needs="train.txt, evaluation.txt, train/, evaluation/; evaluation_xyz.json if you have it",
    licence="academic research, not commercial, no redistribution",
    address="https://github.com/shreyashampali/ho3d",
)
OPTIONS = {
    "version": "'v2', 'v3', or 'auto' to tell by the images' format and the folder calibration/",
    "partial": "whether other than the official numbers of frames are taken, and one of the two lists may be missing",
}

COUNTS = {"v2": {"train": 66_034, "test": 11_524}, "v3": {"train": 78_297, "test": 20_137}}
"""Frames of each version."""
PARTS = {"train": "train", "test": "evaluation"}
"""The dataset's names of the splits."""
IMAGE_SIZE = (640, 480)
IMAGE_SUFFIXES = (".jpg", ".png")
"""Of version 3 and of version 2."""
EVALUATION_JOINTS = "evaluation_xyz.json"
WRIST_TOLERANCE = 0.001
"""Metres between the wrist in the file of joints and that of the frame's own file. They are equal up to rounding."""
TO_CAMERA = np.array([1, -1, -1])
"""From OpenGL's camera frame to this package's."""


class Row(NamedTuple):
    """A frame, a line of a list."""

    source: Path
    split: str
    id: str
    """SEQUENCE/FRAME, as in the list."""
    line: int
    version: str
    image: Path
    joints: np.ndarray | None
    """`[21, 3]` of `EVALUATION_JOINTS`, as in the file."""


def splits(source: Path, *, version: str = "auto", partial: bool = False) -> dict[str, list[Row]]:
    """Returns the frames of "train" and "test" in the order of their lists.

    Raises:
      FileNotFoundError: naming a list, or a listed frame's image or annotation, that is missing.
      ValueError: for other numbers of frames than the version has, a line that is no frame, or a file of joints of
        another length than the list.
    """
    if version not in ("auto", *COUNTS):
        raise ValueError(f"version {version!r} is none of auto, {', '.join(COUNTS)}")
    lists = {split: source / f"{part}.txt" for split, part in PARTS.items()}
    missing = [split for split, file in lists.items() if not file.is_file()]
    if missing and (not partial or len(missing) == len(lists)):
        raise FileNotFoundError(
            f"there is no {lists[missing[0]]}; name the folder of HO-3D that has it as source"
            + ("" if len(missing) == len(lists) else ", or do without it with --partial")
        )
    found = {split: _frames(file, source / PARTS[split]) for split, file in lists.items() if split not in missing}
    if version == "auto":
        newer = (source / "calibration").is_dir() or any(
            frame[2].suffix == ".jpg" for frame in next(iter(found.values()))
        )
        version = "v3" if newer else "v2"
    for split, frames in found.items():
        expected = COUNTS[version][split]
        if len(frames) != expected and not partial:
            raise ValueError(
                f"{lists[split]} lists {len(frames):,} frames; HO-3D {version} has {expected:,}. Fetch it again, state "
                "another --version, or take it as it is with --partial"
            )
    joints = _evaluation_joints(source / EVALUATION_JOINTS, len(found["test"])) if "test" in found else None
    return {
        split: [
            Row(source, split, name, line, version, image, None if joints is None or split == "train" else joints[i])
            for i, (name, line, image) in enumerate(frames)
        ]
        for split, frames in found.items()
    }


def annotation(row: Row) -> Annotation:
    """Returns a frame's right hand; of a test frame without published joints, its box and wrist.

    Raises:
      SkipRow: for a frame without an annotated hand.
      ValueError: naming file, field and value, for a pickle that is damaged or holds anything but arrays, for fields
        that are missing or of another shape, and for published joints of another frame.
    """
    part = PARTS[row.split]
    file = _meta(row.source / part, row.id)
    where = f"{file} ({part}.txt, line {row.line})"
    meta = safe_pickle.load(file)
    if not isinstance(meta, dict):
        raise ValueError(f"{where} holds a {type(meta).__name__}, not the dict of a frame; fetch it again")
    if "handJoints3D" in meta and meta["handJoints3D"] is None:
        raise SkipRow("handJoints3D is None: no hand is annotated")
    intrinsics = _array(meta, "camMat", (3, 3), where)
    if row.split == "train":
        joints, box = _array(meta, "handJoints3D", (hand.NUM_JOINTS, 3), where), None
    else:
        joints, box = _evaluation(row, meta, where)
    return Annotation(
        where=where,
        source=f"ho3d_{row.version}",
        id=row.id,
        image=row.image,
        image_size=IMAGE_SIZE,
        intrinsics=intrinsics,
        joints_3d=(joints * TO_CAMERA)[hand.TO_FREIHAND["ho3d"]],
        box=box,
    )


def _evaluation(row: Row, meta: dict[str, Any], where: str) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Returns the joints of a test frame, in the files' frame and order, and its box."""
    left, top, right, bottom = _array(meta, "handBoundingBox", (4,), where).tolist()
    if not (left < right and top < bottom):
        raise ValueError(
            f"{where}: handBoundingBox is {[left, top, right, bottom]}, which has no size; it must be left, top, "
            "right, bottom"
        )
    wrist = _array(meta, "handJoints3D", (3,), where)
    if row.joints is None:
        joints = np.full((hand.NUM_JOINTS, 3), np.nan)
        joints[hand.WRIST] = wrist
    else:
        joints = row.joints
        apart = float(np.linalg.norm(joints[hand.WRIST] - wrist))
        if not apart <= WRIST_TOLERANCE:
            raise ValueError(
                f"{row.source / EVALUATION_JOINTS}, row {row.line - 1}: its wrist is {apart:.4g} m from that of "
                f"{where}; the file must be in the order of {PARTS[row.split]}.txt and of the same version, in metres, "
                "in OpenGL's frame"
            )
    return joints, (left, top, right, bottom)


def _frames(list_file: Path, folder: Path) -> list[tuple[str, int, Path]]:
    """Returns name, line number and image of each frame of a list. Each folder is listed once, because there are 66,000
    files in 55 folders."""
    there: dict[Path, set[str]] = {}

    def exists(file: Path) -> bool:
        if file.parent not in there:
            there[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
        return file.name in there[file.parent]

    frames = []
    for line, name in enumerate(list_file.read_text(encoding="utf-8").rstrip().splitlines(), start=1):
        name = name.strip()
        where = f"{list_file}: line {line} ({name[:80]!r})"
        sequence, _, frame = name.partition("/")
        if not sequence or not frame or "/" in frame:
            raise ValueError(f"{where} is not a frame's name, SEQUENCE/FRAME")
        images = [folder / sequence / "rgb" / f"{frame}{suffix}" for suffix in IMAGE_SUFFIXES]
        image = next((image for image in images if exists(image)), None)
        if image is None:
            raise FileNotFoundError(f"{where}: there is neither {images[0]} nor {images[1].name}")
        if not exists(_meta(folder, name)):
            raise FileNotFoundError(f"{where}: there is no {_meta(folder, name)}")
        frames.append((name, line, image))
    return frames


def _meta(folder: Path, name: str) -> Path:
    sequence, frame = name.split("/")
    return folder / sequence / "meta" / f"{frame}.pkl"


def _evaluation_joints(file: Path, count: int) -> np.ndarray | None:
    """Reads the published joints of the evaluation, `[count, 21, 3]`; None if there is no such file."""
    if not file.is_file():
        return None
    try:
        joints = np.array(json.loads(file.read_text(encoding="utf-8")), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no list of joints ({error}); fetch it again, or take it away") from error
    if joints.shape != (count, hand.NUM_JOINTS, 3) or not np.isfinite(joints).all():
        raise ValueError(
            f"{file} holds an array {list(joints.shape)}; the evaluation's {count:,} frames need finite numbers "
            f"[{count}, {hand.NUM_JOINTS}, 3]. Take the file of this version, or take it away to go without"
        )
    return joints


def _array(meta: dict[str, Any], name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns a field as float64, of that shape and finite."""
    value = meta.get(name)
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError):
        array = np.empty(0)
    if value is None or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"{where}: {name} is {str(value)[:200]!r} of shape {list(np.shape(array))}; it must be finite numbers of "
            f"shape {list(shape)}. Fetch the file again, or build with --faults skip"
        )
    return array
