"""Alignments of predicted poses with the ground truth.

All functions take poses `[N, J, 3]` and `valid`, which joints are labelled, `[N, J]` or None for all. Only labelled
joints determine the alignment. The result is the predicted poses after alignment, float64, in the unit of the input.
All functions raise ValueError if shapes differ or a labelled joint is not finite.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand


def root_relative(joints: np.ndarray) -> np.ndarray:
    """Returns joints relative to the wrist.

    Args:
      joints: `[..., 21, axes]`, any unit.

    Returns:
      `[..., 21, axes]`, float64, in the unit of the joints.

    Examples:
      >>> from bmc_jax import hand, metrics
      >>> print(metrics.root_relative(hand.EXAMPLE)[9].round(3))
      [ 0.   -0.11  0.  ]
    """
    joints = np.asarray(joints, np.float64)
    return joints - joints[..., hand.WRIST : hand.WRIST + 1, :]


def checked(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns prediction and target as float64, zero where not labelled, and `valid [..., J]`.

    Raises ValueError if shapes differ or a labelled joint is not finite, and names the first such pose and joint.
    """
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if prediction.shape != target.shape:
        raise ValueError(
            f"predicted joints: expected the shape {list(target.shape)} of the true joints, got "
            f"{list(prediction.shape)}; give both the same shape"
        )
    valid = np.ones(prediction.shape[:-1], bool) if valid is None else np.asarray(valid, bool)
    if valid.shape != prediction.shape[:-1]:
        raise ValueError(
            f"valid: expected the shape {list(prediction.shape[:-1])}, got {list(valid.shape)}; give a value per joint"
        )
    for name, joints in (("predicted", prediction), ("true", target)):
        bad = ~np.isfinite(joints).all(axis=-1) & valid
        if bad.any():
            first = tuple(int(number) for number in np.argwhere(bad)[0])
            which = f" ({hand.JOINTS[first[-1]]})" if prediction.shape[-2] == hand.NUM_JOINTS else ""
            raise ValueError(
                f"{name} joint {list(first)}{which}: expected finite numbers, got {joints[first].tolist()}; correct "
                "it, or mask it with `valid`"
            )
    if valid.all():
        return prediction, target, valid
    return np.where(valid[..., None], prediction, 0.0), np.where(valid[..., None], target, 0.0), valid


