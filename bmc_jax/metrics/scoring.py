"""Scores of a prediction file by a dataset's protocol."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from tabulate import tabulate

import bmc_jax
from bmc_jax import metrics
from bmc_jax.core.choices import SIDES
from bmc_jax.core.plural import counted, plural
from bmc_jax.metrics import MILLIMETRES, prediction_checks, prediction_files
from bmc_jax.metrics import ground_truth as ground_truth_files
from bmc_jax.metrics.ground_truth import GroundTruth
from bmc_jax.metrics.prediction_files import Predictions

#: Seed of the bootstrap intervals.
SEED = 0
#: Labels of the metrics of `metrics.pinhole` in the table.
_PINHOLE = {
    "joints_2d_absolute_mean_px": "2D",
    "depth_absolute_mean_mm": "depth in the camera frame",
    "depth_root_mean_mm": "depth with wrists aligned",
}


def score(
    predictions: str | os.PathLike,
    ground_truth: str | os.PathLike,
    protocol: str,
    *,
    alignments: Sequence[str] = (),
    subsets: str | os.PathLike | None = None,
    checked: bool = True,
) -> dict[str, Any]:
    """Scores a file of predictions.

    Args:
      predictions: the file, see `prediction_files.read`.
      ground_truth: the file or folder, see `ground_truth.read`.
      protocol: key of `metrics.PROTOCOLS`.
      alignments: keys of `metrics.ALIGNMENTS` instead of the protocol's.
      subsets: file of the subsets of HANDS'19.
      checked: whether to check joint order, unit, frame and side of the predictions.

    Returns:
      `figures`: the fields of `metrics.Metric` by name of the metric; `joints_mean_mm` and `fingers_mean_mm`: mean
      errors by alignment; `notes` and the description of the input.

    Raises:
      FileNotFoundError: if a file does not exist.
      ValueError: as `prediction_files.read`, `ground_truth.read` and `metrics.protocol_metrics`, and if predictions and
        ground truth are of different images.
    """
    if protocol not in metrics.PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(metrics.PROTOCOLS)}, got {protocol!r}; choose one")
    target = ground_truth_files.read(protocol, ground_truth)
    predicted = prediction_files.read(protocol, predictions, checked=checked)
    rows = _match(predicted, target, str(predictions))
    joints, total = predicted.joints[rows], len(target.joints)
    notes = prediction_checks.compare(joints, target.joints)
    vertices = None
    if predicted.vertices is not None and target.vertices is not None:
        vertices = predicted.vertices[rows], target.vertices
    elif target.vertices is not None and metrics.PROTOCOLS[protocol].mesh:
        notes.append("the predictions have no vertices, so there are no mesh metrics")
    elif predicted.vertices is not None:
        notes.append("the ground truth has no vertices, so the predicted vertices are not evaluated")
    found = metrics.protocol_metrics(
        protocol,
        joints,
        target.joints,
        vertices=vertices,
        subsets=None if subsets is None else ground_truth_files.read_subsets(subsets, target.names),
        alignments=alignments,
        seed=SEED,
    )
    aligned = metrics.aligned_errors(protocol, joints, target.joints, alignments=alignments)
    count = len(next(iter(aligned.values())).distances)
    if count < total:
        few = f"{total - count:,} of {counted(total, 'frame')} {plural(total - count, 'has')} too few labelled tips"
        notes.append(f"{few} and {plural(total - count, 'is')} left out")
    surplus = len(predicted.joints) - total
    if surplus > 0:
        notes.append(
            f"{counted(surplus, 'prediction')} {plural(surplus, 'has')} no image in the ground truth and "
            f"{plural(surplus, 'is')} ignored"
        )
    if target.intrinsics is not None and np.isfinite(target.joints).all():
        behind = int((joints[..., 2] <= 0).any(axis=-1).sum())
        if behind:
            notes.append(
                f"{counted(behind, 'predicted hand')} {plural(behind, 'is')} not in front of the camera, so there are "
                "no errors in pixels"
            )
        else:
            found |= _pinhole_metrics(joints, target.joints, target.intrinsics)
    return {
        "protocol": protocol,
        "title": metrics.PROTOCOLS[protocol].title,
        "predictions": str(predictions),
        "truth": target.where,
        "count": count,
        "bmc_jax": bmc_jax.__version__,
        "figures": {name: asdict(metric) for name, metric in found.items()},
        "joints_mean_mm": {
            name: metrics.by_joint(errors.distances * MILLIMETRES, errors.valid) for name, errors in aligned.items()
        },
        "fingers_mean_mm": {
            name: metrics.by_finger(errors.distances * MILLIMETRES, errors.valid) for name, errors in aligned.items()
        },
        "notes": notes,
    }


def table(content: dict[str, Any]) -> str:
    """Formats the result of `score` as text: metrics by alignment, mean errors of fingers and joints, notes."""
    files = f"{content['predictions']} against {content['truth']}"
    lines = [f"{content['title']} · {counted(content['count'], 'pose')} · {files}"]
    by_points: dict[str, dict[str, dict[str, Any]]] = {}
    for name, metric in content["figures"].items():
        if name not in _PINHOLE:
            points = name[: name.index(f"_{metric['alignment']}_")].replace("_", " ")
            by_points.setdefault(points, {}).setdefault(metric["alignment"], {})[metric["statistic"]] = metric
    for points, alignments in by_points.items():
        lines += ["", _metrics_table(points, alignments)]
    pinhole = [
        f"{label} {content['figures'][name]['value']:.2f} {content['figures'][name]['unit']}"
        for name, label in _PINHOLE.items()
        if name in content["figures"]
    ]
    if pinhole:
        lines += ["", f"errors along the camera's axes: {', '.join(pinhole)}"]
    for title, key in (("finger", "fingers_mean_mm"), ("joint", "joints_mean_mm")):
        errors = content[key]
        names = next(iter(errors.values()))
        rows = [[f"  {name}", *(f"{means[name]:.2f}" for means in errors.values())] for name in names]
        lines += ["", _plain([f"mean of each {title}, mm", *errors], rows)]
    if content["notes"]:
        lines += ["", *(f"note: {note}" for note in content["notes"])]
    return "\n".join(lines)


def _match(predicted: Predictions, target: GroundTruth, where: str) -> np.ndarray:
    """Returns the index of the prediction of each pose of the ground truth."""
    if target.names is not None and predicted.names is not None:
        rows = prediction_files.in_order(predicted.names, target.names, where)
    elif len(predicted.joints) != len(target.joints):
        message = prediction_checks.count_message(len(predicted.joints), len(target.joints), "poses")
        raise ValueError(f"{where}: {message}; the ground truth is {target.where}")
    else:
        rows = np.arange(len(target.joints))
    if predicted.left is not None and target.left is not None:
        target_left, predicted_left = np.asarray(target.left, bool), np.asarray(predicted.left, bool)[rows]
        wrong = np.flatnonzero(predicted_left != target_left)
        if len(wrong):
            pose = int(wrong[0])
            sides = SIDES[int(predicted_left[pose])], SIDES[int(target_left[pose])]
            name = target.names[pose] if target.names else f"pose {pose}"
            raise ValueError(
                f"{where}: {name}: expected a {sides[1]} hand, as in {target.where}, got a {sides[0]} hand, and "
                f"{counted(len(wrong), 'hand')} of the wrong side in all; correct `left`"
            )
    return rows


def _pinhole_metrics(joints: np.ndarray, target: np.ndarray, intrinsics: np.ndarray) -> dict[str, metrics.Metric]:
    found = {}
    for name, value in metrics.pinhole(joints, target, intrinsics).items():
        stem, unit = name.rsplit("_", 1)
        alignment = stem.removesuffix("_mean").rsplit("_", 1)[1]
        found[name] = metrics.Metric(value, alignment, "mean", unit, len(joints))
    return found


def _metrics_table(points: str, alignments: dict[str, dict[str, Any]]) -> str:
    """Returns a table with a row for each alignment, and an interval beside each value except medians."""
    head, rows = [f"{points}, aligned by"], []
    for statistic, metric in next(iter(alignments.values())).items():
        head += [_title(statistic, metric["unit"]), *(["95 %"] * (statistic != "median"))]
    for alignment, statistics in alignments.items():
        row = [f"  {alignment} ({metrics.ALIGNMENTS[alignment][1]})"]
        for statistic, metric in statistics.items():
            digits = 2 if metric["unit"] == "mm" else 3
            row.append(f"{metric['value']:.{digits}f}")
            if statistic != "median":
                interval = metric["interval"]
                row.append(f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}" if interval else "")
        rows.append(row)
    return _plain(head, rows)


def _plain(head: list[str], rows: list[list[str]]) -> str:
    align = ("left", *["right"] * (len(head) - 1))
    return tabulate(rows, head, tablefmt="plain", disable_numparse=True, colalign=align, preserve_whitespace=True)


def _title(statistic: str, unit: str) -> str:
    if statistic == "auc_hand3d":
        return "AUC of hand3d"
    if statistic.startswith("auc_"):
        _, low, high = statistic.split("_")
        return f"AUC {low}-{high.removesuffix('mm')} mm"
    if statistic.startswith("f_"):
        return f"F@{statistic[2:].removesuffix('mm')} mm"
    return f"{statistic}, {unit}"
