"""Evaluation of a checkpoint: `metrics.json`, predictions for reports and for the datasets' servers, pictures, a table.

The measures are in `metrics.evaluation`, the datasets' protocols in `metrics.dataset_protocols`.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tabulate import tabulate

from bmc_jax import metrics
from bmc_jax.config import Config
from bmc_jax.core import numerics
from bmc_jax.core.plural import counted
from bmc_jax.core.types import Batch, Prediction
from bmc_jax.data import augment, photographs, sources
from bmc_jax.inference import training_data
from bmc_jax.metrics import dataset_protocols, evaluation
from bmc_jax.poses import repair
from bmc_jax.runtime import files
from bmc_jax.runtime.provenance import environment
from bmc_jax.training import forward
from bmc_jax.training.forward import Trained
from bmc_jax.visualization import charts, draw

FILE = "metrics.json"
PHOTOGRAPHS_FILE = "photographs.json"
FOLDER = "predictions"

PICTURES = 24
"""Number of images saved with the predictions, for figures."""
WORST = 20
"""Number of images in the figure of the worst predictions."""


def evaluate(
    workdir: str | os.PathLike,
    entries: Sequence[str] = (),
    *,
    split: str = "test",
    count: int | None = None,
    step: int | str | None = None,
    passes: int = 1,
    turns: int = 1,
) -> dict[str, Any]:
    """Measures a checkpoint on domains and built datasets, and writes `metrics.json`.

    Each entry has the measures of the `network` with 95 % `intervals` over the images and by `joints` and `fingers`;
    those of the `mean_pose` of these labels (2D and 3D, the best constant guess), by how many percent the
    network's error is below that, and the excess of the `labels` over the limits. 3D measures count the `count_3d`
    images with complete 3D labels. Datasets with an evaluation protocol have their `official` figures, and the
    prediction file that their server takes; `metres` names the scale that converts poses to metres.

    PCK curves, errors by joint and the worst images are written to `predictions/`.

    Args:
      workdir: folder of the run.
      entries: domains and datasets, each a name or `name:split`; by default `data.test`.
      split: split of entries that do not name one.
      count: images of each entry; by default `data.test_count` of rendered domains and all of built datasets.
      step: number of a saved step, "best", or None for the newest.
      passes: number of passes, each with the crop of the previous one: 1 or 2.
      turns: number of rotated copies that are averaged.

    Returns:
      The content of `metrics.json`.

    Raises:
      FileNotFoundError: if the folder contains no run, or no such checkpoint.
      ValueError: if the run's files cannot be read, if there is no such split or dataset, or if two entries would be
        written to one file.

    Examples:
      >>> from bmc_jax import evaluate
      >>> measured = evaluate.evaluate("runs/mine")  # doctest: +SKIP
      >>> print(evaluate.table(measured))  # doctest: +SKIP
    """
    workdir = Path(workdir)
    trained = forward.load(workdir, step)
    options = trained.config
    if entries:
        options = dataclasses.replace(options, data=dataclasses.replace(options.data, test=tuple(entries)))
    sources.require_tests(options, split)
    _require_own_files(options.data.test)
    stored, domains = forward.stored_size(options, passes), {}
    run = forward.program(options, passes=passes, turns=turns)
    (workdir / FOLDER).mkdir(exist_ok=True)
    for entry in options.data.test:
        name, of = sources.test_split(entry, split)
        wide = sources.kind(name).test_examples(options, of, count, stored=stored)
        prediction = _repaired(forward.predict(options, trained.saved, wide, run=run), trained)
        examples = jax.device_get(augment.central(wide, options.data.image_size))
        measured, means = evaluation.compare(prediction, examples, trained.limits)
        domains[entry] = {"split": of, "count": len(examples.present), **measured}
        domains[entry] |= _protocol_figures(
            trained, options, name, of, prediction, examples, predictions_file(workdir, entry)
        )
        save_predictions(predictions_file(workdir, entry), prediction, examples, **means)
        draw_errors(workdir, entry, prediction, examples)
    content = _heading(trained) | {"split": split, "passes": passes, "turns": turns, "domains": domains}
    files.write_json(workdir / FILE, content)
    return content


def _repaired(prediction: Prediction, trained: Trained) -> Prediction:
    """Returns a prediction with its poses repaired, if the configuration says so; along rays, those in front of the
    camera."""
    keep = {"none": None, "rays": "projection", "free": ""}[trained.config.biomechanics.repair]
    if keep is None:
        return prediction
    joints = np.asarray(prediction.joints_3d)
    behind = (joints[..., 2:] < numerics.NEAREST_DEPTH).any(axis=1, keepdims=True) & (keep == "projection")
    repaired = repair.repair_poses(np.where(behind, np.nan, joints), trained.limits, keep=keep).joints
    return dataclasses.replace(prediction, joints_3d=np.where(behind, joints, repaired))


def _protocol_figures(
    trained: Trained, options: Config, name: str, split: str, prediction: Prediction, examples: Batch, file: Path
) -> dict[str, Any]:
    """Returns the metrics by the dataset's official protocol; empty if it has none."""
    folder = sources.kind(name).folder(options.data.directory)
    protocol = dataset_protocols.protocol(folder) if folder else None
    if folder is None or protocol is None:
        return {}
    scale = np.array(examples.scale, np.float64)
    words = "each hand's true scale"
    if not (scale > 0).all():
        mean, source = training_data.mean_scale(training_data.read(trained.config, trained.folder))
        words = f"{words}, or {1000 * mean:.1f} mm ({source}) if it is unknown"
        scale = np.where(scale > 0, scale, mean)
    metres = np.asarray(prediction.joints_3d, np.float64) * scale[:, None, None]
    return {
        "official": {
            "protocol": protocol,
            "metres": words,
            "figures": dataset_protocols.figures(protocol, metres, examples),
            **dataset_protocols.write(protocol, folder, split, metres, file.with_suffix("")),
        }
    }


