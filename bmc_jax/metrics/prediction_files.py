"""Files of predicted hands in the formats of challenges and datasets, written and read.

    kind            file                                joints
    freihand        pred.json, pred.zip: [xyz, verts]   FreiHAND order, metres, camera frame
    ho3d            pred.json, pred.zip: [xyz, verts]   MANO's order, metres, OpenGL's frame, rows as in evaluation.txt
    hands19         .txt: image name and 63 numbers     BigHand's order, millimetres, OpenGL's frame
    dexter_object   .npz or .json with fields           FreiHAND order, metres, camera frame
    rhd             .npz or .json with fields           FreiHAND order, metres, camera frame

Fields are `joints [N, 21, 3]` and, optionally, `names [N]`, `left [N]` (mask of left hands, which are not mirrored) and
`vertices [N, V, 3]`. Files of fields are read for every kind. In memory, joints are in FreiHAND order, metres and the
camera frame: x right, y down, z forward.
"""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data import pose_files
from bmc_jax.data.readers import array_files
from bmc_jax.data.readers.ho3d_v1 import BIGHAND
from bmc_jax.metrics import prediction_checks
from bmc_jax.metrics.alignment import checked
from bmc_jax.metrics.prediction_checks import UNITS, Expected
from bmc_jax.runtime import files

FIELDS = Expected("freihand", "metres", 1)
KINDS = {
    "freihand": FIELDS,
    "ho3d": Expected("ho3d", "metres", -1),
    "hands19": Expected("bighand", "millimetres", -1),
    "dexter_object": FIELDS,
    "rhd": FIELDS,
}
#: Numbers of poses that the server of a challenge accepts.
SERVER_COUNTS = {"freihand": (3_960,), "ho3d": (11_524, 20_137)}
#: Index in an order of each joint of FreiHAND order.
FROM = {"freihand": hand.TO_FREIHAND["freihand"], "ho3d": hand.TO_FREIHAND["ho3d"], "bighand": BIGHAND}
#: End of the messages of checks: the remedy if the predictions are correct.
OTHERWISE = "; if they are correct, add --unchecked (checked=False in Python)"
#: Maximum bytes of memory for each character of JSON.
PARSED = 20
#: Name of the file in a zip file that servers read.
INSIDE = "pred.json"


@dataclass(frozen=True)
class Predictions:
    """Content of a file in FreiHAND order, metres and the camera frame. Left hands are not mirrored."""

    joints: np.ndarray
    """`[N, 21, 3]`"""
    vertices: np.ndarray | None = None
    """`[N, V, 3]`; None if the file has none, or zeros."""
    names: tuple[str, ...] | None = None
    """Names of the images; None if the file has none."""
    left: np.ndarray | None = None
    """Mask of left hands, `[N]`; None if the file has none."""


def in_order(names: Sequence[str] | None, listed: Sequence[str], where: str) -> np.ndarray:
    """Returns the rows of `names` in the order of a list. Raises ValueError for missing and repeated names."""
    if names is None:
        raise ValueError(f"{where}: expected the names of the images, which define their order, got none; give `names`")
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) != len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise ValueError(f"{where}: expected each image once, got {twice!r} twice; remove one of them")
    missing = [name for name in listed if name not in rows]
    if missing:
        named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{where}: expected all {len(listed):,} images of the list, got none of the following {len(missing):,}: "
            f"{named}; predict them too"
        )
    return np.array([rows[name] for name in listed])


def read(kind: str, path: str | os.PathLike, *, checked: bool = True) -> Predictions:
    """Reads a file of predictions.

    Args:
      kind: key of `KINDS`.
      path: the file.
      checked: whether to check joint order, unit, frame and side.

    Returns:
      Predictions in FreiHAND order, metres and the camera frame.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: for a file of another form and, if `checked`, for joints that are not finite or in another order, unit
        or frame than the kind's, and for mirrored hands. The message names file, pose and remedy.
    """
    path = Path(path)
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}; choose one")
    expected, (found, form) = KINDS[kind], content(path)
    if form == "fields":
        expected = FIELDS
    elif (form == "lines") != (kind == "hands19") or kind in ("dexter_object", "rhd"):
        got = {"lines": "lines of text", "pair": "a list of joints and vertices"}[form]
        raise ValueError(f"{path}: expected the form of {kind} predictions, got {got}; see docs/evaluation.md")
    if checked:
        prediction_checks.check(found.joints, expected, str(path), found.left, otherwise=OTHERWISE)
    scale = UNITS[expected.unit] * np.array([1, expected.forward, expected.forward])
    vertices = found.vertices
    if vertices is not None:
        vertices = vertices * scale if vertices.any() else None
    return Predictions(found.joints[:, FROM[expected.order]] * scale, vertices, found.names, found.left)


