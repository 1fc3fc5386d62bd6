"""A run's checkpoint on images -> `metrics.json`, predictions for the report, and a table.

Errors are in pixels of the crop and in millimetres. The network predicts in scale units, so its poses are multiplied by
each hand's true scale, as is customary for FreiHAND; so is the mean pose that it is compared with.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from bmc_jax import (
    anatomy,
    checkpoint,
    config_file,
    data,
    draw,
    hand,
    hull,
    limits,
    losses,
    metrics,
    photographs,
    step,
    train,
)
from bmc_jax.config import Config
from bmc_jax.draw import Array
from bmc_jax.types import Batch, Limits, Prediction

FILE = "metrics.json"
PHOTOGRAPHS_FILE = "photographs.json"
FOLDER = "predictions"

#: Images kept with the predictions, for pictures.
PICTURES = 24
#: Violations up to this (scale units, radians) are rounding, not implausible.
TOLERANCE = 1e-4

#: Every measure: name in words, unit, digits, and whether less is better. Shares are in percent.
MEASURES = {
    "joints_2d_px": ("2D", "px", 2, True),
    "depth_mm": ("Z, wrists aligned", "mm", 1, True),
    "joints_3d_mm": ("3D, wrists aligned, mean", "mm", 1, True),
    "joints_3d_median_mm": ("3D, wrists aligned, median", "mm", 1, True),
    "joints_3d_auc": ("PCK AUC, 0-50 mm", "", 3, False),
    "aligned_mm": ("3D, Procrustes", "mm", 1, True),
    "aligned_auc": ("Procrustes PCK AUC, 0-50 mm", "", 3, False),
    "absolute_mm": ("3D, in the camera's frame", "mm", 1, True),
    "absolute_auc": ("PCK AUC in that frame, 0-50 mm", "", 3, False),
    "root_depth_mm": ("wrist's depth", "mm", 1, True),
    "within_limits": ("poses within all limits", "%", 1, False),
    "angles_within": ("joint angles within hulls", "%", 1, False),
    "bone_length": ("bone length violation", "scale", 4, True),
    "palm": ("palm violation", "", 4, True),
    "joint_angle": ("joint angle violation", "°", 2, True),
}


def evaluate(workdir: str | os.PathLike, *, split: str = "test", count: int | None = None) -> dict[str, Any]:
    """Measure a run's newest checkpoint on `count` images of every test domain; write and return `metrics.json`.

    Each domain has the measures of the `network`, those of the `mean_pose` of these very labels (2D and 3D, the best
    constant guess), by how many percent the network's error is below that, and how far the `labels` keep the limits.

    Raises:
      FileNotFoundError: if the folder holds no run, or no checkpoint.
      ValueError: if the run's files cannot be read, or there is no such split.
    """
    workdir = Path(workdir)
    options, saved, hand_limits = _open(workdir)
    domains = {}
    for domain in options.data.test_domains:
        examples = data.rendered(options, domain, split, count or options.data.test_count)
        prediction = predict(options, saved, examples)
        mean_2d, mean_3d = mean_pose(examples)
        network = measure(prediction.joints_2d, prediction.joints_3d, examples, hand_limits)
        shape = examples.joints_3d.shape
        constant = measure(
            np.broadcast_to(mean_2d, examples.joints_2d.shape), np.broadcast_to(mean_3d, shape), examples, hand_limits
        )
        domains[domain] = {
            "count": len(examples.present),
            "network": network,
            "mean_pose": constant,
            "reduction_percent": _reductions(network, constant),
            "labels": plausibility(_scale_units(examples), hand_limits),
        }
        _keep(workdir / FOLDER / f"{domain}.npz", prediction, examples, mean_2d=mean_2d, mean_3d=mean_3d)
    content = _heading(options, saved, hand_limits) | {"split": split, "domains": domains}
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
    options, saved, hand_limits = _open(workdir)
    indices = photographs.spread(annotations, count)
    found = photographs.read(annotations, size=options.data.image_size, indices=indices)
    examples, valid = found.batch, np.asarray(found.batch.joints_2d_valid)
    prediction, labels = predict(options, saved, examples), np.asarray(examples.joints_2d)
    mean_2d = labels.sum(axis=0, where=valid[..., None]) / np.maximum(valid.sum(axis=0), 1)[:, None]
    network, constant = (
        {"joints_2d_px": float(metrics.joint_errors(points, labels)[valid].mean())}
        for points in (np.asarray(prediction.joints_2d), np.broadcast_to(mean_2d, labels.shape))
    )
    name = annotations.absolute().parent.name
    content = _heading(options, saved, hand_limits) | {
        "name": name,
        "count": len(indices),
        "description": found.description,
        "labels_predicted": found.labels_predicted,
        "network": network | plausibility(prediction.joints_3d, hand_limits),
        "mean_pose": constant,
        "reduction_percent": _reductions(network, constant),
    }
    _keep(workdir / FOLDER / f"photographs_{name}.npz", prediction, examples, mean_2d=mean_2d)
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


def predict(options: Config, saved: dict[str, Any], examples: Batch) -> Prediction:
    """The predictions of a saved state for `examples [count, ...]`, host numpy in their order, each example once."""
    devices = jax.local_device_count()
    batch_size = -(-options.data.batch_size // devices) * devices
    state = step.TrainState(saved["step"], saved["params"], saved["batch_stats"], opt_state=None)
    run, state = step.parallel_eval_step(options), step.replicate(state)
    parts = []
    with tqdm(total=len(examples.present), desc="predict", unit=" images", dynamic_ncols=True) as bar:
        for batch in data.evaluation_batches(examples, batch_size):
            prediction, present = data.unshard((run(state, batch), batch.present))
            parts.append(jax.tree.map(lambda rows: rows[present], prediction))  # noqa: B023, used at once
            bar.update(int(present.sum()))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def mean_pose(examples: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Mean pixels `[21, 2]` and mean 3D joints `[21, 3]`, scale units in the camera's frame, of labelled examples."""
    return np.mean(examples.joints_2d, axis=0), np.mean(_scale_units(examples), axis=0)


