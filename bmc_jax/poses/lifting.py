"""Lifting of landmarks: from 2D or 2.5D joints of any detector to feasible hands in the camera frame.

The lifting network of `models.lifter` predicts the depth of the joints from their pixels. If the landmarks have depth,
in z, in world landmarks or in both, the result is the mean of this depth and the network's, because their errors are
independent. Joints stay on the viewing rays of their pixels, and `repair` moves them along these rays to the nearest
hand within limits.

Right hands, FreiHAND order, which is also the order of MediaPipe.
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

LEAST_DEPTH = 0.1
"""Smallest depth of a joint relative to the mean of the hand. Landmarks with a wrong scale may give negative depths."""
NETWORK_SHARE = 2 / 3
"""Weight of the lifting network's depth in the mean with the depth of the landmarks. In measurements the network alone
is as accurate (`benchmarks/RESULTS.md`); the mean is a precaution for photographs unlike its training data."""
CHUNK = 256
"""Number of hands that are lifted at a time on the host; constant, so that the program is compiled once."""


class Landmarks(NamedTuple):
    """Landmarks of hands in a picture."""

    pixels: Float[Array, "*batch 21 2"]
    """Pixels of the image of K, the centre of the first pixel at (0, 0)."""
    z: Float[Array, "*batch 21"] | None = None
    """Depths relative to the wrist, larger away from the camera, in pixels at the depth of the wrist: z of MediaPipe's
    image landmarks times the width of the image."""
    world: Float[Array, "*batch 21 3"] | None = None
    """3D joints in any unit and relative to any point, with the camera's axes: x right, y down, z forward, such as
    MediaPipe's world landmarks."""


class Lifted(NamedTuple):
    """Hands in the camera frame, one entry per hand. Values of a hand with a landmark that is not finite are NaN."""

    joints: Float[Array, "*batch 21 3"]
    """Joints in scale units, lengths of the hand's bone from middle MCP to PIP."""
    estimate: Float[Array, "*batch 21 3"]
    """Joints before repair, scale units."""
    deviation: Float[Array, "*batch 21"]
    """Standard deviation, predicted by the lifting network, of its depth of each joint relative to the wrist, scale
    units. It does not include the depth of the landmarks."""
    excess: Float[Array, "*batch"]
    """Remaining excess of the joints over the limits, see `repair.RepairResult`."""


def lift(
    landmarks: Landmarks, K: Float[Array, "*#batch 3 3"], limits: Limits, *, network_share: float | int = NETWORK_SHARE
) -> Lifted:
    """Lifts landmarks to hands within limits, as far as their viewing rays allow. Jitted, for any batch shape.

    The function is not intended to be differentiated.

    Args:
      landmarks: landmarks of right hands. Mirror left hands first: 3D joints by `camera.mirror`, column u of an image
        to width - 1 - u, and K by `camera.mirror_intrinsics`.
      K: intrinsics of the image, pixels.
      limits: limits of the hand. "people", limits of whole hands, gives the most accurate joints.
      network_share: weight of the network's depth in the mean with the depth of the landmarks, in [0, 1]; it has no
        effect on landmarks without depth.

    Returns:
      The lifted hands.

    Raises:
      ValueError: if an array has another shape, or the share is outside [0, 1].
    """
    pixels, z, world = landmarks
    require_shape("landmarks.pixels", pixels, hand.NUM_JOINTS, 2)
    require_shape("K", K, 3, 3)
    for name, values, shape in (("z", z, pixels.shape[:-1]), ("world", world, (*pixels.shape[:-1], 3))):
        if values is not None and values.shape != shape:
            raise ValueError(f"landmarks.{name}: expected the shape {list(shape)}, got {list(values.shape)}")
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
      limits: limits of the hand.
      smooth: period in frames of the smoothing of depths along the rays before repair, for the frames of a sequence,
        see `smoothing.smooth`; None for separate hands.
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
        raise ValueError(f"network_share: expected a number from 0 to 1, got {network_share:g}")
    return float(network_share)


@jax.jit
def _estimate(
    landmarks: Landmarks, K: Float[Array, "*#batch 3 3"], weights: dict[str, Array], network_share: Array | float
) -> tuple[Float[Array, "*batch 21 3"], Float[Array, "*batch 21"]]:
    """Returns joints on the rays of their pixels, with mean depth 1, and the deviation of the network's depth."""
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
    """Translates, rotates and scales each hand to the least squared distance from the target, without mirroring."""
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
