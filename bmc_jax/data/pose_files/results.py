"""Hands in the results of other programs: nested lists, and objects of MediaPipe, OpenPose, HaMeR and WiLoR.

A result is a hand, a list of frames, or a frame. A frame is a hand, a list of hands, an object, or nothing if no hand
was found. Points are lists x, y, z or objects with the fields x, y and z.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.core.choices import JOINT_ORDERS, LENGTH_UNITS
from bmc_jax.core.plural import counted

#: Fields of poses, of this package and of others, in lower case without underscores.
POSES = ("joints", "predkeypoints3d", "joints3d", "keypoints3d")
#: Fields of MediaPipe's results: landmarks in metres, landmarks of the picture, and the sides of hands.
WORLD = ("handworldlandmarks", "worldlandmarks", "multihandworldlandmarks")
WORLD_SIDES = {"lefthandworldlandmarks": True, "righthandworldlandmarks": False}
PICTURE = ("handlandmarks", "landmarks", "multihandlandmarks", "lefthandlandmarks", "righthandlandmarks")
HANDEDNESS = ("handedness", "handednesses", "multihandedness")
#: Fields that state whether hands are right hands.
RIGHT = ("isright", "right")
MISSING_POINT = [math.nan] * 3
MISSING_HAND = [MISSING_POINT] * hand.NUM_JOINTS


@dataclass
class Hands:
    """Poses as nested lists or an array, in the order, unit and side of the result."""

    rows: Any = field(default_factory=list)
    """One pose each: 21 lists x, y, z, NaN where a joint is missing."""
    frames: list[int] = field(default_factory=list)
    """The frame of each pose; empty if each pose is one frame."""
    left: Any = None
    """Whether each pose is a left hand; None if the result does not state it."""
    order: str | None = None
    """Joint order, if stated."""
    unit: str | None = None
    """Unit of length, if stated."""
    notes: list[str] = field(default_factory=list)
    """Statements about the form of the result."""


def read(content: Any, where: str) -> Hands:
    """Returns the hands in the parsed content of a file.

    Raises:
      ValueError: naming the file and the remedy, for content without 3D hands.
    """
    if isinstance(content, dict):
        named = plain_names(content)
        if isinstance(named.get("frames"), list) and not any(name in named for name in POSES):
            return _frames(named["frames"], where)
        if any(name in named for name in POSES):
            return _fields(named, content, where)
        return _frames([content], where, single=True)
    if isinstance(content, np.ndarray):
        return _array(content, where)
    if not isinstance(content, list | tuple):
        raise ValueError(
            f"{where}: expected poses [N, {hand.NUM_JOINTS}, 3], got {str(content)[:40]}; give 3D joints of hands"
        )
    if _is_pair(content):
        content = content[0]
    if depth(content) == 4:
        _require_frames(len(content), max(map(_length, content)), where)
    if depth(content) < 3 and not _is_object(_leaf(content)):
        # A single hand, or hands as rows of numbers.
        single = depth(content) == 2 and _length(_first(content)) <= 4
        return Hands([_hand(row) for row in ([content] if single else content)])
    return _frames(content, where)


def depth(rows: Any) -> int:
    """Returns the number of nested lists, or of axes. An object x, y, z counts as a list."""
    levels = 0
    while isinstance(rows, list | tuple):
        levels, rows = levels + 1, _first(rows)
    if isinstance(rows, np.ndarray):
        return levels + rows.ndim
    return levels + int(isinstance(rows, dict) and "x" in rows)


def _first(rows: Any) -> Any:
    """Returns the first item that is not missing."""
    return next((row for row in rows if row is not None and not (isinstance(row, list | dict) and not row)), None)


def _leaf(rows: Any) -> Any:
    """Returns the first value that is neither missing nor a list."""
    while isinstance(rows, list | tuple):
        rows = _first(rows)
    return rows


def _length(rows: Any) -> int:
    return len(rows) if isinstance(rows, list | tuple | dict | np.ndarray) else 0


def _is_object(item: Any) -> bool:
    return isinstance(item, dict) and "x" not in item


def _is_pair(content: list | tuple) -> bool:
    """Returns whether a list is the challenges' pair of joints and vertices: lists of equal length, of which the second
    is empty or contains something other than hands."""
    if len(content) != 2 or depth(content) != 4 or _length(content[0]) != _length(content[1]):
        return False
    rows = [_first(part) for part in content]
    return rows[1] is None or _length(rows[1]) != hand.NUM_JOINTS or _length(rows[0]) != hand.NUM_JOINTS


def _require_frames(frames: int, hands: int, where: str) -> None:
    """Raises ValueError if four nested lists or axes are not frames of one or two hands."""
    if hands > 2:
        remedy = "save each hand in one file" if frames <= 2 else f"give poses [N, {hand.NUM_JOINTS}, 3]"
        raise ValueError(
            f"{where}: expected one or two hands per frame, got the shape [{frames}, {hands}, ...]; {remedy}"
        )


def _array(array: np.ndarray, where: str) -> Hands:
    if array.ndim != 4 or array.shape[2:] != (hand.NUM_JOINTS, 3):
        return Hands(array)
    frames, hands = array.shape[:2]
    _require_frames(frames, hands, where)
    found = Hands(array.reshape(-1, hand.NUM_JOINTS, 3), np.repeat(np.arange(frames), hands).tolist())
    return _numbered(found, frames)


def _fields(named: dict[str, Any], content: dict, where: str) -> Hands:
    """Reads an object of poses with statements about all of them."""
    values = named[next(name for name in POSES if name in named)]
    found = read(values, where)
    left = named.get("left")
    if left is None:
        left = _not_right(named, where)
    found.left = found.left if left is None else left
    for name, known in (("order", JOINT_ORDERS), ("unit", LENGTH_UNITS)):
        value = named.get(name)
        if value is not None and str(value) not in known:
            raise ValueError(
                f"{where}: {name}: expected one of {', '.join(known)}, got {str(value)[:40]!r}; correct it"
            )
        setattr(found, name, None if value is None else str(value))
    return found


def _frames(items: list | tuple, where: str, single: bool = False) -> Hands:
    """Reads a list of frames. A frame without hands is one missing pose."""
    found, sides, most = Hands(), [], 0
    for number, item in enumerate(items):
        hands = _hands(item, where if single else f"{where}: frame {number}", found)
        most = max(most, len(hands))
        for points, left in hands or [(None, None)]:
            found.rows.append(_hand(points))
            found.frames.append(number)
            sides.append(left)
    known = [left for left, row in zip(sides, found.rows, strict=True) if row is not MISSING_HAND]
    if None not in known and known:
        found.left = [bool(left) for left in sides]
    elif known.count(None) < len(known):
        found.notes.append("the side is stated for some hands only and therefore ignored")
    found.notes = list(dict.fromkeys(found.notes))
    return _numbered(found, len(items)) if most > 1 else Hands(found.rows, [], *_of_all(found))


def _of_all(found: Hands) -> tuple:
    return found.left, found.order, found.unit, found.notes


def _numbered(found: Hands, frames: int) -> Hands:
    """Adds a note on the numbers of poses if frames have several hands."""
    if len(found.frames) == frames:
        return Hands(found.rows, [], *_of_all(found))
    found.notes.append(
        f"{counted(len(found.frames), 'pose')} in {counted(frames, 'frame')}, hand after hand in each frame"
    )
    return found


def _hands(item: Any, where: str, found: Hands) -> list[tuple[Any, bool | None]]:
    """Returns the points and the side of each hand of a frame."""
    if isinstance(item, dict) and "x" not in item:
        return _of_object(item, where, found)
    if isinstance(item, np.ndarray):
        item = item.tolist()
    if not isinstance(item, list | tuple):
        if item is None:
            return []
        raise ValueError(f"{where}: expected a list of points, got {str(item)[:40]}; write x, y, z of 21 joints")
    if _first(item) is None:
        return []
    if _is_object(_first(item)):
        return [hand_of_part for part in item for hand_of_part in _hands(part, where, found)]
    return [(part, None) for part in item] if depth(item) == 3 else [(item, None)]


def _of_object(item: dict, where: str, found: Hands) -> list[tuple[Any, bool | None]]:
    named = plain_names(item)
    if not named:
        return []
    if "wiloropreds" in named or "wilorpreds" in named:
        named = {**plain_names(named["wilorpreds"]), **{name: named[name] for name in RIGHT if name in named}}
    if "people" in named:
        found.notes.append("OpenPose's 3D keypoints; joints of confidence 0 are missing")
        return _openpose(named["people"], where)
    sided = [(named[name], left) for name, left in WORLD_SIDES.items() if named.get(name)]
    if sided:
        found.notes.append("MediaPipe's world landmarks")
        return [(unwrapped(points), left) for points, left in sided]
    world = next((named[name] for name in WORLD if name in named), None)
    if world is not None:
        found.notes.append("MediaPipe's world landmarks")
        hands = as_hands(world)
        return list(zip(hands, stated_sides(named, len(hands)), strict=True))
    if any(name in named for name in PICTURE):
        if not any(named.get(name) for name in PICTURE):
            return []
        raise ValueError(
            f"{where}: expected 3D joints, got MediaPipe's landmarks of the picture, which have no unit (x and y are "
            "shares of its size); save the world landmarks, in metres, too"
        )
    poses = next((named[name] for name in POSES if name in named), None)
    if poses is None:
        fields = ", ".join(map(str, item)) or "no fields"
        raise ValueError(f"{where}: expected the field `joints`, got {fields}; save the poses as `joints`")
    hands = as_hands(poses)
    if isinstance(named.get("left"), bool):
        return [(points, named["left"]) for points in hands]
    left = _not_right(named, where)
    if left is None:
        return list(zip(hands, stated_sides(named, len(hands)), strict=True))
    if len(left) not in (1, len(hands)):
        raise ValueError(f"{where}: right: expected {len(hands)}, one per hand, got {len(left)}; write one per hand")
    return list(zip(hands, np.broadcast_to(left, len(hands)).tolist(), strict=True))


def _not_right(named: dict[str, Any], where: str) -> np.ndarray | None:
    """Returns the mask of left hands from the field of HaMeR and WiLoR that is 1 for right hands; None without it."""
    right = next((named[name] for name in RIGHT if name in named), None)
    if right is None:
        return None
    message = (
        f"{where}: right: expected 1 for right hands and 0 for left hands, got {str(right)[:40]}; write one per hand"
    )
    try:
        values = np.ravel(np.array(right, np.float64))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(message) from error
    if not np.isin(values, (0, 1)).all():
        raise ValueError(message)
    return values == 0


def as_hands(value: Any) -> list:
    """Returns one hand or several as a list of hands."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    value = [] if value is None else value
    hands = [unwrapped(item) for item in value] if isinstance(value, list) else [unwrapped(value)]
    return hands if depth(hands) != 2 else [hands]


