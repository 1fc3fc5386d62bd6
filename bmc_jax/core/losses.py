"""The terms of the paper's objective, one pure function each, and their weighted sum (Eq. 7, 9, 10).

Every term has one value per example, `[...]`, and no dimension: lengths and depths are in scale units (multiples of the
scale bone's length), angles in radians, image distances in halves of the crop's width, the network's own coordinate.
Masks over labels and means over examples are made in one place, `total`.

Every kink has a stated gradient: where a value is exactly at the end of its interval, exactly on its label or exactly
on the edge of its hull it is zero, as inside. The gradient of a biomechanical term by joints in scale units is below 10
for hands, and at most 1e7 next to a degenerate pose of those that `anatomy` lists, at which it is zero. NaN joints give
NaN terms and gradients.
"""

import dataclasses
import functools
import operator
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bmc_jax.core import anatomy, fast_anatomy, hand, hull, numerics, poses_last
from bmc_jax.core import density as joint_density
from bmc_jax.core.choices import PENALTIES
from bmc_jax.core.types import Batch, Limits, Prediction


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class LossWeights:
    """Weights of the terms (Eq. 9, 10): numbers, or traced scalars for weights that change while training.

    The paper does not state its weights; these are defaults of this package. Half a crop's width is about three scale
    units at the distance of the hand, so 15 against 5 gives errors across the image and along the ray the same weight.
    """

    joints_2d: float = 15.0
    """Weight of L_2D."""
    relative_depth: float = 5.0
    """Weight of L_Zr."""
    root_depth: float = 1.0
    """Weight of L_Zroot."""
    bone_length: float = 0.1
    """Weight of L_BL."""
    palm: float = 0.1
    """Weight of L_RB."""
    joint_angle: float = 0.01
    """Weight of L_A."""
    density: float = 0.0
    """Weight of `density.excess`, which is not a term of the paper."""
    heatmaps: float = 0.0
    """Weight of `heatmaps`, which is not a term of the paper."""


def interval(
    value: Float[Array, "*shape"], low: Float[Array, "..."], high: Float[Array, "..."]
) -> Float[Array, "*shape"]:
    """Returns I(x; a, b) = max(a - x, 0) + max(x - b, 0), elementwise (section 3.1).

    The slope outside is one; the gradient is zero at both ends, as inside. NaN gives NaN, which a compiled maximum does
    not at every batch size.

    Args:
      value: any values.
      low: lower ends, which broadcast to the value.
      high: upper ends, which broadcast to the value.

    Returns:
      Distances to the intervals, in the unit of the value.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import losses
      >>> print(losses.interval(jnp.array([0.5, 1.5, 4.0]), jnp.array(1.0), jnp.array(2.0)))
      [0.5 0.  2. ]
    """
    low, high = jnp.broadcast_to(low, value.shape), jnp.broadcast_to(high, value.shape)
    beyond = jnp.where(value < low, low - value, value - high)
    return jnp.where((value >= low) & (value <= high), 0.0, beyond)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Excess:
    """Distance of every quantity of a pose beyond its limit, 0 within; numpy's or JAX's arrays."""

    bone_length: Float[Any, "*batch 5 4"]
    """Scale units: of each bone, finger x (MCP, PIP, DIP, TIP)."""
    curvature: Float[Any, "*batch 4"]
    """1 / scale unit: of the palm between neighbouring root bones."""
    spread: Float[Any, "*batch 4"]
    """Radians: between neighbouring root bones."""
    angles: Float[Any, "*batch 5 3"]
    """Radians: of (flexion, abduction) of each finger's PIP, DIP and TIP bone. Another `mode` of `excess` has another
    unit."""

    @property
    def worst(self) -> Float[Array, "*batch"]:
        """The largest excess of each pose, whatever its unit. NaN if one is NaN."""
        each = self._each
        return jnp.where(jnp.any(jnp.isnan(each), axis=-1), jnp.nan, jnp.max(each, axis=-1))

    def within(self, tolerance: float = numerics.LIMIT_TOLERANCE) -> Bool[Array, "*batch"]:
        """Returns whether every quantity of a pose is within its limit, to a tolerance.

        Args:
          tolerance: scale units, their reciprocal, and radians.

        Returns:
          One value for each pose; False for NaN.
        """
        return jnp.all(self._each <= tolerance, axis=-1)

    def nearly_within(self) -> Bool[Array, "*batch"]:
        """Returns whether every quantity of a pose is within its limit to `numerics.VISIBLE_LENGTH`, 1 mm of an adult's
        hand, and `numerics.VISIBLE_ANGLE`, 2 degrees. False for NaN."""
        angle = numerics.VISIBLE_ANGLE
        of_angles = (self.curvature / angle, self.spread / angle, self.angles / angle)
        return Excess(self.bone_length / numerics.VISIBLE_LENGTH, *of_angles).within(1.0)

    @property
    def _each(self) -> Float[Array, "*batch 43"]:
        fingers = [part.reshape(*part.shape[:-2], -1) for part in (self.bone_length, self.angles)]
        return jnp.concatenate([*fingers, self.curvature, self.spread], axis=-1)

    @property
    def terms(self) -> dict[str, Float[Array, "*batch"]]:
        """L_BL, L_RB and L_A by name: means over the 20 bones, the 4 pairs of root bones and the 15 joints."""
        return {
            "bone_length": jnp.mean(self.bone_length, axis=(-2, -1)),
            "palm": jnp.mean(self.curvature + self.spread, axis=-1),
            "joint_angle": jnp.mean(self.angles, axis=(-2, -1)),
        }


