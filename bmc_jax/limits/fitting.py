"""Limits of the hand: fitted to poses, merged, widened, made one person's, kept in a file, and held against a pose.

Poses come as `[N, 21, 3]` metres, right hands, FreiHAND order; limits are in scale units and radians (see
`types.Limits`). Fitting runs on the host, in chunks, through the same float32 `anatomy` as the losses, and makes every
interval and outer hull `numerics.FIT_SLACK` wider than the samples: the losses are exactly zero on the poses fitted to.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

import bmc_jax
from bmc_jax.core import hand, hull, numerics, validation
from bmc_jax.core.types import Limits, LimitsMetadata
from bmc_jax.limits.checking import measure

#: What samples reach: intervals by the names of `INTERVALS`, and `support`, 15 arrays `[M, 2]`, finger by finger.
Reach = dict[str, Any]
INTERVALS = ("bone_length", "curvature", "spread")


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
) -> Limits:
    """Limits of poses `[N, 21, 3]` in metres, or of an iterable of such arrays.

    Args:
      poses: at percentiles 0-100 an iterable takes the memory of one chunk; other percentiles need every pose's
        quantities at once, 232 bytes a pose.
      source: where the poses are from, for the record.
      percentiles: of each quantity, between which its samples count. A hull is that of the samples whose flexion and
        abduction both lie between theirs.
      angle_margin: degrees by which hulls and spread are widened, and, as radians per scale unit, curvature.
      length_margin: share by which bones may be longer or shorter.
      vertices: of each hull.
      outer: hulls contain every sample (outer), or lie within the samples' exact hull (inner).
      left: what to do with left hands, see `screening.screen`. The default refuses them, since a few among right hands
        make limits that allow anything. What was found and done is in `meta.screening`.
      references: publications that the poses stand on, for the record.

    Raises:
      ValueError: for poses that are none (see `screening.validate`), for no pose at all, for left hands, and for a
        joint whose samples lie on a line or in a point, by its name.
    """
    low, high = map(float, percentiles)
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles are two increasing numbers from 0 to 100, not {low} and {high}")
    if angle_margin < 0 or length_margin < 0:
        raise ValueError(f"margins are not negative: {angle_margin} degrees, {length_margin} of the length")
    streaming = (low, high) == (0.0, 100.0)
    measured, reached = [], []
    screened, used = np.zeros(4, dtype=int), 0
    for number, chunk in enumerate([np.asarray(poses)] if hasattr(poses, "ndim") else poses):
        try:
            found = validation.screen(chunk, left=left)
        except ValueError as error:
            raise ValueError(f"{source}{f', chunk {number}' if number else ''}: {error}") from error
        screened += [found.total, len(found.left), len(found.bent_back), len(found.undecided)]
        used += len(found.poses)
        if len(found.poses) and streaming:
            reached = [_union(*reached, _reach(measure(found.poses), low, high))]
        elif len(found.poses):
            measured.append(measure(found.poses))
    if used == 0:
        raise ValueError(f"{source}: no poses to fit limits to (of {screened[0]}, {screened[1]} are left hands)")
    if not streaming:
        together = {name: np.concatenate([chunk[name] for chunk in measured]) for name in measured[0]}
        reached = [_reach(together, low, high)]
    meta = LimitsMetadata(
        source=source,
        count=used,
        references=references,
        screening=validation.describe(*(int(number) for number in screened), treatment=left),
        percentiles=(low, high),
        outer=outer,
        created_by=f"bmc_jax {bmc_jax.__version__}",
    )
    reach, meta = _widened(reached[0], meta, angle_margin, length_margin)
    return _build(reach, meta, vertices)


def merge(first: Limits, second: Limits) -> Limits:
    """Limits that allow what either allows: at percentiles 0-100 what `fit` gives for the poses of both together.

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
    """Limits with a margin: hulls and spread wider by so many degrees on each side, curvature by as much in radians per
    scale unit; longest bones times, shortest bones divided by, `1 + fraction`. What `fit` gives with these margins."""
    if degrees < 0 or fraction < 0:
        raise ValueError(f"margins are not negative: {degrees} degrees, {fraction} of the length")
    reach, meta = _widened(_reached(limits), limits.meta, degrees, fraction)
    return _build(reach, meta, limits.hull.shape[2])