def content(path: Path) -> tuple[Predictions, str]:
    """Reads a file in its order, frame and unit. Returns its content and its form: "pair", "lines" or "fields"."""
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of predictions, got {path}, which does not exist; correct the path")
    if path.suffix.lower() == ".npz":
        return _fields(pose_files.arrays(path), str(path)), "fields"
    text = _text(path)
    if path.suffix.lower() == ".txt":
        return _lines(text, path), "lines"
    try:
        parsed: Any = _without_mesh(text, path)
    except (ValueError, RecursionError):
        parsed = None
    if not parsed:
        array_files.require_bounded(PARSED * len(text), path)
        parsed = pose_files.parse_json(text, str(path))
    if isinstance(parsed, dict):
        return _fields(parsed, str(path)), "fields"
    return _pair(parsed, str(path)), "pair"


def _without_mesh(text: str, path: Path) -> list | None:
    """Returns [xyz, empty rows] for a file whose meshes are zeros, which are most of its bytes; None for other files.

    Parsing the 48 million zeros of HO-3D v3 would take a minute and four gigabytes.
    """
    start = re.match(r"\s*\[\s*(?=\[)", text)
    xyz_end = start and re.compile(r"(\]\s*\]\s*\])\s*,\s*\[\s*(?=\[)").search(text, start.end())
    mesh_end = xyz_end and re.compile(r"\]\s*\]").search(text, xyz_end.end())
    if not (start and xyz_end and mesh_end):
        return None
    xyz, first = text[start.end() : xyz_end.end(1)], text[xyz_end.end() : mesh_end.end()]
    array_files.require_bounded(PARSED * (len(xyz) + len(first)), path)
    joints, _ = json.loads(xyz), json.loads(first)
    following = re.compile(r"\s*,\s*(?=\[)").match(text, mesh_end.end())
    if not re.fullmatch(r"[\s\[\],0.]*", first) or len(joints) * len(first) > len(text):
        return None
    whole = (following.group() if following else "").join([first] * len(joints))
    if not text.startswith(whole, xyz_end.end()):
        return None
    closed = re.compile(r"\s*\]\s*\]\s*").fullmatch(text, xyz_end.end() + len(whole))
    return [joints, [[]] * len(joints)] if closed else None


def _text(path: Path) -> str:
    if path.suffix.lower() != ".zip":
        return pose_files.text(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if INSIDE not in archive.namelist():
                inside = ", ".join(archive.namelist()[:5]) or "nothing"
                raise ValueError(
                    f"{path}: expected {INSIDE} at the top level, which servers read, got {inside}; write it by "
                    f"zip -j {path} {INSIDE}"
                )
            array_files.require_bounded(archive.getinfo(INSIDE).file_size, path)
            return array_files.member(archive, INSIDE).decode("utf-8-sig")
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path}: expected a zip file, got a damaged or other file ({error}); write it again"
        ) from error


def _pair(content: Any, where: str) -> Predictions:
    if not isinstance(content, list) or len(content) != 2:
        found = f"a list of {len(content):,}" if isinstance(content, list) else f"a {type(content).__name__}"
        raise ValueError(f"{where}: expected a list of two, [xyz, verts], got {found}; write joints, then vertices")
    joints, vertices = content
    for name, rows in (("xyz", joints), ("verts", vertices)):
        if not isinstance(rows, list) or not rows:
            found = "an empty list" if isinstance(rows, list) else f"a {type(rows).__name__}"
            raise ValueError(f"{where}: {name}: expected a list with one row per pose, got {found}; write [xyz, verts]")
    if len(joints) != len(vertices):
        raise ValueError(
            f"{where}: verts: expected {len(joints):,} rows, one per pose of xyz, got {len(vertices):,}; write both "
            "for every image"
        )
    if isinstance(joints[0], list) and isinstance(vertices[0], list):
        counts = len(joints[0]), len(vertices[0])
        if counts[0] != hand.NUM_JOINTS and counts[1] == hand.NUM_JOINTS:
            raise ValueError(
                f"{where}: expected joints in the first list, got {counts[0]} points per pose there and {counts[1]} in "
                "the second; exchange xyz and verts"
            )
    return Predictions(
        pose_files.hand_poses(joints, f"{where}: xyz"),
        pose_files.points(vertices, f"{where}: verts") if any(vertices) else None,
    )