def draw_errors(workdir: Path, entry: str, prediction: Prediction, examples: Batch) -> None:
    """Draws PCK, errors by joint and the worst images into the folder of predictions; nothing without labels."""
    stem = predictions_file(workdir, entry).with_suffix("")
    found = evaluation.errors(prediction.joints_2d, prediction.joints_3d, examples)
    if not found:
        return
    rows, by = np.arange(len(examples.present)), "joints_2d_px"
    if "joints_3d_mm" in found:
        rows, by = np.flatnonzero(evaluation.fully_labelled(examples)), "joints_3d_mm"
        steps = np.linspace(0, 50, 100)
        keys = ("joints_3d_mm", "aligned_mm", "absolute_mm")
        curves = {evaluation.METRICS[key][0]: metrics.pck(found[key][0], steps).mean(axis=1) for key in keys}
        figure = charts.pck(curves, steps, title=entry, distance="distance to the true joint, mm")
        draw.save(figure, f"{stem}_pck.png")
    by_joint = {evaluation.title(key): metrics.by_joint(*found[key]) for key in found}
    draw.save(charts.joints(by_joint, title=entry), f"{stem}_joints.png")
    errors, valid = found[by]
    each = np.sum(errors, axis=1, where=valid) / np.maximum(valid.sum(axis=1), 1)
    worst = np.argsort(-each, kind="stable")[:WORST]
    indices, unit = rows[worst], evaluation.METRICS[by][1]
    figure = draw.contact_sheet(
        examples.image[indices],
        examples.joints_2d[indices],
        np.asarray(examples.joints_2d_valid)[indices],
        predicted=prediction.joints_2d[indices],
        captions=[f"row {row} · {each[one]:.0f} {unit}" for row, one in zip(indices, worst, strict=True)],
        columns=5,
        title=f"{entry}: the worst {len(indices)} by {evaluation.title(by)}",
    )
    draw.save(figure, f"{stem}_worst.jpg")


def evaluate_photographs(
    workdir: str | os.PathLike,
    annotations: str | os.PathLike,
    *,
    count: int | None = None,
    step: int | str | None = None,
    passes: int = 1,
    turns: int = 1,
) -> dict[str, Any]:
    """Measures a checkpoint on photographs with 2D labels, and writes `photographs.json`.

    The hands are spread over the COCO file and cropped by `photographs.read`. The first are drawn over their
    photographs in `predictions/`. The mean pose is that of these labels, since photographs have no training split.

    Args:
      workdir: folder of the run.
      annotations: the COCO file.
      count: number of hands; all by default.
      step: number of a saved step, "best", or None for the newest.
      passes: see `evaluate`.
      turns: see `evaluate`.

    Returns:
      The content of `photographs.json`.

    Raises:
      FileNotFoundError, ValueError: see `evaluate` and `photographs.read`.

    Examples:
      >>> from bmc_jax import evaluate
      >>> measured = evaluate.evaluate_photographs("runs/mine", "photos/annotations.json", count=100)  # doctest: +SKIP
    """
    workdir, annotations = Path(workdir), Path(annotations)
    trained = forward.load(workdir, step)
    options = trained.config
    indices = photographs.spread(annotations, count)
    stored = forward.stored_size(options, passes)
    found = photographs.read(annotations, size=options.data.image_size, indices=indices, stored=stored)
    run = forward.program(options, passes=passes, turns=turns)
    prediction = _repaired(forward.predict(options, trained.saved, found.batch, run=run), trained)
    examples = jax.device_get(augment.central(found.batch, options.data.image_size))
    valid = np.asarray(examples.joints_2d_valid)
    measured, means = evaluation.compare(prediction, examples, trained.limits)
    name = annotations.absolute().parent.name
    content = _heading(trained) | {
        "name": name,
        "count": len(found.files),
        "description": found.description,
        "labels_predicted": found.labels_predicted,
        **measured,
    }
    save_predictions(predictions_file(workdir, f"photographs_{name}"), prediction, examples, **means)
    first = slice(PICTURES)
    figure = draw.contact_sheet(
        examples.image[first],
        examples.joints_2d[first],
        valid[first],
        predicted=prediction.joints_2d[first],
        title=f"{options.name} on {name}",
    )
    draw.save(figure, workdir / FOLDER / f"photographs_{name}.png")
    files.write_json(workdir / PHOTOGRAPHS_FILE, content)
    return content