def personalize(
    preset: Limits,
    poses: np.ndarray | Iterable[np.ndarray],
    *,
    source: str,
    angle_margin: float = 5.0,
    length_margin: float = 0.05,
    left: str = "error",
) -> Limits:
    """Limits of one person from a handful of poses, one being enough, `[N, 21, 3]` in metres.

    Bones and palm are the person's: they hardly change, so a few poses know them up to a margin, degrees for spread and
    curvature and a share of the lengths. A few poses know little of how far the joints turn: hulls allow what the
    preset allows, and the poses. Raises ValueError as `fit`.
    """
    person = fit(
        poses,
        source=source,
        percentiles=preset.meta.percentiles,
        angle_margin=angle_margin,
        length_margin=length_margin,
        outer=preset.meta.outer,
        left=left,
    )
    angles = _union(_reached(preset, preset.meta.margin_degrees), _reached(person))["support"]
    meta = dataclasses.replace(
        person.meta, source=_both(source, preset.meta.source), references=preset.meta.references, margin_degrees=0.0
    )
    return _build(_reached(person) | {"support": angles}, meta, preset.hull.shape[2])


def _reach(measured: dict[str, np.ndarray], low: float, high: float) -> Reach:
    """Between which values the measurements lie, from percentile `low` to `high`: intervals with slack, and hulls."""
    reach = {}
    for name in INTERVALS:
        ends = np.percentile(measured[name].astype(np.float64), [low, high], axis=0)
        reach[name] = np.stack([ends[0] - numerics.FIT_SLACK, ends[1] + numerics.FIT_SLACK], axis=-1)
    angles = _on_the_grid(hull.unroll(measured["angles"]))
    least, most = np.percentile(angles, [low, high], axis=0)
    counted = ((angles >= least) & (angles <= most)).all(axis=-1)
    joints = np.ndindex(*angles.shape[1:3])
    return reach | {"support": [hull.exact(angles[counted[:, f, b], f, b]) for f, b in joints]}


def _reached(limits: Limits, degrees: float = 0.0) -> Reach:
    """What limits allow, their support widened by so many degrees."""
    reach = {name: np.asarray(getattr(limits, name), dtype=np.float64) for name in INTERVALS}
    padded = _on_the_grid(np.asarray(limits.support)).reshape(-1, *limits.support.shape[2:])
    return reach | {"support": [hull.widen(points, np.radians(degrees)) for points in padded]}


def _on_the_grid(angles: np.ndarray) -> np.ndarray:
    return np.round(angles.astype(np.float64) / numerics.ANGLE_GRID) * numerics.ANGLE_GRID


def _union(*reaches: Reach) -> Reach:
    joined = {}
    for name in INTERVALS:
        ends = np.stack([reach[name] for reach in reaches])
        joined[name] = np.stack([ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)], axis=-1)
    supports = zip(*(reach["support"] for reach in reaches), strict=True)
    return joined | {"support": [hull.exact(np.concatenate(parts)) for parts in supports]}


def _widened(reach: Reach, meta: LimitsMetadata, degrees: float, fraction: float) -> tuple[Reach, LimitsMetadata]:
    """Intervals widened; the hulls' margin is only noted, since hulls are built from their support."""
    turn = np.radians(degrees) * np.array([-1.0, 1.0])
    stretch = (1 + fraction) ** np.array([-1.0, 1.0])
    wider = {
        "bone_length": np.maximum(reach["bone_length"], 0.0) * stretch,
        "curvature": reach["curvature"] + turn,
        "spread": np.clip(reach["spread"] + turn, 0.0, np.pi),
    }
    margins = {
        "margin_degrees": meta.margin_degrees + degrees,
        "margin_fraction": (1 + meta.margin_fraction) * (1 + fraction) - 1,
    }
    return reach | wider, dataclasses.replace(meta, **margins)


def _build(reach: Reach, meta: LimitsMetadata, vertices: int) -> Limits:
    margin = np.radians(meta.margin_degrees)
    slack = numerics.FIT_SLACK if meta.outer else 0.0
    hulls = []
    for (finger, level), support in zip(np.ndindex(5, 3), reach["support"], strict=True):
        if hull.width(support) + 2 * margin < numerics.MINIMUM_HULL_WIDTH:
            extent = np.degrees(np.ptp(support, axis=0))
            raise ValueError(
                f"{hand.FINGERS[finger]} {hand.LEVELS[level + 1]} bone: its angles in the {meta.count} poses of "
                f"'{meta.source}' lie on a line or in a point ({extent[0]:.3g} degrees of flexion by {extent[1]:.3g} "
                "of abduction); add poses that differ, or an angle margin"
            )
        hulls.append(hull.simplify(hull.widen(support, margin + slack), vertices, meta.outer))
    most = max(map(len, reach["support"]))
    support = [points[np.minimum(np.arange(most), len(points) - 1)] for points in reach["support"]]
    as_array = functools.partial(jnp.asarray, dtype=jnp.float32)
    return Limits(
        **{name: as_array(reach[name]) for name in INTERVALS},
        hull=as_array(np.reshape(hulls, (5, 3, vertices, 2))),
        support=as_array(np.reshape(support, (5, 3, most, 2))),
        meta=meta,
    )


def _both(first: str, second: str) -> str:
    return first if first == second else " + ".join(filter(None, [first, second]))
