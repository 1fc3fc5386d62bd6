"""Networks from an image or 2D joints, and intrinsics, to a 2.5D pose and the 3D pose that it is lifted to."""

from bmc_jax.models.backbone import Devices
from bmc_jax.models.lifting_network import LiftingNetwork, TwoStageNetwork, points
from bmc_jax.models.pose_network import PoseNetwork

__all__ = ["Devices", "LiftingNetwork", "PoseNetwork", "TwoStageNetwork", "points"]
