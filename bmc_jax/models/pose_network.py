"""The whole network (section 3.2): image -> ResNet -> 2.5D pose -> root depth -> refined root depth -> 3D pose.

The ResNet regresses, for each joint, the pixel (u, v) and the depth z^r behind the root. With K that leaves one
unknown, the root's depth; the length of the scale bone, 1 by definition of the unit, gives it by a quadratic
(`camera.root_depth`), and the refiner corrects it. Everything after the features is float32.
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
from bmc_jax.models.backbone import ResNet
from bmc_jax.models.heatmaps import Heatmaps
from bmc_jax.models.refiner import Refiner

#: Of ImageNet's pixels in [0, 1], by channel: what pretrained weights expect to have been taken out.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
#: Channels of the map that heatmaps are read off, in widths of the ResNet's first stage.
HEATMAP_CHANNELS = 4


def normalise(image: UInt8[Array, "*batch height width 3"]) -> Float[Array, "*batch height width 3"]:
    """RGB bytes to zero mean and unit variance over ImageNet."""
    mean = IMAGENET_MEAN.reshape((1,) * (image.ndim - 1) + (3,))
    std = IMAGENET_STD.reshape((1,) * (image.ndim - 1) + (3,))
    return (image.astype(jnp.float32) / 255.0 - mean) / std


class PoseNetwork(nn.Module):
    """Image and intrinsics to a `Prediction`."""

    depth: int = 50
    """Of the ResNet: 10, 18, 34 or 50."""
    width: int = 64
    """Channels of the ResNet's first stage."""
    patch: int = 0
    """See `ResNet.patch`."""
    pool: str = "mean"
    """"mean" or "flatten", by which the ResNet's last map becomes a vector; or "heatmaps", see `Heatmaps`."""
    dtype: Any = jnp.float32
    """Of the ResNet's computation."""
    detach_root_depth: bool = True
    """Whether the root's depth, quadratic and refined, is a constant to the pixels and relative depths. The quadratic's
    gradient is huge where the scale bone points along its ray, and does harm (see the configuration)."""
    detach_pixels: bool = False
    """Whether the pixels are constants to the 3D joints, so that the biomechanical losses move depths only."""
    refine: bool = True
    """Whether the refiner corrects the root's depth, or the quadratic's is taken."""
    axis_name: str | None = None
    """Devices over which BatchNorm takes its statistics."""

    @nn.compact
    def __call__(
        self,
        image: UInt8[Array, "batch height width 3"],
        intrinsics: Float[Array, "batch 3 3"],
        *,
        train: bool,
    ) -> Prediction:
        """Pixels are of the crop as given, its size is any; a prediction of zeros is a flat hand on the crop's centre.

        Gradients with `detach_root_depth`: the refiner's weights learn from whatever reads the refined root depth or
        the 3D joints; the pixels and relative depths learn from those only past the root depth.
        """
        pool = "maps" if self.pool == "heatmaps" else self.pool
        backbone = ResNet(self.depth, self.width, self.patch, pool, self.dtype, self.axis_name, name="backbone")
        features = backbone(normalise(image), train=train)
        if self.pool == "heatmaps":
            head = Heatmaps(HEATMAP_CHANNELS * self.width, True, self.dtype, self.axis_name, name="head")
            pose = head(typing.cast(tuple[Array, ...], features), train=train)
        else:
            pose = nn.Dense(hand.NUM_JOINTS * 3, name="head")(features).reshape(-1, hand.NUM_JOINTS, 3)

        joints_2d = to_pixels(pose[..., :2], image)
        options = {"detach_root_depth": self.detach_root_depth, "detach_pixels": self.detach_pixels}
        return lifted(joints_2d, pose[..., 2], intrinsics, **options, refine=self.refine)


def to_pixels(
    place: Float[Array, "batch 21 2"], image: UInt8[Array, "batch height width 3"]
) -> Float[Array, "batch 21 2"]:
    """Pixels of what is in halves of the image from its centre."""
    height, width = image.shape[-3:-1]
    half = jnp.array([width / 2, height / 2], jnp.float32)
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2], jnp.float32)
    return centre[None, None] + half[None, None] * place


def lifted(
    joints_2d: Float[Array, "batch 21 2"],
    depth: Float[Array, "batch 21"],
    intrinsics: Float[Array, "batch 3 3"],
    *,
    detach_root_depth: bool,
    detach_pixels: bool,
    refine: bool,
) -> Prediction:
    """The 3D pose of pixels and relative depths, of which the root's is taken as 0; within a module, whose "refiner" it
    makes. See `PoseNetwork` for the options."""
    is_root = np.arange(hand.NUM_JOINTS) == hand.WRIST
    relative_depth = jnp.where(is_root[None], 0.0, depth)

    known_2d, known_depth = joints_2d, relative_depth
    if detach_root_depth:
        known_2d, known_depth = jax.lax.stop_gradient((joints_2d, relative_depth))
    root_depth = camera.root_depth(known_2d, known_depth, intrinsics)
    refined = root_depth
    if refine:
        refined = Refiner(name="refiner")(known_depth, camera.rays(known_2d, intrinsics), root_depth)
    return Prediction(
        joints_2d=joints_2d,
        relative_depth=relative_depth,
        root_depth=root_depth,
        refined_root_depth=refined,
        joints_3d=camera.lift(
            jax.lax.stop_gradient(joints_2d) if detach_pixels else joints_2d, relative_depth, refined, intrinsics
        ),
    )
