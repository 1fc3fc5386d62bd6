"""Limits of one person from few poses, drawn towards a preset as far as the poses are few.

The rule: the preset counts as so many poses of the person's, `BONES` for bones and palm, which hardly change and are
soon known, and `ANGLES` for the joint angles, of which a few poses show little. After n poses the fit to them has the
weight n / (n + that number) and the preset the rest. Ends of intervals are weighted means, and a hull is the weighted
Minkowski sum of both, so that each end of a joint's range, in every direction, is a weighted mean too. No pose gives
the preset exactly, many give the fit; an outlier moves a limit by its weight only, and so may be outside afterwards.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

import bmc_jax
from bmc_jax.core import hull, numerics
from bmc_jax.core.types import Array, Limits
from bmc_jax.limits import fitting

#: As how many poses the preset counts.
BONES, ANGLES = 5, 100


def personalise(
    prior: Limits,
    poses: np.ndarray,
    *,
    source: str,
    angle_margin: float = 5.0,
    length_margin: float = 0.05,
    left: str = "error",
) -> Limits:
    """Limits of a person from poses `[N, 21, 3]` in metres, right hands, FreiHAND order, and a preset.

    Margins, degrees and a share of the lengths, widen the fit to the person's poses as in `limits.fit`. Frames of a
    video resemble one another and count as poses all the same: give those that differ.

    Raises ValueError as `limits.fit`, but for an empty array, which gives the preset.
    """
    if len(poses) == 0:
        return prior
    person = fitting.fit(
        poses,
        source=source,
        percentiles=prior.meta.percentiles,
        angle_margin=angle_margin,
        length_margin=length_margin,
        outer=prior.meta.outer,
        left=left,
        vertices=prior.hull.shape[2],
    )
    count = person.meta.count
    bones, angles = count / (count + BONES), count / (count + ANGLES)
    intervals = {
        name: jnp.asarray(_mean(getattr(prior, name), getattr(person, name), bones), jnp.float32)
        for name in fitting.INTERVALS
    }
    meta = dataclasses.replace(
        prior.meta,
        source=f"{source}, drawn to {prior.meta.source}",
        count=count,
        screening=f"{person.meta.screening}; their weight: {bones:.3f} for bones and palm, {angles:.3f} for angles",
        margin_degrees=(1 - angles) * prior.meta.margin_degrees + angles * person.meta.margin_degrees,
        margin_fraction=(1 - bones) * prior.meta.margin_fraction + bones * person.meta.margin_fraction,
        created_by=f"bmc_jax {bmc_jax.__version__}",
    )
    supports = [
        _sum((1 - angles) * theirs, angles * ours)
        for theirs, ours in zip(_polygons(prior.support), _polygons(person.support), strict=True)
    ]
    # The sum of both hulls with their margins is the sum of their supports with the mean margin.
    wider = np.radians(meta.margin_degrees) + (numerics.FIT_SLACK if meta.outer else 0.0)
    hulls = [hull.simplify(hull.widen(support, wider), prior.hull.shape[2], meta.outer) for support in supports]
    most = max(map(len, supports))
    padded = [support[np.minimum(np.arange(most), len(support) - 1)] for support in supports]
    return Limits(
        **intervals,
        hull=jnp.asarray(np.reshape(hulls, prior.hull.shape), jnp.float32),
        support=jnp.asarray(np.reshape(padded, (5, 3, most, 2)), jnp.float32),
        meta=meta,
    )


def _mean(prior: Array, person: Array, weight: float) -> np.ndarray:
    return (1 - weight) * np.asarray(prior, np.float64) + weight * np.asarray(person, np.float64)


def _polygons(support: Array) -> np.ndarray:
    return np.asarray(support, np.float64).reshape(-1, *support.shape[2:])


def _sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Minkowski sum of two convex polygons."""
    return hull.exact((first[:, None] + second).reshape(-1, 2))
