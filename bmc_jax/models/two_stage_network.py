"""The network in two stages: where the joints are, read off heatmaps of the image, and then how deep, told from those
points alone.

The paper's network tells both from the image at once. Where 3D labels come from other images than those that count,
what it learned of depth hangs on how those looked; points look the same everywhere.
"""

import typing
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from bmc_jax.core.types import Prediction
from bmc_jax.models.backbone import ResNet
from bmc_jax.models.heatmaps import Heatmaps
from bmc_jax.models.lifting_network import LiftingNetwork
from bmc_jax.models.pose_network import HEATMAP_CHANNELS, normalise, to_pixels


class TwoStageNetwork(nn.Module):
    """Image and intrinsics to a `Prediction`. The fields are `PoseNetwork`'s."""

    depth: int = 50
    width: int = 64
    patch: int = 0
    dtype: Any = jnp.float32
    detach_root_depth: bool = True
    detach_pixels: bool = False
    refine: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, image: UInt8[Array, "batch height width 3"], intrinsics: Float[Array, "batch 3 3"], *, train: bool
    ) -> Prediction:
        """The heatmaps learn from the pixels' errors; what the second stage makes of a point moves no heatmap."""
        backbone = ResNet(self.depth, self.width, self.patch, "maps", self.dtype, self.axis_name, name="backbone")
        head = Heatmaps(HEATMAP_CHANNELS * self.width, False, self.dtype, self.axis_name, name="head")
        stages = typing.cast(tuple[Array, ...], backbone(normalise(image), train=train))
        points = to_pixels(head(stages, train=train), image)
        lifting = LiftingNetwork(
            detach_root_depth=self.detach_root_depth,
            detach_pixels=self.detach_pixels,
            refine=self.refine,
            name="lifting",
        )
        return lifting(points, intrinsics, train=train)