def excess(
    joints: Float[Array, "*batch 21 3"],
    limits: Limits,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
) -> Excess:
    """Returns how far each quantity of poses is beyond its limit.

    This function defines what is within limits; the biomechanical losses are its means. Under jit, unused parts of the
    result are not computed.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.
      mode: distance of angles to their hull, see `hull.distance`.
      independent: whether to limit flexion and abduction each by its own interval, the hull's bounding box (Table 5).
      detach_frames: whether the gradient of a bone's angle moves that bone only, not the palm and the bones from which
        its frame is built.

    Returns:
      The excess of every quantity.

    Raises:
      ValueError: for joints of another shape or of whole numbers, or another mode.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand, limits, losses
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> bent_back = joints.at[8, 2].add(-1.0)  # the tip of the index finger, towards the back of the hand
      >>> excess = jax.jit(losses.excess)(bent_back, limits.load("clinical"))  # doctest: +SKIP
      >>> print(jnp.degrees(excess.angles[1]).round(), excess.within())  # doctest: +SKIP
      [ 0.  0. 95.] False
    """
    found = _fast_excess(mode, detach_frames)(*poses_last.floating(joints, _bounds(limits, independent)))
    return Excess(*found)


def bone_length(joints: Float[Array, "*batch 21 3"], limits: Limits) -> Float[Array, "*batch"]:
    """Returns L_BL (section 3.1): the excess of the bone lengths, mean over the 20 bones.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.

    Returns:
      One value for each pose, scale units.

    Raises:
      ValueError: for joints of another shape or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand, limits, losses
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> allowed = limits.load("clinical")
      >>> print(losses.bone_length(joints, allowed), losses.bone_length(2 * joints, allowed) > 0)
      0.0 True
    """
    return jnp.mean(_bone_length_excess(joints, limits), axis=(-2, -1))


def palm(joints: Float[Array, "*batch 21 3"], limits: Limits) -> Float[Array, "*batch"]:
    """Returns L_RB (section 3.1): the excess of the palm's curvature plus that of its spread.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.

    Returns:
      One value for each pose: the mean over the 4 pairs of neighbouring root bones of curvature (1 / scale unit) plus
      spread (radians).

    Raises:
      ValueError: for joints of another shape or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand, limits, losses
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> print(losses.palm(joints, limits.load("clinical")))
      0.0
    """
    curvature = _outside(anatomy.palm_curvature(joints), limits.curvature)
    return jnp.mean(curvature + _outside(anatomy.palm_spread(joints), limits.spread), axis=-1)


