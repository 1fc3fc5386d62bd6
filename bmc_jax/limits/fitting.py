"""Limits of the hand fitted to poses, merged, widened, and drawn from a preset to one person.

Poses are `[N, 21, 3]` metres, right hands, FreiHAND order; limits are in scale units and radians (see `types.Limits`).
Fitting runs on the host, in chunks, through the same float32 `anatomy` as the losses, and makes every interval and
outer hull `numerics.FIT_SLACK` wider than the samples: the losses are exactly zero on the poses fitted to.
"""

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

import bmc_jax
from bmc_jax.core import density as joint_density
from bmc_jax.core import hand, hull, numerics, validation
from bmc_jax.core.plural import plural
from bmc_jax.core.types import Limits, LimitsMetadata
from bmc_jax.limits.checking import measure

INTERVALS = ("bone_length", "curvature", "spread")
#: Number of a person's poses that a preset counts as in `personalize`: bones and palm hardly change and are soon known,
#: while a few poses show little of the joint angles.
PRIOR_BONES, PRIOR_ANGLES = 5, 100


@dataclass(frozen=True)
class Reach:
    """Values that samples reach or limits allow, before hulls are widened and simplified; float64."""

    bone_length: np.ndarray
    """(lowest, highest) `[5, 4, 2]`."""
    curvature: np.ndarray
    """`[4, 2]`."""
    spread: np.ndarray
    """`[4, 2]`."""
    support: list[np.ndarray]
    """Exact hulls `[M, 2]` of the 15 joints' angles, finger by finger."""


@dataclass(frozen=True)
class _Counts:
    """Poses that were screened, in numbers."""

    total: int = 0
    left: int = 0
    bent_back: int = 0
    undecided: int = 0
    used: int = 0

    def plus(self, screened: validation.Screening) -> "_Counts":
        return _Counts(
            total=self.total + screened.total,
            left=self.left + len(screened.left),
            bent_back=self.bent_back + len(screened.bent_back),
            undecided=self.undecided + len(screened.undecided),
            used=self.used + len(screened.poses),
        )


def fit(
    poses: np.ndarray | Iterable[np.ndarray],
    *,
    source: str,
    percentiles: tuple[float | int, float | int] = (0, 100),
    angle_margin: float = 0.0,
    length_margin: float = 0.0,
    vertices: int = 16,
    outer: bool = True,
    left: str = "error",
    references: tuple[str, ...] = (),
    density: bool = False,
) -> Limits:
    """Fits limits to poses `[N, 21, 3]` in metres, or to an iterable of such arrays.

    Args:
      poses: at percentiles 0-100 and without density an iterable takes the memory of one chunk; otherwise every pose's
        quantities are needed at once, 232 bytes a pose.
      source: where the poses are from, for the record.
      percentiles: of each quantity, between which its samples count. A hull is that of the samples whose flexion and
        abduction both lie between theirs.
      angle_margin: degrees by which hulls and spread are widened, and, as radians per scale unit, curvature.
      length_margin: share by which bones may be longer or shorter.
      vertices: of each hull.
      outer: hulls contain every sample (outer), or lie within the samples' exact hull (inner).
      left: what to do with left hands, see `validation.screen`. The default refuses them, since a few among right hands
        make limits that allow anything. `meta.screening` records what was found and done.
      references: publications that the poses are based on, for the record.
      density: also fit a joint density of all quantities, see `density.fit`.

    Raises:
      ValueError: for poses that `validation.validate` refuses, for no pose at all, for left hands, and for a joint
        whose samples lie on a line or in a point, by its name.
    """
    low, high = map(float, percentiles)
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles are two increasing numbers from 0 to 100, not {low} and {high}")
    if angle_margin < 0 or length_margin < 0:
        raise ValueError(f"margins are not negative: {angle_margin} degrees, {length_margin} of the length")
    streaming = (low, high) == (0.0, 100.0) and not density
    measured: list[dict[str, np.ndarray]] = []
    reached: list[Reach] = []
    counts = _Counts()
    for number, chunk in enumerate([np.asarray(poses)] if hasattr(poses, "ndim") else poses):
        try:
            screened = validation.screen(chunk, left=left)
        except ValueError as error:
            raise ValueError(f"{source}{f', chunk {number}' if number else ''}: {error}") from error
        counts = counts.plus(screened)
        if len(screened.poses) and streaming:
            reached = [_union(*reached, _reach(measure(screened.poses), low, high))]
        elif len(screened.poses):
            measured.append(measure(screened.poses))
    if counts.used == 0:
        raise ValueError(f"{source}: no poses to fit limits to (of {counts.total}, {counts.left} are left hands)")
    together: dict[str, np.ndarray] = {}
    if not streaming:
        together = {name: np.concatenate([chunk[name] for chunk in measured]) for name in measured[0]}
        reached = [_reach(together, low, high)]
    joint = joint_density.fit(together) if density else None
    meta = LimitsMetadata(
        source=source,
        count=counts.used,
        references=references,
        screening=validation.describe(counts.total, counts.left, counts.bent_back, counts.undecided, treatment=left),
        percentiles=(low, high),
        outer=outer,
        created_by=f"bmc_jax {bmc_jax.__version__}",
    )
    reach, meta = _widened(reached[0], meta, angle_margin, length_margin)
    return dataclasses.replace(_build(reach, meta, vertices), density=joint)


