"""The network: an image and its intrinsics in, a 2.5D pose and the 3D pose it stands for out."""

from bmc_jax.models.pose import PoseNetwork

__all__ = ["PoseNetwork"]
