"""Networks that predict a 2.5D pose and the 3D pose it is lifted to, from an image and its intrinsics or from 2D
joints."""

from bmc_jax.models.lifting_network import LiftingNetwork, TwoStageNetwork, points
from bmc_jax.models.pose_network import PoseNetwork

__all__ = ["LiftingNetwork", "PoseNetwork", "TwoStageNetwork", "points"]
