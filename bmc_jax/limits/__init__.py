"""Limits of a hand: fitted to poses, stored, merged, made personal, and applied to poses.

Poses are `[N, 21, 3]` metres, right hands, FreiHAND order. Limits are in scale units and radians, see `types.Limits`.
"""

from bmc_jax.core.losses import Excess, excess
from bmc_jax.core.types import Limits
from bmc_jax.limits.checking import Violation, assess, check, measure, summarize
from bmc_jax.limits.comparison import compare, describe
from bmc_jax.limits.fitting import fit, merge, personalize, widen
from bmc_jax.limits.io import FILE, PRESETS, load, save

__all__ = [
    "FILE",
    "PRESETS",
    "Excess",
    "Limits",
    "Violation",
    "assess",
    "check",
    "compare",
    "describe",
    "excess",
    "fit",
    "load",
    "measure",
    "merge",
    "personalize",
    "save",
    "summarize",
    "widen",
]
