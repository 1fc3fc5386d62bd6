"""Where the camera stands: how the hand is turned to it, how far away it is, and the intrinsics of the crop."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from bmc_jax.synthesis.background import blur_matrix
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.rng import Draws
from bmc_jax.synthesis.skeleton import JOINT_RANGES, compose, rotation
from bmc_jax.synthesis.surface import Planar

#: The forearm may come towards the camera by this sine of the angle with the image plane; beyond, it would hide the
#: hand, and its cut end would show.
MOST_TOWARDS_CAMERA = 0.5
#: Metres. A smaller hand, seen end on, is not brought nearer than one of this extent, nor any than the nearest depth.
LEAST_EXTENT, NEAREST = 0.10, 0.25


def draw_turn(draws: Draws, views: str) -> Float[Array, "3 3"]:
    """Rotation from the hand's frame to the camera's; see `Domain.views`."""
    if views == "so3":
        return draws.rotation()
    back_up = jnp.diag(np.array([1, -1, -1], np.float32))
    side = rotation(1, jnp.where(draws.happens(0.5), 0.0, jnp.pi))
    azimuth, tilt = draws.uniform(0.0, 2 * np.pi), np.deg2rad(50.0) * jnp.sqrt(draws.uniform())
    roll = draws.uniform(np.deg2rad(-45.0), np.deg2rad(45.0))
    return compose(rotation(2, roll + azimuth), rotation(0, tilt), rotation(2, -azimuth), side, back_up)


def turn_forearm(
    turn: Float[Array, "3 3"], flexion: Float[Array, ""], deviation: Float[Array, ""]
) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"]]:
    """The view and the forearm's frame in the hand's, with the wrist bent so that the forearm stays off the camera.

    The forearm's direction has the depth m cos(flexion - phi), and the flexion nearest to the one drawn that keeps it
    above `-MOST_TOWARDS_CAMERA` is taken. Where no wrist bends as far, which only views from in front of the
    fingertips ask for, the whole hand is seen from behind instead.
    """
    # The forearm is rotation(2, deviation) rotation(0, flexion) applied to -y.
    across, back = compose(turn, rotation(2, deviation))[2, 1], turn[2, 2]
    amplitude, phase = jnp.sqrt(across**2 + back**2), jnp.arctan2(-back, -across)
    cosine = -MOST_TOWARDS_CAMERA / jnp.maximum(amplitude, MOST_TOWARDS_CAMERA)
    reach = jnp.arctan2(jnp.sqrt(1 - cosine**2), cosine)
    choices = jnp.stack([flexion, phase - reach, phase + reach])
    choices = jnp.arctan2(jnp.sin(choices), jnp.cos(choices))
    low, high = np.deg2rad(JOINT_RANGES["wrist_flexion"][:2])
    rounding = 1e-3
    possible = (choices >= low) & (choices <= high)
    possible &= amplitude * jnp.cos(choices - phase) >= -MOST_TOWARDS_CAMERA - rounding
    flexion = choices[jnp.argmin(jnp.where(possible, jnp.abs(choices - flexion), jnp.inf))]
    towards = ~jnp.any(possible)
    behind = jnp.diag(np.array([1, -1, -1], np.float32))
    turn = jnp.where(towards, compose(behind, turn), turn)
    return turn, compose(rotation(2, deviation), rotation(0, flexion))


def draw_camera(
    draws: Draws, joints: Float[Array, "21 3"], domain: Domain, size: int
) -> tuple[Float[Array, "3"], Float[Array, "3 3"]]:
    """How far to shift joints that are already turned to the camera, metres, and K of a crop of `size` pixels.

    The depth follows from how much of the picture the joints shall fill, so neither size nor depth can be told without
    K: focal lengths differ too.
    """
    low, high = joints.min(axis=0), joints.max(axis=0)
    centre, extent = 0.5 * (low + high), jnp.maximum(jnp.max((high - low)[:2]), LEAST_EXTENT)
    focal = jnp.exp(draws.uniform(*np.log(domain.focal))) * size
    depth = jnp.maximum(focal * extent / (draws.uniform(*domain.fill) * size), NEAREST)
    middle = (size - 1) / 2
    principal = middle + draws.normal(domain.principal_point * size, (2,))
    aim = middle + draws.uniform(-domain.shift * size, domain.shift * size, (2,))
    shift = jnp.append((aim - principal) / focal * depth, depth) - centre
    intrinsics = jnp.eye(3).at[0, 0].set(focal).at[1, 1].set(focal).at[:2, 2].set(principal)
    return shift, intrinsics


def composite(
    hand: Planar, coverage: Float[Array, " pixel"], background: Float[Array, "3 height width"]
) -> Float[Array, "3 height width"]:
    """The hand before the background."""
    shape = background.shape[1:]
    cover = coverage.reshape(shape)
    return jnp.stack([hand[i].reshape(shape) * cover + background[i] * (1 - cover) for i in range(3)])


def expose(key: PRNGKeyArray, light: Float[Array, "3 height width"], domain: Domain) -> UInt8[Array, "height width 3"]:
    """The picture that the camera takes of linear RGB."""
    draw_key, noise_key = jax.random.split(key)
    draws = Draws(draw_key, 8)
    size = light.shape[-1]
    light = light * jnp.exp(draws.normal(domain.exposure))
    if domain.sensor:
        # In pixels of a picture of 128, so that smaller pictures are as sharp for their size.
        blur = draws.uniform(0.15, 0.95, (2,)) * (size / 128)
        down, across = blur_matrix(size, blur[0]), blur_matrix(size, blur[1])
        light = jnp.einsum("ry,cyx,sx->crs", down, light, across)
        strength = draws.uniform(0.004, 0.04)
        light = light + strength * jnp.sqrt(jnp.clip(light, 0, 1) + 0.01) * _noise(noise_key, size)
        position = np.linspace(-1, 1, size, dtype=np.float32) ** 2
        vignette = 0.15 * draws.uniform() * np.add.outer(position, position)
        light = light * (1 - vignette)[None]
        light = light / (1 + 0.25 * jnp.maximum(light - 0.6, 0.0))
    shown = jnp.clip(light, 1e-4, 1.0) ** (1 / 2.2 + draws.normal(domain.gamma))
    return jnp.round(255 * jnp.moveaxis(shown, 0, -1)).astype(jnp.uint8)


def _noise(key: PRNGKeyArray, size: int) -> Float[Array, "3 size size"]:
    """Noise of unit variance, half of it shared by the channels; uniforms from the halves of random words, added."""
    words = jax.random.bits(key, (2, size, size), jnp.uint32)
    low, high = ((half.astype(jnp.float32) * (2 / 65535) - 1) for half in (words & 0xFFFF, words >> 16))
    return (jnp.stack([low[0], low[1], high[0]]) + high[1][None]) * np.float32(1.5**0.5)
