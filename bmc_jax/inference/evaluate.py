"""A checkpoint on images -> `metrics.json`, predictions for the report and for the datasets' servers, pictures, and a
table. What is measured is in `measures`, the datasets' own figures in `official`."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bmc_jax import metrics
from bmc_jax.config import Config
from bmc_jax.core.types import Batch, Prediction
from bmc_jax.data import augment, photographs, sources
from bmc_jax.inference import training_data
from bmc_jax.metrics import dataset_protocols, evaluation
from bmc_jax.runtime import files
from bmc_jax.runtime.provenance import environment
from bmc_jax.training import forward
from bmc_jax.training.forward import Trained
from bmc_jax.visualization import charts, draw

FILE = "metrics.json"
PHOTOGRAPHS_FILE = "photographs.json"
FOLDER = "predictions"

#: Images kept with the predictions, for pictures.
PICTURES = 24
#: Of the sheet of the worst.
WORST = 20


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
    """Measure a checkpoint, the newest or that of `step` ("best": the best one), on the given domains and built
    datasets, by default those of `data.test`; write and return `metrics.json`.

    Takes `count` images of each, by default `data.test_count` of rendered domains and all of built datasets, of the
    given split where an entry names none; in `passes` and `turns` as `inference` has them.

    Each entry has the measures of the `network` with 95 % `intervals` over the images and by `joints` and `fingers`;
    those of the `mean_pose` of these very labels (2D and 3D, the best constant guess), by how many percent the
    network's error is below that, and how far the `labels` keep the limits. What is in 3D is measured on the `count_3d`
    images whose 3D labels are complete. Datasets with a protocol of their own have its `official` figures, and the
    prediction file that its server takes; `metres` says by which scale poses were made metres.

    Beside them, in `predictions/`: PCK curves, errors by joint, and the worst images.

    Raises:
      FileNotFoundError: if the folder holds no run, or no such checkpoint.
      ValueError: if the run's files cannot be read, or there is no such split or dataset.
    """
    workdir = Path(workdir)
    trained = forward.load(workdir, step)
    options = trained.config
    if entries:
        options = dataclasses.replace(options, data=dataclasses.replace(options.data, test=tuple(entries)))
    sources.require_tests(options, split)
    stored, domains = forward.stored_size(options, passes), {}
    run = forward.program(options, passes=passes, turns=turns)
    (workdir / FOLDER).mkdir(exist_ok=True)
    for entry in options.data.test:
        name, of = sources.test_split(entry, split)
        wide = sources.kind(name).test_examples(options, of, count, stored=stored)
        prediction = forward.predict(options, trained.saved, wide, run=run)
        examples = jax.device_get(augment.central(wide, options.data.image_size))
        measured, means = evaluation.compare(prediction, examples, trained.limits)
        domains[entry] = {"split": of, "count": len(examples.present), **measured}
        domains[entry] |= _official(trained, options, name, of, prediction, examples, predictions_file(workdir, entry))
        _keep(predictions_file(workdir, entry), prediction, examples, **means)
        _draw(workdir, entry, prediction, examples)
    looks = {"passes": passes, "turns": turns}
    content = _heading(trained) | {"split": split, **looks, "domains": domains}
    files.write_json(workdir / FILE, content)
    return content


def _official(
    trained: Trained, options: Config, name: str, split: str, prediction: Prediction, examples: Batch, file: Path
) -> dict[str, Any]:
    """What the dataset's own protocol makes of the predictions; nothing where there is none."""
    folder = sources.kind(name).folder(options.data.directory)
    protocol = dataset_protocols.protocol(folder) if folder else None
    if folder is None or protocol is None:
        return {}
    scale = np.array(examples.scale, np.float64)
    words = "each hand's true scale"
    if not (scale > 0).all():
        usual, whose = training_data.scale(training_data.origins(trained.config, trained.folder))
        words = f"{words}, or {1000 * usual:.1f} mm ({whose}) where it is not known"
        scale = np.where(scale > 0, scale, usual)
    metres = np.asarray(prediction.joints_3d, np.float64) * scale[:, None, None]
    return {
        "official": {
            "protocol": protocol,
            "metres": words,
            "figures": dataset_protocols.figures(protocol, metres, examples),
            **dataset_protocols.write(protocol, folder, split, metres, file.with_suffix("")),
        }
    }


