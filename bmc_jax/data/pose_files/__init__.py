"""Files of hand poses written by other programs, read in their order, unit and side (see `poses.conventions`).

    .npy            an array [N, 21, 3], or an object of HaMeR or WiLoR
    .npz, .mat      `joints` or `pred_keypoints_3d` [N, 21, 3], or the only array; optionally `left` [N]
    .pkl            such an object, or a list of them, frame by frame
    .json           a list of poses, {"joints": poses, "left": [...]}, the pair [xyz, verts] of the challenges, or the
                    results of MediaPipe, OpenPose, HaMeR and WiLoR (see `results`)
    .jsonl, .ndjson one of these per line, which is a frame
    .csv, .tsv      one pose per line, x, y, z of joint after joint (see `tables`)

The first axis of a single pose may be missing. The case of suffixes is ignored. Text is UTF-8, or UTF-16 with its mark.
Missing values (NaN, null, an empty cell), frames without a hand (null, []) and frames of zeros are read as NaN.
"""

import codecs
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.core.plural import counted, plural
from bmc_jax.data.pose_files import results, tables
from bmc_jax.data.pose_files.results import Hands
from bmc_jax.data.readers import array_files, safe_pickle

#: Known arrays with more joints than a hand, and the remedy, by their number of joints.
LARGER = {
    133: "COCO-WholeBody's body; give its left hand, joints[:, 91:112], or its right hand, joints[:, 112:133]",
    42: "InterHand2.6M's two hands; give the right one, joints[:, :21], or the left one, joints[:, 21:]",
}
#: Largest coordinate in any unit.
FARTHEST = 1e12
#: Number of coordinates of a pose.
NUMBERS = 3 * hand.NUM_JOINTS
#: Byte order marks at the start of a text, and their encodings.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class PoseFile:
    """Content of a file in its order, unit and side."""

    joints: np.ndarray
    """`[N, 21, 3]` float64, NaN where a value is missing."""
    left: np.ndarray | None = None
    """Mask of left hands, `[N]`; None if the file does not state it."""
    order: str | None = None
    """Joint order, one of `choices.JOINT_ORDERS`; None if the file does not state it."""
    unit: str | None = None
    """One of `choices.LENGTH_UNITS`; None if the file does not state it."""
    frames: np.ndarray | None = None
    """Frame of each pose, `[N]`, if some frames have several hands."""
    dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009
    """Floating-point type of the file's joints."""
    notes: tuple[str, ...] = ()
    """Statements about the form of the file and its missing poses."""


