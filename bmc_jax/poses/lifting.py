"""Lifting of landmarks: from 2D or 2.5D joints of any detector to feasible hands in the camera frame.

The lifting network of `models.lifter` finds the depth of the joints from their pixels. Where the landmarks have depth
of their own, in z, in world landmarks or in both, the depth is the mean of theirs and the network's, whose errors are
independent. Joints stay on the viewing rays of their pixels, and `repair` moves them along these rays to the nearest
hand within limits.

Right hands, FreiHAND order, which is MediaPipe's.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bmc_jax.core import anatomy, camera, hand
from bmc_jax.core.types import Array, Limits, require_shape
from bmc_jax.limits.checking import in_chunks
from bmc_jax.models import lifter
from bmc_jax.poses import repair

#: Least depth of a joint over the hand's mean. Depths from landmarks of a wrong scale may be below zero.
LEAST_DEPTH = 0.1
#: Share of the lifting network's depth in its mean with that of the landmarks. The network alone errs as little where
#: it was measured (`benchmarks/RESULTS.md`); the mean is a caution for photographs unlike its training.
NETWORK_SHARE = 2 / 3
#: Hands lifted at a time on the host. One shape, so that the program is compiled once.
CHUNK = 256


class Landmarks(NamedTuple):
    """Landmarks of hands in a picture."""

    pixels: Float[Array, "*batch 21 2"]
    """Pixels of the image that K is of, the centre of the first pixel at (0, 0)."""
    z: Float[Array, "*batch 21"] | None = None
    """Depths relative to the wrist, larger away from the camera, in pixels as large as those at the wrist. MediaPipe's
    z of an image landmark times the image's width."""
    world: Float[Array, "*batch 21 3"] | None = None
    """3D joints in any unit and about any point, with the camera's axes: x right, y down, z forward. MediaPipe's world
    landmarks."""


class Lifted(NamedTuple):
    """Hands in the camera frame, one entry per hand. A hand with a landmark that is not finite is NaN throughout."""

    joints: Float[Array, "*batch 21 3"]
    """Scale units: lengths of the hand's bone from middle MCP to PIP."""
    estimate: Float[Array, "*batch 21 3"]
    """The joints before repair, in the same unit."""
    deviation: Float[Array, "*batch 21"]
    """Standard deviation of the lifting network's depth of each joint relative to the wrist, as it predicts it, scale
    units. It is not that of the mean with the landmarks' depth."""
    excess: Float[Array, "*batch"]
    """By how much the joints are still beyond limits, see `repair.RepairResult`."""


def lift(
    landmarks: Landmarks, K: Float[Array, "*#batch 3 3"], limits: Limits, *, network_share: float | int = NETWORK_SHARE
) -> Lifted:
    """Lifts landmarks to hands within limits, as far as their viewing rays allow. Jitted, for any batch shape.

    Not meant to be differentiated.

    Args:
      landmarks: of right hands. A left hand is mirrored before: `camera.mirror` for 3D joints, column u of an image of
        that width becomes width - 1 - u, and K becomes `camera.mirror_intrinsics`.
      K: intrinsics of the image, pixels.
      limits: of the hand. "people", limits of whole hands, brings landmarks nearest to the truth.
      network_share: share of the network's depth in its mean with that of the landmarks, in [0, 1]; landmarks without
        depth have the network's.

    Raises:
      ValueError: for arrays of other shapes, and another share.
    """
    pixels, z, world = landmarks
    require_shape("landmarks.pixels", pixels, hand.NUM_JOINTS, 2)
    require_shape("K", K, 3, 3)
    for name, values, shape in (("z", z, pixels.shape[:-1]), ("world", world, (*pixels.shape[:-1], 3))):
        if values is not None and values.shape != shape:
            raise ValueError(f"expected landmarks.{name} of the shape {list(shape)}, got {list(values.shape)}")
    joints, deviation = _estimate(landmarks, K, _weights(), _share(network_share))
    return _in_scale_units(joints, deviation, repair.project_to_limits(joints, limits, "projection"))