def unwrapped(value: Any) -> Any:
    """Returns the list of landmarks in an object with this field alone, as protocol buffers are written."""
    while isinstance(value, dict) and "x" not in value:
        inner = plain_names(value)
        value = next((inner[name] for name in ("landmark", "landmarks") if name in inner), None)
    return value


def stated_sides(named: dict[str, Any], count: int) -> list[bool | None]:
    """Returns whether each of a frame's hands is a left hand, by MediaPipe's handedness; None if not stated."""
    value = next((named[name] for name in HANDEDNESS if name in named), None)
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or len(value) != count:
        return [None] * count
    words = [_word(item) for item in value]
    return [None if word not in ("left", "right") else word == "left" for word in words]


def _word(value: Any) -> str:
    """Returns the most probable side in a category, or a list of them."""
    while isinstance(value, list | dict):
        if isinstance(value, list):
            value = value[0] if value else ""
        else:
            named = plain_names(value)
            keys = ("classification", "categories", "categoryname", "label", "displayname", "side")
            value = next((named[key] for key in keys if named.get(key)), "")
    return str(value).lower()


def _openpose(people: Any, where: str) -> list[tuple[Any, bool | None]]:
    """Returns the hands of OpenPose's people. Its joints are x, y, z and a confidence, 0 for missing joints."""
    hands, flat = [], False
    for person in people if isinstance(people, list) else []:
        named = plain_names(person)
        for side, left in (("left", True), ("right", False)):
            numbers = named.get(f"hand{side}keypoints3d") or []
            flat |= bool(named.get(f"hand{side}keypoints2d"))
            if not numbers:
                continue
            if _length(numbers) != 4 * hand.NUM_JOINTS:
                raise ValueError(
                    f"{where}: expected 21 x 4 numbers per hand from OpenPose, got {_length(numbers)}; write it again"
                )
            joints = [numbers[at : at + 4] for at in range(0, len(numbers), 4)]
            if any(joint[3] for joint in joints):
                hands.append(([joint[:3] if joint[3] else None for joint in joints], left))
    if flat and not hands:
        raise ValueError(
            f"{where}: expected 3D keypoints, got OpenPose's 2D keypoints of the picture; run OpenPose with --3d"
        )
    return hands


def _hand(points: Any) -> Any:
    """Returns 21 lists x, y, z of a hand, NaN for missing values; other values are returned unchanged."""
    if isinstance(points, np.ndarray):
        points = points.tolist()
    if points is None or (isinstance(points, list) and not points):
        return MISSING_HAND
    if not isinstance(points, list | tuple):
        return points
    if len(points) == 3 * hand.NUM_JOINTS and not isinstance(points[0], list | dict):
        points = [points[at : at + 3] for at in range(0, len(points), 3)]
    if all(isinstance(point, list) for point in points):
        return points
    return [_point(point) for point in points]


def _point(point: Any) -> Any:
    if point is None:
        return MISSING_POINT
    return [point.get(axis) for axis in "xyz" if axis in point] if isinstance(point, dict) else point


def plain_names(fields: Any) -> dict[str, Any]:
    """Returns fields by their names in lower case without underscores, since spellings differ between languages; empty
    for a value without fields."""
    fields = fields if isinstance(fields, dict) else {}
    return {str(name).lower().replace("_", ""): value for name, value in fields.items()}
