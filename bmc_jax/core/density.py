"""A joint density of bone lengths, palm and joint angles: a limit on hands as a whole.

Intervals and hulls limit each quantity by itself, so that they allow a hand of long and short bones at once, or a fist
with one straight finger. The density is normal in the 58 quantities, about the mean of some hands, and its limit is the
distance from the mean that a percentile of them has.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bmc_jax.core import anatomy, hull, numerics
from bmc_jax.core.types import Density

SIZE = 58
"""Number of quantities: 20 bone lengths, 4 curvatures, 4 spreads, 15 pairs of angles."""
_LENGTHS = 20
PERCENTILE = 99.0
"""Of the hands that a density is fitted to, those within its limit."""


def quantities(joints: Float[jax.Array, "*batch 21 3"]) -> Float[jax.Array, "*batch 58"]:
    """Returns bone lengths, curvatures, spreads and (flexion, abduction) of a hand in scale units, finger by finger;
    flexion unrolled as hulls are, see `hull.FLEXION_CUT`."""
    angles = anatomy.joint_angles(joints)
    turns = jnp.floor((angles[..., 0] - hull.FLEXION_CUT) / (2 * np.pi))
    angles = jnp.stack([angles[..., 0] - 2 * np.pi * jax.lax.stop_gradient(turns), angles[..., 1]], axis=-1)
    parts = (anatomy.bone_lengths(joints), anatomy.palm_curvature(joints), anatomy.palm_spread(joints), angles)
    batch = joints.shape[:-2]
    return jnp.concatenate([part.reshape(*batch, int(np.prod(part.shape[len(batch) :]))) for part in parts], axis=-1)


def distance(joints: Float[jax.Array, "*batch 21 3"], density: Density) -> Float[jax.Array, "*batch"]:
    """Returns the distance of hands in scale units from the mean, in standard deviations: the root of the mean square
    of the 58 whitened quantities."""
    away = quantities(joints) - jnp.broadcast_to(density.mean, (*joints.shape[:-2], SIZE))
    return numerics.norm(jnp.matmul(away, density.factor, precision="highest")) / np.sqrt(SIZE)


def excess(joints: Float[jax.Array, "*batch 21 3"], density: Density) -> Float[jax.Array, "*batch"]:
    """Returns by how many standard deviations hands in scale units are beyond the limit; 0, without gradient, within.

    The loss of `LossWeights.density`, which is not the paper's.
    """
    beyond = distance(joints, density) - density.threshold
    return jnp.where(beyond <= 0, 0.0, beyond)


def fit(measured: Mapping[str, np.ndarray]) -> Density:
    """Fits a density to the quantities of hands, as `limits.checking.measure` returns them.

    Directions in which the hands vary by less than can be seen, see `numerics.VISIBLE_LENGTH`, get that much variance
    in addition.
    """
    parts = [measured["bone_length"], measured["curvature"], measured["spread"], hull.unroll(measured["angles"])]
    values = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=-1).astype(np.float64)
    mean = values.mean(axis=0)
    visible = np.repeat([numerics.VISIBLE_LENGTH, numerics.VISIBLE_ANGLE], [_LENGTHS, SIZE - _LENGTHS])
    covariance = (values - mean).T @ (values - mean) / len(values) + np.diag(visible**2)
    factor = np.linalg.cholesky(np.linalg.inv(covariance))
    away = np.sqrt(np.mean(((values - mean) @ factor) ** 2, axis=-1))
    found = Density(mean, factor, np.percentile(away, PERCENTILE))
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), found)