def joint_angle(
    joints: Float[Array, "*batch 21 3"],
    limits: Limits,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
) -> Float[Array, "*batch"]:
    """Returns L_A (Eq. 7): the distance of (flexion, abduction) to the joint's hull, mean over the 15 joints.

    Args:
      joints: right hands, FreiHAND order, any length unit.
      limits: limits of the hand.
      mode: see `excess`.
      independent: see `excess`.
      detach_frames: see `excess`.

    Returns:
      One value for each pose, radians, or the unit of `mode`.

    Raises:
      ValueError: for joints of another shape or of whole numbers, or another mode.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hand, limits, losses
      >>> joints = jnp.asarray(hand.EXAMPLE)
      >>> loss = jax.jit(losses.joint_angle)(joints.at[8, 2].add(-0.05), limits.load("clinical"))
      >>> print(f"{15 * jnp.degrees(loss):.0f} degrees in sum")
      98 degrees in sum
    """
    beyond = _angle_excess(joints, limits, mode=mode, independent=independent, detach_frames=detach_frames)
    return jnp.mean(beyond, axis=(-2, -1))


def constraints(
    joints: Float[Array, "*batch 21 3"],
    limits: Limits,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
    penalty: str = "absolute",
) -> dict[str, Float[Array, "*batch"]]:
    """Returns the three biomechanical terms by name, the means of `excess`.

    Values and gradients by joints are computed with the poses as the last axis (`poses_last`), except for the modes on
    the circle. Gradients by the limits and derivatives of higher order are those of `excess`.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.
      mode: see `excess`.
      independent: see `excess`.
      detach_frames: see `excess`.
      penalty: function of the excess that is averaged: "absolute", as in the paper; "squared", its square divided by
        0.1; "relative", with the excess of the angles of a joint divided by the root of the area of its hull, relative
        to the mean of all hulls.

    Returns:
      "bone_length" (L_BL), "palm" (L_RB) and "joint_angle" (L_A), each with one value for each pose.

    Raises:
      ValueError: for joints of another shape or of whole numbers, or another mode or penalty.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand, limits, losses
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE)[None])
      >>> terms = losses.constraints(joints.at[:, 8, 2].add(-1.0), limits.load("clinical"))
      >>> print([name for name, loss in terms.items() if loss > 0])
      ['joint_angle']
    """
    if penalty != "absolute":
        options = {"mode": mode, "independent": independent, "detach_frames": detach_frames}
        return _penalized(excess(joints, limits, **options), limits, penalty).terms
    found = _terms(mode, detach_frames)(*poses_last.floating(joints, _bounds(limits, independent)))
    return dict(zip(_BIOMECHANICAL, found, strict=True))


def _penalized(found: Excess, limits: Limits, penalty: str) -> Excess:
    if penalty == "squared":
        return jax.tree.map(lambda value: value**2 / 0.1, found)
    if penalty != "relative":
        raise ValueError(f"expected a penalty of {', '.join(PENALTIES)}, got {penalty!r}")
    x, y = jnp.moveaxis(jnp.asarray(limits.hull), -1, 0)
    area = jnp.abs(jnp.sum(x * jnp.roll(y, -1, axis=-1) - y * jnp.roll(x, -1, axis=-1), axis=-1)) / 2
    size = jnp.sqrt(area)
    relative = jnp.mean(size) / jnp.maximum(size, 0.1 * jnp.mean(size))
    return dataclasses.replace(found, angles=found.angles * jnp.broadcast_to(relative, found.angles.shape))


def narrowed(limits: Limits, share: float) -> Limits:
    """Returns limits whose intervals and angle hulls are narrower by a share, about their middles.

    Args:
      limits: limits of the hand; their joint density is not changed.
      share: from 0 to 1.

    Examples:
      >>> from bmc_jax import limits, losses
      >>> clinical = limits.load("clinical")
      >>> narrow = losses.narrowed(clinical, 0.25)
      >>> low, high = narrow.spread[0] / (clinical.spread[0, 1] - clinical.spread[0, 0])
      >>> print(f"{high - low:.2f}")
      0.75
    """

    def shrunk(points: Array, axis: int) -> Array:
        points = jnp.asarray(points)
        middle = jnp.mean(points, axis=axis, keepdims=True)
        return middle + (1 - share) * (points - middle)

    intervals = {name: shrunk(getattr(limits, name), -1) for name in ("bone_length", "curvature", "spread")}
    return dataclasses.replace(limits, hull=shrunk(limits.hull, -2), **intervals)


