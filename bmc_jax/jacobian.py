"""How joints move with what a hand's pose is made of: the Jacobian of forward kinematics, in closed form.

A bone that turns about an axis through a joint takes along what lies beyond it: velocity = axis x lever. Automatic
differentiation gives the same; a solver that wants the whole matrix at every step is faster with this.

Columns of a finger move its own joints only: 4 lengths, 3 flexions, 3 abductions. Columns of the palm move all: turn of
the hand about the wrist (3), spreads (4), folds (3), move of the wrist (3), and the hand's size (1). All in the hand
frame, for one pose: `jax.vmap` makes them take many.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax import hand
from bmc_jax.kinematics import Chain, Palm

LEVELS = len(hand.LEVELS)
LENGTHS, FLEXIONS, ABDUCTIONS = np.split(np.arange(10), [4, 7])
TURN, SPREADS, FOLDS, MOVE, SIZE = np.split(np.arange(14), [3, 7, 10, 13])
#: [:, l, k]: joint k lies beyond the start of bone l.
BEYOND = np.triu(np.ones((LEVELS, LEVELS), np.float32))[None, ..., None]


def of_finger(bones: Chain, scale: Float[Array, ""]) -> Float[Array, "5 10 4 3"]:
    """Velocity of each finger's joints by its own columns: lengths in scale units, and angles."""
    x, y, z = (bones.frames[..., i, :] for i in range(3))
    levers = bones.ends[:, None] - bones.ends[:, :-1, None]
    # Flexion turns about the y of the frame before, z to x; abduction about its own x, z to y (Eq. 6).
    flexion = jnp.cross(y[:, :-1, None], levers) * BEYOND[:, 1:]
    abduction = -jnp.cross(x[:, 1:, None], levers) * BEYOND[:, 1:]
    return jnp.concatenate([z[:, :, None] * scale * BEYOND, flexion, abduction], axis=1)


def of_palm(bones: Chain, palm: Palm, scale: Float[Array, ""]) -> Float[Array, "5 14 4 3"]:
    """Velocity of the fingers' joints by the columns of the palm. Of these only `MOVE` moves the wrist, which goes
    where it says."""
    every = jnp.broadcast_to(jnp.eye(3, dtype=scale.dtype), (5, 3, 3))
    axes = jnp.concatenate([every, _axes_of_palm(bones.frames[:, 0], palm)], axis=1)
    turned = jnp.cross(axes[:, :, None], bones.ends[:, None])
    moved = jnp.broadcast_to(every[:, :, None], (5, 3, LEVELS, 3))
    return jnp.concatenate([turned, moved, (bones.ends / scale)[:, None]], axis=1)


def _axes_of_palm(frames: Float[Array, "5 3 3"], palm: Palm) -> Float[Array, "5 7 3"]:
    """Axis about which each spread and fold turns each finger: outwards from the middle one, which stays."""
    x, y, z = (frames[:, i] for i in range(3))
    half = palm.fold[2] / 2
    before_fold = jnp.cos(half) * x[3] - jnp.sin(half) * y[3]
    rest = jnp.zeros_like(half)
    thumb = jnp.stack([-x[0], -x[1], 0 * x[0], 0 * x[0], -z[1], -z[2] / 2, 0 * x[0]])
    index = thumb.at[np.array([0, 4])].set(rest)
    middle = jnp.broadcast_to(rest, thumb.shape)
    ring = jnp.stack([0 * x[0], 0 * x[0], before_fold, 0 * x[0], 0 * x[0], z[2] / 2, z[3] / 2])
    little = ring.at[3].set(x[4]).at[6].set(z[3])
    return jnp.stack([thumb, index, middle, ring, little])