def merge(first: Limits, second: Limits) -> Limits:
    """Merges limits into those that allow what either allows.

    At percentiles 0-100 these are what `fit` gives for the poses of both together.

    Where margins differ the record has the smaller; the rest of the larger is in the hulls and intervals themselves.
    Raises ValueError for limits of different percentiles, kinds of hull or conventions.
    """
    free = ("source", "count", "references", "screening", "created_by", "margin_degrees", "margin_fraction")
    for field in dataclasses.fields(LimitsMetadata):
        ours, theirs = getattr(first.meta, field.name), getattr(second.meta, field.name)
        if field.name not in free and ours != theirs:
            raise ValueError(
                f"limits of '{first.meta.source}' and of '{second.meta.source}' differ in {field.name}: {ours} and "
                f"{theirs}; fit both alike"
            )
    meta = dataclasses.replace(
        first.meta,
        source=_both(first.meta.source, second.meta.source),
        count=first.meta.count + second.meta.count,
        references=tuple(dict.fromkeys(first.meta.references + second.meta.references)),
        screening=_both(first.meta.screening, second.meta.screening),
        margin_degrees=min(first.meta.margin_degrees, second.meta.margin_degrees),
        margin_fraction=min(first.meta.margin_fraction, second.meta.margin_fraction),
    )
    reach = _union(*(_reached(limits, limits.meta.margin_degrees - meta.margin_degrees) for limits in (first, second)))
    return _build(reach, meta, max(first.hull.shape[2], second.hull.shape[2]))


def widen(limits: Limits, *, degrees: float = 0.0, fraction: float = 0.0) -> Limits:
    """Widens limits as `fit` does with these margins: hulls and spread by degrees on each side, curvature by as much in
    radians per scale unit; longest bones are multiplied, shortest bones divided by `1 + fraction`."""
    if degrees < 0 or fraction < 0:
        raise ValueError(f"margins are not negative: {degrees} degrees, {fraction} of the length")
    reach, meta = _widened(_reached(limits), limits.meta, degrees, fraction)
    return _build(reach, meta, limits.hull.shape[2])


def personalize(
    prior: Limits,
    poses: np.ndarray,
    *,
    source: str,
    angle_margin: float = 5.0,
    length_margin: float = 0.05,
    left: str = "error",
) -> Limits:
    """Draws a preset's limits to those of one person, by the number of poses.

    After n poses the fit to them has the weight n / (n + `PRIOR_BONES`) for bones and palm and n / (n + `PRIOR_ANGLES`)
    for joint angles, and the preset the rest. Ends of intervals are weighted means. A hull is the weighted Minkowski
    sum of both, so that its extent in every direction is a weighted mean too. No pose gives the preset, many give the
    fit. An outlier moves a limit by its weight only, and so may be outside afterwards.

    Arguments and errors are those of `fit`, but that an empty array gives the preset. Frames of a video resemble one
    another and count as poses all the same: give those that differ.
    """
    if len(poses) == 0:
        return prior
    person = fit(
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
    bones, angles = count / (count + PRIOR_BONES), count / (count + PRIOR_ANGLES)
    meta = dataclasses.replace(
        prior.meta,
        source=f"{source}, drawn to {prior.meta.source}",
        count=count,
        screening=f"{person.meta.screening}; their weight: {bones:.3f} for bones and palm, {angles:.3f} for angles",
        margin_degrees=(1 - angles) * prior.meta.margin_degrees + angles * person.meta.margin_degrees,
        margin_fraction=(1 - bones) * prior.meta.margin_fraction + bones * person.meta.margin_fraction,
        created_by=f"bmc_jax {bmc_jax.__version__}",
    )
    theirs, ours = (_intervals(limits) for limits in (prior, person))
    supports = (np.asarray(limits.support, np.float64).reshape(15, -1, 2) for limits in (prior, person))
    # The sum of both hulls with their margins is the sum of their supports with the mean margin.
    sums = [
        hull.exact(((1 - angles) * theirs[:, None] + angles * ours).reshape(-1, 2))
        for theirs, ours in zip(*supports, strict=True)
    ]
    intervals = {name: (1 - bones) * theirs[name] + bones * ours[name] for name in INTERVALS}
    return _build(Reach(**intervals, support=sums), meta, prior.hull.shape[2])


def _reach(measured: dict[str, np.ndarray], low: float, high: float) -> Reach:
    """Values between percentiles `low` and `high` of the measurements: intervals with slack, and exact hulls."""
    intervals = {}
    for name in INTERVALS:
        ends = np.percentile(measured[name].astype(np.float64), [low, high], axis=0)
        intervals[name] = np.stack([ends[0] - numerics.FIT_SLACK, ends[1] + numerics.FIT_SLACK], axis=-1)
    angles = _on_the_grid(hull.unroll(measured["angles"]))
    least, most = np.percentile(angles, [low, high], axis=0)
    counted = ((angles >= least) & (angles <= most)).all(axis=-1)
    joints = np.ndindex(*angles.shape[1:3])
    return Reach(**intervals, support=[hull.exact(angles[counted[:, f, b], f, b]) for f, b in joints])


def _reached(limits: Limits, degrees: float = 0.0) -> Reach:
    """Values that limits allow, their support widened by so many degrees."""
    padded = _on_the_grid(np.asarray(limits.support)).reshape(-1, *limits.support.shape[2:])
    return Reach(**_intervals(limits), support=[hull.widen(points, np.radians(degrees)) for points in padded])


def _intervals(limits: Limits) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(limits, name), dtype=np.float64) for name in INTERVALS}