def biomechanical(
    joints: Float[Array, "*batch 21 3"],
    limits: Limits,
    weights: LossWeights,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
) -> Float[Array, "*batch"]:
    """Returns L_BMC (Eq. 9): the weighted sum of `constraints`.

    Value and gradient are zero where the pose is within every limit.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.
      weights: weights of the terms.
      mode: see `excess`.
      independent: see `excess`.
      detach_frames: see `excess`.

    Returns:
      One value for each pose.

    Raises:
      ValueError: for joints of another shape or of whole numbers, or another mode.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand, limits, losses
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> loss = jax.jit(losses.biomechanical)
      >>> print(loss(joints, limits.load("clinical"), losses.LossWeights()))  # doctest: +SKIP
      0.0
    """
    factors = [getattr(weights, name) for name in _BIOMECHANICAL]
    return _terms(mode, detach_frames)(*poses_last.floating(joints, _bounds(limits, independent, factors)))[0]


_BIOMECHANICAL = ("bone_length", "palm", "joint_angle")


def _bounds(limits: Limits, independent: bool, weights: list[Any] | None = None) -> fast_anatomy.Bounds:
    polygon = hull.box(jnp.asarray(limits.hull)) if independent else limits.hull
    return fast_anatomy.Bounds(limits.bone_length, limits.curvature, limits.spread, polygon, weights)


def _readable_excess(joints: Array, bounds: fast_anatomy.Bounds, mode: str, detach_frames: bool) -> tuple[Array, ...]:
    """What `Excess` holds, in the order of its fields."""
    angles = anatomy.joint_angles(joints, detach_frames=detach_frames)
    return (
        _outside(anatomy.bone_lengths(joints), bounds.bone_length),
        _outside(anatomy.palm_curvature(joints), bounds.curvature),
        _outside(anatomy.palm_spread(joints), bounds.spread),
        hull.distance(angles, bounds.hull, mode),
    )


@functools.cache
def _fast_excess(mode: str, detach_frames: bool) -> Callable[..., tuple[Array, ...]]:
    reference = functools.partial(_readable_excess, mode=mode, detach_frames=detach_frames)
    return poses_last.with_values(reference, fast_anatomy.EXCESS) if mode == "euclidean" else reference


@functools.cache
def _terms(mode: str, detach_frames: bool) -> Callable[..., list[Array]]:
    """The terms of joints and bounds, or if these have weights, the weighted sum alone."""

    def reference(joints: Array, bounds: Any) -> list[Array]:
        terms = Excess(*_readable_excess(joints, bounds, mode, detach_frames)).terms
        if bounds.weights is None:
            return list(terms.values())
        return [functools.reduce(operator.add, map(operator.mul, bounds.weights, terms.values()))]

    if mode != "euclidean":
        return reference
    return poses_last.with_gradients(reference, fast_anatomy.TERMS, fast_anatomy.terms_and_gradients(detach_frames))


def labelled(batch: Batch) -> dict[str, Bool[Array, "*batch"]]:
    """Returns which examples have a label for each supervised term. Depths need the root's depth and the scale.

    Args:
      batch: images with labels.

    Returns:
      "joints_2d", "heatmaps", "relative_depth" and "root_depth", each with one value for each example.
    """
    root_known = batch.joints_3d_valid[..., hand.WRIST] & (batch.scale > 0)
    some_2d = jnp.any(batch.joints_2d_valid, axis=-1)
    return {
        "joints_2d": some_2d,
        "heatmaps": some_2d,
        "relative_depth": root_known,
        "root_depth": root_known,
    }


