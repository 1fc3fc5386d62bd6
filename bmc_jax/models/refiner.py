"""The refiner of the root's depth (Eq. 8): a small MLP adds a correction to what the quadratic found.

The quadratic hangs on the two pixels and relative depths of one bone, so it is exact but nervous; the MLP sees the
whole 2.5D pose and learns where it errs.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

#: A usual depth of the root, scale units. It brings the one large input near one, and with it the gradient of the first
#: layer, which would otherwise fill the norm that the whole gradient is clipped to.
USUAL_DEPTH = 10.0


class Refiner(nn.Module):
    """Three fully connected layers on (z^r 21, K^-1 J2D 63, root depth 1), and the root depth itself past them."""

    hidden: int = 128
    """Units of the two inner layers."""

    @nn.compact
    def __call__(
        self,
        relative_depth: Float[Array, "*batch 21"],
        rays: Float[Array, "*batch 21 3"],
        root_depth: Float[Array, "*batch"],
    ) -> Float[Array, "*batch"]:
        """Refined root depth, scale units, float32. `rays` are the pixels under K^-1, homogeneous. The last layer
        starts at zero: the untrained refiner returns the root depth as it came."""
        flat = rays.reshape(*rays.shape[:-2], -1)
        x = jnp.concatenate([relative_depth, flat, root_depth[..., None] / USUAL_DEPTH], axis=-1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.relu(nn.Dense(self.hidden)(x))
        correction = nn.Dense(1, kernel_init=nn.initializers.zeros)(x)
        return root_depth + correction[..., 0]