def absolute(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Returns the prediction unchanged, in the camera frame."""
    return checked(prediction, target, valid)[0]


def root(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Translates the wrist to that of the ground truth. All 21 joints must be labelled.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> aligned = metrics.root(target + 0.1, target)
      >>> print(np.allclose(aligned, target, atol=1e-6))
      True
    """
    prediction, target = _require_complete("root", prediction, target, valid)
    return root_relative(prediction) + target[..., hand.WRIST : hand.WRIST + 1, :]


def root_scale(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Translates the wrist and scales the middle MCP-PIP bone to those of the ground truth, as is customary on RHD.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> aligned = metrics.root_scale(1.2 * target + 0.1, target)
      >>> print(np.allclose(aligned, target, atol=1e-6))
      True
    """
    return _scale_bone("root_scale", hand.SCALE_BONE, prediction, target, valid)


def scale_translation(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Translates the wrist and scales the wrist-middle MCP distance to those of the ground truth, as in HO-3D.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> aligned = metrics.scale_translation(1.2 * target + 0.1, target)
      >>> print(np.allclose(aligned, target, atol=1e-6))
      True
    """
    return _scale_bone("scale_translation", (hand.WRIST, hand.MIDDLE_MCP), prediction, target, valid)


def centroid(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Translates the centroid of the labelled joints to that of the ground truth.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> aligned = metrics.centroid(target + 0.1, target)
      >>> print(np.allclose(aligned, target, atol=1e-6))
      True
    """
    prediction, target, valid = checked(prediction, target, valid)
    return prediction - _mean(prediction, valid) + _mean(target, valid)


def centroid_scale(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Translates the centroid of the labelled joints and scales their mean distance from it to the ground truth's.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> aligned = metrics.centroid_scale(1.2 * target + 0.1, target)
      >>> print(np.allclose(aligned, target, atol=1e-6))
      True
    """
    prediction, target, valid = checked(prediction, target, valid)
    centre = _mean(target, valid)
    prediction = prediction - _mean(prediction, valid)
    radius = _mean(np.linalg.norm(prediction, axis=-1, keepdims=True), valid)
    target_radius = _mean(np.linalg.norm(target - centre, axis=-1, keepdims=True), valid)
    return prediction * _ratio(target_radius, radius) + centre


def procrustes(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Aligns each pose by the similarity transform of least squared error, as in FreiHAND's evaluation.

    The rotation may be a reflection, as in that evaluation: a mirrored hand aligns perfectly. A prediction whose joints
    all coincide is moved to the centroid of the ground truth. Two labelled joints align perfectly.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> quarter_turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
      >>> aligned = metrics.procrustes(1.2 * target @ quarter_turn + 0.1, target)
      >>> print(np.allclose(aligned, target, atol=1e-6))
      True
    """
    prediction, target, valid = checked(prediction, target, valid)
    transform = fit_similarity(prediction, target, valid)
    centred = (prediction - _mean(prediction, valid)) / transform.norm
    return centred @ np.swapaxes(transform.rotation, -2, -1) * transform.scale + _mean(target, valid)


@dataclass(frozen=True)
class Similarity:
    """Similarity transform of `procrustes`."""

    rotation: np.ndarray
    """`[..., 3, 3]`, or a reflection."""
    scale: np.ndarray
    """`[..., 1, 1]`: factor of the centred prediction of norm 1."""
    norm: np.ndarray
    """`[..., 1, 1]`: Frobenius norm of the centred prediction."""


def fit_similarity(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray) -> Similarity:
    """Fits the transform of `procrustes` to validated poses."""
    known = valid[..., None]
    prediction, target = (prediction - _mean(prediction, valid)) * known, (target - _mean(target, valid)) * known
    # The official programs add 1e-8 metres, which keeps the zero pose finite; it is part of the metric.
    norm = np.linalg.norm(prediction, axis=(-2, -1), keepdims=True) + 1e-8
    target_norm = np.linalg.norm(target, axis=(-2, -1), keepdims=True) + 1e-8
    u, singular_values, v = np.linalg.svd(np.swapaxes(target / target_norm, -2, -1) @ (prediction / norm))
    return Similarity(u @ v, singular_values.sum(axis=-1)[..., None, None] * target_norm, norm)


ALIGNMENTS: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "absolute": (absolute, "none: camera frame"),
    "root": (root, "wrists aligned"),
    "root_scale": (root_scale, "wrists aligned, true MCP-PIP length"),
    "scale_translation": (scale_translation, "wrists aligned, true wrist-MCP length"),
    "centroid": (centroid, "centroids aligned"),
    "centroid_scale": (centroid_scale, "centroids aligned, true mean radius"),
    "procrustes": (procrustes, "moved, scaled, turned or mirrored"),
}
"""Function and description of each alignment."""


def align(name: str, prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Returns the predicted poses in the named alignment.

    Args:
      name: key of `ALIGNMENTS`.
      prediction: `[N, J, 3]`.
      target: ground truth, as `prediction`.
      valid: labelled joints `[N, J]`, which determine the alignment; None for all.

    Returns:
      `[N, J, 3]`, float64, in the unit of the input.

    Raises:
      ValueError: if the alignment is unknown, shapes differ or a labelled joint is not finite.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, metrics
      >>> target = hand.EXAMPLE[None]
      >>> print(np.allclose(metrics.align("root", target + 0.1, target), target, atol=1e-6))
      True
    """
    if name not in ALIGNMENTS:
        raise ValueError(f"alignment: expected one of {', '.join(ALIGNMENTS)}, got {name!r}; choose one")
    return ALIGNMENTS[name][0](prediction, target, valid)


def _scale_bone(
    name: str, bone: tuple[int, int], prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None
) -> np.ndarray:
    """Translates the wrist and scales the length of the bone, a pair of joints, to those of the ground truth."""
    prediction, target = _require_complete(name, prediction, target, valid)
    ratio = _ratio(_length(target, bone), _length(prediction, bone))
    return root_relative(prediction * ratio) + target[..., hand.WRIST : hand.WRIST + 1, :]


def _length(joints: np.ndarray, bone: tuple[int, int]) -> np.ndarray:
    """Returns the length of a bone, `[..., 1, 1]`."""
    start, end = bone
    return np.linalg.norm(joints[..., end, :] - joints[..., start, :], axis=-1)[..., None, None]


def _require_complete(
    name: str, prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    prediction, target, valid = checked(prediction, target, valid)
    if prediction.shape[-2] != hand.NUM_JOINTS or not valid.all():
        raise ValueError(
            f"alignment '{name}': expected all {hand.NUM_JOINTS} joints in every pose of the ground truth, got "
            f"{int(valid.sum(axis=-1).min()) if valid.size else 0} in some pose; choose centroid or procrustes"
        )
    return prediction, target


def _ratio(target_length: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Returns the scale factor. A length of zero counts as 1, as in HO-3D's evaluation, so that the pose is finite."""
    return target_length / np.where(length > 0, length, 1.0)


def _mean(joints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns the mean of the labelled joints, `[..., 1, axes]`; zero if there is none."""
    known = valid[..., None]
    return (joints * known).sum(axis=-2, keepdims=True) / np.maximum(known.sum(axis=-2, keepdims=True), 1)
