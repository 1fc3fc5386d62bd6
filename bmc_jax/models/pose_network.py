"""The network of the paper (section 3.2): image -> ResNet -> 2.5D pose -> root depth -> refined root depth -> 3D pose.

The ResNet regresses the pixel (u, v) and the depth z^r relative to the root of each joint. With K, the only unknown is
the depth of the root. It follows from the length of the scale bone, which is 1 in scale units, by a quadratic
(`camera.root_depth`); the refiner corrects it (Eq. 8). All computations after the features are in float32.
"""

import typing
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from bmc_jax.core import camera, hand
from bmc_jax.core.types import Prediction
from bmc_jax.models.backbone import Devices, ResNet
from bmc_jax.models.heatmaps import Heatmaps

#: Mean and standard deviation of ImageNet's pixels in [0, 1], by channel: the normalisation of pretrained weights.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
#: Channels of the map from which heatmaps are computed, relative to the width of the ResNet, by default.
HEATMAP_CHANNELS = 4
#: Typical depth of the root, scale units. Dividing by it brings this input near one, and with it the gradient of the
#: first layer, which would otherwise dominate the clipped norm of the whole gradient.
TYPICAL_ROOT_DEPTH = 10.0


class PoseNetwork(nn.Module):
    """A network from image and intrinsics to a `Prediction`."""

    depth: int = 50
    """Layers of the ResNet: 10, 18, 34 or 50."""
    width: int = 64
    """Channels of the ResNet's first stage."""
    patch: int = 0
    """See `ResNet.patch`."""
    pool: str = "mean"
    """"mean" or "flatten" of the last map (see `ResNet.pool`), or "heatmaps" (see `Heatmaps`)."""
    heatmap_channels: int = 0
    """See `Heatmaps.channels`; 0 for `HEATMAP_CHANNELS` times the width."""
    dtype: Any = jnp.float32
    """dtype of the ResNet's computation."""
    detach_root_depth: bool = True
    """Whether to stop gradients from the root depth, quadratic and refined, to pixels and relative depths. The gradient
    of the quadratic is huge where the scale bone points along its ray, and harms training (see `config.Network`)."""
    detach_pixels: bool = False
    """Whether to stop gradients from the 3D joints to the pixels, so that the biomechanical losses change depths
    only."""
    refine: bool = True
    """Whether the refiner corrects the root depth of the quadratic."""
    devices: Devices | None = None
    """Devices that share the statistics of BatchNorm; None for separate statistics on each device."""

    @nn.compact
    def __call__(
        self,
        image: UInt8[Array, "batch height width 3"],
        intrinsics: Float[Array, "batch 3 3"],
        *,
        train: bool,
    ) -> Prediction:
        """Predicts poses in crops of any size. If the head returns zeros, all joints are at the centre of the crop.

        With `detach_root_depth`, the refiner still learns from the refined root depth and the 3D joints; pixels and
        relative depths learn from the 3D joints, but not through the root depth.
        """
        pool = "maps" if self.pool == "heatmaps" else self.pool
        backbone = ResNet(self.depth, self.width, self.patch, pool, self.dtype, self.devices, name="backbone")
        features = backbone(normalise(image), train=train)
        if self.pool == "heatmaps":
            channels = self.heatmap_channels or HEATMAP_CHANNELS * self.width
            head = Heatmaps(channels, True, self.dtype, self.devices, name="head")
            pose = head(typing.cast(tuple[Array, ...], features), train=train)
        else:
            pose = nn.Dense(hand.NUM_JOINTS * 3, name="head")(features).reshape(-1, hand.NUM_JOINTS, 3)

        joints_2d = to_pixels(pose[..., :2], image)
        options = {"detach_root_depth": self.detach_root_depth, "detach_pixels": self.detach_pixels}
        return lift_pose(joints_2d, pose[..., 2], intrinsics, **options, refine=self.refine)


class Refiner(nn.Module):
    """The refinement of the root depth (Eq. 8): an MLP of three layers that predicts a correction.

    The quadratic depends on the pixels and relative depths of one bone only, so it is exact but sensitive to noise. The
    MLP takes the whole 2.5D pose: relative depths (21), rays (63) and root depth (1).
    """

    hidden: int = 128
    """Units of the two inner layers."""

    @nn.compact
    def __call__(
        self,
        relative_depth: Float[Array, "*batch 21"],
        rays: Float[Array, "*batch 21 3"],
        root_depth: Float[Array, "*batch"],
    ) -> Float[Array, "*batch"]:
        """Returns the refined root depth, scale units, float32. Before training, it equals the root depth.

        Args:
          relative_depth: scale units.
          rays: `camera.rays` of the pixels.
          root_depth: scale units.
        """
        flat = rays.reshape(*rays.shape[:-2], -1)
        x = jnp.concatenate([relative_depth, flat, root_depth[..., None] / TYPICAL_ROOT_DEPTH], axis=-1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.relu(nn.Dense(self.hidden)(x))
        correction = nn.Dense(1, kernel_init=nn.initializers.zeros)(x)
        return root_depth + correction[..., 0]


def normalise(image: UInt8[Array, "*batch height width 3"]) -> Float[Array, "*batch height width 3"]:
    """Normalises RGB bytes to zero mean and unit variance over ImageNet."""
    mean = IMAGENET_MEAN.reshape((1,) * (image.ndim - 1) + (3,))
    std = IMAGENET_STD.reshape((1,) * (image.ndim - 1) + (3,))
    return (image.astype(jnp.float32) / 255.0 - mean) / std


def to_pixels(
    positions: Float[Array, "batch 21 2"], image: UInt8[Array, "batch height width 3"]
) -> Float[Array, "batch 21 2"]:
    """Converts positions from [-1, 1], edge to edge of the image, to pixels."""
    height, width = image.shape[-3:-1]
    half = jnp.array([width / 2, height / 2], jnp.float32)
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2], jnp.float32)
    return centre[None, None] + half[None, None] * positions


def lift_pose(
    joints_2d: Float[Array, "batch 21 2"],
    depth: Float[Array, "batch 21"],
    intrinsics: Float[Array, "batch 3 3"],
    *,
    detach_root_depth: bool,
    detach_pixels: bool,
    refine: bool,
) -> Prediction:
    """Computes root depth and 3D pose from pixels and relative depths.

    It is called within a module, in which it creates the submodule "refiner".

    Args:
      joints_2d: pixels.
      depth: of each joint minus the root's, scale units; the value at the root is ignored and taken as 0.
      intrinsics: K, pixels.
      detach_root_depth: see `PoseNetwork`.
      detach_pixels: see `PoseNetwork`.
      refine: see `PoseNetwork`.
    """
    is_root = np.arange(hand.NUM_JOINTS) == hand.WRIST
    relative_depth = jnp.where(is_root[None], 0.0, depth)

    root_input = (joints_2d, relative_depth)
    if detach_root_depth:
        root_input = jax.lax.stop_gradient(root_input)
    root_depth = camera.root_depth(*root_input, intrinsics)
    refined = root_depth
    if refine:
        refined = Refiner(name="refiner")(root_input[1], camera.rays(root_input[0], intrinsics), root_depth)
    pixels = jax.lax.stop_gradient(joints_2d) if detach_pixels else joints_2d
    return Prediction(
        joints_2d=joints_2d,
        relative_depth=relative_depth,
        root_depth=root_depth,
        refined_root_depth=refined,
        joints_3d=camera.lift(pixels, relative_depth, refined, intrinsics),
    )
