"""A run's checkpoint on images -> `metrics.json`, predictions for the report, and a table. What is measured is in
`measures`."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bmc_jax import draw, inference, measures, photographs, sources
from bmc_jax.inference import Trained
from bmc_jax.types import Batch, Prediction

FILE = "metrics.json"
PHOTOGRAPHS_FILE = "photographs.json"
FOLDER = "predictions"

#: Images kept with the predictions, for pictures.
PICTURES = 24


def evaluate(workdir: str | os.PathLike, *, split: str = "test", count: int | None = None) -> dict[str, Any]:
    """Measure a run's newest checkpoint on `count` images of every entry of `data.test`, of the given split where an
    entry names none; write and return `metrics.json`.

    By default rendered domains have `data.test_count` images, and built datasets are measured whole.

    Each entry has the measures of the `network`, those of the `mean_pose` of these very labels (2D and 3D, the best
    constant guess), by how many percent the network's error is below that, and how far the `labels` keep the limits.
    What is in 3D is measured on the `count_3d` images whose 3D labels are complete.

    Raises:
      FileNotFoundError: if the folder holds no run, or no checkpoint.
      ValueError: if the run's files cannot be read, or there is no such split or dataset.
    """
    workdir = Path(workdir)
    trained = inference.load(workdir)
    options = trained.config
    sources.require_tests(options, split)
    domains, run = {}, inference.program(options)
    for entry in options.data.test:
        name, of = sources.test_split(entry, split)
        examples = sources.test(options, name, of, count)
        prediction = inference.predict(options, trained.saved, examples, run=run)
        measured, means = measures.compare(prediction, examples, trained.limits)
        domains[entry] = {"split": of, "count": len(examples.present), **measured}
        _keep(predictions_file(workdir, entry), prediction, examples, **means)
    content = _heading(trained) | {"split": split, "domains": domains}
    _write(workdir / FILE, content)
    return content


def evaluate_photographs(
    workdir: str | os.PathLike, annotations: str | os.PathLike, *, count: int | None = None
) -> dict[str, Any]:
    """Measure a run's newest checkpoint on photographs of which only 2D labels are known.

    Takes `count` hands spread over the COCO file (all by default), cropped by `photographs.read`. Writes and returns
    `photographs.json`, and draws the first over their photographs in `predictions/`. The mean pose is that of these
    very labels, since photographs have no training split.

    Raises FileNotFoundError and ValueError as `evaluate` and `photographs.read` do.
    """
    workdir, annotations = Path(workdir), Path(annotations)
    trained = inference.load(workdir)
    options = trained.config
    indices = photographs.spread(annotations, count)
    found = photographs.read(annotations, size=options.data.image_size, indices=indices)
    examples, valid = found.batch, np.asarray(found.batch.joints_2d_valid)
    prediction = inference.predict(options, trained.saved, examples)
    measured, means = measures.compare(prediction, examples, trained.limits)
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
    _write(workdir / PHOTOGRAPHS_FILE, content)
    return content


def table(content: dict[str, Any]) -> str:
    """What `evaluate` or `evaluate_photographs` returned, for a terminal."""
    sets = content["domains"] if "domains" in content else {content["name"]: content}
    lines = []
    for name, measured in sets.items():
        lines += [
            f"{name} · {measured.get('split', 'photographs')} · {measured['count']} images · step {content['step']}",
            f"  {'':<32}{'network':>10}{'mean pose':>12}{'reduction':>12}{'labels':>10}",
        ]
        for key, (words, unit, digits, _) in measures.MEASURES.items():
            if key not in measured["network"]:
                continue
            values = [measured.get(who, {}).get(key) for who in ("network", "mean_pose", "labels")]
            network, constant, labels = ("-" if value is None else f"{value:.{digits}f}" for value in values)
            reduction = measured["reduction_percent"].get(key)
            reduction = "-" if reduction is None else f"{reduction:.1f} %"
            title = f"{words}, {unit}" if unit else words
            lines.append(f"  {title:<32}{network:>10}{constant:>12}{reduction:>12}{labels:>10}")
        if measured.get("labels_predicted"):
            lines.append(f"  The labels are another model's predictions: {measured['description']!r}.")
        lines.append("")
    return "\n".join(lines)


def _heading(trained: Trained) -> dict[str, Any]:
    meta = trained.limits.meta
    return {
        "experiment": trained.config.name,
        "step": int(trained.saved["step"]),
        "limits": f"{meta.source}, {meta.count:,} poses",
        "environment": environment(),
    }


def environment() -> dict[str, str]:
    """Versions, commit and hardware, for the record."""
    packages = ("bmc-jax", "jax", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
        "python": platform.python_version(),
        "commit": _commit(),
        "hardware": f"{jax.device_count()} x {device.device_kind}, {os.cpu_count()} CPU cores",
    }


def _commit() -> str:
    """The commit of this source tree; "unknown" where it is installed apart from one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], check=True, capture_output=True)
        found = subprocess.run([*git, "describe", "--always", "--dirty"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def predictions_file(workdir: Path, name: str) -> Path:
    """Where the predictions for an entry of `data.test` lie."""
    return workdir / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.npz"


def _keep(file: Path, prediction: Prediction, examples: Batch, **means: Any) -> None:
    """Predictions and labels of every example, and the first images, for the report."""
    file.parent.mkdir(exist_ok=True)
    partial = file.with_name("partial.npz")
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
    os.replace(partial, file)


def _write(file: Path, content: dict[str, Any]) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    os.replace(partial, file)