def table(content: dict[str, Any]) -> str:
    """Formats the result of `evaluate` or `evaluate_photographs` for a terminal.

    Args:
      content: the result.

    Returns:
      A table for each set of images.

    Examples:
      >>> import json
      >>> from pathlib import Path
      >>> from bmc_jax import evaluate
      >>> print(evaluate.table(json.loads(Path("runs/mine/metrics.json").read_text())))  # doctest: +SKIP
    """
    sets = content["domains"] if "domains" in content else {content["name"]: content}
    lines = []
    for name, measured in sets.items():
        lines.append(
            f"{name} · {measured.get('split', 'photographs')} · {counted(measured['count'], 'image')} · "
            f"step {content['step']}"
        )
        rows = []
        for key, (_, _, digits, _) in evaluation.METRICS.items():
            if key in measured["network"]:
                values = (measured.get(who, {}).get(key) for who in ("network", "mean_pose", "labels"))
                network, constant, labels = ("-" if value is None else f"{value:.{digits}f}" for value in values)
                reduction = measured["reduction_percent"].get(key)
                interval = measured.get("intervals", {}).get(key)
                between = "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
                reduced = "-" if reduction is None else f"{reduction:.1f} %"
                rows.append((evaluation.title(key), network, between, constant, reduced, labels))
        head = ("", "network", "95 % interval", "mean pose", "reduction", "labels")
        lines += _indented(rows, head, ("left", "right", "left", "right", "right", "right"))
        if "official" in measured:
            lines += _protocol_lines(measured["official"])
        if measured.get("labels_predicted"):
            lines.append(f"  The labels are predictions of another model: {measured['description']!r}.")
        lines.append("")
    return "\n".join(lines)


def _protocol_lines(found: dict[str, Any]) -> list[str]:
    title = metrics.PROTOCOLS[found["protocol"]].title
    lines = [f"  by the protocol of {title}, with {found['metres']}:"]
    lines += _indented(dataset_protocols.rows(found["figures"]), (), ("left", "right", "left"))
    if not found["figures"]:
        lines.append(
            "    no metrics, because no 3D labels are available; submit the file below to the dataset's server"
        )
    whole = "" if found["complete"] else ", of a part of the split, which servers do not accept"
    return [*lines, f"    {' and '.join(found['files'])} in {FOLDER}/{whole}"]


def _indented(rows: Sequence[Sequence[str]], head: Sequence[str], sides: Sequence[str]) -> list[str]:
    if not rows:
        return []
    text = tabulate(rows, head, tablefmt="plain", disable_numparse=True, colalign=sides)
    return [f"  {line}".rstrip() for line in text.splitlines()]


def _heading(trained: Trained) -> dict[str, Any]:
    meta = trained.limits.meta
    return {
        "experiment": trained.config.name,
        "step": int(trained.saved["step"]),
        "limits": f"{meta.source}, {counted(meta.count, 'pose')}",
        "environment": environment(),
    }


def predictions_file(workdir: Path, name: str) -> Path:
    """Returns the file of the predictions for an entry of `data.test`."""
    return workdir / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.npz"


def _require_own_files(entries: Sequence[str]) -> None:
    """Raises ValueError if two entries of `data.test` have the same file of predictions."""
    written: dict[str, str] = {}
    for entry in entries:
        name = predictions_file(Path(), entry).name
        if name in written:
            raise ValueError(
                f"expected sets with different file names, got {written[name]!r} and {entry!r}, which are both written "
                f"to {FOLDER}/{name}; give each set once, or build datasets under different names"
            )
        written[name] = entry


def save_predictions(file: Path, prediction: Prediction, examples: Batch, **means: Any) -> None:
    """Saves the predictions and labels of all examples, and the first images, for the report."""
    with files.replacing(file) as partial:
        np.savez_compressed(
            partial,
            image=examples.image[:PICTURES],
            joints_2d=prediction.joints_2d,
            joints_3d=prediction.joints_3d,
            labels_2d=examples.joints_2d,
            labels_2d_valid=examples.joints_2d_valid,
            labels_3d=examples.joints_3d,
            scale=examples.scale,
            index=examples.index,
            **means,
        )
