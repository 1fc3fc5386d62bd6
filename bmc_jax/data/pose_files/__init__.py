"""Files of hand poses as other programs write them. Order, unit and side stay as they are, see `poses.conventions`.

    .npy            an array [N, 21, 3], or an object of HaMeR's or WiLoR's
    .npz, .mat      `joints` or `pred_keypoints_3d` [N, 21, 3], or the only array; `left` [N] where some are left hands
    .pkl            such an object, or a list of them, frame by frame
    .json           a list of poses, {"joints": poses, "left": [...]}, the pair [xyz, verts] of the challenges, or the
                    results of MediaPipe, OpenPose, HaMeR and WiLoR, see `results`
    .jsonl, .ndjson one of these a line, which is a frame
    .csv, .tsv      a pose a line, x, y, z of joint after joint, see `tables`

The first axis of a single pose may be missing. Suffixes are of any case, and texts UTF-8, or UTF-16 with its mark.
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

#: Where the hands are in arrays with more joints than a hand has.
LARGER = {
    133: "COCO-WholeBody's body: its left hand is joints[:, 91:112], its right hand joints[:, 112:133]",
    42: "InterHand2.6M's two hands: the right one is joints[:, :21], the left one joints[:, 21:]",
}
#: Largest coordinate in any unit.
FARTHEST = 1e12
#: Numbers of a pose.
NUMBERS = 3 * hand.NUM_JOINTS
#: Marks at the start of a text, and the encoding that each stands for.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class PoseFile:
    """What a file holds, in its own order, unit and side."""

    joints: np.ndarray
    """`[N, 21, 3]` float64, NaN where something is missing."""
    left: np.ndarray | None = None
    """Which are left hands, `[N]`, where the file says it."""
    order: str | None = None
    """Joint order, one of `choices.JOINT_ORDERS`, where the file says it."""
    unit: str | None = None
    """One of `choices.LENGTH_UNITS`, where the file says it."""
    frames: np.ndarray | None = None
    """Frame of each pose, `[N]`, where some frames have several hands."""
    dtype: np.dtype = np.dtype(np.float64)  # noqa: RUF009
    """Floating-point type of the file's joints."""
    notes: tuple[str, ...] = ()
    """What was read and what was taken as missing, in words."""


def read(path: str | os.PathLike) -> PoseFile:
    """Reads the poses in a file, by its suffix.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, place and remedy, for an empty file, values that are not poses, and infinite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no pose file {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: poses are read from {', '.join(_READERS)}, not from {path.suffix or 'no suffix'!r}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it has no bytes")
    hands = reader(path)
    joints = _poses(hands.rows, str(path))
    zero = _take_zeros(joints)
    zeros = f"{counted(len(zero), 'pose')} {plural(len(zero), 'is')} all zeros, no hand: {_listed(zero)}"
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
        # MATLAB has no arrays of one axis, and often the frames last.
        value = np.ravel(value) if value.ndim == 2 and 1 in value.shape else value
        fields[name] = np.moveaxis(value, -1, 0) if value.shape[:2] == (hand.NUM_JOINTS, 3) else value
    return _of_fields(fields, path)


def _of_fields(fields: dict[str, Any], path: Path) -> Hands:
    """Reads the poses among named arrays: those of a known name, or the only array of numbers."""
    known = {name.lower().replace("_", "") for name in fields}
    others = [name for name, value in fields.items() if name != "left" and np.asarray(value).dtype.kind in "fiub"]
    if not known.intersection(results.POSES):
        if len(others) != 1:
            raise ValueError(f"{path} holds {', '.join(fields) or 'nothing'}; save the poses as `joints`")
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
    """Returns the text of a file: UTF-8, or by its mark UTF-16 or UTF-32.

    Raises:
      ValueError: naming the file, for other bytes.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged or no text in UTF-8 or UTF-16 ({error}); write it again") from error


