"""Prediction files written, and read again before they get their names."""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.metrics.alignment import checked
from bmc_jax.metrics.prediction_files import check
from bmc_jax.metrics.prediction_files.check import UNITS, Expected
from bmc_jax.metrics.prediction_files.kinds import FROM, INSIDE, KINDS, OFFICIAL, Predictions, in_order
from bmc_jax.metrics.prediction_files.reading import content
from bmc_jax.runtime import files

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
    if not partial and len(joints) not in OFFICIAL.get(kind, (len(joints),)):
        needed = min(OFFICIAL[kind], key=lambda count: abs(count - len(joints)))
        raise ValueError(
            f"the predictions: {check.count_message(len(joints), needed, 'poses')}; a server takes no other number"
        )
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
    path.write_text(f"[{json.dumps(found.joints.tolist(), allow_nan=False)}, [{meshes}]]")


def _write_lines(path: Path, found: Predictions) -> None:
    if found.names is None:
        raise ValueError("the names of the images are needed: each line of HANDS'19 begins with one")
    rows = zip(found.names, found.joints.reshape(len(found.joints), -1).tolist(), strict=True)
    path.write_text("".join("\t".join([name, *map(repr, numbers)]) + "\n" for name, numbers in rows))


def _write_fields(path: Path, found: Predictions) -> None:
    fields: dict[str, Any] = {name: np.asarray(value) for name, value in vars(found).items() if value is not None}
    if path.suffix == ".npz":
        np.savez_compressed(path, **fields)
    else:
        path.write_text(json.dumps({name: value.tolist() for name, value in fields.items()}, allow_nan=False))


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
    joints = check.ordered(found.joints, expected.order) * terms
    np.testing.assert_allclose(joints, predicted.joints, rtol=1e-12, atol=1e-9)
    if predicted.vertices is not None and found.vertices is not None:
        np.testing.assert_allclose(found.vertices * terms, predicted.vertices, rtol=1e-12, atol=1e-9)
