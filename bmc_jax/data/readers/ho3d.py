"""HO-3D, versions 2 and 3 (Hampali et al. 2020): video of a right hand with an object, 21 joints in 3D.

    SOURCE/train.txt, evaluation.txt       lines SEQUENCE/FRAME
    SOURCE/{train,evaluation}/SEQUENCE/    rgb/FRAME.png (version 2) or .jpg (version 3), meta/FRAME.pkl
    SOURCE/evaluation_xyz.json             the evaluation's joints, published in 2024; optional

Joints are metres in OpenGL's camera frame (x right, y up, z backward), in MANO's order. The evaluation's own files have
a box and the wrist alone. The split "test" is the evaluation in the order of its list, which prediction files follow.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data.readers import safe_pickle
from bmc_jax.data.readers.annotation import About, Annotation, Skip

VERSION = "1.0.0"
ABOUT = About(
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

#: Frames of each version.
COUNTS = {"v2": {"train": 66_034, "test": 11_524}, "v3": {"train": 78_297, "test": 20_137}}
#: The dataset's names of the splits.
PARTS = {"train": "train", "test": "evaluation"}
IMAGE_SIZE = (640, 480)
#: Image formats, of version 3 first.
IMAGES = (".jpg", ".png")
TRUTH = "evaluation_xyz.json"
#: Metres: how far a joint file's wrist may be from the frame's own. They are the same number but for rounding, and a
#: file that is one frame off shows where the hand moves.
SAME_WRIST = 0.001
#: From OpenGL's camera frame to ours.
TO_CAMERA = np.array([1, -1, -1])


class Row(NamedTuple):
    """A line of a list."""

    source: Path
    split: str
    id: str
    """SEQUENCE/FRAME, the line itself."""
    line: int
    """Its number, from 1."""
    version: str
    image: Path
    truth: np.ndarray | None
    """`[21, 3]` of the evaluation's joint file, as they stand there."""


def splits(source: Path, *, version: str = "auto", partial: bool = False) -> dict[str, list[Row]]:
    """The frames in their lists' order, as "train" and "test".

    Raises:
      FileNotFoundError: naming a list, or a listed frame's image or annotation, that is not there.
      ValueError: for other numbers of frames than the version has, a line that is no frame, or a joint file of another
        length than its list.
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
    truth = _truth(source / TRUTH, len(found["test"])) if "test" in found else None
    return {
        split: [
            Row(source, split, name, line, version, image, truth[i] if truth is not None and split == "test" else None)
            for i, (name, line, image) in enumerate(frames)
        ]
        for split, frames in found.items()
    }


def annotation(row: Row) -> Annotation:
    """One right hand; of a test frame without published joints, its box and wrist.

    Raises:
      Skip: for a frame in which the dataset has no hand.
      ValueError: naming file, field and value, for a pickle that is damaged or holds other than arrays, for fields that
        are missing or of other shapes, and for published joints of another frame.
    """
    part = PARTS[row.split]
    file = _meta(row.source / part, row.id)
    where = f"{file} ({part}.txt, line {row.line})"
    meta = safe_pickle.load(file)
    if not isinstance(meta, dict):
        raise ValueError(f"{where} holds a {type(meta).__name__}, not the dict of a frame; fetch it again")
    if "handJoints3D" in meta and meta["handJoints3D"] is None:
        raise Skip("handJoints3D is None: no hand is annotated")
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
    """Joints, as the files have them, and box of a test frame."""
    left, top, right, bottom = _array(meta, "handBoundingBox", (4,), where).tolist()
    if not (left < right and top < bottom):
        raise ValueError(
            f"{where}: handBoundingBox is {[left, top, right, bottom]}, which has no size; it must be left, top, "
            "right, bottom"
        )
    wrist = _array(meta, "handJoints3D", (3,), where)
    if row.truth is None:
        joints = np.full((hand.NUM_JOINTS, 3), np.nan)
        joints[hand.WRIST] = wrist
    else:
        joints = row.truth
        apart = float(np.linalg.norm(joints[hand.WRIST] - wrist))
        if not apart <= SAME_WRIST:
            raise ValueError(
                f"{row.source / TRUTH}, row {row.line - 1}: its wrist is {apart:.4g} m from that of {where}; the file "
                f"must be in the order of {PARTS[row.split]}.txt and of the same version, in metres, in OpenGL's frame"
            )
    return joints, (left, top, right, bottom)


def _frames(list_file: Path, folder: Path) -> list[tuple[str, int, Path]]:
    """Name, line number and image of each frame of a list. Folders are listed once: there are 66,000 files in 55."""
    there: dict[Path, set[str]] = {}

    def exists(file: Path) -> bool:
        if file.parent not in there:
            there[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
        return file.name in there[file.parent]

    frames = []
    for line, name in enumerate(list_file.read_text().rstrip().splitlines(), start=1):
        name = name.strip()
        where = f"{list_file}: line {line} ({name[:80]!r})"
        sequence, _, frame = name.partition("/")
        if not sequence or not frame or "/" in frame:
            raise ValueError(f"{where} is not a frame's name, SEQUENCE/FRAME")
        images = [folder / sequence / "rgb" / f"{frame}{suffix}" for suffix in IMAGES]
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


def _truth(file: Path, count: int) -> np.ndarray | None:
    """The published joints of the evaluation, `[count, 21, 3]`; None if they are not there."""
    if not file.is_file():
        return None
    try:
        truth = np.array(json.loads(file.read_text()), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no list of joints ({error}); fetch it again, or take it away") from error
    if truth.shape != (count, hand.NUM_JOINTS, 3) or not np.isfinite(truth).all():
        raise ValueError(
            f"{file} holds an array {list(truth.shape)}; the evaluation's {count:,} frames need finite numbers "
            f"[{count}, {hand.NUM_JOINTS}, 3]. Take the file of this version, or take it away to go without"
        )
    return truth


def _array(meta: dict[str, Any], name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """A field as float64, finite."""
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
