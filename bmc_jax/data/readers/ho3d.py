"""HO-3D, versions 2 and 3 (Hampali et al. 2020): video of a right hand with an object, 21 joints in 3D.

    SOURCE/train.txt, evaluation.txt       lines SEQUENCE/FRAME
    SOURCE/{train,evaluation}/SEQUENCE/    rgb/FRAME.png (version 2) or .jpg (version 3), meta/FRAME.pkl
    SOURCE/evaluation_xyz.json             the evaluation's joints, published in 2024; optional

Joints are in metres in OpenGL's camera frame (x right, y up, z backward), in MANO's order. The files of evaluation
frames have only the box and the wrist. The split "test" is the evaluation in the order of its list, which is the order
of prediction files.
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
    "11,524 or 20,137 evaluation frames",
    needs="train.txt, evaluation.txt, train/, evaluation/; optionally evaluation_xyz.json",
    licence="academic research, not commercial, no redistribution",
    address="https://github.com/shreyashampali/ho3d",
)
OPTIONS = {
    "version": "'v2', 'v3', or 'auto' for detection by the images' format and the folder calibration/",
    "partial": "accept other numbers of frames than the official ones, and one missing list",
}

COUNTS = {"v2": {"train": 66_034, "test": 11_524}, "v3": {"train": 78_297, "test": 20_137}}
"""Number of frames of each version."""
PARTS = {"train": "train", "test": "evaluation"}
"""The dataset's names of the splits."""
IMAGE_SIZE = (640, 480)
IMAGE_SUFFIXES = (".jpg", ".png")
"""Suffixes of images in version 3 and version 2."""
EVALUATION_JOINTS = "evaluation_xyz.json"
WRIST_TOLERANCE = 0.001
"""Maximum distance between the wrists in `EVALUATION_JOINTS` and in the file of the frame, metres."""
TO_CAMERA = np.array([1, -1, -1])
"""Signs of the axes of OpenGL's camera frame in this package's camera frame."""


class Row(NamedTuple):
    """A frame of a list."""

    source: Path
    split: str
    id: str
    """SEQUENCE/FRAME, the line of the list."""
    line: int
    version: str
    image: Path
    joints: np.ndarray | None
    """`[21, 3]` of `EVALUATION_JOINTS`, unchanged from the file."""


def splits(source: Path, *, version: str = "auto", partial: bool = False) -> dict[str, list[Row]]:
    """Returns the frames of "train" and "test" in the order of their lists.

    Raises:
      FileNotFoundError: naming a missing list, or a missing image or annotation of a listed frame.
      ValueError: for other numbers of frames than the version's, a line that is not a frame, or a file of joints of
        another length than the list.
    """
    if version not in ("auto", *COUNTS):
        raise ValueError(f"version: expected one of auto, {', '.join(COUNTS)}, got {version!r}; choose one")
    lists = {split: source / f"{part}.txt" for split, part in PARTS.items()}
    missing = [split for split, file in lists.items() if not file.is_file()]
    if missing and (not partial or len(missing) == len(lists)):
        raise FileNotFoundError(
            f"expected the list {lists[missing[0]]}, got no such file; name the folder of HO-3D that contains it"
            + ("" if len(missing) == len(lists) else ", or leave it out by --partial")
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
                f"{lists[split]}: expected {expected:,} frames of HO-3D {version}, got {len(frames):,}; fetch it "
                "again, state another --version, or accept it by --partial"
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
    """Returns the right hand of a frame; for a test frame without published joints, its box and wrist.

    Raises:
      SkipRow: for a frame without an annotated hand.
      ValueError: naming file, field and value, for a pickle that is damaged or contains other values than arrays, for
        fields that are missing or of another shape, and for published joints of another frame.
    """
    part = PARTS[row.split]
    file = _meta(row.source / part, row.id)
    where = f"{file} ({part}.txt, line {row.line})"
    meta = safe_pickle.load(file)
    if not isinstance(meta, dict):
        raise ValueError(f"{where}: expected the dict of a frame, got a {type(meta).__name__}; fetch it again")
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
    """Returns the joints of a test frame, in the frame and order of the files, and its box."""
    left, top, right, bottom = _array(meta, "handBoundingBox", (4,), where).tolist()
    if not (left < right and top < bottom):
        raise ValueError(
            f"{where}: handBoundingBox: expected left, top, right, bottom with a positive size, got "
            f"{[left, top, right, bottom]}; fetch the file again"
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
                f"{row.source / EVALUATION_JOINTS}: row {row.line - 1}: expected the wrist of {where}, got one "
                f"{apart:.4g} m apart; use the file of the same version, in the order of {PARTS[row.split]}.txt, in "
                "metres, in OpenGL's frame"
            )
    return joints, (left, top, right, bottom)


def _frames(list_file: Path, folder: Path) -> list[tuple[str, int, Path]]:
    """Returns name, line number and image of each frame of a list. Each folder is read once, because there are 66,000
    files in 55 folders."""
    names: dict[Path, set[str]] = {}

    def exists(file: Path) -> bool:
        if file.parent not in names:
            names[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
        return file.name in names[file.parent]

    frames = []
    for line, name in enumerate(list_file.read_text(encoding="utf-8").rstrip().splitlines(), start=1):
        name = name.strip()
        where = f"{list_file}: line {line} ({name[:80]!r})"
        sequence, _, frame = name.partition("/")
        if not sequence or not frame or "/" in frame:
            raise ValueError(f"{where}: expected the name of a frame, SEQUENCE/FRAME; fetch the list again")
        images = [folder / sequence / "rgb" / f"{frame}{suffix}" for suffix in IMAGE_SUFFIXES]
        image = next((image for image in images if exists(image)), None)
        if image is None:
            raise FileNotFoundError(
                f"{where}: expected {images[0]} or {images[1].name}, got no such file; unpack the dataset again"
            )
        if not exists(_meta(folder, name)):
            raise FileNotFoundError(
                f"{where}: expected {_meta(folder, name)}, got no such file; unpack the dataset again"
            )
        frames.append((name, line, image))
    return frames


def _meta(folder: Path, name: str) -> Path:
    sequence, frame = name.split("/")
    return folder / sequence / "meta" / f"{frame}.pkl"


def _evaluation_joints(file: Path, count: int) -> np.ndarray | None:
    """Reads the published joints of the evaluation, `[count, 21, 3]`; None if the file does not exist."""
    if not file.is_file():
        return None
    try:
        joints = np.array(json.loads(file.read_text(encoding="utf-8")), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{file}: expected a list of joints, got other content ({error}); fetch it again, or remove it"
        ) from error
    if joints.shape != (count, hand.NUM_JOINTS, 3) or not np.isfinite(joints).all():
        raise ValueError(
            f"{file}: expected finite numbers [{count}, {hand.NUM_JOINTS}, 3], one row per evaluation frame, got "
            f"{list(joints.shape)}{'' if np.isfinite(joints).all() else ' with values that are not finite'}; use the "
            "file of this version, or remove it"
        )
    return joints


def _array(meta: dict[str, Any], name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Returns a field as finite float64 of the given shape."""
    value = meta.get(name)
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError):
        array = np.empty(0)
    if value is None or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(
            f"{where}: {name}: expected finite numbers of shape {list(shape)}, got {str(value)[:200]!r} of shape "
            f"{list(np.shape(array))}; fetch the file again, or build with --faults skip"
        )
    return array