def read(path: str | os.PathLike) -> PoseFile:
    """Reads the poses in a file, by its suffix.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: naming file, place and remedy, for an empty file, values that are not poses, and infinite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected the pose file {path}, got no such file; correct the path")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path}: expected one of the suffixes {', '.join(_READERS)}, got {path.suffix or 'no suffix'!r}; convert "
            "the file"
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: expected poses, got an empty file (no bytes); write it again")
    hands = reader(path)
    joints = _poses(hands.rows, str(path))
    zero = _take_zeros(joints)
    zeros = f"{counted(len(zero), 'pose')} of zeros {plural(len(zero), 'is')} read as missing: {_listed(zero)}"
    notes = [zeros] if len(zero) else []
    dtype = hands.rows.dtype if isinstance(hands.rows, np.ndarray) else np.dtype(np.float64)
    return PoseFile(
        joints,
        left_hands(hands.left, len(joints), str(path)),
        hands.order,
        hands.unit,
        np.array(hands.frames) if hands.frames else None,
        dtype if np.issubdtype(dtype, np.floating) else np.dtype(np.float64),
        (*hands.notes, *notes),
    )


def _array(path: Path) -> Hands:
    return results.read(array_files.array(path.read_bytes(), str(path)), str(path))


def _arrays(path: Path) -> Hands:
    return _of_fields(array_files.archive(path), path)


def _matlab(path: Path) -> Hands:
    fields = {}
    for name, value in array_files.matlab(path).items():
        # MATLAB has no arrays of one axis, and frames are often the last axis.
        value = np.ravel(value) if value.ndim == 2 and 1 in value.shape else value
        fields[name] = np.moveaxis(value, -1, 0) if value.shape[:2] == (hand.NUM_JOINTS, 3) else value
    return _of_fields(fields, path)


def _of_fields(fields: dict[str, Any], path: Path) -> Hands:
    """Reads the poses from named arrays: that of a known name, or the only array of numbers."""
    known = {name.lower().replace("_", "") for name in fields}
    others = [name for name, value in fields.items() if name != "left" and np.asarray(value).dtype.kind in "fiub"]
    if not known.intersection(results.POSES):
        if len(others) != 1:
            found = ", ".join(fields) or "no array"
            raise ValueError(f"{path}: expected the array `joints`, got {found}; save the poses as `joints`")
        fields = {"joints": fields[others[0]]} | {name: fields[name] for name in ("left",) if name in fields}
    return results.read(fields, str(path))


def _pickle(path: Path) -> Hands:
    return results.read(safe_pickle.load(path), str(path))


def _json(path: Path) -> Hands:
    try:
        content = parse_json(path.read_bytes(), str(path))
    except ValueError as error:
        if isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data":
            return _json_lines(path)
        raise
    return results.read(content, str(path))


def _json_lines(path: Path) -> Hands:
    rows = [
        parse_json(line, f"{path}: line {number}")
        for number, line in enumerate(text(path).splitlines(), start=1)
        if line.strip()
    ]
    return results.read(rows, str(path))


def _table(path: Path) -> Hands:
    poses, left = tables.read(text(path), str(path))
    return Hands(poses, left=left)


_READERS = {
    ".npy": _array,
    ".npz": _arrays,
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _table,
    ".tsv": _table,
    ".mat": _matlab,
    ".pkl": _pickle,
    ".pickle": _pickle,
}
SUFFIXES = tuple(_READERS)


def text(path: str | os.PathLike) -> str:
    """Reads a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises:
      ValueError: naming the file, for other bytes.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text in UTF-8 or UTF-16, got a damaged or other file ({error}); write it again"
        ) from error


def _take_zeros(joints: np.ndarray) -> np.ndarray:
    """Replaces joints at zero by NaN, in place, in poses with several such joints, which trackers write for missing
    joints; a single one may be the root. Returns the indices of the poses that are all zeros."""
    zero = (joints == 0).all(axis=-1)
    several = zero.sum(axis=1) > 1
    joints[zero & several[:, None]] = np.nan
    return np.flatnonzero(zero.all(axis=1))


def _listed(indices: np.ndarray) -> str:
    return ", ".join(map(str, indices[:5])) + ", ..." * (len(indices) > 5)


def _poses(rows: Any, where: str) -> np.ndarray:
    """Returns `[N, 21, 3]` from an array or nested lists."""
    depth = results.depth(rows)
    if depth < 2 and not (depth and len(rows) == 0):
        raise ValueError(
            f"{where}: expected poses [N, {hand.NUM_JOINTS}, 3], got {str(rows)[:40]}; give 3D joints of hands"
        )
    if len(rows) == 0:
        raise ValueError(f"{where}: expected one pose or more, got none (an empty file); give the poses of hands")
    if isinstance(rows, np.ndarray) and depth == 2:
        rows = rows.reshape(-1, hand.NUM_JOINTS, 3) if rows.shape[1] == NUMBERS else rows[None]
    first = rows[0]
    if depth == 3 and len(first) in LARGER:
        raise ValueError(f"{where}: expected {hand.NUM_JOINTS} joints per pose, got {len(first)}, {LARGER[len(first)]}")
    width = len(first[0]) if depth == 3 and len(first) and isinstance(first[0], list | np.ndarray) else 3
    if width == 2:
        raise ValueError(f"{where}: expected x, y and z of each joint, got 2D joints; angles require 3D joints")
    if width == 4:
        raise ValueError(f"{where}: expected x, y and z of each joint, got 4 numbers; give joints[..., :3]")
    joints = hand_poses(rows, where)
    infinite = np.flatnonzero(np.isinf(joints).any(axis=(1, 2)))
    if len(infinite):
        others = f", and in {len(infinite) - 1:,} others" if len(infinite) > 1 else ""
        raise ValueError(
            f"{where}: pose {infinite[0]}: expected finite joints, got infinite ones{others}; write NaN for missing "
            "hands"
        )
    return joints


