"""Poses in a table, a line each: x, y and z of 21 joints, with columns around them that the first line names."""

import csv
import itertools
import math
import re
from typing import Any

import numpy as np

from bmc_jax.core import hand

#: Columns of a table of poses, and of one with a confidence after each joint.
NUMBERS, WITH_CONFIDENCE = 3 * hand.NUM_JOINTS, 4 * hand.NUM_JOINTS
#: Names of columns that are no coordinates: of a line, and of a confidence.
OF_LINE = re.compile(
    r"((frame|time|timestamp|index|image|file|filename|track|hand|handedness|side|id|idx|n|no|nr|row|t|seconds|unnamed)"
    r"([_ :]*(id|idx|index|no|nr|num|number|name|ms|us|s|sec|side|type|label|\d+))*)?"
)
OF_CONFIDENCE = re.compile(r".*(conf|score|visib|presence|prob|likelihood).*|[cv]_?\d*")
OF_SIDE = re.compile(r"(hand|side|handedness|hand[_ ]?(side|type|label))")
#: Axis of a column, apart from the other letters of its name.
AXIS = re.compile(r"(?:^|[^a-z])([xyz])(?:[^a-z]|$)")
WIDTHS = (NUMBERS, NUMBERS + 1, WITH_CONFIDENCE, WITH_CONFIDENCE + 1)


def read(text: str, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns poses `[N, 21, 3]`, NaN where a cell is empty, and which are left hands where a column says it.

    Raises:
      ValueError: naming the file and the line, for another number of columns, for other than numbers, and for columns
        beside the coordinates that are neither named nor evident.
    """
    separator = next((mark for mark in ";\t" if mark in text), ",")
    lines = [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=separator), start=1)
        # An empty line is none; a row of empty cells is a frame without a hand.
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
                f"{where}: line {number} has {len(cells)} columns; {NUMBERS} are needed, x, y and z of "
                f"{hand.NUM_JOINTS} joints, or {NUMBERS + 1} with the frame's number first, or names in the first line"
            )
    columns = _named(names, where) if names is not None else _evident([cells for _, cells in lines], where)
    values = np.full((len(lines), len(columns)), math.nan)
    for row, (number, cells) in enumerate(lines):
        for place, column in enumerate(columns):
            cell = cells[column] if separator == "," else cells[column].replace(",", ".")
            try:
                values[row, place] = float(cell or "nan")
            except ValueError as error:
                raise ValueError(f"{where}: line {number}: {error}") from error
    side = next((place for place, name in enumerate(names or []) if OF_SIDE.fullmatch(name)), None)
    left = None if side is None else _left([(number, cells[side]) for number, cells in lines], where)
    return values.reshape(len(lines), hand.NUM_JOINTS, 3), left


def _are_names(cells: list[str]) -> bool:
    """Returns whether a line names the columns: by words, or as pandas numbers columns without names."""
    if not any(map(_is_number, cells)):
        return any(cells)
    numbers = cells[1:] if not cells[0] else cells
    return len(numbers) > 1 and numbers == [str(place) for place in range(len(numbers))]


def _named(names: list[str], where: str) -> list[int]:
    """Returns the columns of the joints by their names: by the axis that each has, or all but the known others."""
    found = [AXIS.search(name) for name in names]
    axes = [[place for place, axis in enumerate(found) if axis and axis[1] == one] for one in "xyz"]
    if all(len(places) == hand.NUM_JOINTS for places in axes):
        return [place for joint in zip(*axes, strict=True) for place in joint]
    others = [place for place, name in enumerate(names) if not _is_other(name)]
    if len(others) == NUMBERS or len(names) == NUMBERS:
        return others if len(others) == NUMBERS else list(range(NUMBERS))
    raise ValueError(
        f"{where} has {len(names)} columns, {', '.join(names[:3])} to {names[-1]}; {NUMBERS} are needed, x, y and z "
        f"of {hand.NUM_JOINTS} joints, beside columns with names such as frame or confidence"
    )


def _is_other(name: str) -> bool:
    return bool(OF_LINE.fullmatch(name) or OF_CONFIDENCE.fullmatch(name))


def _evident(rows: list[list[str]], where: str) -> list[int]:
    """Returns the columns of the joints in a table without names, by what stands in the others."""
    width = len(rows[0])
    joints = WITH_CONFIDENCE if width >= WITH_CONFIDENCE else NUMBERS
    if joints == WITH_CONFIDENCE:
        start = width - joints
        confidences = [_number(row[column]) for row in rows for column in range(start + 3, width, 4)]
        if not all(0 <= value <= 1 or math.isnan(value) for value in confidences):
            raise ValueError(
                f"{where}: {width} columns are 21 joints of x, y, z and a confidence in [0, 1], and the fourth of some "
                f"joint is not; give {NUMBERS} columns, or name them in the first line"
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
        f"{where}: {width} columns are one more than 21 joints have, and it is not evident whether the first numbers "
        "the frames or the last is a confidence; name the columns in the first line"
    )


def _left(cells: list[tuple[int, str]], where: str) -> Any:
    left = []
    for number, cell in cells:
        word = cell.lower()
        if word not in ("left", "right", "l", "r", "0", "1", ""):
            raise ValueError(f"{where}: line {number}: the side is {cell!r}, neither left nor right")
        left.append(word[:1] == "l")
    if any(cell in ("0", "1") for _, cell in cells):
        raise ValueError(f"{where}: the column of the side has numbers; write left or right")
    return np.array(left)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    return float(cell.replace(",", ".")) if _is_number(cell) else math.nan
