"""Errors of predictions relative to the labels of examples, and the plausibility of predictions.

Errors are in pixels of the crop and in millimetres. Predictions are in scale units, so poses are multiplied by each
hand's true scale, as is customary for FreiHAND. The mean pose, to which they are compared, is scaled in the same way.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bmc_jax import metrics
from bmc_jax.core import hand, losses, numerics
from bmc_jax.core.types import Batch, Limits, Prediction
from bmc_jax.data.readers.annotation import project

#: An array of numpy or JAX.
Array = Any


class Metric(NamedTuple):
    """Title, unit and digits of a printed metric, and the direction of its comparison."""

    title: str
    unit: str
    digits: int
    less_is_better: bool


#: Every metric by its key in `metrics.json`. Shares are in percent.
METRICS = {
    "joints_2d_px": Metric("2D", "px", 2, True),
    "depth_mm": Metric("Z, wrists aligned", "mm", 1, True),
    "joints_3d_mm": Metric("3D, wrists aligned", "mm", 1, True),
    "joints_3d_median_mm": Metric("3D, wrists aligned, median", "mm", 1, True),
    "joints_3d_auc": Metric("3D, wrists aligned, AUC 0-50 mm", "", 3, False),
    "aligned_mm": Metric("3D, Procrustes", "mm", 1, True),
    "aligned_auc": Metric("3D, Procrustes, AUC 0-50 mm", "", 3, False),
    "absolute_mm": Metric("3D, in the camera's frame", "mm", 1, True),
    "absolute_auc": Metric("3D, in the camera's frame, AUC 0-50 mm", "", 3, False),
    "root_depth_mm": Metric("wrist's depth", "mm", 1, True),
    "within_limits": Metric("poses within all limits", "%", 1, False),
    "angles_within": Metric("joint angles within hulls", "%", 1, False),
    "bone_length": Metric("bone length violation", "scale", 4, True),
    "palm": Metric("palm violation", "", 4, True),
    "joint_angle": Metric("joint angle violation", "°", 2, True),
}


def less_is_better(name: str) -> bool:
    """Returns whether lower values of a metric "split/set/metric" are better. Raises ValueError for unknown metrics."""
    key = name.rpartition("/")[2]
    if key not in METRICS:
        raise ValueError(f"training.best: expected a metric at its end, got {name!r}; choose from {', '.join(METRICS)}")
    return METRICS[key].less_is_better


def compare(
    prediction: Prediction, examples: Batch, hand_limits: Limits
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Computes the metrics of the network, of the mean pose and of the labels, for examples with any labels.

    Returns:
      The metrics, for JSON, and the mean pose: `mean_2d` and, if there are 3D labels, `mean_3d`.
    """
    mean_2d, mean_3d = mean_pose(examples)
    network = measure(prediction.joints_2d, prediction.joints_3d, examples, hand_limits)
    constant = measure(
        np.broadcast_to(mean_2d, examples.joints_2d.shape),
        None if mean_3d is None else np.broadcast_to(mean_3d, examples.joints_3d.shape),
        examples,
        hand_limits,
    )
    measured = {
        "count_3d": int(fully_labelled(examples).sum()),
        "network": network,
        "mean_pose": constant,
        "reduction_percent": _reductions(network, constant),
        **_details(errors(prediction.joints_2d, prediction.joints_3d, examples)),
    }
    if mean_3d is None:
        return measured, {"mean_2d": mean_2d}
    return measured | {"labels": plausibility(_scale_units(examples), hand_limits)}, {
        "mean_2d": mean_2d,
        "mean_3d": mean_3d,
    }


