"""Tables of poses, one per line: x, y and z of 21 joints, with other columns if the first line names the columns."""

import csv
import itertools
import math
import re
from typing import Any

import numpy as np

from bmc_jax.core import hand

#: Number of columns of a table of poses, and of one with a confidence after each joint.
NUMBERS, WITH_CONFIDENCE = 3 * hand.NUM_JOINTS, 4 * hand.NUM_JOINTS
#: Names of columns other than coordinates: those about the line, and confidences.
OF_LINE = re.compile(
    r"((frame|time|timestamp|index|image|file|filename|track|hand|handedness|side|id|idx|n|no|nr|row|t|seconds|unnamed)"
    r"([_ :]*(id|idx|index|no|nr|num|number|name|ms|us|s|sec|side|type|label|\d+))*)?"
)
OF_CONFIDENCE = re.compile(r".*(conf|score|visib|presence|prob|likelihood).*|[cv]_?\d*")
OF_SIDE = re.compile(r"(hand|side|handedness|hand[_ ]?(side|type|label))")
#: Axis in the name of a column, separated from the other letters.
AXIS = re.compile(r"(?:^|[^a-z])([xyz])(?:[^a-z]|$)")
WIDTHS = (NUMBERS, NUMBERS + 1, WITH_CONFIDENCE, WITH_CONFIDENCE + 1)


def read(text: str, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a table. Returns poses `[N, 21, 3]`, NaN where a cell is empty, and the mask of left hands or None.

    Raises:
      ValueError: naming the file and the line, for another number of columns, for cells that are not numbers, and for
        other columns that are neither named nor identifiable.
    """
    separator = next((mark for mark in ";\t" if mark in text), ",")
    lines = [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=separator), start=1)
        # Empty lines are ignored; a row of empty cells is a frame without a hand.
        if len(cells) > 1 or "".join(cells).strip()
    ]
    names = None
    if lines and _are_names(lines[0][1]):
        names, lines = [name.lower() for name in lines[0][1]], lines[1:]
    if not lines:
        return np.empty((0, hand.NUM_JOINTS, 3)), None
    width = len(names or lines[0][1])
    for number, cells in lines:
        if len(cells) != width or (names is None and width not in WIDTHS):
            raise ValueError(
                f"{where}: line {number}: expected {NUMBERS} columns, x, y and z of {hand.NUM_JOINTS} joints, or "
                f"{NUMBERS + 1} with the frame's number first, got {len(cells)}; correct the line, or name the columns "
                "in the first line"
            )
    columns = _named(names, where) if names is not None else _evident([cells for _, cells in lines], where)
    values = np.full((len(lines), len(columns)), math.nan)
    for row, (number, cells) in enumerate(lines):
        for place, column in enumerate(columns):
            cell = cells[column] if separator == "," else cells[column].replace(",", ".")
            try:
                values[row, place] = float(cell or "nan")
            except ValueError as error:
                raise ValueError(f"{where}: line {number}: expected numbers ({error}); correct the line") from error
    side = next((place for place, name in enumerate(names or []) if OF_SIDE.fullmatch(name)), None)
    left = None if side is None else _left([(number, cells[side]) for number, cells in lines], where)
    return values.reshape(len(lines), hand.NUM_JOINTS, 3), left


def _are_names(cells: list[str]) -> bool:
    """Returns whether a line names the columns, by words or by the numbers that pandas writes for unnamed columns."""
    if not any(map(_is_number, cells)):
        return any(cells)
    numbers = cells[1:] if not cells[0] else cells
    return len(numbers) > 1 and numbers == [str(place) for place in range(len(numbers))]


def _named(names: list[str], where: str) -> list[int]:
    """Returns the columns of the joints by their names: those with an axis, or all except the known others."""
    found = [AXIS.search(name) for name in names]
    axes = [[place for place, match in enumerate(found) if match and match[1] == axis] for axis in "xyz"]
    if all(len(places) == hand.NUM_JOINTS for places in axes):
        return [place for joint in zip(*axes, strict=True) for place in joint]
    others = [place for place, name in enumerate(names) if not _is_other(name)]
    if len(others) == NUMBERS or len(names) == NUMBERS:
        return others if len(others) == NUMBERS else list(range(NUMBERS))
    raise ValueError(
        f"{where}: expected {NUMBERS} columns, x, y and z of {hand.NUM_JOINTS} joints, and others with names such as "
        f"frame or confidence, got {len(names)}, {', '.join(names[:3])} to {names[-1]}; rename them"
    )


def _is_other(name: str) -> bool:
    return bool(OF_LINE.fullmatch(name) or OF_CONFIDENCE.fullmatch(name))


def _evident(rows: list[list[str]], where: str) -> list[int]:
    """Returns the columns of the joints in a table without names, by the content of the others."""
    width = len(rows[0])
    joints = WITH_CONFIDENCE if width >= WITH_CONFIDENCE else NUMBERS
    if joints == WITH_CONFIDENCE:
        start = width - joints
        confidences = [_number(row[column]) for row in rows for column in range(start + 3, width, 4)]
        if not all(0 <= value <= 1 or math.isnan(value) for value in confidences):
            raise ValueError(
                f"{where}: expected x, y, z and a confidence in [0, 1] of each joint in {width} columns, got a fourth "
                f"number outside [0, 1]; give {NUMBERS} columns, or name them in the first line"
            )
        return [column for column in range(start, width) if (column - start) % 4 != 3]
    if width == NUMBERS:
        return list(range(width))
    first, last = ([_number(row[place]) for row in rows] for place in (0, -1))
    rising = all(after > before for before, after in itertools.pairwise(first))
    whole = all(value == int(value) for value in first if math.isfinite(value)) and all(map(math.isfinite, first))
    confidence = all(0 <= value <= 1 or math.isnan(value) for value in last)
    if rising and (whole or (len(rows) > 2 and not confidence)):
        return list(range(1, width))
    if confidence and not rising:
        return list(range(width - 1))
    raise ValueError(
        f"{where}: expected {NUMBERS} columns, got {width}, of which either the first may be the frame's number or the "
        "last a confidence; name the columns in the first line"
    )


def _left(cells: list[tuple[int, str]], where: str) -> Any:
    left = []
    for number, cell in cells:
        word = cell.lower()
        if word not in ("left", "right", "l", "r", "0", "1", ""):
            raise ValueError(f"{where}: line {number}: side: expected left or right, got {cell!r}; correct it")
        left.append(word[:1] == "l")
    if any(cell in ("0", "1") for _, cell in cells):
        raise ValueError(f"{where}: side: expected left or right, got numbers; write left or right")
    return np.array(left)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    return float(cell.replace(",", ".")) if _is_number(cell) else math.nan
