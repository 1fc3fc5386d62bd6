"""Networks that predict depth from 2D joints, which are given or found in an image by heatmaps.

`LiftingNetwork` is an MLP in place of the ResNet, as Martinez et al. 2017 lift human bodies. Its output, losses and
training step are those of `PoseNetwork`, but training takes a minute instead of hours. It serves to study the losses
and the depth, to which the paper's claim refers.

`TwoStageNetwork` finds 2D joints in an image and lifts them. The paper's network predicts pixels and depths from the
image at once. If the images with 3D labels are not from the target domain, its depths depend on the appearance of those
images, whereas 2D joints look the same in all domains.
"""

import typing
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from bmc_jax.core import camera, hand
from bmc_jax.core.types import Batch, Prediction
from bmc_jax.models.backbone import Devices, ResNet
from bmc_jax.models.heatmaps import Heatmaps
from bmc_jax.models.pose_network import HEATMAP_CHANNELS, TYPICAL_ROOT_DEPTH, lift_pose, normalise, to_pixels


class LiftingNetwork(nn.Module):
    """A network from 2D joints and intrinsics to a `Prediction`."""

    hidden: int = 512
    """Units of each of the three hidden layers."""
    detach_root_depth: bool = True
    """See `PoseNetwork.detach_root_depth`."""
    detach_pixels: bool = False
    """See `PoseNetwork.detach_pixels`."""
    refine: bool = True
    """See `PoseNetwork.refine`."""

    @nn.compact
    def __call__(
        self, points: Float[Array, "batch 21 2"], intrinsics: Float[Array, "batch 3 3"], *, train: bool
    ) -> Prediction:
        """Lifts pixels of any crop; only their rays matter. The predicted pixels are the given ones, corrected."""
        del train
        rays = camera.rays(points, intrinsics)
        # At the typical depth, rays become positions in scale units, which are near one. Predicted points get no
        # gradient, which would move them to where depth is easier to predict.
        x = TYPICAL_ROOT_DEPTH * jax.lax.stop_gradient(rays[..., :2]).reshape(-1, 2 * hand.NUM_JOINTS)
        for _ in range(3):
            x = nn.relu(nn.Dense(self.hidden)(x))
        pose = nn.Dense(3 * hand.NUM_JOINTS, name="head", kernel_init=nn.initializers.zeros)(x)
        pose = pose.reshape(-1, hand.NUM_JOINTS, 3)
        corrected = rays.at[..., :2].add(pose[..., :2] / TYPICAL_ROOT_DEPTH)
        joints_2d = camera.project(corrected, intrinsics)
        options = {"detach_root_depth": self.detach_root_depth, "detach_pixels": self.detach_pixels}
        return lift_pose(joints_2d, pose[..., 2], intrinsics, **options, refine=self.refine)


class TwoStageNetwork(nn.Module):
    """A network from image and intrinsics to a `Prediction`, with the fields of `PoseNetwork`."""

    depth: int = 50
    width: int = 64
    patch: int = 0
    heatmap_channels: int = 0
    dtype: Any = jnp.float32
    detach_root_depth: bool = True
    detach_pixels: bool = False
    refine: bool = True
    devices: Devices | None = None

    @nn.compact
    def __call__(
        self, image: UInt8[Array, "batch height width 3"], intrinsics: Float[Array, "batch 3 3"], *, train: bool
    ) -> Prediction:
        """Predicts a pose. The heatmaps learn from the errors of pixels only, not through the second stage."""
        backbone = ResNet(self.depth, self.width, self.patch, "maps", self.dtype, self.devices, name="backbone")
        channels = self.heatmap_channels or HEATMAP_CHANNELS * self.width
        head = Heatmaps(channels, False, self.dtype, self.devices, name="head")
        stages = typing.cast(tuple[Array, ...], backbone(normalise(image), train=train))
        points = to_pixels(head(stages, train=train), image)
        lifting = LiftingNetwork(
            detach_root_depth=self.detach_root_depth,
            detach_pixels=self.detach_pixels,
            refine=self.refine,
            name="lifting",
        )
        return lifting(points, intrinsics, train=train)


def points(batch: Batch, *, noise: float, seed: int) -> Float[Array, "batch 21 2"]:
    """Returns the input of `LiftingNetwork` for a batch without images: its 2D joints with noise.

    The noise of an example depends only on `seed` and the example. Joints without a label are at the crop's centre.

    Args:
      batch: with images of 0 channels.
      noise: standard deviation of the normal noise, pixels.
      seed: of the noise.

    Raises:
      ValueError: for a batch with images.
    """
    if batch.image.shape[-1]:
        raise ValueError(
            "network.input 'points' expects a batch without images, got images of the shape "
            f"{tuple(batch.image.shape[1:])}; build the batch for a configuration with network.input 'points'"
        )
    labelled = jnp.asarray(batch.joints_2d_valid)[..., None]
    joints_2d = jnp.where(labelled, batch.joints_2d, (batch.image.shape[-2] - 1) / 2)
    if not noise:
        return joints_2d

    def error(source: Array, index: Array) -> Array:
        key = jax.random.key(seed, impl="threefry2x32")
        key = jax.random.fold_in(jax.random.fold_in(key, source), index)
        return jax.random.normal(key, (hand.NUM_JOINTS, 2))

    return joints_2d + noise * jax.vmap(error)(jnp.asarray(batch.source), jnp.asarray(batch.index))
