"""Camera of a rendered hand: view and distance, intrinsics of the crop, compositing and sensor."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from bmc_jax.synthesis.background import blur_matrix
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.synthesis.skeleton import JOINT_RANGES, compose, rotation
from bmc_jax.synthesis.surface import Planar

#: Largest sine of the angle by which the forearm points out of the image plane towards the camera. Beyond it the
#: forearm would hide the hand and show its cut end.
MAX_TOWARDS_CAMERA = 0.5
#: Smallest extent of the joints for the choice of the depth, and smallest depth, metres.
MIN_EXTENT, MIN_DEPTH = 0.10, 0.25


def draw_view(random: RandomStream, views: str) -> Float[Array, "3 3"]:
    """Draws the rotation from the hand frame to the camera frame (see `Domain.views`)."""
    if views == "so3":
        return random.rotation()
    back_up = jnp.diag(np.array([1, -1, -1], np.float32))
    side = rotation(1, jnp.where(random.bernoulli(0.5), 0.0, jnp.pi))
    azimuth, tilt = random.uniform(0.0, 2 * np.pi), np.deg2rad(50.0) * jnp.sqrt(random.uniform())
    roll = random.uniform(np.deg2rad(-45.0), np.deg2rad(45.0))
    return compose(rotation(2, roll + azimuth), rotation(0, tilt), rotation(2, -azimuth), side, back_up)


def bend_wrist(
    turn: Float[Array, "3 3"], flexion: Float[Array, ""], deviation: Float[Array, ""]
) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"]]:
    """Bends the wrist so that the forearm does not point at the camera.

    The depth of the forearm's direction is m cos(flexion - phi). Among the flexions that keep it above
    `-MAX_TOWARDS_CAMERA`, the nearest to the given one is used. If the range of the wrist contains none, which happens
    only for views from in front of the fingertips, the hand is viewed from behind instead.

    Returns:
      The rotation from the hand frame to the camera frame, and the frame of the forearm in the hand frame.
    """
    # The forearm is rotation(2, deviation) rotation(0, flexion) applied to -y.
    across, back = compose(turn, rotation(2, deviation))[2, 1], turn[2, 2]
    amplitude, phase = jnp.sqrt(across**2 + back**2), jnp.arctan2(-back, -across)
    cosine = -MAX_TOWARDS_CAMERA / jnp.maximum(amplitude, MAX_TOWARDS_CAMERA)
    reach = jnp.arctan2(jnp.sqrt(1 - cosine**2), cosine)
    choices = jnp.stack([flexion, phase - reach, phase + reach])
    choices = jnp.arctan2(jnp.sin(choices), jnp.cos(choices))
    low, high = np.deg2rad(JOINT_RANGES["wrist_flexion"][:2])
    rounding = 1e-3
    possible = (choices >= low) & (choices <= high)
    possible &= amplitude * jnp.cos(choices - phase) >= -MAX_TOWARDS_CAMERA - rounding
    flexion = choices[jnp.argmin(jnp.where(possible, jnp.abs(choices - flexion), jnp.inf))]
    behind = jnp.diag(np.array([1, -1, -1], np.float32))
    turn = jnp.where(jnp.any(possible), turn, compose(behind, turn))
    return turn, compose(rotation(2, deviation), rotation(0, flexion))


def draw_camera(
    random: RandomStream, joints: Float[Array, "21 3"], domain: Domain, size: int
) -> tuple[Float[Array, "3"], Float[Array, "3 3"]]:
    """Draws the translation of joints that are rotated to the camera frame, metres, and K of a crop of `size` pixels.

    The depth follows from the share of the picture that the joints fill and from the focal length, so the size of the
    hand in the picture reveals neither its size nor its depth.
    """
    low, high = joints.min(axis=0), joints.max(axis=0)
    centre, extent = 0.5 * (low + high), jnp.maximum(jnp.max((high - low)[:2]), MIN_EXTENT)
    focal = jnp.exp(random.uniform(*np.log(domain.focal))) * size
    depth = jnp.maximum(focal * extent / (random.uniform(*domain.fill) * size), MIN_DEPTH)
    middle = (size - 1) / 2
    principal = middle + random.normal(domain.principal_point * size, (2,))
    aim = middle + random.uniform(-domain.shift * size, domain.shift * size, (2,))
    shift = jnp.append((aim - principal) / focal * depth, depth) - centre
    intrinsics = jnp.eye(3).at[0, 0].set(focal).at[1, 1].set(focal).at[:2, 2].set(principal)
    return shift, intrinsics


def composite(
    hand: Planar, coverage: Float[Array, " pixel"], background: Float[Array, "3 height width"]
) -> Float[Array, "3 height width"]:
    """Composites the hand with the background."""
    shape = background.shape[1:]
    cover = coverage.reshape(shape)
    return jnp.stack([hand[i].reshape(shape) * cover + background[i] * (1 - cover) for i in range(3)])


def expose(key: PRNGKeyArray, light: Float[Array, "3 height width"], domain: Domain) -> UInt8[Array, "height width 3"]:
    """Converts linear RGB to the picture of the camera: exposure, sensor and gamma."""
    draw_key, noise_key = jax.random.split(key)
    random = RandomStream(draw_key, 8)
    size = light.shape[-1]
    light = light * jnp.exp(random.normal(domain.exposure))
    if domain.sensor:
        # The blur is relative to a picture of 128 pixels, so the relative sharpness does not depend on the size.
        blur = random.uniform(0.15, 0.95, (2,)) * (size / 128)
        down, across = blur_matrix(size, blur[0]), blur_matrix(size, blur[1])
        light = jnp.einsum("ry,cyx,sx->crs", down, light, across)
        strength = random.uniform(0.004, 0.04)
        light = light + strength * jnp.sqrt(jnp.clip(light, 0, 1) + 0.01) * _noise(noise_key, size)
        position = np.linspace(-1, 1, size, dtype=np.float32) ** 2
        vignette = 0.15 * random.uniform() * np.add.outer(position, position)
        light = light * (1 - vignette)[None]
        light = light / (1 + 0.25 * jnp.maximum(light - 0.6, 0.0))
    shown = jnp.clip(light, 1e-4, 1.0) ** (1 / 2.2 + random.normal(domain.gamma))
    return jnp.round(255 * jnp.moveaxis(shown, 0, -1)).astype(jnp.uint8)


def _noise(key: PRNGKeyArray, size: int) -> Float[Array, "3 size size"]:
    """Draws noise of unit variance, half of it shared by the channels: sums of two uniform 16-bit numbers."""
    words = jax.random.bits(key, (2, size, size), jnp.uint32)
    low, high = ((half.astype(jnp.float32) * (2 / 65535) - 1) for half in (words & 0xFFFF, words >> 16))
    return (jnp.stack([low[0], low[1], high[0]]) + high[1][None]) * np.float32(1.5**0.5)
