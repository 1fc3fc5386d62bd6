"""Fitting of limits to poses, and merging, widening and personalizing of limits.

Poses are `[N, 21, 3]` metres, right hands, FreiHAND order; limits are in scale units and radians (see `types.Limits`).
Fitting runs on the host, in chunks, with the same float32 `anatomy` as the losses. All intervals and outer hulls are
`numerics.FIT_SLACK` wider than the samples, so that the losses are exactly zero on these poses.
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
PRIOR_BONES, PRIOR_ANGLES = 5, 100
"""Numbers of poses that a preset counts as in `personalize`, for bones and palm and for joint angles. Bones and palm
hardly vary between poses of a person, whereas a few poses cover little of the joint angles."""


@dataclass(frozen=True)
class Reach:
    """Ranges of samples or of limits, before hulls are widened and simplified; float64."""

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
    """Numbers of screened poses."""

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
      poses: `[N, 21, 3]`, or an iterable of such arrays. With percentiles 0-100 and without density, an iterable needs
        the memory of one array; otherwise the quantities of all poses are needed at once, 232 bytes per pose.
      source: origin of the poses, for the record.
      percentiles: (low, high) of each quantity; samples outside are ignored. A hull is that of the samples whose
        flexion and abduction are both between their percentiles.
      angle_margin: degrees by which hulls and spread are widened; as radians per scale unit, also for curvature.
      length_margin: share by which bones may be longer or shorter.
      vertices: number of vertices of each hull.
      outer: whether hulls contain every sample (outer), or are inside the samples' exact hull (inner).
      left: treatment of left hands, see `validation.screen`. The default refuses them, because a few left hands among
        right hands give limits that allow nearly all poses. `meta.screening` records the result.
      references: publications on which the poses are based, for the record.
      density: whether to fit a joint density of all quantities too, see `density.fit`.

    Raises:
      ValueError: if `validation.validate` refuses the poses, there are no poses, there are left hands, or the samples
        of a joint are on a line or in a point. The message names the joint.

    Returns:
      The limits, in scale units and radians.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, limits
      >>> poses = hand.EXAMPLE + np.random.default_rng(0).normal(0, 0.002, (100, 21, 3))
      >>> mine = limits.fit(poses, source="my poses", angle_margin=5.0)
      >>> print(mine.meta.count, mine.hull.shape, limits.check(poses, mine))
      100 (5, 3, 16, 2) []
    """
    low, high = map(float, percentiles)
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles: expected two increasing numbers from 0 to 100, got {low} and {high}")
    if angle_margin < 0 or length_margin < 0:
        raise ValueError(
            f"expected margins of at least 0, got {angle_margin} degrees and {length_margin} of the length"
        )
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
        raise ValueError(
            f"{source}: expected poses to fit limits to, got none ({counts.left} of {counts.total} are left hands); "
            "give poses of right hands"
        )
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
    """Returns limits that allow all that `first` or `second` allows.

    With percentiles 0-100, they equal the result of `fit` for the poses of both together. If the margins differ, the
    metadata has the smaller margin, and the hulls and intervals include the rest of the larger margin.

    Args:
      first: limits.
      second: limits of the same percentiles, kind of hull and conventions.

    Returns:
      The merged limits.

    Raises:
      ValueError: if the percentiles, kinds of hull or conventions differ.

    Examples:
      >>> from bmc_jax import limits
      >>> both = limits.merge(limits.load("functional"), limits.load("clinical"))
      >>> print(bool((both.bone_length[..., 1] >= limits.load("clinical").bone_length[..., 1]).all()))
      True
    """
    free = ("source", "count", "references", "screening", "created_by", "margin_degrees", "margin_fraction")
    for field in dataclasses.fields(LimitsMetadata):
        ours, theirs = getattr(first.meta, field.name), getattr(second.meta, field.name)
        if field.name not in free and ours != theirs:
            raise ValueError(
                f"expected equal {field.name}, got {ours} for limits of '{first.meta.source}' and {theirs} for limits "
                f"of '{second.meta.source}'; fit both with the same options"
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
    """Returns widened limits, equal to those of `fit` with these margins.

    Args:
      limits: the limits.
      degrees: degrees by which hulls and spread are widened on each side; as radians per scale unit, also curvature.
      fraction: longest bones are multiplied by `1 + fraction`, shortest bones are divided by it.

    Raises:
      ValueError: if a margin is negative.

    Returns:
      The wider limits.

    Examples:
      >>> from bmc_jax import limits
      >>> wider = limits.widen(limits.load("clinical"), degrees=5.0)
      >>> print(wider.meta.margin_degrees - limits.load("clinical").meta.margin_degrees)
      5.0
    """
    if degrees < 0 or fraction < 0:
        raise ValueError(f"expected margins of at least 0, got {degrees} degrees and {fraction} of lengths")
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
    """Returns limits of one person: weighted means of a preset and of the fit to the person's poses.

    With n poses, the fit has the weight n / (n + `PRIOR_BONES`) for bones and palm and n / (n + `PRIOR_ANGLES`) for
    joint angles. The ends of intervals are weighted means. A hull is the weighted Minkowski sum of both hulls, so its
    extent in every direction is a weighted mean too. No poses give the preset, and many poses approach the fit. An
    outlier moves a limit only by its weight, so it may be outside the result.

    Args:
      prior: the preset.
      poses: `[N, 21, 3]`; may be empty. Each frame of a video counts as a pose: give frames that differ.
      source: origin of the poses, for the record.
      angle_margin: see `fit`.
      length_margin: see `fit`.
      left: see `fit`.

    Raises:
      ValueError: see `fit`.

    Returns:
      The limits of the person.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, limits
      >>> poses = hand.EXAMPLE + np.random.default_rng(0).normal(0, 0.002, (100, 21, 3))
      >>> mine = limits.personalize(limits.load("clinical"), poses, source="my hand")
      >>> print(mine.meta.source, mine.meta.count)
      my hand, with the prior clinical joint ranges, sampled 100
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
        source=f"{source}, with the prior {prior.meta.source}",
        count=count,
        screening=f"{person.meta.screening}; weights: {bones:.3f} for bones and palm, {angles:.3f} for angles",
        margin_degrees=(1 - angles) * prior.meta.margin_degrees + angles * person.meta.margin_degrees,
        margin_fraction=(1 - bones) * prior.meta.margin_fraction + bones * person.meta.margin_fraction,
        created_by=f"bmc_jax {bmc_jax.__version__}",
    )
    theirs, ours = (_intervals(limits) for limits in (prior, person))
    supports = (np.asarray(limits.support, np.float64).reshape(15, -1, 2) for limits in (prior, person))
    # The sum of both hulls with their margins equals the sum of their supports with the mean margin.
    sums = [
        hull.exact(((1 - angles) * theirs[:, None] + angles * ours).reshape(-1, 2))
        for theirs, ours in zip(*supports, strict=True)
    ]
    intervals = {name: (1 - bones) * theirs[name] + bones * ours[name] for name in INTERVALS}
    return _build(Reach(**intervals, support=sums), meta, prior.hull.shape[2])


def _reach(measured: dict[str, np.ndarray], low: float, high: float) -> Reach:
    """Returns the ranges between percentiles `low` and `high`: intervals with slack, and exact hulls."""
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
    """Returns the ranges of limits, with the support widened by `degrees`."""
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
    """Widens intervals. The margin of hulls is only recorded, because hulls are built from their support."""
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
                f"'{meta.source}' are on a line or in a point ({extent[0]:.3g} degrees of flexion by {extent[1]:.3g} "
                "of abduction); add different poses, or an angle margin"
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
        density=None,
    )


def _both(first: str, second: str) -> str:
    return first if first == second else " + ".join(filter(None, [first, second]))