def _scale_units(examples: Batch) -> np.ndarray:
    """The labelled 3D joints in scale units."""
    return np.asarray(examples.joints_3d / examples.scale[:, None, None])


def measure(joints_2d: Array, joints_3d: Array, examples: Batch, hand_limits: Limits) -> dict[str, float]:
    """All `MEASURES` of poses, `[N, 21, 2]` pixels and `[N, 21, 3]` scale units, against fully labelled examples."""
    metres, labels = np.asarray(joints_3d * examples.scale[:, None, None]), np.asarray(examples.joints_3d)
    root_depth = np.abs(metres - labels)[:, hand.WRIST, 2]
    return {
        **metrics.summary(metres, labels, np.asarray(joints_2d), np.asarray(examples.joints_2d)),
        "root_depth_mm": float(root_depth.mean()) * metrics.MILLIMETRES,
        **plausibility(joints_3d, hand_limits),
    }


def plausibility(joints_3d: Array, hand_limits: Limits) -> dict[str, float]:
    """How far poses `[N, 21, 3]` in scale units keep the limits: the mean of each biomechanical term (the angles' in
    degrees), and the shares, in percent, of poses that violate none and of joint angles inside their hull."""
    terms, beyond = jax.device_get(_violations(jnp.asarray(joints_3d, jnp.float32), hand_limits))
    kept = np.all([value <= TOLERANCE for value in terms.values()], axis=0)
    return {
        "within_limits": 100 * float(kept.mean()),
        "angles_within": 100 * float(np.mean(beyond <= TOLERANCE)),
        "bone_length": float(terms["bone_length"].mean()),
        "palm": float(terms["palm"].mean()),
        "joint_angle": float(np.degrees(terms["joint_angle"].mean())),
    }


@jax.jit
def _violations(joints: Float[jax.Array, "pose 21 3"], hand_limits: Limits) -> Any:
    return losses.constraints(joints, hand_limits), hull.distance(anatomy.joint_angles(joints), hand_limits.hull)


def table(content: dict[str, Any]) -> str:
    """What `evaluate` or `evaluate_photographs` returned, for a terminal."""
    sets = content["domains"] if "domains" in content else {content["name"]: content}
    lines = []
    for name, measured in sets.items():
        lines += [
            f"{name} · {content.get('split', 'photographs')} · {measured['count']} images · step {content['step']}",
            f"  {'':<32}{'network':>10}{'mean pose':>12}{'reduction':>12}{'labels':>10}",
        ]
        for key, (words, unit, digits, _) in MEASURES.items():
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


def _open(workdir: Path) -> tuple[Config, dict[str, Any], Limits]:
    return config_file.read(workdir), checkpoint.load(workdir), limits.load(workdir / train.LIMITS_FILE)


def _reductions(network: dict[str, float], constant: dict[str, float]) -> dict[str, float]:
    """By how many percent each error in pixels or millimetres is below the mean pose's."""
    return {
        key: 100 * (1 - network[key] / constant[key])
        for key in network
        if MEASURES.get(key, ("", ""))[1] in ("px", "mm") and constant[key] > 0
    }


def _heading(options: Config, saved: dict[str, Any], hand_limits: Limits) -> dict[str, Any]:
    return {
        "experiment": options.name,
        "step": int(saved["step"]),
        "limits": f"{hand_limits.meta.source}, {hand_limits.meta.count:,} poses",
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
