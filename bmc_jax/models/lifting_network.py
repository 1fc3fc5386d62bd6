"""The network without pixels: 2D joints in the place of an image, an MLP in that of the ResNet.

It says the same of a hand in the same form, is trained by the same step on the same losses, and takes a minute where
images take hours: a bench for questions about the losses, and the part of the whole task that the paper's claim is
about, the depth. Martinez et al. 2017 lift human bodies so.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmc_jax.core import camera, hand
from bmc_jax.core.types import Batch, Prediction
from bmc_jax.models.pose_network import lifted
from bmc_jax.models.refiner import USUAL_DEPTH


class LiftingNetwork(nn.Module):
    """2D joints and intrinsics to a `Prediction`."""

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
        """Pixels in any crop: only their rays count. The pixels that come out are those that came in, corrected."""
        del train
        rays = camera.rays(points, intrinsics)
        # At its usual depth the hand's place and shape are then in scale units: numbers near one. Points that are
        # predictions themselves are not moved to where depth would be told more easily.
        x = USUAL_DEPTH * jax.lax.stop_gradient(rays[..., :2]).reshape(-1, 2 * hand.NUM_JOINTS)
        for _ in range(3):
            x = nn.relu(nn.Dense(self.hidden)(x))
        pose = nn.Dense(3 * hand.NUM_JOINTS, name="head", kernel_init=nn.initializers.zeros)(x)
        pose = pose.reshape(-1, hand.NUM_JOINTS, 3)
        corrected = rays.at[..., :2].add(pose[..., :2] / USUAL_DEPTH)
        joints_2d = camera.project(corrected, intrinsics)
        options = {"detach_root_depth": self.detach_root_depth, "detach_pixels": self.detach_pixels}
        return lifted(joints_2d, pose[..., 2], intrinsics, **options, refine=self.refine)


def points(batch: Batch, *, noise: float, seed: int) -> Float[Array, "batch 21 2"]:
    """What the network is told of a batch without images: its 2D joints, those without a label at the crop's centre,
    off by normal `noise` (standard deviation, pixels), the same whenever an example is seen.

    Raises ValueError for a batch with images: their 2D joints are not known when it matters.
    """
    if batch.image.shape[-1]:
        raise ValueError("a network that lifts points (network.input is 'points') cannot be shown images")
    labelled = jnp.asarray(batch.joints_2d_valid)[..., None]
    told = jnp.where(labelled, batch.joints_2d, (batch.image.shape[-2] - 1) / 2)
    if not noise:
        return told

    def error(source: Array, index: Array) -> Array:
        key = jax.random.key(seed, impl="threefry2x32")
        key = jax.random.fold_in(jax.random.fold_in(key, source), index)
        return jax.random.normal(key, (hand.NUM_JOINTS, 2))

    return told + noise * jax.vmap(error)(jnp.asarray(batch.source), jnp.asarray(batch.index))