def _take_zeros(joints: np.ndarray) -> np.ndarray:
    """Replaces joints at zero by NaN in place where a pose has several, as trackers write joints that they have not
    found; a single one may be the root. Returns the poses that are all zeros."""
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
        raise ValueError(f"{where} holds {str(rows)[:40]}, not poses [N, {hand.NUM_JOINTS}, 3]")
    if len(rows) == 0:
        raise ValueError(f"{where} is empty: there is no pose in it")
    if isinstance(rows, np.ndarray) and depth == 2:
        rows = rows.reshape(-1, hand.NUM_JOINTS, 3) if rows.shape[1] == NUMBERS else rows[None]
    first = rows[0]
    if depth == 3 and len(first) in LARGER:
        raise ValueError(f"{where} has {len(first)} joints a pose, {LARGER[len(first)]}")
    width = len(first[0]) if depth == 3 and len(first) and isinstance(first[0], list | np.ndarray) else 3
    if width == 2:
        raise ValueError(f"{where} holds 2D joints; angles need x, y and z")
    if width == 4:
        raise ValueError(f"{where} has 4 numbers a joint; give x, y and z alone, joints[..., :3]")
    joints = hand_poses(rows, where)
    infinite = np.flatnonzero(np.isinf(joints).any(axis=(1, 2)))
    if len(infinite):
        others = f" and {len(infinite) - 1:,} others have" if len(infinite) > 1 else " has"
        raise ValueError(f"{where}: pose {infinite[0]}{others} infinite joints; write NaN where no hand was found")
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
        raise ValueError(f"{where} is damaged or no JSON ({error}); write it again") from error


def left_hands(left: Any, count: int, where: str) -> np.ndarray | None:
    """Returns which of `count` hands are left ones, if a file says so.

    Raises:
      ValueError: unless there is a boolean for each hand.
    """
    require_rows("left", left, count, where)
    if left is None:
        return None
    try:
        sides = np.asarray(left)
    except ValueError:  # nested lists of several lengths
        sides = np.empty((0, 0))
    if sides.dtype != bool or sides.ndim != 1:
        what = f"is of {sides.dtype}" if sides.ndim == 1 else "has several for one hand"
        raise ValueError(f"{where}: left {what}; true or false is needed for each hand")
    return sides


def require_rows(name: str, values: Any, count: int, where: str) -> None:
    """Raises ValueError unless a field is absent or has a row for each pose."""
    listed = isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim > 0)
    if values is not None and not (listed and len(values) == count):
        raise ValueError(f"{where}: {len(values) if listed else 1:,} {name} for {count:,} poses")


def hand_poses(rows: Any, where: str) -> np.ndarray:
    """Returns `points` of 21 joints."""
    joints = points(rows, where)
    if joints.shape[1] != hand.NUM_JOINTS:
        raise ValueError(f"{where} has {joints.shape[1]} points a pose; a hand has {hand.NUM_JOINTS}")
    return joints


def points(rows: Any, where: str) -> np.ndarray:
    """Returns nested lists or an array as `[N, points, 3]` float64, NaN where a file has null.

    Raises:
      ValueError: naming `where`, the pose and its shape.
    """
    if not isinstance(rows, list | np.ndarray):
        raise ValueError(f"{where} is a {type(rows).__name__}, not a list of poses")
    try:
        array = _numbers(rows)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    if array.ndim == 3 and array.shape[-1] == 3 and array.size:
        far = np.flatnonzero(((np.abs(array) > FARTHEST) & np.isfinite(array)).any(axis=(1, 2)))
        if len(far):
            raise ValueError(f"{where}: pose {far[0]} has coordinates beyond {FARTHEST:g}, which are no lengths")
        return array
    shapes = []
    for number, row in enumerate(rows):
        try:
            shapes.append(_numbers(row).shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where}: pose {number} is not a list of points x, y, z ({error})") from error
        if len(shapes[-1]) != 2 or shapes[-1] != shapes[0] or shapes[-1][1] != 3:
            first = f" and pose 0 {list(shapes[0])}" if number else ""
            raise ValueError(f"{where}: pose {number} has the shape {list(shapes[-1])}{first}; [points, 3] is needed")
    raise ValueError(f"{where} is empty")


def _numbers(rows: Any) -> np.ndarray:
    """Returns nested lists or an array as float64, NaN where there is None. Raises TypeError for texts and truths."""
    array = np.array(rows)
    if array.dtype.kind == "O":
        wrong = next((one for one in array.flat if isinstance(one, str | bool | list | dict)), None)
        array = array if wrong is None else np.array([wrong])
    if array.dtype.kind not in "fiuO":
        raise TypeError(f"{str(array.flat[0])[:40]!r} is no number" if array.size else "no numbers")
    return np.array(array, np.float64)
