"""Poses of any estimator: read, convert, lift, repair, smooth, sample."""

from bmc_jax.poses.lifting import Landmarks as Landmarks
from bmc_jax.poses.lifting import Lifted as Lifted
from bmc_jax.poses.lifting import lift as lift
