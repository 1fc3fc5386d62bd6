"""Prediction files read: what is in them, in their own terms, and then in ours."""

import json
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.metrics.prediction_files import check
from bmc_jax.metrics.prediction_files.check import UNITS
from bmc_jax.metrics.prediction_files.kinds import FIELDS, FROM, INSIDE, KINDS, Predictions


def read(kind: str, path: str | os.PathLike, *, checked: bool = True) -> Predictions:
    """The predictions in a file of that kind.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, pose and remedy, for what is no such file; and, if `checked`, for joints that are not
        finite, in another order, unit or frame than the kind's, and for mirrored hands.
    """
    path = Path(path)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    expected, (found, what) = KINDS[kind], content(path)
    if what == "fields":
        expected = FIELDS
    elif (what == "lines") != (kind == "hands19") or kind in ("dexter_object", "rhd"):
        form = {"lines": "lines of text", "pair": "a list of joints and vertices"}[what]
        raise ValueError(f"{path} holds {form}, not what predictions of {kind} do; the forms are in docs/evaluation.md")
    if checked:
        check.check(found.joints, expected, str(path), found.left)
    scale = UNITS[expected.unit] * np.array([1, expected.forward, expected.forward])
    vertices = found.vertices
    if vertices is not None:
        vertices = vertices * scale if vertices.any() else None
    return Predictions(found.joints[:, FROM[expected.order]] * scale, vertices, found.names, found.left)


def content(path: Path) -> tuple[Predictions, str]:
    """What a file holds, in its own order, frame and unit, and its form: "pair", "lines" or "fields"."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix == ".npz":
        return _fields(arrays(path), str(path)), "fields"
    text = _text(path)
    if path.suffix == ".txt":
        return _lines(text, path), "lines"
    try:
        parsed: Any = _without_mesh(text) or json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no JSON ({error}); write it again") from error
    if isinstance(parsed, dict):
        return _fields(parsed, str(path)), "fields"
    return _pair(parsed, str(path)), "pair"


def _without_mesh(text: str) -> list | None:
    """[xyz, empty rows] of a file whose meshes are zeros, which are most of its bytes; None for any other.

    Parsed like the rest, the 48 million zeros of HO-3D v3 would take a minute and four gigabytes.
    """
    start = re.match(r"\s*\[\s*(?=\[)", text)
    if not start:
        return None
    joints, end = json.JSONDecoder().raw_decode(text, start.end())
    opened = re.compile(r"\s*,\s*\[\s*(?=\[)").match(text, end)
    if not opened:
        return None
    _, after = json.JSONDecoder().raw_decode(text, opened.end())
    following = re.compile(r"\s*,\s*(?=\[)").match(text, after)
    first, between = text[opened.end() : after], following.group() if following else ""
    whole = between.join([first] * len(joints))
    if not re.fullmatch(r"[\s\[\],0.]*", first) or not text.startswith(whole, opened.end()):
        return None
    closed = re.compile(r"\s*\]\s*\]\s*").fullmatch(text, opened.end() + len(whole))
    return [joints, [[]] * len(joints)] if closed else None


def _text(path: Path) -> str:
    try:
        if path.suffix != ".zip":
            return path.read_text()
        with zipfile.ZipFile(path) as archive:
            if INSIDE not in archive.namelist():
                inside = ", ".join(archive.namelist()[:5]) or "nothing"
                raise ValueError(f"{path} holds {inside}; servers look for {INSIDE} at its top: zip -j {path} {INSIDE}")
            return archive.read(INSIDE).decode()
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        kind = "zip file" if path.suffix == ".zip" else "text"
        raise ValueError(f"{path} is damaged or no {kind} ({error}); write it again") from error


def _pair(content: Any, where: str) -> Predictions:
    if not isinstance(content, list) or len(content) != 2:
        found = f"a list of {len(content):,}" if isinstance(content, list) else f"a {type(content).__name__}"
        raise ValueError(f"{where} holds {found}; two lists are needed, [xyz, verts], joints first")
    joints, vertices = content
    for name, rows in (("xyz", joints), ("verts", vertices)):
        if not isinstance(rows, list) or not rows:
            raise ValueError(
                f"{where}: {name} is not a list of one or more; [xyz, verts] are needed, a row a pose each"
            )
    if len(joints) != len(vertices):
        raise ValueError(f"{where}: xyz has {len(joints):,} poses and verts {len(vertices):,}; both need every image")
    if isinstance(joints[0], list) and isinstance(vertices[0], list):
        counts = len(joints[0]), len(vertices[0])
        if counts[0] != hand.NUM_JOINTS and counts[1] == hand.NUM_JOINTS:
            raise ValueError(
                f"{where}: the first list has {counts[0]} points a pose and the second {counts[1]}; the joints come "
                "first: exchange xyz and verts"
            )
    there = any(vertices)
    return Predictions(poses(joints, f"{where}: xyz"), points(vertices, f"{where}: verts") if there else None)


def _lines(text: str, path: Path) -> Predictions:
    names, rows = [], []
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        name, *fields = line.split() or [""]
        try:
            rows.append([float(field) for field in fields])
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
        if len(fields) != 3 * hand.NUM_JOINTS:
            raise ValueError(
                f"{path}: line {number} has {len(fields)} numbers after the image's name; {3 * hand.NUM_JOINTS} are "
                "needed, x, y and z of 21 joints"
            )
        names.append(name)
    if not rows:
        raise ValueError(f"{path} is empty; a line an image is needed")
    return Predictions(np.array(rows).reshape(-1, hand.NUM_JOINTS, 3), names=tuple(names))


def arrays(path: Path) -> dict[str, Any]:
    """What an .npz file holds. Raises ValueError if it is none, or holds other than numbers and texts."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or no file of arrays ({error}); write it again") from error


def _fields(fields: dict[str, Any], where: str) -> Predictions:
    if "joints" not in fields:
        raise ValueError(f"{where} has {', '.join(fields) or 'no fields'}; joints [N, {hand.NUM_JOINTS}, 3] are needed")
    joints = poses(fields["joints"], f"{where}: joints")
    names, left, vertices = (fields.get(name) for name in ("names", "left", "vertices"))
    for name, values in (("names", names), ("left", left), ("vertices", vertices)):
        require_rows(name, values, len(joints), where)
    if left is not None and np.asarray(left).dtype != bool:
        raise ValueError(f"{where}: left is of {np.asarray(left).dtype}; true or false is needed for each hand")
    return Predictions(
        joints,
        None if vertices is None else points(vertices, f"{where}: vertices"),
        None if names is None else tuple(map(str, names)),
        None if left is None else np.asarray(left, bool),
    )


def require_rows(name: str, values: Any, count: int, where: str) -> None:
    """Raise ValueError unless a field is not there or has a row for each pose."""
    listed = isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim > 0)
    if values is not None and not (listed and len(values) == count):
        raise ValueError(f"{where}: {len(values) if listed else 1:,} {name} for {count:,} poses")


def poses(rows: Any, where: str) -> np.ndarray:
    """`points` of 21 joints."""
    joints = points(rows, where)
    if joints.shape[1] != hand.NUM_JOINTS:
        raise ValueError(f"{where} has {joints.shape[1]} points a pose; a hand has {hand.NUM_JOINTS}")
    return joints


def points(rows: Any, where: str) -> np.ndarray:
    """Points `[N, points, 3]`, NaN where a file has null."""
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