def pose(prediction: Prediction, batch: Batch) -> dict[str, Float[Array, "*batch"]]:
    """Returns L_2D, L_Zr and L_Zroot: mean absolute errors over the labels of an example.

    Without a label an error is 0, without gradient. Labels that are masked are not read.

    Args:
      prediction: output of the network.
      batch: images with labels.

    Returns:
      "joints_2d", the mean over both image axes in halves of the crop's width; "relative_depth" and "root_depth", that
      of the refined depth, in scale units. Each has one value for each example.
    """
    depth_known = labelled(batch)["root_depth"]
    half_width = batch.image.shape[-2] / 2
    valid_2d = jnp.broadcast_to(batch.joints_2d_valid[..., None], batch.joints_2d.shape)
    error_2d = _absolute_error(_float32(prediction.joints_2d), batch.joints_2d, valid_2d) / half_width

    valid_3d = batch.joints_3d_valid & depth_known[..., None]
    scale = jnp.where(depth_known, batch.scale, 1.0)
    depth = jnp.where(valid_3d, batch.joints_3d[..., 2], 0.0) / scale[..., None]
    root_depth = depth[..., hand.WRIST]
    error_z = _absolute_error(_float32(prediction.relative_depth), depth - root_depth[..., None], valid_3d)
    return {
        "joints_2d": numerics.masked_mean(error_2d, valid_2d, axis=(-2, -1)),
        "relative_depth": numerics.masked_mean(error_z, valid_3d, axis=-1),
        "root_depth": _absolute_error(_float32(prediction.refined_root_depth), root_depth, depth_known),
    }


def heatmaps(heat: Float[Array, "*batch row column 21"], batch: Batch) -> Float[Array, "*batch"]:
    """Returns the divergence (Kullback-Leibler) of each joint's heatmap from a Gaussian of one cell around its label.

    The mean position of a heatmap alone leaves its shape open, which takes a network far longer to learn.

    Args:
      heat: logits of cells that divide the crop.
      batch: images with 2D labels.

    Returns:
      One value for each example, nats: the mean over the labelled joints inside the crop; 0, without gradient, where
      there is none.
    """
    rows, columns = heat.shape[-3:-1]
    height, width = batch.image.shape[-3:-1]
    log_target = jnp.zeros(())
    inside = jnp.asarray(batch.joints_2d_valid)
    for axis, (cells, pixels, shape) in enumerate(((columns, width, (1, -1)), (rows, height, (-1, 1)))):
        place = (_float32(batch.joints_2d[..., axis]) + 0.5) * cells / pixels - 0.5
        inside = inside & (place > -0.5) & (place < cells - 0.5)
        middles = np.arange(cells, dtype=np.float32).reshape((1,) * place.ndim + (-1,))
        distance = jnp.where(inside, place, 0.0)[..., None] - middles
        along = jax.nn.log_softmax(-0.5 * distance**2, axis=-1)
        log_target = log_target + along.reshape(*along.shape[:-1], *shape)
    log_target = jnp.moveaxis(log_target, -3, -1)
    log_heat = jax.nn.log_softmax(_float32(heat), axis=(-3, -2))
    divergence = jnp.sum(jnp.exp(log_target) * (log_target - log_heat), axis=(-3, -2))
    return numerics.masked_mean(jnp.where(inside, divergence, 0.0), inside, axis=-1)


