"""Heads that compute 2.5D poses from heatmaps (Iqbal et al. 2018, "latent 2.5D heatmaps").

The position of a joint is the mean of all cells, weighted by the softmax of its heatmap; its depth is the mean of its
depth map with the same weights. The paper regresses poses from the pooled features of the ResNet; heatmaps need far
fewer images to become accurate to the pixel.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import hand
from bmc_jax.models.backbone import Devices, batch_norm, convolution

HEAT = "logits"
"""Name of the logits among the intermediate values of the head."""


class Heatmaps(nn.Module):
    """A head that takes the maps of all stages of the ResNet, finest first."""

    channels: int
    """Channels of the map from which heatmaps are computed."""
    depths: bool = True
    """Whether to predict depths too."""
    dtype: Any = jnp.float32
    """dtype of the computation up to the heatmaps, which are float32."""
    devices: Devices | None = None
    """Devices that share the statistics of BatchNorm; None for separate statistics on each device."""

    @nn.compact
    def __call__(self, stages: tuple[Float[Array, "batch _ _ _"], ...], *, train: bool) -> Float[Array, "batch 21 _"]:
        """Returns (u, v, depth) or (u, v) of each joint; u and v are in [-1, 1] from edge to edge of the image."""
        conv, norm = partial(convolution, dtype=self.dtype), batch_norm(train, self.dtype, self.devices)
        *finer, coarsest = stages
        x = conv(self.channels, 1, name="coarsest")(coarsest)
        for i, stage in reversed(list(enumerate(finer))):
            x = jax.image.resize(x, (*stage.shape[:3], self.channels), "nearest")
            x = x + conv(self.channels, 1, name=f"side{i + 1}")(stage)
            x = nn.relu(norm(name=f"bn{i + 1}")(conv(self.channels, 3, name=f"conv{i + 1}")(x)))
        x = x.astype(jnp.float32)
        heat = nn.Dense(hand.NUM_JOINTS, name="heat")(x)
        self.sow("intermediates", HEAT, heat)
        if not self.depths:
            return soft_argmax(heat)
        return soft_argmax(heat, nn.Dense(hand.NUM_JOINTS, name="depth")(x))


def soft_argmax(
    heat: Float[Array, "batch row column joint"], *values: Float[Array, "batch row column joint"]
) -> Float[Array, "batch joint _"]:
    """Returns the mean position of each joint, weighted by the softmax of its heatmap.

    Args:
      heat: logits.
      values: further maps, averaged with the same weights.

    Returns:
      (u, v), in [-1, 1] from edge to edge of the image, and the mean of each further map.
    """
    rows, columns = heat.shape[1:3]
    weights = nn.softmax(heat, axis=(1, 2))
    across, down = (2 * (np.arange(cells, dtype=np.float32) + 0.5) / cells - 1 for cells in (columns, rows))
    u = jnp.einsum("brcj,c->bj", weights, across)
    v = jnp.einsum("brcj,r->bj", weights, down)
    return jnp.stack([u, v, *(jnp.sum(weights * value, axis=(1, 2)) for value in values)], axis=-1)