def _lines(text: str, path: Path) -> Predictions:
    names, rows = [], []
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        name, *fields = line.split() or [""]
        try:
            rows.append([float(field) for field in fields])
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: expected numbers after the image's name ({error})") from error
        if len(fields) != 3 * hand.NUM_JOINTS:
            raise ValueError(
                f"{path}: line {number}: expected {3 * hand.NUM_JOINTS} numbers after the image's name, x, y and z of "
                f"21 joints, got {len(fields)}; write all of them"
            )
        names.append(name)
    if not rows:
        raise ValueError(f"{path}: expected one line per image, got an empty file; write the predictions again")
    return Predictions(np.array(rows).reshape(-1, hand.NUM_JOINTS, 3), names=tuple(names))


def _fields(fields: dict[str, Any], where: str) -> Predictions:
    if "joints" not in fields:
        raise ValueError(
            f"{where}: expected the field joints [N, {hand.NUM_JOINTS}, 3], got {', '.join(fields) or 'no fields'}; "
            "add it"
        )
    joints = pose_files.hand_poses(fields["joints"], f"{where}: joints")
    names, left, vertices = (fields.get(name) for name in ("names", "left", "vertices"))
    for name, values in (("names", names), ("vertices", vertices)):
        pose_files.require_rows(name, values, len(joints), where)
    return Predictions(
        joints,
        None if vertices is None else pose_files.points(vertices, f"{where}: vertices"),
        None if names is None else tuple(map(str, names)),
        pose_files.left_hands(left, len(joints), where),
    )


#: Number of MANO's vertices. Zeros in their place stand for no mesh; servers accept them.
MANO_VERTICES = 778


def write(
    kind: str,
    path: str | os.PathLike,
    joints: np.ndarray,
    *,
    vertices: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    listed: Sequence[str] | None = None,
    left: np.ndarray | None = None,
    partial: bool = False,
) -> tuple[Path, ...]:
    """Writes a file of predictions.

    Before the file gets its name, it is read again and compared by independent tables, so a partial or wrong file never
    has that name.

    Args:
      kind: key of `KINDS`.
      path: the file; its suffix must be one of the kind's.
      joints: right hands `[N, 21, 3]`, metres, camera frame, FreiHAND order.
      vertices: `[N, V, 3]`, as `joints`.
      names: names of the images, `[N]`.
      listed: the same names in the order of the dataset's list, in which rows are written.
      left: mask `[N]` of left hands, whose joints are mirrored; they are mirrored back.
      partial: whether to accept other numbers of poses than the challenge's server does.

    Returns:
      The written files: for pred.json, that file and its zip file.

    Raises:
      ValueError: for poses of another shape or not finite, other numbers of poses than the server accepts (unless
        `partial`), missing or repeated images, and a suffix that the kind does not have.
    """
    path, joints = Path(path), np.asarray(joints, np.float64)
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}; choose one")
    if joints.ndim != 3 or joints.shape[1:] != (hand.NUM_JOINTS, 3) or not len(joints):
        raise ValueError(
            f"joints: expected the shape [N, {hand.NUM_JOINTS}, 3] with one pose or more, got {list(joints.shape)}"
        )
    if listed is not None:
        rows = in_order(names, listed, "predictions")
        joints, names = joints[rows], tuple(listed)
        vertices, left = (None if values is None else np.asarray(values)[rows] for values in (vertices, left))
    checked(joints, joints)
    if vertices is not None:
        checked(np.asarray(vertices), np.asarray(vertices))
    if not partial and len(joints) not in SERVER_COUNTS.get(kind, (len(joints),)):
        needed = min(SERVER_COUNTS[kind], key=lambda count: abs(count - len(joints)))
        message = prediction_checks.count_message(len(joints), needed, "poses")
        raise ValueError(f"predictions: {message} (the server accepts no other number)")
    for name, values in (("names", names), ("vertices", vertices), ("left", left)):
        if values is not None and len(values) != len(joints):
            raise ValueError(f"{name}: expected {len(joints):,}, one per pose, got {len(values):,}; give one per pose")
    sides = np.ones((len(joints), 1, 3))
    if left is not None:
        sides[np.asarray(left, bool), :, 0] = -1
    predicted = Predictions(
        joints * sides,
        None if vertices is None else np.asarray(vertices, np.float64) * sides,
        None if names is None else tuple(names),
        None if left is None else np.asarray(left, bool),
    )
    writer, suffixes = _WRITERS[kind]
    if path.suffix not in suffixes:
        raise ValueError(
            f"{path}: expected the suffix {' or '.join(suffixes)} of {kind} files, got {path.suffix!r}; rename it"
        )
    with files.replacing(path) as unfinished:
        writer(unfinished, _converted(predicted, KINDS[kind]))
        _compare(kind, unfinished, predicted)
    return (path, _zip(path)) if writer is _write_pair else (path,)


