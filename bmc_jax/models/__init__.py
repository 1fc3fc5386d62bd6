"""The network: an image and its intrinsics in, a 2.5D pose and the 3D pose it stands for out; or the same from 2D
joints."""

from bmc_jax.models.lifting_network import LiftingNetwork, points
from bmc_jax.models.pose_network import PoseNetwork
from bmc_jax.models.two_stage_network import TwoStageNetwork

__all__ = ["LiftingNetwork", "PoseNetwork", "TwoStageNetwork", "points"]