def _draw(workdir: Path, entry: str, prediction: Prediction, examples: Batch) -> None:
    """PCK, errors by joint and the worst images, beside the predictions; nothing of images without labels."""
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
    shown, unit = rows[worst], evaluation.METRICS[by][1]
    figure = draw.contact_sheet(
        examples.image[shown],
        examples.joints_2d[shown],
        np.asarray(examples.joints_2d_valid)[shown],
        predicted=prediction.joints_2d[shown],
        captions=[f"row {row} · {each[one]:.0f} {unit}" for row, one in zip(shown, worst, strict=True)],
        columns=5,
        title=f"{entry}: the worst {len(shown)} by {evaluation.title(by)}",
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
    """Measure a run's newest checkpoint on photographs of which only 2D labels are known.

    Takes `count` hands spread over the COCO file (all by default), cropped by `photographs.read`. Writes and returns
    `photographs.json`, and draws the first over their photographs in `predictions/`. The mean pose is that of these
    very labels, since photographs have no training split.

    Raises FileNotFoundError and ValueError as `evaluate` and `photographs.read` do.
    """
    workdir, annotations = Path(workdir), Path(annotations)
    trained = forward.load(workdir, step)
    options = trained.config
    indices = photographs.spread(annotations, count)
    stored = forward.stored_size(options, passes)
    found = photographs.read(annotations, size=options.data.image_size, indices=indices, stored=stored)
    run = forward.program(options, passes=passes, turns=turns)
    prediction = forward.predict(options, trained.saved, found.batch, run=run)
    examples = jax.device_get(augment.central(found.batch, options.data.image_size))
    valid = np.asarray(examples.joints_2d_valid)
    measured, means = evaluation.compare(prediction, examples, trained.limits)
    name = annotations.absolute().parent.name
    content = _heading(trained) | {
        "name": name,
        "count": len(indices),
        "description": found.description,
        "labels_predicted": found.labels_predicted,
        **measured,
    }
    _keep(predictions_file(workdir, f"photographs_{name}"), prediction, examples, **means)
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
    """What `evaluate` or `evaluate_photographs` returned, for a terminal."""
    sets = content["domains"] if "domains" in content else {content["name"]: content}
    lines = []
    for name, measured in sets.items():
        lines += [
            f"{name} · {measured.get('split', 'photographs')} · {measured['count']} images · step {content['step']}",
            f"  {'':<40}{'network':>10}   {'95 % interval':<17}{'mean pose':>12}{'reduction':>12}{'labels':>10}",
        ]
        for key, (_, _, digits, _) in evaluation.METRICS.items():
            if key not in measured["network"]:
                continue
            values = [measured.get(who, {}).get(key) for who in ("network", "mean_pose", "labels")]
            network, constant, labels = ("-" if value is None else f"{value:.{digits}f}" for value in values)
            reduction = measured["reduction_percent"].get(key)
            reduction = "-" if reduction is None else f"{reduction:.1f} %"
            interval = measured.get("intervals", {}).get(key)
            between = "" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"
            lines.append(
                f"  {evaluation.title(key):<40}{network:>10}   {between:<17}{constant:>12}{reduction:>12}{labels:>10}"
            )
        if "official" in measured:
            lines += _official_lines(measured["official"])
        if measured.get("labels_predicted"):
            lines.append(f"  The labels are another model's predictions: {measured['description']!r}.")
        lines.append("")
    return "\n".join(lines)


def _official_lines(found: dict[str, Any]) -> list[str]:
    title = metrics.PROTOCOLS[found["protocol"]].title
    lines = [f"  by {title}'s protocol, with {found['metres']}:"]
    lines += [
        f"    {name:<44}{value:>12}   {interval}" for name, value, interval in dataset_protocols.rows(found["figures"])
    ]
    if not found["figures"]:
        lines.append("    nothing: no 3D labels are here; the file below is what its server evaluates")
    whole = "" if found["complete"] else ", of a part of the split, which no server takes"
    return [*lines, f"    {' and '.join(found['files'])} in {FOLDER}/{whole}"]


def _heading(trained: Trained) -> dict[str, Any]:
    meta = trained.limits.meta
    return {
        "experiment": trained.config.name,
        "step": int(trained.saved["step"]),
        "limits": f"{meta.source}, {meta.count:,} poses",
        "environment": environment(),
    }


def predictions_file(workdir: Path, name: str) -> Path:
    """Where the predictions for an entry of `data.test` lie."""
    return workdir / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.npz"


def _keep(file: Path, prediction: Prediction, examples: Batch, **means: Any) -> None:
    """Predictions and labels of every example, and the first images, for the report."""
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