def _converted(predicted: Predictions, expected: Expected) -> Predictions:
    """Returns predictions in the order, frame and unit of a file."""
    scale = np.array([1, expected.forward, expected.forward]) / UNITS[expected.unit]
    joints = np.empty_like(predicted.joints)
    joints[:, FROM[expected.order]] = predicted.joints * scale
    vertices = None if predicted.vertices is None else predicted.vertices * scale
    return Predictions(joints, vertices, predicted.names, predicted.left)


def _write_pair(path: Path, found: Predictions) -> None:
    if found.vertices is None:
        # Repeating a text is faster than formatting nine million zeros.
        meshes = ", ".join([json.dumps([[0.0] * 3] * MANO_VERTICES)] * len(found.joints))
    else:
        meshes = json.dumps(found.vertices.tolist(), allow_nan=False)[1:-1]
    path.write_text(f"[{json.dumps(found.joints.tolist(), allow_nan=False)}, [{meshes}]]", encoding="utf-8")


def _write_lines(path: Path, found: Predictions) -> None:
    if found.names is None:
        raise ValueError(
            "names: expected one per image, since each line of HANDS'19 begins with it, got none; give them"
        )
    rows = zip(found.names, found.joints.reshape(len(found.joints), -1).tolist(), strict=True)
    path.write_text("".join("\t".join([name, *map(repr, numbers)]) + "\n" for name, numbers in rows), encoding="utf-8")


def _write_fields(path: Path, found: Predictions) -> None:
    fields: dict[str, Any] = {name: np.asarray(value) for name, value in vars(found).items() if value is not None}
    if path.suffix == ".npz":
        np.savez_compressed(path, **fields)
    else:
        text = json.dumps({name: value.tolist() for name, value in fields.items()}, allow_nan=False)
        path.write_text(text, encoding="utf-8")


_WRITERS: dict[str, tuple[Callable[[Path, Predictions], None], tuple[str, ...]]] = {
    "freihand": (_write_pair, (".json",)),
    "ho3d": (_write_pair, (".json",)),
    "hands19": (_write_lines, (".txt",)),
    "dexter_object": (_write_fields, (".npz", ".json")),
    "rhd": (_write_fields, (".npz", ".json")),
}


def _zip(path: Path) -> Path:
    """Writes a zip file of the file beside it, as `zip -j` does, and returns its path."""
    target = path.with_suffix(".zip")
    with files.replacing(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, INSIDE)
    return target


def _compare(kind: str, path: Path, predicted: Predictions) -> None:
    """Raises AssertionError unless the file holds these hands, by the joint orders of `prediction_checks`."""
    expected, (found, _) = KINDS[kind], content(path)
    scale = UNITS[expected.unit] * np.array([1, expected.forward, expected.forward])
    joints = prediction_checks.ordered(found.joints, expected.order) * scale
    np.testing.assert_allclose(joints, predicted.joints, rtol=1e-12, atol=1e-9)
    if predicted.vertices is not None and found.vertices is not None:
        np.testing.assert_allclose(found.vertices * scale, predicted.vertices, rtol=1e-12, atol=1e-9)