def lift_hands(
    landmarks: Landmarks,
    K: np.ndarray,
    limits: Limits,
    *,
    smooth: float | int | None = None,
    network_share: float | int = NETWORK_SHARE,
) -> Lifted:
    """Lifts any number of hands on the host, `CHUNK` at a time; see `lift`.

    Args:
      landmarks: arrays `[N, ...]`.
      K: `[N, 3, 3]`.
      limits: of the hand.
      smooth: the hands are the frames of a sequence, whose depths along the rays are smoothed with this period in
        frames before repair, see `smoothing.smooth`.
      network_share: see `lift`.

    Returns:
      Numpy arrays with one entry per hand.
    """
    weights, share = _weights(), _share(network_share)
    rows = (*landmarks, K)
    given = [None if row is None else np.asarray(row, np.float32) for row in rows]

    def estimate(*chunk: np.ndarray) -> tuple[jax.Array, jax.Array]:
        left = iter(chunk)
        pixels, z, world, k = (None if row is None else next(left) for row in rows)
        return _estimate(Landmarks(pixels, z, world), k, weights, share)

    joints, deviation = in_chunks(estimate, CHUNK, *(row for row in given if row is not None))
    repaired = repair.repair_poses(joints, limits, keep="projection", smooth=smooth)
    return jax.tree.map(np.asarray, _in_scale_units(joints, deviation, repaired))


@functools.cache
def _weights() -> dict[str, Array]:
    with jax.ensure_compile_time_eval():  # also if the caller is traced
        return lifter.load()


def _in_scale_units(joints, deviation, repaired: repair.RepairResult) -> Lifted:
    scale = anatomy.scale(jnp.asarray(repaired.joints))
    unit = jnp.where(scale > 0, scale, jnp.nan)[..., None]
    return Lifted(
        repaired.joints / unit[..., None], joints / unit[..., None], deviation / unit, jnp.asarray(repaired.excess)
    )


def _share(network_share: float | int) -> float:
    if not 0 <= network_share <= 1:
        raise ValueError(f"expected a network_share from 0 to 1, got {network_share:g}")
    return float(network_share)


@jax.jit
def _estimate(
    landmarks: Landmarks, K: Float[Array, "*#batch 3 3"], weights: dict[str, Array], network_share: Array | float
) -> tuple[Float[Array, "*batch 21 3"], Float[Array, "*batch 21"]]:
    """Returns joints on the rays of their pixels, at mean depth 1, and the deviation of the network's depth."""
    pixels, z, world = landmarks
    rays = camera.rays(pixels, K)
    network = lifter.relative_depth(weights, rays)
    depth, size = _at_mean_1(1 + network.mean)
    own = []
    if z is not None:
        focal = jnp.sqrt(jnp.abs(K[..., 0, 0] * K[..., 1, 1] - K[..., 0, 1] * K[..., 1, 0]))
        relative = (z - z[..., : hand.WRIST + 1]) / jnp.broadcast_to(focal, z.shape[:-1])[..., None]
        own.append(_at_mean_1(1 + relative)[0])
    if world is not None:
        aligned = _aligned(world, rays * (own[0] if own else depth)[..., None])
        own.append(_at_mean_1(aligned[..., 2])[0])
    if own:
        depth = network_share * depth + (1 - network_share) * sum(own) / len(own)
    known = jnp.isfinite(depth).all(-1) & jnp.isfinite(rays).all((-2, -1))
    depth = jnp.where(known[..., None], jnp.maximum(depth, LEAST_DEPTH), jnp.nan)
    return rays * depth[..., None], network.deviation / size


def _at_mean_1(depth: Float[Array, "*batch 21"]) -> tuple[Float[Array, "*batch 21"], Float[Array, "*batch 1"]]:
    """Returns depths divided by their mean, and the mean."""
    mean = jnp.maximum(depth.mean(-1, keepdims=True), LEAST_DEPTH)
    return depth / mean, mean


def _aligned(source: Float[Array, "*batch 21 3"], target: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 21 3"]:
    """Moves, turns and scales each hand to the target of least squared distance. Hands are not mirrored."""
    known = jnp.isfinite(source).all((-2, -1), keepdims=True) & jnp.isfinite(target).all((-2, -1), keepdims=True)
    centre = target.mean(-2, keepdims=True)
    moved = jnp.where(known, source - source.mean(-2, keepdims=True), 0.0)
    wanted = jnp.where(known, target - centre, 0.0)
    covariance = jnp.sum(wanted[..., :, :, None] * moved[..., :, None, :], axis=-3)
    u, singular, v = jnp.linalg.svd(covariance)
    sign = jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(v))[..., None]
    last = jnp.concatenate([jnp.ones_like(singular[..., :2]), sign], axis=-1)
    rotation = jnp.sum((u * last[..., None, :])[..., :, :, None] * v[..., None, :, :], axis=-2)
    size = jnp.sum(moved * moved, axis=(-2, -1))
    scale = jnp.sum(singular * last, axis=-1) / jnp.where(size > 0, size, 1.0)
    turned = jnp.sum(rotation[..., None, :, :] * moved[..., :, None, :], axis=-1)
    return jnp.where(known, scale[..., None, None] * turned + centre, jnp.nan)