def total(
    prediction: Prediction,
    batch: Batch,
    limits: Limits,
    weights: LossWeights,
    *,
    heat: Float[Array, "*batch row column 21"] | None = None,
    axis_name: str | None = None,
    **angle_options: Any,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns L (Eq. 10) and its unweighted terms by name, each the mean over the examples that have its labels.

    A supervised term counts the examples that have its labels, a biomechanical term every example; examples that are
    not `present` count nowhere. The terms are computed in float32 whatever the type of the prediction.

    Under a mapped axis, give its name: the term of every device is its sum over (the count of all devices / their
    number), so that the devices' mean, of value and of gradient, is exactly the mean over all examples however labels
    are spread.

    Args:
      prediction: output of the network.
      batch: images with labels.
      limits: limits of the hand.
      weights: weights of the terms.
      heat: logits of a network with heatmaps, for the term "heatmaps".
      axis_name: name of the mapped axis, if there is one.
        **angle_options: `mode`, `independent` and `detach_frames` of `excess`.

    Returns:
      The weighted sum, and the terms of `pose` and `constraints`, and "heatmaps" if `heat` is given.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, camera, hand, limits, losses, types
      >>> joints, valid = jnp.asarray(hand.EXAMPLE)[None], jnp.ones((1, 21), bool)
      >>> intrinsics = jnp.array([[[250.0, 0.0, 64.0], [0.0, 250.0, 64.0], [0.0, 0.0, 1.0]]])
      >>> batch = types.Batch(
      ...     image=jnp.zeros((1, 128, 128, 3), jnp.uint8),
      ...     intrinsics=intrinsics,
      ...     joints_2d=camera.project(joints, intrinsics),
      ...     joints_2d_valid=valid,
      ...     joints_3d=joints,
      ...     joints_3d_valid=valid,
      ...     scale=anatomy.scale(joints),
      ...     source=jnp.zeros(1, int),
      ...     index=jnp.zeros(1, int),
      ...     present=jnp.ones(1, bool),
      ... )
      >>> scaled, _ = anatomy.normalize(joints)
      >>> depth, root = scaled[..., 2], scaled[:, 0, 2]
      >>> prediction = types.Prediction(
      ...     joints_2d=batch.joints_2d + 6.4,
      ...     relative_depth=depth - root[:, None],
      ...     root_depth=root,
      ...     refined_root_depth=root,
      ...     joints_3d=scaled,
      ... )
      >>> loss, terms = losses.total(prediction, batch, limits.load("clinical"), losses.LossWeights())
      >>> print(f"{loss:.2f} = 15 * {terms['joints_2d']:.2f}")
      1.50 = 15 * 0.10
    """
    joints = jnp.where(batch.present[..., None, None], _float32(prediction.joints_3d), 0.0)
    values = pose(prediction, batch) | constraints(joints, limits, **angle_options)
    if limits.density is not None:
        values["density"] = joint_density.excess(joints, limits.density)
    has = labelled(batch)
    if heat is not None:
        heat = jnp.where(batch.present[..., None, None, None], heat, 0.0)
        values["heatmaps"] = heatmaps(heat, batch)
    terms = {
        name: _mean(value, batch.present & has.get(name, batch.present), axis_name) for name, value in values.items()
    }
    return _weighted(terms, weights), terms


def _bone_length_excess(joints: Float[Array, "*batch 21 3"], limits: Limits) -> Float[Array, "*batch 5 4"]:
    return _outside(anatomy.bone_lengths(joints), limits.bone_length)


def _angle_excess(
    joints: Float[Array, "*batch 21 3"], limits: Limits, *, mode: str, independent: bool, detach_frames: bool
) -> Float[Array, "*batch 5 3"]:
    polygon = hull.box(limits.hull) if independent else limits.hull
    return hull.distance(anatomy.joint_angles(joints, detach_frames=detach_frames), polygon, mode)


def _outside(value: Float[Array, "*shape"], bounds: Float[Array, "... 2"]) -> Float[Array, "*shape"]:
    return interval(value, bounds[..., 0], bounds[..., 1])


def _weighted(terms: dict[str, Float[Array, "*shape"]], weights: LossWeights) -> Float[Array, "*shape"]:
    return functools.reduce(operator.add, (getattr(weights, name) * value for name, value in terms.items()))


def _absolute_error(
    value: Float[Array, "*shape"], label: Float[Array, "*shape"], valid: Bool[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """|value - label|, its gradient zero where they are equal (`jnp.abs` has 1 there) and where the label is masked."""
    label = jnp.where(valid, label, value)
    return interval(value, label, label)


def _float32(value: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """bfloat16 raised to float32; float64 stays."""
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))


def _mean(values: Float[Array, "*batch"], counted: Bool[Array, "*batch"], axis_name: str | None) -> Float[Array, ""]:
    """Mean of the counted values, 0 where none is; this device's share of it under a mapped axis."""
    count = jnp.sum(counted, dtype=values.dtype)
    if axis_name is not None:
        count = jax.lax.pmean(count, axis_name)
    return numerics.divide(jnp.sum(jnp.where(counted, values, 0.0)), count)
