"""Ground truth of the evaluation protocols, read from the files of the datasets.

    freihand        evaluation_xyz.json (with _verts and _K in the same folder), or its folder
    ho3d            the same; evaluation.txt in the same folder names the frames
    hands19         a .txt of joints in the format of training_joint_annotation.txt
    dexter_object   the folder of the dataset
    rhd             the folder of the dataset: its evaluation split, the more visible hand of each image

An .npz is read for every protocol. It has `joints [N, 21, 3]`, NaN where not labelled, and optionally `names`, `left`,
`vertices` and `intrinsics [N, 3, 3]`, as in a file of predictions.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core import hand
from bmc_jax.data import pose_files
from bmc_jax.data.readers import dexter_object, rhd
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.metrics import prediction_checks, prediction_files
from bmc_jax.metrics.prediction_checks import UNITS
from bmc_jax.metrics.prediction_files import FROM, KINDS

#: End of the name of a file of joints; files of vertices and intrinsics are in the same folder.
XYZ = "_xyz.json"
#: Subfolders of HO-3D and FreiHAND that may contain that file.
PLACES = (".", "FreiHAND_pub_v2_eval", "FreiHAND_pub_v2")


@dataclass(frozen=True)
class GroundTruth:
    """Labels in FreiHAND order, metres, camera frame. Left hands are not mirrored."""

    where: str
    """The file or folder, for messages."""
    joints: np.ndarray
    """`[N, 21, 3]`, NaN where not labelled."""
    vertices: np.ndarray | None = None
    """`[N, V, 3]`"""
    names: tuple[str, ...] | None = None
    """Names of the images."""
    left: np.ndarray | None = None
    """Mask of left hands, `[N]`."""
    intrinsics: np.ndarray | None = None
    """`[N, 3, 3]` pixels"""


def read(protocol: str, path: str | os.PathLike) -> GroundTruth:
    """Reads the ground truth of a protocol, a key of `metrics.PROTOCOLS`.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: for damaged files, and for a joint order, unit or frame other than the dataset's.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"expected the ground truth at {path}, got no file or folder; correct the path")
    if path.suffix == ".npz":
        return _arrays(path)
    if protocol == "dexter_object":
        return _annotations(dexter_object, dexter_object.splits(path, partial=True)["test"], str(path))
    if protocol == "rhd":
        splits = rhd.splits(path, partial=True)
        split = "test" if "test" in splits else next(iter(splits))
        return _annotations(rhd, splits[split], f"{path}: {rhd.SPLITS[split]}")
    if protocol == "hands19":
        return _lines(path)
    return _lists(protocol, path)


def read_subsets(path: str | os.PathLike, names: Sequence[str] | None) -> np.ndarray:
    """Reads lines of image name and subset. Returns the subset of each of `names`, "" for unlisted images."""
    if names is None:
        raise ValueError(f"{path}: expected a ground truth with names of images, got none; give one that names them")
    subsets = {}
    for number, line in enumerate(pose_files.text(path).split("\n"), start=1):
        fields = line.split()
        if len(fields) not in (0, 2):
            raise ValueError(
                f"{path}: line {number}: expected an image's name and a subset, got {len(fields)} fields; correct it"
            )
        if fields:
            subsets[fields[0]] = fields[1].upper()
    return np.array([subsets.get(name, "") for name in names])


def _lists(protocol: str, path: Path) -> GroundTruth:
    """Reads FreiHAND and HO-3D."""
    file = path
    if path.is_dir():
        places = [path / place / f"evaluation{XYZ}" for place in PLACES]
        file = next((place for place in places if place.is_file()), places[0])
    if not file.is_file():
        raise FileNotFoundError(
            f"expected the ground truth {file}, got no file; fetch it from the dataset's page, or name another file of "
            f"joints, such as training{XYZ}"
        )
    expected = KINDS[protocol]
    joints = pose_files.hand_poses(_json(file), str(file))
    prediction_checks.check(joints, expected, str(file))
    flip = np.array([1, expected.forward, expected.forward])
    beside = {
        name: file.with_name(file.name.replace(XYZ, f"_{name}.json")) for name in ("verts", "K") if XYZ in file.name
    }
    found = {name: pose_files.points(_json(file), str(file)) for name, file in beside.items() if file.is_file()}
    names, listed = None, file.with_name("evaluation.txt")
    if protocol == "ho3d" and listed.is_file():
        names = tuple(pose_files.text(listed).split())
    for name, values in (("verts", found.get("verts")), ("K", found.get("K")), (listed.name, names)):
        if values is not None and len(values) != len(joints):
            raise ValueError(
                f"{file}: expected {len(joints):,} rows in {name} of the same folder, one per pose, got "
                f"{len(values):,}; fetch both again"
            )
    vertices = found.get("verts")
    return GroundTruth(
        where=str(file),
        joints=joints[:, FROM[expected.order]] * flip,
        vertices=None if vertices is None else vertices * flip,
        names=names,
        intrinsics=found.get("K"),
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON, got a damaged file ({error}); fetch it again") from error


def _lines(path: Path) -> GroundTruth:
    if path.suffix != ".txt":
        raise ValueError(
            f"{path}: expected a .txt of image names and joints, or an .npz, as the ground truth of hands19, got "
            f"{path.suffix!r}; name such a file"
        )
    expected, (found, _) = KINDS["hands19"], prediction_files.content(path)
    prediction_checks.check(found.joints, expected, str(path))
    scale = UNITS[expected.unit] * np.array([1, expected.forward, expected.forward])
    return GroundTruth(str(path), found.joints[:, FROM[expected.order]] * scale, names=found.names)


def _annotations(reader: Any, rows: list, where: str) -> GroundTruth:
    """Reads the annotations of a dataset's reader. Rows that the reader skips are left out."""
    annotations = []
    for row in rows:
        try:
            annotations.append(reader.annotation(row))
        except SkipRow:
            continue
    if not annotations:
        raise ValueError(f"{where}: expected annotated hands, got none; name the folder of the published dataset")
    return GroundTruth(
        where=where,
        joints=np.stack([np.asarray(annotation.joints_3d, np.float64) for annotation in annotations]),
        names=tuple(annotation.id for annotation in annotations),
        # Dexter+Object has no labels of the side; its reader assumes one.
        left=np.array([annotation.left for annotation in annotations]) if reader is rhd else None,
        intrinsics=np.stack([np.asarray(annotation.intrinsics, np.float64) for annotation in annotations]),
    )


def _arrays(path: Path) -> GroundTruth:
    arrays = pose_files.arrays(path)
    joints = np.asarray(arrays.get("joints", np.empty(0)), np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (hand.NUM_JOINTS, 3) or not len(joints):
        raise ValueError(f"{path}: joints: expected the shape [N, {hand.NUM_JOINTS}, 3], got {list(joints.shape)}")
    others = {name: arrays[name] for name in ("vertices", "names", "left", "intrinsics") if name in arrays}
    for name, values in others.items():
        pose_files.require_rows(name, values, len(joints), str(path))
    if "names" in others:
        others["names"] = tuple(map(str, others["names"]))
    return GroundTruth(str(path), joints, **others)
