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
    """Returns the Euclidean distances `[..., J]` of joints `[..., J, axes]`, in their unit; 0 where not valid.

    Raises ValueError if shapes differ or a valid joint is not finite, and names the first such pose and joint.
    """
    prediction, target, _ = checked(prediction, target, valid)
    return np.linalg.norm(prediction - target, axis=-1)


def mean_error(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Returns the mean over joints of each joint's mean error over poses. Joints that are never valid are left out."""
    return float(np.mean(_mean_over_poses(errors, valid)))


def median_error(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Returns the mean over joints of each joint's median error over poses, FreiHAND's `median`."""
    if valid is None or np.all(valid):
        return float(np.mean(np.median(errors, axis=0)))
    return float(np.mean([np.median(errors[rows, joint]) for joint, rows in enumerate(valid.T) if rows.any()]))


def pck(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of poses whose error is at most each threshold, `[thresholds, J]`."""
    return np.mean(errors[None] <= np.asarray(thresholds)[:, None, None], axis=1)


def areas(errors: np.ndarray, low: float = 0.0, high: float = 0.05, thresholds: int = 100) -> np.ndarray:
    """Returns the area under the PCK curve of each single error, in [0, 1] and of the errors' shape.

    The area under a mean of curves is the mean of their areas. So the mean over poses is the area of a joint, and poses
    can be resampled. Areas follow the trapezoid rule over equally spaced thresholds. An error equal to a threshold
    counts as below it.
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
    """Returns the mean over joints of the area under each PCK curve between two thresholds, in [0, 1].

    The defaults are FreiHAND's, for errors `[N, J]` in metres.
    """
    return mean_error(areas(errors, low, high, thresholds), valid)


def f_scores(prediction: np.ndarray, target: np.ndarray, thresholds: Sequence[float] = (0.005, 0.015)) -> np.ndarray:
    """Returns F-scores `[N, thresholds]` in [0, 1] of pairs of meshes `[N, V, 3]`, `[N, W, 3]`.

    The F-score is the harmonic mean of precision and recall, which are the shares of predicted vertices with a true
    vertex, and of true vertices with a predicted vertex, nearer than the threshold. It is 0 if both shares are 0. The
    definition is FreiHAND's.

    Raises ValueError for other shapes or numbers of meshes, and for vertices that are not finite.
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
    """Returns the 2D error in pixels and the depth errors in millimetres of poses `[N, 21, 3]` (section 5.3).

    Pixels are Z^-1 K J3D. Depth errors are along the optical axis, in the camera frame and relative to the wrist.

    Raises ValueError as `joint_errors`, and for joints that are not in front of the camera.
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
    """Returns the mean error by joint name of errors `[N, 21]`, or `[N, 5]` of the tips, in their unit.

    Joints that are never valid are left out.
    """
    tips = errors.shape[-1] == len(hand.FINGERS)
    names = [hand.JOINTS[tip] for tip in hand.FINGER_JOINTS[:, -1]] if tips else hand.JOINTS
    ever_valid = [True] * len(names) if valid is None else np.any(valid, axis=0)
    names = [name for name, kept in zip(names, ever_valid, strict=True) if kept]
    return dict(zip(names, map(float, _mean_over_poses(errors, valid)), strict=True))


def by_finger(errors: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Returns the mean of `by_joint` over the joints of each finger, and that of the wrist."""
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
    """Returns the bootstrap percentile interval of the mean of values `[N]` or `[N, J]`, resampling the N images.

    For `[N, J]` the statistic is `mean_error`. Values are errors, or `areas` for the interval of an area under PCK.
    The interval assumes independent images: it is too narrow for frames of one video.

    Raises ValueError for fewer than 2 images or values that are not finite.
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
    """Returns the paper's metrics (sections 5.2 to 5.4) of poses `[N, 21, 3]` in metres and pixels `[N, 21, 2]`.

    `joints_2d_px` is the mean error in the image. `depth_mm`, the mean error along the optical axis, and `joints_3d_*`,
    mean, median and area under PCK from 0 to 50 mm, are relative to the wrist. `absolute_*` are without alignment and
    `aligned_*` after Procrustes alignment. All are means over 21 joints, including the wrist.
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
