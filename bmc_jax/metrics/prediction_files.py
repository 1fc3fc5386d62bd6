"""The files in which challenges and other people's programs exchange predicted hands, written and read.

    kind            file                                joints
    freihand        pred.json, pred.zip: [xyz, verts]   FreiHAND order, metres, camera frame
    ho3d            pred.json, pred.zip: [xyz, verts]   MANO's order, metres, OpenGL's frame, as evaluation.txt lists
    hands19         .txt: image name and 63 numbers     BigHand's order, millimetres, OpenGL's frame
    dexter_object   .npz or .json with fields           FreiHAND order, metres, camera frame
    rhd             .npz or .json with fields           FreiHAND order, metres, camera frame

Fields are `joints [N, 21, 3]` and, where there are such, `names [N]`, `left [N]` (left hands, which stay left ones) and
`vertices [N, V, 3]`; a file of fields is read for every kind. Here, joints are always in FreiHAND order, in metres, in
the camera's frame x right, y down, z forward.
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
#: How many poses a challenge's server takes.
SERVER_COUNTS = {"freihand": (3_960,), "ho3d": (11_524, 20_137)}
#: Joint of an order for each of ours.
FROM = {"freihand": hand.TO_FREIHAND["freihand"], "ho3d": hand.TO_FREIHAND["ho3d"], "bighand": BIGHAND}
#: What to do with predictions that a check takes for wrong ones by mistake.
OTHERWISE = ". If they are right all the same, take them as they are: --unchecked (checked=False in Python)"
#: Bytes of memory for each character of JSON, at most.
PARSED = 20
#: The only name that servers look for in a zip file.
INSIDE = "pred.json"


@dataclass(frozen=True)
class Predictions:
    """What a file holds, in our order, frame and unit. Left hands are left ones, as the camera sees them."""

    joints: np.ndarray
    """`[N, 21, 3]`"""
    vertices: np.ndarray | None = None
    """`[N, V, 3]`; None where there are none, or zeros in their place."""
    names: tuple[str, ...] | None = None
    """Of the images, where the file says them."""
    left: np.ndarray | None = None
    """Which are left hands, `[N]`, where the file says it."""


def in_order(names: Sequence[str] | None, listed: Sequence[str], where: str) -> np.ndarray:
    """Rows of `names` in the order of a list. Raises ValueError for names that are missing or there twice."""
    if names is None:
        raise ValueError(f"{where}: the names of the images are needed to put them in the order of the list")
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) != len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise ValueError(f"{where}: {twice!r} is there twice")
    missing = [name for name in listed if name not in rows]
    if missing:
        raise ValueError(
            f"{where}: {len(missing):,} of {len(listed):,} images are missing, {', '.join(missing[:5])} "
            f"{'first' if len(missing) > 5 else ''}".rstrip()
        )
    return np.array([rows[name] for name in listed])


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
        prediction_checks.check(found.joints, expected, str(path), found.left, otherwise=OTHERWISE)
    scale = UNITS[expected.unit] * np.array([1, expected.forward, expected.forward])
    vertices = found.vertices
    if vertices is not None:
        vertices = vertices * scale if vertices.any() else None
    return Predictions(found.joints[:, FROM[expected.order]] * scale, vertices, found.names, found.left)


def content(path: Path) -> tuple[Predictions, str]:
    """What a file holds, in its own order, frame and unit, and its form: "pair", "lines" or "fields"."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
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
    """[xyz, empty rows] of a file whose meshes are zeros, which are most of its bytes; None for any other.

    Parsed like the rest, the 48 million zeros of HO-3D v3 would take a minute and four gigabytes.
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
                raise ValueError(f"{path} holds {inside}; servers look for {INSIDE} at its top: zip -j {path} {INSIDE}")
            array_files.require_bounded(archive.getinfo(INSIDE).file_size, path)
            return array_files.member(archive, INSIDE).decode("utf-8-sig")
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is damaged or no zip file ({error}); write it again") from error


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
    return Predictions(
        pose_files.hand_poses(joints, f"{where}: xyz"),
        pose_files.points(vertices, f"{where}: verts") if there else None,
    )


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


def _fields(fields: dict[str, Any], where: str) -> Predictions:
    if "joints" not in fields:
        raise ValueError(f"{where} has {', '.join(fields) or 'no fields'}; joints [N, {hand.NUM_JOINTS}, 3] are needed")
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


#: Vertices of MANO; zeros in their place stand for no mesh, which servers accept.
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
    """Write right hands' joints `[N, 21, 3]`, metres, camera frame, FreiHAND order, as a file of that kind; returns the
    files, for pred.json its zip besides.

    `listed` are the images in the order of the dataset's list, and `names` those of the joints, which are put in that
    order. `left [N]` says which were left hands and come mirrored: they are mirrored back. Files are read again, by
    other means than they were written by, before they get their names, so there is never half a file or a wrong one.

    Raises ValueError for poses of another shape or not finite, other numbers than the challenge's server takes (unless
    `partial`), images that are missing or twice there, and a path of another form than the kind has.
    """
    path, joints = Path(path), np.asarray(joints, np.float64)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if joints.ndim != 3 or joints.shape[1:] != (hand.NUM_JOINTS, 3) or not len(joints):
        raise ValueError(f"joints have the shape {joints.shape}; [N, {hand.NUM_JOINTS}, 3] is needed, of one or more")
    if listed is not None:
        rows = in_order(names, listed, "the predictions")
        joints, names = joints[rows], tuple(listed)
        vertices, left = (None if one is None else np.asarray(one)[rows] for one in (vertices, left))
    checked(joints, joints)
    if vertices is not None:
        checked(np.asarray(vertices), np.asarray(vertices))
    if not partial and len(joints) not in SERVER_COUNTS.get(kind, (len(joints),)):
        needed = min(SERVER_COUNTS[kind], key=lambda count: abs(count - len(joints)))
        message = prediction_checks.count_message(len(joints), needed, "poses")
        raise ValueError(f"the predictions: {message}; a server takes no other number")
    for what, values in (("names", names), ("vertices", vertices), ("left", left)):
        if values is not None and len(values) != len(joints):
            raise ValueError(f"{len(values):,} {what} are given for {len(joints):,} poses")
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
        raise ValueError(f"{path} is to end in {' or '.join(suffixes)}, as files of {kind} do")
    with files.replacing(path) as unfinished:
        writer(unfinished, _in_terms_of(KINDS[kind], predicted))
        _compare(kind, unfinished, predicted)
    return (path, _zip(path)) if writer is _write_pair else (path,)


def _in_terms_of(expected: Expected, predicted: Predictions) -> Predictions:
    """In a file's order, frame and unit."""
    scale = np.array([1, expected.forward, expected.forward]) / UNITS[expected.unit]
    joints = np.empty_like(predicted.joints)
    joints[:, FROM[expected.order]] = predicted.joints * scale
    vertices = None if predicted.vertices is None else predicted.vertices * scale
    return Predictions(joints, vertices, predicted.names, predicted.left)


