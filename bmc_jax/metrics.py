"""How far predicted joints are from the true ones: end-point error, PCK and its area, Procrustes alignment.

On the host, in numpy's float64: the official evaluations are numpy programs of that precision, whose numbers are to be
reproduced to the digit, and they run once over a few thousand poses. Joints are `[N, J, 3]` in metres, camera frame.
"""

import numpy as np

from bmc_jax import hand

MILLIMETRES = 1000.0


def joint_errors(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Euclidean distance of every joint `[..., J]`, in the unit of the joints `[..., J, axes]`.

    Raises ValueError where shapes differ or a value is not finite, naming the first such pose and joint.
    """
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if prediction.shape != target.shape:
        raise ValueError(f"predicted joints have the shape {prediction.shape} and true ones {target.shape}; must agree")
    for name, joints in (("predicted", prediction), ("true", target)):
        if not np.isfinite(joints).all():
            first = np.argwhere(~np.isfinite(joints))[0]
            raise ValueError(f"{name} joint {first[:-1].tolist()} is {joints[tuple(first[:-1])]}; must be finite")
    return np.linalg.norm(prediction - target, axis=-1)


def root_relative(joints: np.ndarray) -> np.ndarray:
    """Joints `[..., 21, axes]` with the wrist at the origin."""
    joints = np.asarray(joints, np.float64)
    return joints - joints[..., hand.WRIST : hand.WRIST + 1, :]


def mean_error(errors: np.ndarray) -> float:
    """Mean over poses of each joint's errors `[N, J]`, then over joints."""
    return float(np.mean(np.mean(errors, axis=0)))


def median_error(errors: np.ndarray) -> float:
    """Median over poses of each joint's errors `[N, J]`, then the mean over joints: FreiHAND's `median`."""
    return float(np.mean(np.median(errors, axis=0)))


def pck(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of poses whose error is at most the threshold, for each joint: errors `[N, J]` to `[thresholds, J]`."""
    return np.mean(errors[None] <= np.asarray(thresholds)[:, None, None], axis=1)


def pck_auc(errors: np.ndarray, low: float = 0.0, high: float = 0.05, thresholds: int = 100) -> float:
    """Area under each joint's PCK curve between two thresholds, as a share of 1, then the mean over joints.

    By the trapezoid rule over equally spaced thresholds. The defaults are FreiHAND's, with errors `[N, J]` in metres.
    """
    steps = np.linspace(low, high, thresholds)
    area = np.trapezoid(pck(errors, steps), steps, axis=0) / (high - low)
    return float(np.mean(area))


def procrustes(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each predicted pose `[..., J, 3]` moved, turned and scaled to fit the true one best, as FreiHAND aligns.

    As there, the turn may be a reflection: a mirrored hand aligns perfectly. A prediction whose joints all coincide
    becomes the mean of the true joints.
    """
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    centre = target.mean(axis=-2, keepdims=True)
    prediction, target = prediction - prediction.mean(axis=-2, keepdims=True), target - centre
    # The official 1e-8 (metres) keeps the zero pose finite; it is part of the metric.
    size = np.linalg.norm(target, axis=(-2, -1), keepdims=True) + 1e-8
    prediction = prediction / (np.linalg.norm(prediction, axis=(-2, -1), keepdims=True) + 1e-8)
    u, strength, v = np.linalg.svd(np.swapaxes(target / size, -2, -1) @ prediction)
    turned = prediction @ np.swapaxes(u @ v, -2, -1)
    return turned * strength.sum(axis=-1)[..., None, None] * size + centre


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
