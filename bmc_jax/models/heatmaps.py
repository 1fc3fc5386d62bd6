"""2.5D poses read off a map of the image, joint by joint (Iqbal et al. 2018, "latent 2.5D heatmaps").

A joint's place is the mean of all places weighted by its heatmap, its depth the mean of its depth map under the same
weights. The paper regresses from the ResNet's pooled vector; this needs far fewer images to be accurate to the pixel.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import hand
from bmc_jax.models.backbone import convolution


class Heatmaps(nn.Module):
    """The maps of the ResNet's stages, finest first, to a 2.5D pose."""

    channels: int
    """Of the map that heatmaps are read off."""
    depths: bool = True
    """Whether depths are told too."""
    dtype: Any = jnp.float32
    """Of the computation up to the heatmaps, which are float32."""
    axis_name: str | None = None
    """Devices over which BatchNorm takes its statistics."""

    @nn.compact
    def __call__(self, stages: tuple[Float[Array, "batch _ _ _"], ...], *, train: bool) -> Float[Array, "batch 21 _"]:
        """(u, v, depth) by joint, or (u, v): in [-1, 1] from the image's left and upper edges to the others."""
        conv = partial(convolution, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        *finer, coarsest = stages
        x = conv(self.channels, 1, name="coarsest")(coarsest)
        for i, stage in reversed(list(enumerate(finer))):
            x = jax.image.resize(x, (*stage.shape[:3], self.channels), "nearest")
            x = x + conv(self.channels, 1, name=f"side{i + 1}")(stage)
            x = nn.relu(norm(name=f"bn{i + 1}")(conv(self.channels, 3, name=f"conv{i + 1}")(x)))
        x = x.astype(jnp.float32)
        heat = nn.Dense(hand.NUM_JOINTS, name="heat")(x)
        if not self.depths:
            return read_off(heat)
        return read_off(heat, nn.Dense(hand.NUM_JOINTS, name="depth")(x))


def read_off(*maps: Float[Array, "batch row column joint"]) -> Float[Array, "batch joint _"]:
    """(u, v), and a depth for a second map, where the first map, a heatmap whose softmax is taken, says that joints
    are; a cell's u and v are its middle's."""
    heat, *others = maps
    rows, columns = heat.shape[1:3]
    weights = nn.softmax(heat, axis=(1, 2))
    across, down = (2 * (np.arange(cells, dtype=np.float32) + 0.5) / cells - 1 for cells in (columns, rows))
    u = jnp.einsum("brcj,c->bj", weights, across)
    v = jnp.einsum("brcj,r->bj", weights, down)
    return jnp.stack([u, v, *(jnp.sum(weights * other, axis=(1, 2)) for other in others)], axis=-1)