def _on_the_grid(angles: np.ndarray) -> np.ndarray:
    return np.round(angles.astype(np.float64) / numerics.ANGLE_GRID) * numerics.ANGLE_GRID


def _union(*reaches: Reach) -> Reach:
    intervals = {}
    for name in INTERVALS:
        ends = np.stack([getattr(reach, name) for reach in reaches])
        intervals[name] = np.stack([ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)], axis=-1)
    supports = zip(*(reach.support for reach in reaches), strict=True)
    return Reach(**intervals, support=[hull.exact(np.concatenate(parts)) for parts in supports])


def _widened(reach: Reach, meta: LimitsMetadata, degrees: float, fraction: float) -> tuple[Reach, LimitsMetadata]:
    """Intervals widened; the hulls' margin is only recorded, since hulls are built from their support."""
    turn = np.radians(degrees) * np.array([-1.0, 1.0])
    wider = dataclasses.replace(
        reach,
        bone_length=np.maximum(reach.bone_length, 0.0) * (1 + fraction) ** np.array([-1.0, 1.0]),
        curvature=reach.curvature + turn,
        spread=np.clip(reach.spread + turn, 0.0, np.pi),
    )
    return wider, dataclasses.replace(
        meta,
        margin_degrees=meta.margin_degrees + degrees,
        margin_fraction=(1 + meta.margin_fraction) * (1 + fraction) - 1,
    )


def _build(reach: Reach, meta: LimitsMetadata, vertices: int) -> Limits:
    margin = np.radians(meta.margin_degrees)
    slack = numerics.FIT_SLACK if meta.outer else 0.0
    hulls = []
    for (finger, level), support in zip(np.ndindex(5, 3), reach.support, strict=True):
        if hull.width(support) + 2 * margin < numerics.MINIMUM_HULL_WIDTH:
            extent = np.degrees(np.ptp(support, axis=0))
            raise ValueError(
                f"{hand.FINGERS[finger]} {hand.LEVELS[level + 1]} bone: its angles in the {meta.count} "
                f"{plural(meta.count, 'pose')} of "
                f"'{meta.source}' lie on a line or in a point ({extent[0]:.3g} degrees of flexion by {extent[1]:.3g} "
                "of abduction); add poses that differ, or an angle margin"
            )
        hulls.append(hull.simplify(hull.widen(support, margin + slack), vertices, meta.outer))
    most = max(map(len, reach.support))
    support = [points[np.minimum(np.arange(most), len(points) - 1)] for points in reach.support]
    as_array = functools.partial(jnp.asarray, dtype=jnp.float32)
    return Limits(
        **{name: as_array(getattr(reach, name)) for name in INTERVALS},
        hull=as_array(np.reshape(hulls, (5, 3, vertices, 2))),
        support=as_array(np.reshape(support, (5, 3, most, 2))),
        meta=meta,
    )


def _both(first: str, second: str) -> str:
    return first if first == second else " + ".join(filter(None, [first, second]))