def arrays(path: Path) -> dict[str, Any]:
    """Returns the arrays in an .npz file, see `array_files.archive`."""
    return array_files.archive(path)


def parse_json(text: str | bytes, where: str) -> Any:
    """Returns the content of a JSON file.

    Raises:
      ValueError: naming the file, if the text is not JSON or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected JSON, got a damaged or other file ({error}); write it again") from error


def left_hands(left: Any, count: int, where: str) -> np.ndarray | None:
    """Returns the mask of left hands among `count` hands; None if a file has none.

    Raises:
      ValueError: if there is not one boolean per hand.
    """
    require_rows("left", left, count, where)
    if left is None:
        return None
    try:
        sides = np.asarray(left)
    except ValueError:  # nested lists of several lengths
        sides = np.empty((0, 0))
    if sides.dtype != bool or sides.ndim != 1:
        found = str(sides.dtype) if sides.ndim == 1 else "several values for one hand"
        raise ValueError(f"{where}: left: expected true or false for each hand, got {found}; write one per hand")
    return sides


def require_rows(name: str, values: Any, count: int, where: str) -> None:
    """Raises ValueError unless a field is absent or has a row for each pose."""
    listed = isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim > 0)
    if values is not None and not (listed and len(values) == count):
        raise ValueError(
            f"{where}: {name}: expected {count:,}, one per pose, got {len(values) if listed else 1:,}; write all"
        )


def hand_poses(rows: Any, where: str) -> np.ndarray:
    """Returns `points` after a check that each pose has 21 joints."""
    joints = points(rows, where)
    if joints.shape[1] != hand.NUM_JOINTS:
        raise ValueError(
            f"{where}: expected {hand.NUM_JOINTS} points per pose, got {joints.shape[1]}; give the joints of hands"
        )
    return joints


def points(rows: Any, where: str) -> np.ndarray:
    """Converts nested lists or an array to `[N, points, 3]` float64, NaN where a file has null.

    Raises:
      ValueError: naming `where`, the pose and its shape.
    """
    if not isinstance(rows, list | np.ndarray):
        raise ValueError(f"{where}: expected a list of poses, got a {type(rows).__name__}; write one row per pose")
    try:
        array = _numbers(rows)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    if array.ndim == 3 and array.shape[-1] == 3 and array.size:
        far = np.flatnonzero(((np.abs(array) > FARTHEST) & np.isfinite(array)).any(axis=(1, 2)))
        if len(far):
            raise ValueError(
                f"{where}: pose {far[0]}: expected coordinates up to {FARTHEST:g}, got larger ones; correct the pose"
            )
        return array
    shapes = []
    for number, row in enumerate(rows):
        try:
            shapes.append(_numbers(row).shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(
                f"{where}: pose {number}: expected a list of points x, y, z, got another value ({error}); correct it"
            ) from error
        if len(shapes[-1]) != 2 or shapes[-1] != shapes[0] or shapes[-1][1] != 3:
            expected = f"the shape {list(shapes[0])} of pose 0" if number else "the shape [points, 3]"
            raise ValueError(f"{where}: pose {number}: expected {expected}, got {list(shapes[-1])}; correct it")
    raise ValueError(f"{where}: expected one pose or more, got none (an empty list); give the poses of hands")


def _numbers(rows: Any) -> np.ndarray:
    """Converts nested lists or an array to float64, None to NaN. Raises TypeError for strings and booleans."""
    array = np.array(rows)
    if array.dtype.kind == "O":
        wrong = next((value for value in array.flat if isinstance(value, str | bool | list | dict)), None)
        array = array if wrong is None else np.array([wrong])
    if array.dtype.kind not in "fiuO":
        raise TypeError(f"{str(array.flat[0])[:40]!r} is not a number" if array.size else "no numbers")
    return np.array(array, np.float64)