def _write_pair(path: Path, found: Predictions) -> None:
    if found.vertices is None:
        # Nine million zeros are sooner written than told one by one.
        meshes = ", ".join([json.dumps([[0.0] * 3] * MANO_VERTICES)] * len(found.joints))
    else:
        meshes = json.dumps(found.vertices.tolist(), allow_nan=False)[1:-1]
    path.write_text(f"[{json.dumps(found.joints.tolist(), allow_nan=False)}, [{meshes}]]", encoding="utf-8")


def _write_lines(path: Path, found: Predictions) -> None:
    if found.names is None:
        raise ValueError("the names of the images are needed: each line of HANDS'19 begins with one")
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
    """The file in a zip file, as `zip -j` makes it."""
    target = path.with_suffix(".zip")
    with files.replacing(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, INSIDE)
    return target


def _compare(kind: str, path: Path, predicted: Predictions) -> None:
    """Raise AssertionError unless the file has these hands, by the checker's own table of orders."""
    expected, (found, _) = KINDS[kind], content(path)
    terms = UNITS[expected.unit] * np.array([1, expected.forward, expected.forward])
    joints = prediction_checks.ordered(found.joints, expected.order) * terms
    np.testing.assert_allclose(joints, predicted.joints, rtol=1e-12, atol=1e-9)
    if predicted.vertices is not None and found.vertices is not None:
        np.testing.assert_allclose(found.vertices * terms, predicted.vertices, rtol=1e-12, atol=1e-9)
