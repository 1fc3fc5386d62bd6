"""The lifter shipped with the package, which predicts relative depths and their uncertainty from 2D joints.

Its input is the hand as seen by a camera that points at it: turned to the mean of its rays, with the knuckles above the
wrist, at unit size. A rotation of the camera and a change of the pixels' size together with K therefore do not change
the result, and a wrong focal length changes it little. The angular size of the hand is a separate input, because
perspective is stronger for nearer hands.

`python -m bmc_jax.training.lifter` trains the weights on rendered hands alone.
"""

import os
import typing
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import hand, numerics
from bmc_jax.core.types import require_shape

FILE = Path(__file__).with_suffix(".npz")
"""Weights that ship with the package."""
KNUCKLES = hand.FINGER_JOINTS[1:, 0]
"""Joints whose mean is above the wrist in the network's view."""
LOG_DEVIATION_RANGE = (-5.0, 1.0)
"""(lowest, highest) logarithm of a predicted deviation, in sizes of the hand."""


class RelativeDepth(NamedTuple):
    """Depth of each joint divided by the wrist's, minus 1: joints are `rays * (1 + mean)`, up to scale."""

    mean: Float[Array, "*batch 21"]
    """Expected value; 0 at the wrist."""
    deviation: Float[Array, "*batch 21"]
    """Standard deviation of the error of `mean`; 0 at the wrist."""


class View(NamedTuple):
    """A hand as seen by a camera that points at it."""

    points: Float[Array, "*batch 21 2"]
    """Joints in the image, divided by `size`: the view's axis is at the origin, the knuckles are above the wrist."""
    size: Float[Array, "*batch"]
    """Root mean square distance of the joints from the view's axis, tangent of an angle."""
    depth: Float[Array, "*batch 21"]
    """Depth along this camera's axis of the point at depth 1 on each ray."""


class Lifter(nn.Module):
    """A residual network from a `View` to the depth of each joint but the wrist, and the logarithm of its deviation.

    Depths are those along the view's axis, divided by the wrist's, minus 1, divided by the view's size.
    """

    width: int
    """Units of each layer."""
    blocks: int
    """Residual blocks of two layers."""

    @nn.compact
    def __call__(self, seen: View) -> tuple[Float[Array, "*batch 20"], Float[Array, "*batch 20"]]:
        x = jnp.concatenate(
            [seen.points.reshape(*seen.size.shape, 2 * hand.NUM_JOINTS), jnp.log(seen.size)[..., None]], axis=-1
        )
        x = nn.Dense(self.width)(x)
        for _ in range(self.blocks):
            x = x + nn.Dense(self.width)(nn.relu(nn.Dense(self.width)(nn.relu(x))))
        depth, log_deviation = jnp.split(nn.Dense(2 * (hand.NUM_JOINTS - 1))(nn.relu(x)), 2, axis=-1)
        return depth, jnp.clip(log_deviation, *LOG_DEVIATION_RANGE)


def load(file: str | os.PathLike | None = None) -> dict[str, Array]:
    """Reads weights, float32 by the paths of their layers, from a file; by default, those shipped with the package."""
    with open(file or FILE, "rb") as opened, np.load(opened) as content:
        return {name: jnp.asarray(content[name], jnp.float32) for name in content.files}


def predict(weights: dict[str, Array], seen: View) -> tuple[Float[Array, "*batch 20"], Float[Array, "*batch 20"]]:
    """Returns the output of the `Lifter` with these weights."""
    kernels = [name for name in weights if name.endswith("kernel")]
    network = Lifter(width=weights["Dense_0/bias"].shape[0], blocks=len(kernels) // 2 - 1)
    params = flax.traverse_util.unflatten_dict(weights, sep="/")
    return typing.cast(tuple[Array, Array], network.apply({"params": params}, seen))


def relative_depth(weights: dict[str, Array], rays: Float[Array, "*batch 21 3"]) -> RelativeDepth:
    """Predicts the relative depth of the joints of right hands from their rays.

    The function works under jit and vmap, and its gradient is bounded. A NaN in the rays of a hand gives NaN for all of
    its joints.

    Args:
      weights: those of `load`, or of another `Lifter`.
      rays: K^-1 (u, v, 1) of each joint (`camera.rays`), FreiHAND order.

    Returns:
      Mean and standard deviation of the relative depth of each joint, without unit.

    Raises:
      ValueError: for rays of another shape.
    """
    require_shape("rays", rays, hand.NUM_JOINTS, 3)
    seen = view(rays)
    depth, log_deviation = predict(weights, seen)
    # The product is 0 at the wrist, or NaN if the size is.
    wrist = jnp.zeros_like(seen.size)[..., None] * seen.size[..., None]
    size, ratio = seen.size[..., None], seen.depth[..., :1] / seen.depth
    mean = (1 + size * jnp.concatenate([wrist, depth], axis=-1)) * ratio - 1
    return RelativeDepth(mean, size * jnp.concatenate([wrist, jnp.exp(log_deviation)], axis=-1) * ratio)


def view(rays: Float[Array, "*batch 21 3"]) -> View:
    """Returns the hand of the rays as seen by a camera that looks in their mean direction."""
    length = numerics.norm(rays)
    directions = rays / length[..., None]
    ahead = numerics.unit(jnp.mean(directions, axis=-2))
    down = directions[..., hand.WRIST, :] - jnp.mean(directions[..., KNUCKLES, :], axis=-2)
    spread = jnp.sqrt(jnp.mean(numerics.square(directions - ahead[..., None, :]), axis=-1, keepdims=True))
    # A palm that points at the camera has no upright direction; the camera's y axis replaces it.
    upright = numerics.norm(jnp.cross(down, ahead))[..., None] > numerics.SMALLEST_UPRIGHT * spread
    down = jnp.where(upright, down, jnp.array([0.0, 1.0, 0.0]))
    right = numerics.unit(jnp.cross(down, ahead))
    cosine = jnp.maximum(jnp.sum(directions * ahead[..., None, :], axis=-1), numerics.SMALLEST_COSINE)
    across = jnp.stack(
        [jnp.sum(directions * axis[..., None, :], axis=-1) for axis in (right, jnp.cross(ahead, right))], axis=-1
    )
    points = across / cosine[..., None]
    size = numerics.norm(points.reshape(*points.shape[:-2], 2 * hand.NUM_JOINTS)) / hand.NUM_JOINTS**0.5
    size = jnp.maximum(size, numerics.SMALLEST_VIEW)
    return View(points / size[..., None, None], size, length * cosine)
