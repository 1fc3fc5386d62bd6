"""Joint errors and their statistics: means, medians, PCK and its area, F-scores and bootstrap intervals.

Errors are `[N, J]` in the unit of the joints. `valid [N, J]` masks the joints that count; None counts all.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.spatial import KDTree

from bmc_jax.core import hand
from bmc_jax.metrics.alignment import checked, procrustes, root_relative

MILLIMETRES = 1000.0


def joint_errors(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Returns the Euclidean distances of joints.

    Args:
      prediction: `[..., J, axes]`, any unit.
      target: ground truth, as `prediction`.
      valid: joints that count, `[..., J]`; None for all.

    Returns:
      `[..., J]`, in the unit of the joints; 0 where not valid.

    Raises:
      ValueError: if shapes differ or a valid joint is not finite; the first such pose and joint are named.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> errors = metrics.joint_errors(hand.EXAMPLE[None] + [0.003, 0.004, 0.0], hand.EXAMPLE[None])
      >>> print(errors.shape, f"{metrics.mean_error(errors) * metrics.MILLIMETRES:.1f} mm")
      (1, 21) 5.0 mm
    """
    prediction, target, _ = checked(prediction, target, valid)
    return np.linalg.norm(prediction - target, axis=-1)


def mean_error(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Returns the mean over joints of each joint's mean error over poses.

    Args:
      errors: `[N, J]`, any unit.
      valid: joints that count, `[N, J]`; None for all. Joints that are never valid are left out.

    Returns:
      The mean, in the unit of the errors.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> metrics.mean_error(np.array([[1.0, 2.0], [3.0, 4.0]]))
      2.5
    """
    return float(np.mean(_mean_over_poses(errors, valid)))


def median_error(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Returns the mean over joints of each joint's median error over poses, FreiHAND's `median`.

    Args:
      errors: `[N, J]`, any unit.
      valid: joints that count, `[N, J]`; None for all. Joints that are never valid are left out.

    Returns:
      The mean of the medians, in the unit of the errors.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> metrics.median_error(np.array([[1.0, 2.0], [3.0, 4.0], [30.0, 4.0]]))
      3.5
    """
    if valid is None or np.all(valid):
        return float(np.mean(np.median(errors, axis=0)))
    return float(np.mean([np.median(errors[rows, joint]) for joint, rows in enumerate(valid.T) if rows.any()]))


def pck(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of poses whose error is at most each threshold.

    Args:
      errors: `[N, J]`, any unit.
      thresholds: in the unit of the errors.

    Returns:
      `[thresholds, J]`, in [0, 1].

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> print(metrics.pck(np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([2.0, 5.0])))
      [[0.5]
       [1. ]]
    """
    return np.mean(errors[None] <= np.asarray(thresholds)[:, None, None], axis=1)


def areas(errors: np.ndarray, low: float = 0.0, high: float = 0.05, thresholds: int = 100) -> np.ndarray:
    """Returns the area under the PCK curve of each single error.

    The area under a mean of curves is the mean of their areas, so that the mean over poses is the area of a joint, and
    poses can be resampled. The area is that of the trapezoid rule over equally spaced thresholds. An error equal to a
    threshold counts as below it.

    Args:
      errors: any shape and unit.
      low: lowest threshold, in the unit of the errors.
      high: highest threshold.
      thresholds: number of thresholds.

    Returns:
      Areas in [0, 1], of the shape of the errors.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> print(metrics.areas(np.array([0.0, 0.025, 0.1])).round(1))
      [1.  0.5 0. ]
    """
    return areas_at(errors, np.linspace(low, high, thresholds))


def areas_at(errors: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns `areas` over the ascending thresholds `steps [thresholds]`, in the unit of the errors."""
    count = len(steps)
    curves = np.asarray(np.arange(count) >= np.arange(count + 1)[:, None], np.float64)
    areas_by_step = np.asarray(np.trapezoid(curves, steps, axis=1)) / (steps[-1] - steps[0])
    return areas_by_step[np.searchsorted(steps, errors, side="left")]


def pck_auc(
    errors: np.ndarray,
    low: float = 0.0,
    high: float = 0.05,
    thresholds: int = 100,
    valid: np.ndarray | None = None,
) -> float:
    """Returns the mean over joints of the area under each PCK curve between two thresholds.

    The defaults are FreiHAND's, for errors in metres.

    Args:
      errors: `[N, J]`.
      low: lowest threshold, in the unit of the errors.
      high: highest threshold.
      thresholds: number of thresholds.
      valid: joints that count, `[N, J]`; None for all.

    Returns:
      The area, in [0, 1].

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> print(f"{metrics.pck_auc(np.full((4, 21), 0.01)):.3f}")
      0.803
    """
    return mean_error(areas(errors, low, high, thresholds), valid)


def f_scores(prediction: np.ndarray, target: np.ndarray, thresholds: Sequence[float] = (0.005, 0.015)) -> np.ndarray:
    """Returns the F-scores of pairs of meshes.

    The F-score is the harmonic mean of precision and recall: the shares of predicted vertices with a true vertex, and
    of true vertices with a predicted one, nearer than the threshold. It is 0 if both are. The definition is FreiHAND's.

    Args:
      prediction: vertices `[N, V, 3]`, metres.
      target: vertices `[N, W, 3]`, metres.
      thresholds: metres.

    Returns:
      `[N, thresholds]`, in [0, 1].

    Raises:
      ValueError: for other shapes or numbers of meshes, and for vertices that are not finite.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> print(metrics.f_scores(hand.EXAMPLE[None] + [0.006, 0.0, 0.0], hand.EXAMPLE[None]))  # of joints as vertices
      [[0. 1.]]
    """
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    for name, vertices in (("predicted", prediction), ("true", target)):
        if vertices.ndim != 3 or vertices.shape[-1] != 3 or len(vertices) != len(target) or not vertices.shape[1]:
            raise ValueError(f"{name} vertices: expected the shape [{len(target)}, V, 3], got {list(vertices.shape)}")
        checked(vertices, vertices)
    limits = np.asarray(thresholds)
    # The bound of the search exceeds the thresholds, so the result depends on the comparison below only.
    bound = float(limits.max()) * 1.001

    def score(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        shares = [
            (KDTree(others, balanced_tree=False).query(points, distance_upper_bound=bound)[0][:, None] < limits).mean(0)
            for points, others in (pair, pair[::-1])
        ]
        precision, recall = shares
        total = precision + recall
        return 2 * precision * recall / np.where(total > 0, total, 1)

    # The search of the tree releases the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.stack(list(threads.map(score, zip(prediction, target, strict=True))))


def pinhole(prediction: np.ndarray, target: np.ndarray, intrinsics: np.ndarray) -> dict[str, float]:
    """Returns the 2D error in pixels and the depth errors in millimetres (section 5.3).

    Pixels are Z^-1 K J3D. Depth errors are along the optical axis, in the camera frame and relative to the wrist.

    Args:
      prediction: `[N, 21, 3]`, metres, camera frame.
      target: ground truth, as `prediction`.
      intrinsics: K `[N, 3, 3]`, pixels.

    Returns:
      "joints_2d_absolute_mean_px", "depth_absolute_mean_mm" and "depth_root_mean_mm".

    Raises:
      ValueError: as `joint_errors`, and for joints that are not in front of the camera.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> intrinsics = np.array([[[500.0, 0.0, 64.0], [0.0, 500.0, 64.0], [0.0, 0.0, 1.0]]])
      >>> found = metrics.pinhole(1.01 * hand.EXAMPLE[None], hand.EXAMPLE[None], intrinsics)  # further on every ray
      >>> print({name: round(value, 1) for name, value in found.items()})
      {'joints_2d_absolute_mean_px': 0.0, 'depth_absolute_mean_mm': 5.4, 'depth_root_mean_mm': 0.4}
    """
    prediction, target, _ = checked(prediction, target)
    intrinsics = np.asarray(intrinsics, np.float64)
    if intrinsics.shape != (*prediction.shape[:-2], 3, 3):
        shape = [*prediction.shape[:-2], 3, 3]
        raise ValueError(f"intrinsics: expected the shape {shape}, got {list(intrinsics.shape)}; give one K per pose")
    pixels = []
    for name, joints in (("predicted", prediction), ("true", target)):
        behind = np.argwhere(joints[..., 2] <= 0)
        if len(behind):
            first = tuple(behind[0])
            raise ValueError(
                f"{name} joint {list(map(int, first))}: expected a depth above 0, got {joints[first][2]:.4g} m, behind "
                "the camera; give joints in the camera frame"
            )
        image = joints @ np.swapaxes(intrinsics, -2, -1)
        pixels.append(image[..., :2] / image[..., 2:])
    depths = (prediction[..., 2:], target[..., 2:])
    return {
        "joints_2d_absolute_mean_px": mean_error(joint_errors(*pixels)),
        "depth_absolute_mean_mm": mean_error(joint_errors(*depths)) * MILLIMETRES,
        "depth_root_mean_mm": mean_error(joint_errors(*map(root_relative, depths))) * MILLIMETRES,
    }


def by_joint(errors: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Returns the mean error of each joint.

    Args:
      errors: `[N, 21]`, or `[N, 5]` of the tips, any unit.
      valid: joints that count, of the same shape; None for all. Joints that are never valid are left out.

    Returns:
      Mean errors by the names of the joints, in the unit of the errors.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> metrics.by_joint(np.arange(21.0)[None])["thumb TIP"]
      4.0
    """
    tips = errors.shape[-1] == len(hand.FINGERS)
    names = [hand.JOINTS[tip] for tip in hand.FINGER_JOINTS[:, -1]] if tips else hand.JOINTS
    ever_valid = [True] * len(names) if valid is None else np.any(valid, axis=0)
    names = [name for name, kept in zip(names, ever_valid, strict=True) if kept]
    return dict(zip(names, map(float, _mean_over_poses(errors, valid)), strict=True))


def by_finger(errors: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Returns the mean error of the joints of each finger, and that of the wrist.

    Args:
      errors: see `by_joint`.
      valid: see `by_joint`.

    Returns:
      Means of `by_joint` by "wrist" and the names of the fingers, in the unit of the errors.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> metrics.by_finger(np.arange(21.0)[None])
      {'wrist': 0.0, 'thumb': 2.5, 'index': 6.5, 'middle': 10.5, 'ring': 14.5, 'little': 18.5}
    """
    joints = by_joint(errors, valid)
    groups = {name: [value for joint, value in joints.items() if joint.split()[0] == name] for name in _GROUPS}
    return {name: float(np.mean(values)) for name, values in groups.items() if values}


def bootstrap(
    values: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    seed: int = 0,
    resamples: int = 1000,
    percent: float = 95.0,
) -> tuple[float, float]:
    """Returns the bootstrap percentile interval of a mean, resampling the images.

    The images are taken as independent: for frames of one video the interval is too narrow.

    Args:
      values: `[N]` or `[N, J]`: errors, or `areas` for the interval of an area under PCK. For `[N, J]` the statistic is
        `mean_error`.
      valid: values that count, of the same shape; None for all.
      seed: seed of the resampling.
      resamples: number of resamples.
      percent: coverage of the interval.

    Returns:
      (low, high), in the unit of the values.

    Raises:
      ValueError: for fewer than 2 images or values that are not finite.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import metrics
      >>> low, high = metrics.bootstrap(np.random.default_rng(0).normal(10, 1, 400))
      >>> print(f"{low:.1f} to {high:.1f}")
      9.9 to 10.1
    """
    values = np.asarray(values, np.float64)
    values = values.reshape(len(values), -1)
    if len(values) < 2:
        raise ValueError(f"values: expected 2 images or more for an interval, got {len(values)}; give more images")
    known = np.ones(values.shape, bool) if valid is None else np.asarray(valid, bool)
    if not np.isfinite(values[known]).all():
        first = tuple(np.argwhere(~np.isfinite(values) & known)[0].tolist())
        raise ValueError(f"value {list(first)}: expected a finite number, got {values[first]}; mask it with `valid`")
    if known.all():  # the two means commute
        values, known = values.mean(axis=1, keepdims=True), known[:, :1]
    summed, counted = np.where(known, values, 0.0), known.astype(np.float64)
    generator, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(0, len(values), len(values)), minlength=len(values)).astype(np.float64)
        counts = drawn @ counted
        means.append(np.mean((drawn @ summed)[counts > 0] / counts[counts > 0]))
    low, high = np.percentile(means, [50 - percent / 2, 50 + percent / 2])
    return float(low), float(high)


def summary(
    prediction: np.ndarray, target: np.ndarray, prediction_2d: np.ndarray, target_2d: np.ndarray
) -> dict[str, float]:
    """Returns the paper's metrics (sections 5.2 to 5.4). All are means over 21 joints, including the wrist.

    Args:
      prediction: `[N, 21, 3]`, metres, camera frame.
      target: ground truth, as `prediction`.
      prediction_2d: `[N, 21, 2]`, pixels.
      target_2d: ground truth, as `prediction_2d`.

    Returns:
      `joints_2d_px`, the mean error in the image. `depth_mm`, the mean error along the optical axis, and `joints_3d_*`,
      mean, median and area under PCK from 0 to 50 mm, are relative to the wrist. `absolute_*` are without alignment and
      `aligned_*` after Procrustes alignment.

    Raises:
      ValueError: if shapes differ or a joint is not finite.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target, pixels = hand.EXAMPLE[None], np.zeros((1, 21, 2))
      >>> found = metrics.summary(target + [0.0, 0.0, 0.02], target, pixels + [3.0, 4.0], pixels)
      >>> print({name: round(found[name], 1) for name in ("joints_2d_px", "joints_3d_mm", "absolute_mm")})
      {'joints_2d_px': 5.0, 'joints_3d_mm': 0.0, 'absolute_mm': 20.0}
    """
    absolute = joint_errors(prediction, target)
    relative = joint_errors(root_relative(prediction), root_relative(target))
    aligned = joint_errors(procrustes(prediction, target), target)
    depth = joint_errors(root_relative(prediction)[..., 2:], root_relative(target)[..., 2:])
    return {
        "joints_2d_px": mean_error(joint_errors(prediction_2d, target_2d)),
        "depth_mm": mean_error(depth) * MILLIMETRES,
        "joints_3d_mm": mean_error(relative) * MILLIMETRES,
        "joints_3d_median_mm": median_error(relative) * MILLIMETRES,
        "joints_3d_auc": pck_auc(relative),
        "absolute_mm": mean_error(absolute) * MILLIMETRES,
        "absolute_auc": pck_auc(absolute),
        "aligned_mm": mean_error(aligned) * MILLIMETRES,
        "aligned_auc": pck_auc(aligned),
    }


_GROUPS = ("wrist", *hand.FINGERS)


def _mean_over_poses(errors: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Returns the mean error of each joint that is ever valid."""
    if valid is None or np.all(valid):
        return np.mean(errors, axis=0)
    counts = np.sum(valid, axis=0)
    return np.sum(errors, axis=0, where=valid)[counts > 0] / counts[counts > 0]
