"""Poses held against limits, every quantity with how far it is beyond: the numbers beside which a page draws its bars.

`limits_check` tells people what is violated; this has everything, for a machine to show.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bmc_jax import anatomy, hull, measures
from bmc_jax.types import Limits

#: Hands measured at a time. One shape, so that anatomy is compiled once.
CHUNK = 128


@dataclass(frozen=True)
class Verdict:
    """Of `n` hands; host numpy, lengths in scale units, angles in radians. What is `beyond` is 0 within the limits."""

    angles: np.ndarray
    """(flexion, abduction) `[n, 5, 3, 2]`, flexion unrolled as hulls are, see `hull.FLEXION_CUT`."""
    angles_beyond: np.ndarray
    """Distance to the hull `[n, 5, 3]`."""
    bone_length: np.ndarray
    """`[n, 5, 4]`."""
    bone_length_beyond: np.ndarray
    curvature: np.ndarray
    """`[n, 4]`."""
    curvature_beyond: np.ndarray
    spread: np.ndarray
    """`[n, 4]`."""
    spread_beyond: np.ndarray

    @property
    def within(self) -> np.ndarray:
        """Which hands violate nothing, `[n]`."""
        beyond = (self.angles_beyond, self.bone_length_beyond, self.curvature_beyond, self.spread_beyond)
        return np.all([part.reshape(len(part), -1).max(axis=-1) == 0 for part in beyond], axis=0)


def judge(joints: np.ndarray, left: np.ndarray, limits: Limits) -> Verdict:
    """Hands `[n, 21, 3]` in scale units against limits, `left [n]` of them left ones: these are judged as their mirror
    images, so angles have the same signs on both hands. Up to `measures.TOLERANCE` counts as within."""
    right = np.where(np.asarray(left)[:, None, None], joints * np.array([-1.0, 1.0, 1.0]), joints)
    padded = np.concatenate([right, np.repeat(right[-1:], -len(right) % CHUNK, axis=0)]).astype(np.float32)
    parts = [
        _measure(jnp.asarray(padded[first : first + CHUNK]), limits.hull) for first in range(0, len(padded), CHUNK)
    ]
    measured = {name: np.concatenate([part[name] for part in parts])[: len(right)] for name in parts[0]}
    beyond = {"angles_beyond": measured.pop("angles_beyond")}
    for name in ("bone_length", "curvature", "spread"):
        low, high = np.moveaxis(np.asarray(getattr(limits, name)), -1, 0)
        beyond[f"{name}_beyond"] = np.abs(measured[name] - np.clip(measured[name], low, high))
    return Verdict(
        **measured | {"angles": hull.unroll(measured["angles"])},
        **{name: np.where(value > measures.TOLERANCE, value, 0) for name, value in beyond.items()},
    )


@jax.jit
def _measure(joints: Float[jax.Array, "hand 21 3"], hulls: Float[jax.Array, "5 3 vertex 2"]) -> dict[str, jax.Array]:
    angles = anatomy.joint_angles(joints)
    return {
        "angles": angles,
        "angles_beyond": hull.distance(angles, hulls),
        "bone_length": anatomy.bone_lengths(joints),
        "curvature": anatomy.palm_curvature(joints),
        "spread": anatomy.palm_spread(joints),
    }
