"""Files of hand poses as other programs write them. Order, unit and side stay as they are, see `poses.conventions`.

    .npy    an array [N, 21, 3]
    .npz    `joints` [N, 21, 3], or its only array; `left` [N] where some hands are left ones
    .json   a list of poses, {"joints": poses, "left": [...]}, or the pair [xyz, verts] of the challenges
    .csv    a pose a line, x, y, z of joint after joint: 63 columns, or 64 where the first numbers the frames

The first axis of a single pose may be missing. Missing values (NaN, null, an empty cell) are read as NaN.
"""

import csv
import json
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand

SUFFIXES = (".npy", ".npz", ".json", ".csv")
#: Where the hands are in arrays with more joints than a hand has.
LARGER = {
    133: "COCO-WholeBody's body: its left hand is joints[:, 91:112], its right hand joints[:, 112:133]",
    42: "InterHand2.6M's two hands: the right one is joints[:, :21], the left one joints[:, 21:]",
}
#: Columns of a table of poses.
NUMBERS = 3 * hand.NUM_JOINTS


@dataclass(frozen=True)
class PoseFile:
    """What a file holds, in its own order, unit and side."""

    joints: np.ndarray
    """`[N, 21, 3]` float64, NaN where something is missing."""
    left: np.ndarray | None = None
    """Which are left hands, `[N]`, where the file says it."""


def read(path: str | os.PathLike) -> PoseFile:
    """Reads the poses in a file, by its suffix.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, place and remedy, for an empty file, values that are not poses, and infinite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no pose file {path}")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: poses are read from {', '.join(SUFFIXES)}, not from {path.suffix or 'no suffix'!r}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it has no bytes")
    rows, left = {".npy": _array, ".npz": _arrays, ".json": _json, ".csv": _table}[path.suffix](path)
    joints = _poses(rows, str(path))
    return PoseFile(joints, left_hands(left, len(joints), str(path)))


def _array(path: Path) -> tuple[Any, Any]:
    try:
        return np.load(path, allow_pickle=False), None
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array saved by numpy.save: {error}") from error


def _arrays(path: Path) -> tuple[Any, Any]:
    fields = arrays(path)
    others = [name for name in fields if name != "left"]
    name = others[0] if len(others) == 1 else "joints"
    if name not in fields:
        raise ValueError(f"{path} holds {', '.join(fields) or 'nothing'}; save the poses as `joints`")
    return fields[name], fields.get("left")


def _json(path: Path) -> tuple[Any, Any]:
    content = parse_json(path.read_bytes(), str(path))
    if isinstance(content, dict):
        if "joints" not in content:
            raise ValueError(f"{path} has {', '.join(content) or 'no fields'}; give the poses as `joints`")
        return content["joints"], content.get("left")
    # A list of poses is three lists deep; the challenges' pair of joints and vertices is four.
    return (content[0] if _depth(content) == 4 and len(content) == 2 else content), None


def _table(path: Path) -> tuple[Any, Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        text = file.read()
    separator = next((mark for mark in ";\t" if mark in text), ",")
    rows = []
    for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=separator), start=1):
        if not "".join(cells).strip() and len(cells) < 2:  # an empty line; a row of empty cells is a frame without hand
            continue
        if len(cells) not in (NUMBERS, NUMBERS + 1):
            raise ValueError(
                f"{path}: line {number} has {len(cells)} columns; {NUMBERS} are needed, x, y and z of "
                f"{hand.NUM_JOINTS} joints, or {NUMBERS + 1} with the frame's number first"
            )
        try:
            row = [float(cell) if cell.strip() else math.nan for cell in cells[-NUMBERS:]]
        except ValueError as error:
            if not rows and number == 1:  # the columns' names
                continue
            raise ValueError(f"{path}: line {number}: {error}") from error
        rows.append(np.reshape(row, (hand.NUM_JOINTS, 3)))
    return np.array(rows) if rows else [], None


def _poses(rows: Any, where: str) -> np.ndarray:
    """Returns `[N, 21, 3]` from an array or nested lists. A frame that is null becomes NaN."""
    if isinstance(rows, list):
        nothing = [[math.nan] * 3] * hand.NUM_JOINTS
        rows = [nothing if row is None else row for row in rows]
    depth = _depth(rows)
    if depth < 2 and not (depth and len(rows) == 0):
        raise ValueError(f"{where} holds {str(rows)[:40]}, not poses [N, {hand.NUM_JOINTS}, 3]")
    if len(rows) == 0:
        raise ValueError(f"{where} is empty: there is no pose in it")
    if depth == 2 and len(rows[0]) == NUMBERS:
        rows = [np.reshape(row, (hand.NUM_JOINTS, 3)) for row in rows]
    elif depth == 2:
        rows = [rows]
    if depth == 3 and len(rows[0]) in LARGER:
        raise ValueError(f"{where} has {len(rows[0])} joints a pose, {LARGER[len(rows[0])]}")
    if depth == 3 and len(rows[0]) and len(rows[0][0]) == 2:
        raise ValueError(f"{where} holds 2D joints; angles need x, y and z")
    joints = hand_poses(rows, where)
    infinite = np.flatnonzero(np.isinf(joints).any(axis=(1, 2)))
    if len(infinite):
        others = f" and {len(infinite) - 1:,} others have" if len(infinite) > 1 else " has"
        raise ValueError(f"{where}: pose {infinite[0]}{others} infinite joints; write NaN where no hand was found")
    return joints


def _depth(rows: Any) -> int:
    """Returns the number of nested lists, or of axes."""
    if isinstance(rows, np.ndarray):
        return rows.ndim
    return 1 + _depth(rows[0] if rows else None) if isinstance(rows, list) else 0


def arrays(path: Path) -> dict[str, Any]:
    """Returns the arrays in an .npz file.

    Raises:
      ValueError: if it is not an .npz file, or holds other than numbers and texts.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or no file of arrays ({error}); write it again") from error


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
    if left is not None and np.asarray(left).dtype != bool:
        raise ValueError(f"{where}: left is of {np.asarray(left).dtype}; true or false is needed for each hand")
    return None if left is None else np.asarray(left)


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
        array = np.array(rows, np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    if array.ndim == 3 and array.shape[-1] == 3 and array.size:
        return array
    shapes = []
    for number, row in enumerate(rows):
        try:
            shapes.append(np.array(row, np.float64).shape)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where}: pose {number} is not a list of points x, y, z ({error})") from error
        if len(shapes[-1]) != 2 or shapes[-1] != shapes[0] or shapes[-1][1] != 3:
            first = f" and pose 0 {list(shapes[0])}" if number else ""
            raise ValueError(f"{where}: pose {number} has the shape {list(shapes[-1])}{first}; [points, 3] is needed")
    raise ValueError(f"{where} is empty")
