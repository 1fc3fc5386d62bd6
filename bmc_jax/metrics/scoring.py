"""Anybody's prediction file against a dataset's truth, by its official protocol: figures, tables, and what to mind."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import bmc_jax
from bmc_jax import metrics
from bmc_jax.metrics import MILLIMETRES, prediction_checks, prediction_files
from bmc_jax.metrics import ground_truth as truth
from bmc_jax.metrics.ground_truth import Truth
from bmc_jax.metrics.prediction_files import Predictions

#: Of the bootstrap's draws.
SEED = 0


def score(
    predictions: str | os.PathLike,
    ground_truth: str | os.PathLike,
    protocol: str,
    *,
    alignments: Sequence[str] = (),
    subsets: str | os.PathLike | None = None,
    checked: bool = True,
) -> dict[str, Any]:
    """What a file of predictions is worth: `figures`, each with its value, unit, alignment, statistic, number of poses
    and 95 % interval; `joints` and `fingers`, mean errors in mm for each alignment; `notes`.

    `protocol` is one of `metrics.PROTOCOLS`, `alignments` replace its own, `subsets` is a file of HANDS'19's. Without
    `checked`, joints are taken as they are, whatever order and unit they seem to be in.

    Raises FileNotFoundError and ValueError as `prediction_file.read`, `truth.read` and `metrics.figures`, and where
    predictions are not of the truth's images.
    """
    if protocol not in metrics.PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is none of {', '.join(metrics.PROTOCOLS)}")
    true = truth.read(protocol, ground_truth)
    found = prediction_files.read(protocol, predictions, checked=checked)
    rows = _match(found, true, str(predictions))
    joints, notes = found.joints[rows], []
    vertices = None
    if found.vertices is not None and true.vertices is not None:
        vertices = found.vertices[rows], true.vertices
    elif true.vertices is not None and metrics.PROTOCOLS[protocol].mesh:
        notes.append("no mesh is predicted, so there are no figures of one")
    elif found.vertices is not None:
        notes.append("the truth has no vertices, so the predicted ones are not evaluated")
    figures = metrics.figures(
        protocol,
        joints,
        true.joints,
        vertices=vertices,
        subsets=None if subsets is None else truth.read_subsets(subsets, true.names),
        alignments=alignments,
        seed=SEED,
    )
    parts, words = _pinhole(joints, true)
    by_joint, by_finger = {}, {}
    aligned = metrics.aligned_errors(protocol, joints, true.joints, alignments=alignments)
    for name, (errors, known) in aligned.items():
        by_joint[name] = metrics.by_joint(errors * MILLIMETRES, known)
        by_finger[name] = metrics.by_finger(errors * MILLIMETRES, known)
    count = len(next(iter(aligned.values()))[0])
    if count < len(true.joints):
        notes.append(f"{len(true.joints) - count:,} of {len(true.joints):,} frames have too few tips and do not count")
    if len(found.joints) > len(true.joints):
        notes.append(f"{len(found.joints) - len(true.joints):,} predictions are of images that the truth does not have")
    return {
        "protocol": protocol,
        "title": metrics.PROTOCOLS[protocol].title,
        "predictions": str(predictions),
        "truth": true.where,
        "count": count,
        "bmc_jax": bmc_jax.__version__,
        "figures": {name: asdict(figure) for name, figure in figures.items()} | parts,
        "joints_mean_mm": by_joint,
        "fingers_mean_mm": by_finger,
        "notes": notes + words,
    }


def table(content: dict[str, Any]) -> str:
    """The figures, the fingers and the joints, for the terminal."""
    lines = [f"{content['title']} · {content['count']:,} poses · {content['predictions']} against {content['truth']}"]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, figure in content["figures"].items():
        what = name.removesuffix("_mm" if figure["unit"] == "mm" else "").removesuffix(figure["statistic"])
        what = what.removesuffix(f"_{figure['alignment']}_")
        if figure["unit"] != "px" and what != "depth":
            rows.setdefault((what, figure["alignment"]), {})[figure["statistic"]] = figure
    for what in dict.fromkeys(what for what, _ in rows):
        named = {alignment: figures for (of, alignment), figures in rows.items() if of == what}
        lines += ["", *_figures(what.replace("_", " "), named)]
    parts = {name: content["figures"][name] for name in _PARTS if name in content["figures"]}
    if parts:
        shown = ", ".join(f"{_PARTS[name]} {figure['value']:.2f} {figure['unit']}" for name, figure in parts.items())
        lines += ["", f"2D and depth apart, by the camera: {shown}"]
    for title, key in (("finger", "fingers_mean_mm"), ("joint", "joints_mean_mm")):
        errors = content[key]
        width = max(12, *(len(name) + 2 for name in errors))
        lines += ["", f"mean of each {title}, mm".ljust(26) + "".join(name.rjust(width) for name in errors)]
        for name in next(iter(errors.values())):
            lines.append(f"  {name:<24}" + "".join(f"{errors[alignment][name]:{width}.2f}" for alignment in errors))
    lines += ["", *(f"note: {note}" for note in content["notes"])] if content["notes"] else []
    return "\n".join(lines)


_PARTS = {
    "joints_2d_absolute_mean_px": "2D",
    "depth_absolute_mean_mm": "depth in the camera's frame",
    "depth_root_mean_mm": "depth with wrists joined",
}


def _match(found: Predictions, true: Truth, where: str) -> np.ndarray:
    """The prediction of each true pose."""
    if true.names is not None and found.names is not None:
        rows = prediction_files.in_order(found.names, true.names, where)
    elif len(found.joints) != len(true.joints):
        message = prediction_checks.count_message(len(found.joints), len(true.joints), "poses")
        raise ValueError(f"{where} has {message}. The truth is {true.where}")
    else:
        rows = np.arange(len(true.joints))
    if found.left is not None and true.left is not None:
        other = np.flatnonzero(found.left[rows] != np.asarray(true.left, bool))
        if len(other):
            pose, sides = int(other[0]), ("right", "left")
            raise ValueError(
                f"{where}: {len(other):,} hands are of the other side than the true ones; that of "
                f"{true.names[pose] if true.names else f'pose {pose}'} is a {sides[int(found.left[rows][pose])]} hand "
                f"in the predictions and a {sides[int(true.left[pose])]} hand in {true.where}"
            )
    return rows


def _pinhole(joints: np.ndarray, true: Truth) -> tuple[dict[str, Any], list[str]]:
    """Pixels and depth apart, where the camera is known and all joints are, and lie before it."""
    if true.intrinsics is None or not np.isfinite(true.joints).all():
        return {}, []
    behind = int((joints[..., 2] <= 0).any(axis=-1).sum())
    if behind:
        return {}, [f"{behind:,} predicted hands are not in front of the camera, so there are no errors in pixels"]
    found = {}
    for name, value in metrics.pinhole(joints, true.joints, true.intrinsics).items():
        what, unit = name.rsplit("_", 1)
        alignment = what.removesuffix("_mean").rsplit("_", 1)[1]
        found[name] = asdict(metrics.Figure(value, alignment, "mean", unit, len(joints)))
    return found, []


def _figures(what: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    """One line for each alignment."""
    statistics = list(dict.fromkeys(statistic for figures in rows.values() for statistic in figures))
    words = {alignment: f"  {alignment} ({metrics.ALIGNMENTS[alignment][1]})" for alignment in rows}
    width = max(len(text) for text in words.values())
    heads = [f"{what}, aligned by".ljust(width)]
    for statistic in statistics:
        unit = next(iter(rows.values()))[statistic]["unit"]
        head = _head(statistic, unit)
        heads.append(head.rjust(14) + ("" if statistic == "median" else "95 %".center(19)))
    lines = ["".join(heads).rstrip()]
    for alignment, figures in rows.items():
        cells = [words[alignment].ljust(width)]
        for statistic in statistics:
            figure = figures[statistic]
            digits = 2 if figure["unit"] == "mm" else 3
            low, high = figure["interval"] or (None, None)
            span = "" if low is None else f"{low:.{digits}f} to {high:.{digits}f}"
            cells.append(f"{figure['value']:14.{digits}f}" + ("" if statistic == "median" else span.center(19)))
        lines.append("".join(cells).rstrip())
    return lines


def _head(statistic: str, unit: str) -> str:
    if statistic.startswith("auc_"):
        _, low, high = statistic.split("_")
        return f"AUC {low}-{high.removesuffix('mm')} mm"
    if statistic.startswith("f_"):
        return f"F@{statistic[2:].removesuffix('mm')} mm"
    return f"{statistic}, {unit}"
