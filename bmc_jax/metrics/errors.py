"""Distances of joints and what is made of many of them: means, PCK and its area, F-scores, tables, intervals.

Errors are `[N, J]`, in the unit of the joints; `valid [N, J]` says which count, None that all do.
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
    """Euclidean distance of every joint `[..., J]`, in the unit of the joints `[..., J, axes]`; 0 where not valid.

    Raises ValueError where shapes differ or a value is not finite, naming the first such pose and joint.
    """
    prediction, target, _ = checked(prediction, target, valid)
    return np.linalg.norm(prediction - target, axis=-1)


def mean_error(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean over poses of each joint's errors, then over the joints that are seen at all."""
    return float(np.mean(_by_column(errors, valid)))


def median_error(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Median over poses of each joint's errors, then the mean over joints: FreiHAND's `median`."""
    if valid is None or np.all(valid):
        return float(np.mean(np.median(errors, axis=0)))
    return float(np.mean([np.median(errors[seen, j]) for j, seen in enumerate(valid.T) if seen.any()]))


def pck(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of poses whose error is at most the threshold, for each joint: errors `[N, J]` to `[thresholds, J]`."""
    return np.mean(errors[None] <= np.asarray(thresholds)[:, None, None], axis=1)


def areas(errors: np.ndarray, low: float = 0.0, high: float = 0.05, thresholds: int = 100) -> np.ndarray:
    """What every error adds to the area under PCK between two thresholds, as a share of 1, in the errors' shape.

    The area of a mean of curves is the mean of their areas, so the mean over poses is a joint's area; that over the
    joints of a pose can be resampled. By the trapezoid rule over equally spaced thresholds, an error equal to one
    counting as below it.
    """
    steps = np.linspace(low, high, thresholds)
    curves = np.asarray(np.arange(thresholds) >= np.arange(thresholds + 1)[:, None], np.float64)
    of_step = np.asarray(np.trapezoid(curves, steps, axis=1)) / (high - low)
    return of_step[np.searchsorted(steps, errors, side="left")]


def pck_auc(
    errors: np.ndarray,
    low: float = 0.0,
    high: float = 0.05,
    thresholds: int = 100,
    valid: np.ndarray | None = None,
) -> float:
    """Area under each joint's PCK curve between two thresholds, as a share of 1, then the mean over joints.

    The defaults are FreiHAND's, with errors `[N, J]` in metres.
    """
    return mean_error(areas(errors, low, high, thresholds), valid)


def f_scores(prediction: np.ndarray, target: np.ndarray, thresholds: Sequence[float] = (0.005, 0.015)) -> np.ndarray:
    """F-score of each pair of meshes `[N, V, 3]`, `[N, W, 3]`, at each threshold: `[N, thresholds]` in [0, 1].

    The harmonic mean of the shares of predicted vertices with a true one nearer than the threshold, and of true ones
    with a predicted one; 0 if both are. By FreiHAND's definition, the distance being to the nearest vertex.

    Raises ValueError for other shapes or numbers of meshes, and for vertices that are not finite.
    """
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    for name, vertices in (("predicted", prediction), ("true", target)):
        if vertices.ndim != 3 or vertices.shape[-1] != 3 or len(vertices) != len(target) or not vertices.shape[1]:
            raise ValueError(f"{name} vertices have the shape {vertices.shape}; [{len(target)}, V, 3] is needed")
        checked(vertices, vertices)
    limits = np.asarray(thresholds)
    # A search ends where nothing nearer can be; a little beyond, so that the comparison below decides.
    reach = float(limits.max()) * 1.001

    def score(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        shares = [
            (KDTree(others, balanced_tree=False).query(points, distance_upper_bound=reach)[0][:, None] < limits).mean(0)
            for points, others in (pair, pair[::-1])
        ]
        total = shares[0] + shares[1]
        return 2 * shares[0] * shares[1] / np.where(total > 0, total, 1)

    # The tree's search lets other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return np.stack(list(threads.map(score, zip(prediction, target, strict=True))))


def pinhole(prediction: np.ndarray, target: np.ndarray, intrinsics: np.ndarray) -> dict[str, float]:
    """The 3D error of poses `[N, 21, 3]` taken apart as in section 5.3, by Z^-1 K J3D = J2D: pixels beside each other
    in the image, and millimetres along the optical axis, in the camera's frame and with the wrists joined.

    Raises ValueError for joints that are not in front of the camera, besides `joint_errors`' reasons.
    """
    prediction, target, _ = checked(prediction, target)
    intrinsics = np.asarray(intrinsics, np.float64)
    if intrinsics.shape != (*prediction.shape[:-2], 3, 3):
        raise ValueError(f"K has the shape {intrinsics.shape}; {(*prediction.shape[:-2], 3, 3)} is needed")
    pixels = []
    for name, joints in (("predicted", prediction), ("true", target)):
        behind = np.argwhere(joints[..., 2] <= 0)
        if len(behind):
            first = tuple(behind[0])
            raise ValueError(
                f"{name} joint {list(map(int, first))} is at depth {joints[first][2]:.4g} m, behind the camera"
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
    """Mean error of each joint that is seen at all, of errors `[N, 21]`, or `[N, 5]` of the tips; in their unit."""
    tips = errors.shape[-1] == len(hand.FINGERS)
    names = [hand.JOINTS[tip] for tip in hand.FINGER_JOINTS[:, -1]] if tips else hand.JOINTS
    seen = [True] * len(names) if valid is None else np.any(valid, axis=0)
    found = [name for name, there in zip(names, seen, strict=True) if there]
    return dict(zip(found, map(float, _by_column(errors, valid)), strict=True))


def by_finger(errors: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Mean over each finger's joints of their mean errors, and the wrist by itself; as `by_joint`."""
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
    """Percentile interval of the mean of values `[N]` or `[N, J]`, images being drawn anew with replacement.

    Of `[N, J]` it is of the mean over joints of each one's mean, as `mean_error`: of errors, or of `areas` for the
    interval of an area under PCK. It tells how much the number would differ on other such images, and takes them for
    independent: frames of one video are not, and their interval is too narrow.

    Raises ValueError for fewer than 2 images or values that are not finite.
    """
    values = np.asarray(values, np.float64)
    values = values.reshape(len(values), -1)
    if len(values) < 2:
        raise ValueError(f"an interval is of 2 images or more, not of {len(values)}")
    known = np.ones(values.shape, bool) if valid is None else np.asarray(valid, bool)
    if not np.isfinite(values[known]).all():
        raise ValueError(f"value {np.argwhere(~np.isfinite(values) & known)[0].tolist()} is not finite")
    if known.all():  # then the order of the means does not matter
        values, known = values.mean(axis=1, keepdims=True), known[:, :1]
    summed, counted = np.where(known, values, 0.0), known.astype(np.float64)
    generator, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = np.bincount(generator.integers(0, len(values), len(values)), minlength=len(values)).astype(np.float64)
        seen = drawn @ counted
        means.append(np.mean((drawn @ summed)[seen > 0] / seen[seen > 0]))
    low, high = np.percentile(means, [50 - percent / 2, 50 + percent / 2])
    return float(low), float(high)


def summary(
    prediction: np.ndarray, target: np.ndarray, prediction_2d: np.ndarray, target_2d: np.ndarray
) -> dict[str, float]:
    """The paper's measures (sections 5.2 to 5.4) of poses `[N, 21, 3]` in metres and of their pixels `[N, 21, 2]`.

    `joints_2d_px` is the mean distance in the image, `depth_mm` the mean difference along the optical axis and
    `joints_3d_mm` the mean distance, both of them relative to the wrist, with the median and the area under PCK from 0
    to 50 mm; `absolute_` is the same without moving the wrist, `aligned_` after Procrustes alignment. All are means
    over the 21 joints, the wrist included.
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


def _by_column(errors: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Mean of each joint's errors, of the joints that are seen at all."""
    if valid is None or np.all(valid):
        return np.mean(errors, axis=0)
    seen = np.sum(valid, axis=0)
    return np.sum(errors, axis=0, where=valid)[seen > 0] / seen[seen > 0]