def title(name: str) -> str:
    """Returns a metric's title with its unit."""
    metric = METRICS[name]
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def errors(joints_2d: Array, joints_3d: Array, examples: Batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns, by metric, the errors `[N, 21]` in px or mm and the mask `[N, 21]` of those that count.

    3D errors cover the `fully_labelled` examples only. Metrics without any label are left out.
    """
    pixels, known = _labelled_pixels(examples)
    distances = metrics.joint_errors(np.asarray(joints_2d), pixels)
    found = {"joints_2d_px": (distances, known)} if known.any() else {}
    rows = fully_labelled(examples)
    if not rows.any():
        return found
    labels = np.asarray(examples.joints_3d, np.float64)[rows]
    metres = np.asarray(joints_3d, np.float64)[rows] * np.asarray(examples.scale)[rows, None, None]
    relative = metrics.root_relative(metres), metrics.root_relative(labels)
    distances = {
        "depth_mm": metrics.joint_errors(*(joints[..., 2:] for joints in relative)),
        "joints_3d_mm": metrics.joint_errors(*relative),
        "aligned_mm": metrics.joint_errors(metrics.procrustes(metres, labels), labels),
        "absolute_mm": metrics.joint_errors(metres, labels),
    }
    every = np.ones(labels.shape[:2], bool)
    return found | {name: (metrics.MILLIMETRES * distance, every) for name, distance in distances.items()}


def _details(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Returns 95 % intervals over the images, and means by joint and by finger, of `errors`."""
    details = {
        "joints": {name: metrics.by_joint(*of) for name, of in found.items()},
        "fingers": {name: metrics.by_finger(*of) for name, of in found.items()},
    }
    intervals = {name: metrics.bootstrap(*of) for name, of in found.items() if len(of[0]) > 1}
    for name in ("joints_3d", "aligned", "absolute"):
        if f"{name}_mm" in intervals:
            distance = found[f"{name}_mm"][0] / metrics.MILLIMETRES
            intervals[f"{name}_auc"] = metrics.bootstrap(metrics.areas(distance))
    return details | {"intervals": {name: list(interval) for name, interval in intervals.items()}}


def fully_labelled(examples: Batch) -> np.ndarray:
    """Returns the mask `[N]` of the examples with all 3D labels and their scale."""
    return np.asarray(examples.joints_3d_valid).all(axis=-1) & (np.asarray(examples.scale) > 0)


def mean_pose(examples: Batch) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the mean pixels `[21, 2]` and mean 3D joints `[21, 3]` of the labels. The latter are in scale units in
    the camera frame, or None if no example is fully labelled."""
    pixels, known = _labelled_pixels(examples)
    mean_2d = pixels.sum(axis=0, where=known[..., None]) / np.maximum(known.sum(axis=0), 1)[:, None]
    return mean_2d, np.mean(_scale_units(examples), axis=0) if fully_labelled(examples).any() else None


def _scale_units(examples: Batch) -> np.ndarray:
    """Returns the 3D labels of the fully labelled examples, in scale units."""
    rows = fully_labelled(examples)
    return np.asarray(examples.joints_3d)[rows] / np.asarray(examples.scale)[rows][:, None, None]


def _labelled_pixels(examples: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of the joints `[N, 21, 2]` and the mask of known ones, including pixels outside the image of
    fully labelled examples."""
    rows, valid = fully_labelled(examples), np.asarray(examples.joints_2d_valid)
    pixels = np.where(valid[..., None], examples.joints_2d, 0.0)
    projected = project(np.asarray(examples.joints_3d)[rows], np.asarray(examples.intrinsics)[rows][:, None])
    pixels[rows] = np.where(valid[rows][..., None], pixels[rows], projected)
    return pixels, valid | rows[:, None]


def measure(joints_2d: Array, joints_3d: Array | None, examples: Batch, hand_limits: Limits) -> dict[str, float]:
    """Computes those `METRICS` that the labels allow, of poses in pixels `[N, 21, 2]` and in scale units `[N, 21, 3]`,
    the latter optional."""
    pixels, known = _labelled_pixels(examples)
    distances = metrics.joint_errors(np.asarray(joints_2d), pixels)[known]
    measured = {"joints_2d_px": float(distances.mean())} if known.any() else dict[str, float]()
    if joints_3d is None:
        return measured
    rows = fully_labelled(examples)
    if rows.any():
        scale, labels = np.asarray(examples.scale)[rows], np.asarray(examples.joints_3d)[rows]
        metres = np.asarray(joints_3d)[rows] * scale[:, None, None]
        root_depth = np.abs(metres - labels)[:, hand.WRIST, 2]
        measured = {
            **metrics.summary(metres, labels, np.asarray(joints_2d)[rows], pixels[rows]),
            **measured,
            "root_depth_mm": float(root_depth.mean()) * metrics.MILLIMETRES,
        }
    return measured | plausibility(joints_3d, hand_limits)


def plausibility(joints_3d: Array, hand_limits: Limits) -> dict[str, float]:
    """Computes the plausibility of poses `[N, 21, 3]` in scale units: the mean of each biomechanical term (in degrees
    for angles), and the shares, in percent, of poses within all limits and of joint angles within their hull."""
    terms, within, angles = jax.device_get(_compare(jnp.asarray(joints_3d, jnp.float32), hand_limits))
    return {
        "within_limits": 100 * float(within.mean()),
        "angles_within": 100 * float(np.mean(angles <= numerics.LIMIT_TOLERANCE)),
        "bone_length": float(terms["bone_length"].mean()),
        "palm": float(terms["palm"].mean()),
        "joint_angle": float(np.degrees(terms["joint_angle"].mean())),
    }


@jax.jit
def _compare(joints: Float[jax.Array, "pose 21 3"], hand_limits: Limits) -> Any:
    excess = losses.excess(joints, hand_limits)
    return excess.terms, excess.within(), excess.angles


def _reductions(network: dict[str, float], constant: dict[str, float]) -> dict[str, float]:
    """Returns the reduction, in percent, of each error in pixels or millimetres relative to that of the mean pose."""
    return {
        key: 100 * (1 - network[key] / constant[key])
        for key in network
        if key in METRICS and METRICS[key].unit in ("px", "mm") and constant.get(key, 0) > 0
    }
