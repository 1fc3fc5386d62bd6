"""2D landmarks of hands with the errors of detectors, from random views and cameras."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax.core import hand
from bmc_jax.synthesis.domains import Range
from bmc_jax.synthesis.rng import RandomStream

FOCAL: Range = (0.7, 4.0)
"""Range of the focal length, in image widths: from wide-angle cameras of telephones to narrow crops."""
FILL: Range = (0.15, 0.95)
"""Range of the longer side of the joints' box, in image widths."""
NOISE: Range = (0.0, 0.06)
"""Range of the errors' standard deviation along each axis, relative to the longer side of the joints' box."""
SHARED = 0.5
"""Share of the errors' variance that the joints of a finger have in common, since detectors misplace whole fingers."""
ASPECT: Range = (0.56, 1.78)
"""Range of the height of images, in image widths."""
NEAREST = 0.1
"""Minimum depth of a joint, metres."""


class Landmarks(NamedTuple):
    """Landmarks of hands and their ground truth. Lengths in the image are in image widths."""

    joints: Float[Array, "*batch 21 3"]
    """Metres, camera frame."""
    rays: Float[Array, "*batch 21 3"]
    """K^-1 (u, v, 1) of each landmark, with its error."""
    focal: Float[Array, "*batch"]


def observe(
    key: PRNGKeyArray,
    joints: Float[Array, "21 3"],
    *,
    focal: Range = FOCAL,
    noise: Range = NOISE,
    fill: Range = FILL,
) -> Landmarks:
    """Draws a camera at any side of a hand, and the landmarks that a detector finds in its image.

    Args:
      key: of all random numbers.
      joints: metres, any frame.
      focal: range of the focal length, logarithmically uniform.
      noise: range of the errors' deviation, uniform.
      fill: range of the hand's share of the image's width, uniform.
    """
    random = RandomStream(key, 96)
    turned = (joints - jnp.mean(joints, axis=0, keepdims=True)) @ random.rotation().T
    low, high = turned.min(axis=0), turned.max(axis=0)
    length = jnp.exp(random.uniform(*np.log(focal)))
    share = random.uniform(*fill)
    depth = jnp.maximum(length * jnp.max((high - low)[:2]) / share, NEAREST - low[2])
    # The position of the hand's centre is uniform over the positions at which most of the hand is inside the image.
    half = 0.5 * jnp.stack([jnp.ones(()), jnp.exp(random.uniform(*np.log(ASPECT)))])
    aim = jnp.maximum(half - 0.4 * share, 0.0) * random.uniform(-1.0, 1.0, (2,))
    truth = turned + (jnp.append(aim / length, 1.0) * depth)[None]
    rays = truth / truth[:, 2:]
    box = jnp.max(rays.max(axis=0) - rays.min(axis=0))
    own, shared = random.normal(shape=(hand.NUM_JOINTS, 2)), random.normal(shape=(len(hand.FINGERS), 2))
    fingers = jnp.concatenate([jnp.zeros((1, 2)), jnp.repeat(shared, len(hand.LEVELS), axis=0)])
    # The wrist belongs to no finger, so its error is independent.
    weight = jnp.full((hand.NUM_JOINTS, 1), SHARED).at[hand.WRIST].set(0.0)
    error = jnp.sqrt(1 - weight) * own + jnp.sqrt(weight) * fingers
    return Landmarks(truth, rays.at[:, :2].add(random.uniform(*noise) * box * error), length)
