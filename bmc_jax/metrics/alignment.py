"""Ways to move a predicted pose onto the true one before they are compared. Each has a name that goes with the number.

All take poses `[N, J, 3]`, finite, and which joints the truth knows, `[N, J]` or None for all; only those decide how
the pose is moved. Raise ValueError where shapes differ or a known joint is not finite, naming the first such pose and
joint.
"""

from collections.abc import Callable

import numpy as np

from bmc_jax.core import hand


def root_relative(joints: np.ndarray) -> np.ndarray:
    """Joints `[..., 21, axes]` with the wrist at the origin."""
    joints = np.asarray(joints, np.float64)
    return joints - joints[..., hand.WRIST : hand.WRIST + 1, :]


def checked(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both in float64, zero where the truth is unknown, and which joints are known, `[..., J]`."""
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if prediction.shape != target.shape:
        raise ValueError(f"predicted joints have the shape {prediction.shape} and true ones {target.shape}; must agree")
    valid = np.ones(prediction.shape[:-1], bool) if valid is None else np.asarray(valid, bool)
    if valid.shape != prediction.shape[:-1]:
        raise ValueError(
            f"which joints are known has the shape {valid.shape} and joints {prediction.shape}; must agree"
        )
    for name, joints in (("predicted", prediction), ("true", target)):
        bad = ~np.isfinite(joints).all(axis=-1) & valid
        if bad.any():
            first = tuple(int(number) for number in np.argwhere(bad)[0])
            which = f" ({hand.JOINTS[first[-1]]})" if prediction.shape[-2] == hand.NUM_JOINTS else ""
            raise ValueError(f"{name} joint {list(first)} is {joints[first].tolist()}{which}; must be finite")
    if valid.all():
        return prediction, target, valid
    return np.where(valid[..., None], prediction, 0.0), np.where(valid[..., None], target, 0.0), valid


def absolute(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """As predicted, in the camera's frame."""
    return checked(prediction, target, valid)[0]


def root(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The wrist moved onto the true one. Raises ValueError where the wrist or a joint is not known."""
    prediction, target, _ = _whole("root", prediction, target, valid)
    return root_relative(prediction) + target[..., hand.WRIST : hand.WRIST + 1, :]


def root_scale(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The wrist moved onto the true one, and the middle finger's proximal bone made as long as the true one: the true
    scale that results on RHD are given with."""
    return _scaled("root_scale", hand.SCALE_BONE, prediction, target, valid)


def scale_translation(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The wrist moved onto the true one, and the middle MCP made as far from it as the true one is: HO-3D's own."""
    return _scaled("scale_translation", (hand.WRIST, hand.MIDDLE_MCP), prediction, target, valid)


def centroid(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The mean of the known joints moved onto the true one."""
    prediction, target, valid = checked(prediction, target, valid)
    return prediction - _mean(prediction, valid) + _mean(target, valid)


def centroid_scale(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The mean of the known joints moved onto the true one, and their mean distance from it made the true one."""
    prediction, target, valid = checked(prediction, target, valid)
    centre = _mean(target, valid)
    prediction = prediction - _mean(prediction, valid)
    reach, true_reach = (
        _mean(np.linalg.norm(joints, axis=-1, keepdims=True), valid) for joints in (prediction, target - centre)
    )
    return prediction * _ratio(true_reach, reach) + centre


def procrustes(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Each predicted pose moved, turned and scaled to fit the true one best, as FreiHAND aligns.

    As there, the turn may be a reflection: a mirrored hand aligns perfectly. A prediction whose joints all coincide
    becomes the mean of the true joints. Any two known joints of a prediction align perfectly.
    """
    prediction, target, valid = checked(prediction, target, valid)
    rotation, scale, predicted_size = fit(prediction, target, valid)
    centred = (prediction - _mean(prediction, valid)) / predicted_size
    return centred @ np.swapaxes(rotation, -2, -1) * scale + _mean(target, valid)


def fit(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How `procrustes` turns, `[..., 3, 3]`, what it multiplies a centred pose of size 1 by, and the predicted pose's
    size, both `[..., 1, 1]`."""
    known = valid[..., None]
    prediction, target = (prediction - _mean(prediction, valid)) * known, (target - _mean(target, valid)) * known
    # The official 1e-8 (metres) keeps the zero pose finite; it is part of the metric.
    size, predicted_size = (
        np.linalg.norm(joints, axis=(-2, -1), keepdims=True) + 1e-8 for joints in (target, prediction)
    )
    u, strength, v = np.linalg.svd(np.swapaxes(target / size, -2, -1) @ (prediction / predicted_size))
    return u @ v, strength.sum(axis=-1)[..., None, None] * size, predicted_size


ALIGNMENTS: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "absolute": (absolute, "none: camera frame"),
    "root": (root, "wrists joined"),
    "root_scale": (root_scale, "wrists joined, true MCP-PIP length"),
    "scale_translation": (scale_translation, "wrists joined, true wrist-MCP length"),
    "centroid": (centroid, "centroids joined"),
    "centroid_scale": (centroid_scale, "centroids joined, true mean radius"),
    "procrustes": (procrustes, "moved, scaled, turned or mirrored"),
}
"""What each name stands for: the function, and words."""


def align(name: str, prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """The predicted poses, aligned in the named way. Raises ValueError for another name than those of `ALIGNMENTS`."""
    if name not in ALIGNMENTS:
        raise ValueError(f"alignment {name!r} is none of {', '.join(ALIGNMENTS)}")
    return ALIGNMENTS[name][0](prediction, target, valid)


def _scaled(
    name: str, bone: tuple[int, int], prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None
) -> np.ndarray:
    prediction, target, _ = _whole(name, prediction, target, valid)
    start, end = bone
    length, true_length = (
        np.linalg.norm(joints[..., end, :] - joints[..., start, :], axis=-1)[..., None, None]
        for joints in (prediction, target)
    )
    return root_relative(prediction * _ratio(true_length, length)) + target[..., hand.WRIST : hand.WRIST + 1, :]


def _whole(
    name: str, prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    prediction, target, valid = checked(prediction, target, valid)
    if prediction.shape[-2] != hand.NUM_JOINTS or not valid.all():
        raise ValueError(
            f"the alignment '{name}' needs all {hand.NUM_JOINTS} joints, of which the truth has "
            f"{int(valid.sum(axis=-1).min()) if valid.size else 0} in some pose; choose centroid or procrustes"
        )
    return prediction, target, valid


def _ratio(true_length: np.ndarray, length: np.ndarray) -> np.ndarray:
    """By how much to scale. A length of zero stands for 1, as in HO-3D's evaluation: the pose stays finite."""
    return true_length / np.where(length > 0, length, 1.0)


def _mean(joints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mean of the known joints, `[..., 1, axes]`; zero of none."""
    known = valid[..., None]
    return (joints * known).sum(axis=-2, keepdims=True) / np.maximum(known.sum(axis=-2, keepdims=True), 1)
