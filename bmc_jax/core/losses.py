"""One pure function a term of the paper's objective, and their weighted sum (Eq. 7, 9, 10).

Every term has one value per example, `[...]`, and no dimension: lengths and depths are in scale units (multiples of the
scale bone's length), angles in radians, image distances in halves of the crop's width, the network's own coordinate.
Masks over labels and means over examples are made in one place, `total`.

Every kink has a stated gradient: where a value is exactly at the end of its interval, exactly on its label or exactly
on the edge of its hull it is zero, as inside.
"""

import functools
import operator
import typing
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bmc_jax.core import anatomy, hand, hull, numerics
from bmc_jax.core.types import Batch, Limits, Prediction


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class LossWeights:
    """lambda of every term (Eq. 9, 10): numbers, or traced scalars for weights that change while training.

    The paper does not give its weights; these are a start of ours. Half a crop's width is about three scale units at
    the distance of the hand, so 15 against 5 makes an error count the same across the image as along the ray.
    """

    joints_2d: float = 15.0
    relative_depth: float = 5.0
    root_depth: float = 1.0
    bone_length: float = 0.1
    palm: float = 0.1
    joint_angle: float = 0.01


def interval(
    value: Float[Array, "*shape"], low: Float[Array, "..."], high: Float[Array, "..."]
) -> Float[Array, "*shape"]:
    """I(x; a, b) = max(a - x, 0) + max(x - b, 0), elementwise; `low` and `high` broadcast to the value.

    Slope one outside; the gradient is zero at both ends, as inside.
    """
    low, high = jnp.broadcast_to(low, value.shape), jnp.broadcast_to(high, value.shape)
    return jax.nn.relu(low - value) + jax.nn.relu(value - high)


def bone_length(joints: Float[Array, "*batch 21 3"], limits: Limits) -> Float[Array, "*batch"]:
    """L_BL: by how many scale units bones are too short or too long, mean over the 20 bones. Joints in scale units."""
    lengths = anatomy.bone_lengths(joints)
    return jnp.mean(interval(lengths, limits.bone_length[..., 0], limits.bone_length[..., 1]), axis=(-2, -1))


def palm(joints: Float[Array, "*batch 21 3"], limits: Limits) -> Float[Array, "*batch"]:
    """L_RB: the palm's curvature (per scale unit) and spread (radians) beyond their intervals, summed, mean over the 4
    pairs of neighbouring root bones. Joints in scale units."""
    curvature = interval(anatomy.palm_curvature(joints), limits.curvature[..., 0], limits.curvature[..., 1])
    spread = interval(anatomy.palm_spread(joints), limits.spread[..., 0], limits.spread[..., 1])
    return jnp.mean(curvature + spread, axis=-1)


def joint_angle(
    joints: Float[Array, "*batch 21 3"],
    limits: Limits,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
) -> Float[Array, "*batch"]:
    """L_A (Eq. 7): distance of (flexion, abduction) to the joint's hull, mean over the 15 joints. Joints in any unit.

    `mode` is a distance of `hull.distance`. With `independent` each angle has its own interval, the hull's bounding
    box, as in the paper's Table 5. With `detach_frames` a bone's angle moves that bone only, not the palm and the bones
    that its frame is built from.
    """
    angles = anatomy.joint_angles(joints, detach_frames=detach_frames)
    polygon = hull.box(limits.hull) if independent else limits.hull
    return jnp.mean(hull.distance(angles, polygon, mode), axis=(-2, -1))


def constraints(
    joints: Float[Array, "*batch 21 3"], limits: Limits, **angle_options: Any
) -> dict[str, Float[Array, "*batch"]]:
    """The three biomechanical terms by name. `angle_options` are the keywords of `joint_angle`."""
    return {
        "bone_length": bone_length(joints, limits),
        "palm": palm(joints, limits),
        "joint_angle": joint_angle(joints, limits, **angle_options),
    }


def biomechanical(
    joints: Float[Array, "*batch 21 3"], limits: Limits, weights: LossWeights, **angle_options: Any
) -> Float[Array, "*batch"]:
    """L_BMC (Eq. 9): the weighted sum of the biomechanical terms. Joints in scale units.

    Zero where the pose is within every limit, and there is its gradient zero too. `angle_options` are the keywords of
    `joint_angle`.
    """
    return _weighted(constraints(joints, limits, **angle_options), weights)


def labelled(batch: Batch) -> dict[str, Bool[Array, "*batch"]]:
    """Which examples have any label for each supervised term. Depths need the root's depth and the scale."""
    root_known = batch.joints_3d_valid[..., hand.WRIST] & (batch.scale > 0)
    return {
        "joints_2d": jnp.any(batch.joints_2d_valid, axis=-1),
        "relative_depth": root_known,
        "root_depth": root_known,
    }


def pose(prediction: Prediction, batch: Batch) -> dict[str, Float[Array, "*batch"]]:
    """L_2D, L_Zr and L_Zroot: mean absolute error over the labels that an example has; 0, without gradient, where it
    has none.

    2D errors are the mean of both image axes, in halves of the crop's width; depth errors are in scale units, the
    root's that of the refined depth. Labels that are masked are never read, whatever they hold.
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


def total(
    prediction: Prediction,
    batch: Batch,
    limits: Limits,
    weights: LossWeights,
    *,
    axis_name: str | None = None,
    **angle_options: Any,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """L (Eq. 10) and its unweighted terms by name, each the mean over the examples that have it.

    A supervised term counts the examples that have its labels, a biomechanical term every example; examples that are
    not `present` count nowhere. Computed in float32 whatever the prediction's type. `angle_options` are the keywords of
    `joint_angle`.

    Under a mapped axis, give its name: every device's term is its sum over (the count of all devices / their number),
    so that the devices' mean, of value and of gradient, is exactly the mean over all examples however labels are
    spread.
    """
    joints = jnp.where(batch.present[..., None, None], _float32(prediction.joints_3d), 0.0)
    values = pose(prediction, batch) | constraints(joints, limits, **angle_options)
    has = labelled(batch)
    terms = {
        name: _mean(value, batch.present & has.get(name, batch.present), axis_name) for name, value in values.items()
    }
    return _weighted(terms, weights), terms


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
