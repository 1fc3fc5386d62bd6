"""Fast evaluation of anatomy, distances to limits and biomechanical losses, with the poses as the last axis.

`anatomy`, `hull` and `losses` define the quantities. The kernels here compute the same ones, with the same conventions
at degenerate poses, and `poses_last` substitutes them. Arrays are `[rows, poses]` with a row for each finger, or pair
of fingers, and a vector is three such arrays, so that every operation is elementwise: no matrix product, no gather. The
gradient of the losses is in closed form. It runs from the tip of a finger to its base, and what all bones beyond a
joint do to its frame is one vector, their torque.

XLA for CPUs computes a cheap quantity again for each of its readers, but a division or a square root only once, so
quantities that are read often end in one.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bmc_jax.core import hand, numerics
from bmc_jax.core.poses_last import Kernel

_FINGERS, _LEVELS = hand.FINGER_JOINTS.shape
#: Coefficients of the arctangent's odd polynomial on [0, 1] beyond the first, the highest first; relative error 2e-8.
_ARCTANGENT = (
    *(0.0029206888284534216, -0.016367916017770767, 0.043211840093135834, -0.07552212476730347),
    *(0.10666003823280334, -0.14211055636405945, 0.19993773102760315, -0.33333152532577515),
)


@dataclass(frozen=True)
class Vector:
    """Vectors by component, each `[rows, poses]`."""

    x: Array
    y: Array
    z: Array

    def each(self, function: Callable[..., Array], *others: "Vector") -> "Vector":
        """Applies a function to each component, with those of other vectors."""
        return Vector(*(function(getattr(self, c), *(getattr(v, c) for v in others)) for c in "xyz"))

    def __add__(self, other: "Vector") -> "Vector":
        return self.each(jnp.add, other)

    def __sub__(self, other: "Vector") -> "Vector":
        return self.each(jnp.subtract, other)

    def __mul__(self, factor: Array | float) -> "Vector":
        return self.each(lambda c: c * factor)

    def __truediv__(self, divisor: Array) -> "Vector":
        return self.each(lambda c: c / divisor)

    def __getitem__(self, rows: slice) -> "Vector":
        return self.each(lambda c: c[rows])

    def where(self, mask: Array, other: "Vector") -> "Vector":
        """Returns the vector where the mask is set, the other one elsewhere."""
        return self.each(lambda c, d: jnp.where(mask, c, d), other)

    def dot(self, other: "Vector") -> Array:
        return self.x * other.x + self.y * other.y + self.z * other.z

    def cross(self, other: "Vector") -> "Vector":
        u, v = self, other
        return Vector(u.y * v.z - u.z * v.y, u.z * v.x - u.x * v.z, u.x * v.y - u.y * v.x)

    def length(self, least: float) -> Array:
        """Returns the length; 0 up to `least`."""
        squared = self.dot(self)
        return jnp.sqrt(jnp.where(squared <= least**2, 0.0, squared))

    def unit(self, length: Array) -> "Vector":
        """Returns the vector divided by its length, zero where that is 0."""
        return self.each(lambda c: _ratio(c, length))


def _ratio(value: Array, length: Array) -> Array:
    """Returns the quotient, 0 where the length is 0."""
    return jnp.where(length == 0, 0.0, value) / _or_one(length)


def _or_one(length: Array) -> Array:
    return jnp.where(length == 0, 1.0, length)


def _rows(*parts: Vector) -> Vector:
    return parts[0].each(lambda *c: jnp.concatenate(c), *parts[1:])


def _tangential(gradient: Vector, unit: Vector, length: Array) -> Vector:
    """Returns the gradient by a vector from that by its unit vector; zero where its length is 0."""
    return (gradient - unit * gradient.dot(unit)).unit(length)


def _first(vector: Vector) -> Vector:
    return vector[slice(-1)]


def _second(vector: Vector) -> Vector:
    return vector[slice(1, None)]


def atan2(y: Array, x: Array) -> Array:
    """Returns the angle of (x, y), which are not both zero, to two units in the last place of float32.

    It takes a tenth of the time of `jnp.arctan2` on a CPU, which it is in float64. NaN for NaN.
    """
    if x.dtype != jnp.float32:
        return jnp.arctan2(y, x)
    steep = jnp.abs(y) > jnp.abs(x)
    ratio = jnp.where(steep, jnp.abs(x), jnp.abs(y)) / jnp.where(steep, jnp.abs(y), jnp.abs(x))
    squared = ratio * ratio
    slope = functools.reduce(lambda value, coefficient: value * squared + coefficient, _ARCTANGENT)
    angle = slope * squared * ratio + ratio
    angle = jnp.where(steep, np.pi / 2 - angle, angle)
    angle = jnp.where(x < 0, np.pi - angle, angle)
    return jnp.where(y < 0, -angle, angle)


class Bounds(NamedTuple):
    """What is read of limits, in their order and unit, and the weights of the three terms."""

    bone_length: Any
    curvature: Any
    spread: Any
    hull: Any
    weights: Any = None


class _Chain(NamedTuple):
    """Bones by level, in the `unit` that brings the hand's largest coordinate to [1, 2)."""

    unit: Array
    """A power of two."""
    factor: Array
    """Its reciprocal."""
    bones: list[Vector]
    lengths: list[Array]
    units: list[Vector]


def _chain(joints: Array) -> _Chain:
    """Returns the bones of joints `[3, 21, poses]`."""
    wrist, fingers = joints[:, :1], joints[:, 1:].reshape(3, _FINGERS, _LEVELS, -1)
    ends = [wrist, *(fingers[:, :, level] for level in range(_LEVELS))]
    bones = [Vector(*(end - start)) for start, end in itertools.pairwise(ends)]
    unit, factor = _unit([c for bone in bones for c in (bone.x, bone.y, bone.z)])
    bones = [bone * factor for bone in bones]
    lengths = [bone.length(numerics.COLLAPSED_LENGTH) for bone in bones]
    return _Chain(unit, factor, bones, lengths, list(map(Vector.unit, bones, lengths)))


def _unit(coordinates: list[Array]) -> tuple[Array, Array]:
    """Returns the power of two up to the largest finite coordinate, `[1, poses]`, and its reciprocal."""
    sizes = (jnp.where(jnp.abs(c) < jnp.inf, jnp.abs(c), 0.0) for c in coordinates)
    largest = functools.reduce(jnp.maximum, sizes)
    largest = functools.reduce(jnp.maximum, [largest[row : row + 1] for row in range(_FINGERS)])
    info = jnp.finfo(largest.dtype)
    largest = jnp.clip(largest, info.smallest_normal, 2.0 ** (info.maxexp - 2))
    integer = np.dtype(f"uint{info.bits}")
    fraction = jax.lax.bitcast_convert_type(largest, integer) & np.array((1 << info.nmant) - 1, integer)
    one = jax.lax.bitcast_convert_type(jnp.ones_like(largest), integer)
    mantissa = jax.lax.bitcast_convert_type(fraction | one, largest.dtype)
    return largest / mantissa, mantissa / largest


class _Palm(NamedTuple):
    """Normals of the palm, and its curvature and spread between neighbours, with what their gradients need."""

    planes: Vector
    plane_lengths: Array
    edges: Vector
    """Of the three fingers in the middle."""
    edge_lengths: Array
    bend: Vector
    along: Vector
    distance: Array
    turn: Array
    curvature: Array
    axis: Vector
    spread: Array


def _palm(chain: _Chain) -> _Palm:
    """Computes curvature (Eq. 1), normals (Eq. 2) and spread (Eq. 3)."""
    roots, units = chain.bones[0], chain.units[0]
    normals = _second(roots).cross(_first(roots))
    plane_lengths = normals.length(numerics.COLLAPSED_SINE)
    planes = normals.unit(plane_lengths)
    between = _second(planes) + _first(planes)
    edge_lengths = between.length(numerics.COLLAPSED_SINE)
    edges = between.unit(edge_lengths)

    every = _rows(planes[:1], edges, planes[-1:])
    bend, across = _second(every) - _first(every), _second(roots) - _first(roots)
    distance = across.length(numerics.SMALLEST_DIVISOR)
    along = across.unit(distance)
    turn = bend.dot(along)

    axis = _first(units).cross(_second(units))
    sine, cosine = axis.length(numerics.COLLAPSED_SINE), _first(units).dot(_second(units))
    axis = axis.unit(sine)
    nowhere = sine * sine + cosine * cosine <= numerics.TINY_SQUARE
    spread = atan2(sine, jnp.where(nowhere, 1.0, cosine))
    curvature = _ratio(turn * chain.factor, distance)
    return _Palm(planes, plane_lengths, edges, edge_lengths, bend, along, distance, turn, curvature, axis, spread)


class _Turn(NamedTuple):
    """A level's bones in the frames of their fingers, and the frames that they carry."""

    flexion: Array
    abduction: Array
    radial: Vector
    """y axis of the frame in which the angles are measured."""
    palmar: Vector
    """x axis of the frame carried."""
    unit: Vector
    """z axis of it."""
    flat: Array
    """Length of the unit bone in the plane of flexion; 0 where the bone turns nothing."""


def _turns(chain: _Chain, palm: _Palm) -> tuple[list[_Turn], Vector]:
    """Returns the PIP, DIP and TIP bones in their frames (Eq. 4 to 6), and the first y axes."""
    normals = _rows(palm.planes[:2], palm.edges[1:], palm.planes[-1:])
    z = chain.units[0]
    y = normals.cross(z)
    across = y.length(numerics.COLLAPSED_SINE)
    y = first = y.unit(across)
    x = y.cross(z)
    turns = []
    for bone, length, unit in zip(chain.bones[1:], chain.lengths[1:], chain.units[1:], strict=True):
        # A bone without a length or a frame lies along its parent, or against it.
        lost = (length == 0) | (across == 0)
        side = jnp.where(z.dot(bone) < -numerics.COLLAPSED_LENGTH, -1.0, 1.0)
        unit = (z * side).where(lost, unit)
        local_x, local_y, local_z = (
            jnp.where(lost, value, axis.dot(unit)) for value, axis in ((0.0, x), (0.0, y), (side, z))
        )
        flat = Vector(local_x, jnp.zeros_like(side), local_z).length(numerics.COLLAPSED_SINE)
        upright = flat == 0
        palmar = x.where(upright, x * local_z - z * local_x) / _or_one(flat)
        flexion = atan2(jnp.where(upright, 0.0, local_x), jnp.where(upright, 1.0, local_z))
        turns.append(_Turn(flexion, atan2(local_y, flat), y, palmar, unit, jnp.where(lost, 0.0, flat)))
        x, y, z = palmar, unit.cross(palmar), unit
    return turns, first


def _outside(value: Array, bounds: Array) -> tuple[Array, Array]:
    """Returns the excess over an interval, as `losses.interval`, and its slope."""
    low, high = bounds[:, 0, None], bounds[:, 1, None]
    within = (value >= low) & (value <= high)
    excess = jnp.where(within, 0.0, jnp.where(value < low, low - value, value - high))
    return excess, jnp.where(within, 0.0, jnp.where(value < low, -1.0, 1.0))


def _apart(turn: _Turn, polygons: Array, unroll: int) -> tuple[Array, Array, Array]:
    """Returns the distance to hulls `[5, vertex, 2]` (Eq. 7), as `hull.distance`, and its gradient by both angles.

    A hull is met in the turn that is nearest by its middle, or in the next one on the other side. `unroll` is how many
    edges an iteration takes.
    """
    x, y = polygons[..., 0], polygons[..., 1]
    middle = ((jnp.max(x, axis=1) + jnp.min(x, axis=1)) / 2)[:, None]
    flexion, abduction = turn.flexion, turn.abduction
    off = flexion - middle
    flexion = jnp.where(off > np.pi, flexion - 2 * np.pi, jnp.where(off < -np.pi, flexion + 2 * np.pi, flexion))
    other = jnp.where(flexion > middle, -2 * np.pi, 2 * np.pi)
    edge_x, edge_y = jnp.roll(x, -1, axis=1) - x, jnp.roll(y, -1, axis=1) - y
    squared = edge_x * edge_x + edge_y * edge_y
    along_x, along_y = numerics.divide(edge_x, squared), numerics.divide(edge_y, squared)

    def meet(found: tuple[Array, ...], edge: tuple[Array, ...]) -> tuple[tuple[Array, ...], None]:
        nearest, away_x, away_y, *parities = found
        sx, sy, end_y, ex, ey, ax, ay = (part[:, None] for part in edge)
        straddles = (abduction < sy) ^ (abduction < end_y)
        offset_y = abduction - sy
        for turn, offset_x in enumerate((flexion - sx, flexion + other - sx)):
            share = jnp.clip(offset_x * ax + offset_y * ay, 0.0, 1.0)
            from_x, from_y = offset_x - share * ex, offset_y - share * ey
            distance = from_x * from_x + from_y * from_y
            parities[turn] ^= straddles & ((offset_y * ex > offset_x * ey) == (ey > 0))
            closer = distance < nearest
            nearest = jnp.minimum(nearest, distance)
            away_x, away_y = jnp.where(closer, from_x, away_x), jnp.where(closer, from_y, away_y)
        return (nearest, away_x, away_y, *parities), None

    edges = (x, y, jnp.roll(y, -1, axis=1), edge_x, edge_y, along_x, along_y)
    outside = jnp.zeros(flexion.shape, bool)
    start = (jnp.full_like(flexion, jnp.inf), flexion, abduction, outside, outside)
    (nearest, away_x, away_y, one, two), _ = jax.lax.scan(meet, start, tuple(part.T for part in edges), unroll=unroll)
    zero = ((one | two) & (nearest >= 0)) | (nearest <= numerics.TINY_SQUARE)
    length = jnp.sqrt(jnp.where(zero, 0.0, nearest))
    return length, _ratio(away_x, length), _ratio(away_y, length)


def _normals_gradient(palm: _Palm, roots: Vector, planes: Vector, edges: Vector) -> Vector:
    """Returns the gradient by the root bones from those by the normals of the 4 planes and 3 edges in the middle."""
    none = edges[:1] * 0.0
    sums = _tangential(edges, palm.edges, palm.edge_lengths)
    planes = planes + _rows(none, sums) + _rows(sums, none)
    crosses = _tangential(planes, palm.planes, palm.plane_lengths)
    none = crosses[:1] * 0.0
    return _rows(none, _first(roots).cross(crosses)) + _rows(crosses.cross(_second(roots)), none)


def _angle_gradient(
    chain: _Chain, palm: _Palm, turns: list[_Turn], first: Vector, slopes: list[tuple[Array, Array]], detach: bool
) -> list[Vector]:
    """Returns the gradient by each level's bones from those by flexion and abduction."""
    torque, gradient = None, []
    for turn, length, (by_flexion, by_abduction) in zip(turns[::-1], chain.lengths[:0:-1], slopes[::-1], strict=True):
        if torque is not None:
            by_flexion, by_abduction = by_flexion + torque.dot(turn.radial), by_abduction - torque.dot(turn.palmar)
        by_flexion = _ratio(by_flexion, turn.flat)
        by_abduction = jnp.where(turn.flat == 0, 0.0, by_abduction)
        radial = turn.unit.cross(turn.palmar)
        gradient.append((turn.palmar * by_flexion + radial * by_abduction) / _or_one(length))
        if not detach:
            moment = turn.palmar * by_abduction - radial * by_flexion
            torque = moment if torque is None else torque + moment
    if torque is None:
        return [gradient[0] * 0.0, *gradient[::-1]]
    z = chain.units[0]
    root = torque.cross(z) / _or_one(chain.lengths[0])
    normals = first * -torque.dot(z)
    none = normals[:1] * 0.0
    planes = _rows(normals[:2], none, normals[-1:])
    return [root + _normals_gradient(palm, chain.bones[0], planes, _rows(none, normals[2:4])), *gradient[::-1]]


def _palm_gradient(chain: _Chain, palm: _Palm, by_curvature: Array, by_spread: Array) -> Vector:
    """Returns the gradient by the root bones."""
    roots, units, lengths = chain.bones[0], chain.units[0], _or_one(chain.lengths[0])
    slope = _ratio(by_curvature * chain.factor, palm.distance)
    by_bend = palm.along * slope
    across = (palm.bend - palm.along * (2 * palm.turn)) * _ratio(slope, palm.distance)
    none = by_bend[:1] * 0.0
    every = _rows(none, by_bend) - _rows(by_bend, none)
    planes = _rows(every[:1], none, none, every[-1:])
    axis = palm.axis * by_spread
    second = across + axis.cross(_second(units)) / lengths[1:]
    first = across * -1.0 - axis.cross(_first(units)) / lengths[:-1]
    return _rows(none, second) + _rows(first, none) + _normals_gradient(palm, roots, planes, every[1:-1])


def _by_joints(bones: list[Vector]) -> Array:
    """The gradient by the joints `[3, 21, poses]` from that by each level's bones."""

    def of(*levels: Array) -> Array:
        ends = [a - b for a, b in itertools.pairwise(levels)] + [levels[-1]]
        wrist = functools.reduce(jnp.add, [levels[0][row] for row in range(_FINGERS)])
        return jnp.concatenate([-wrist[None], jnp.stack(ends, axis=1).reshape(-1, wrist.shape[-1])])

    gradient = bones[0].each(of, *bones[1:])
    return jnp.stack([gradient.x, gradient.y, gradient.z])


def _quantities(chain: _Chain, palm: _Palm, turns: list[_Turn]) -> Any:
    lengths = [own * chain.unit for own in chain.lengths]
    return lengths, palm.curvature, palm.spread, [turn.flexion for turn in turns], [turn.abduction for turn in turns]


def _measured(joints: Array, bounds: Any, unroll: int) -> Any:
    chain = _chain(joints)
    palm = _palm(chain)
    return _quantities(chain, palm, _turns(chain, palm)[0])


def _join_quantities(found: Any, bounds: Any) -> tuple[Array, ...]:
    lengths, curvature, spread, *angles = found
    return jnp.stack(lengths, axis=-1), curvature, spread, _join_angles(angles, bounds)


def _join_angles(found: Any, bounds: Any) -> Array:
    return jnp.stack([jnp.stack(levels, axis=-1) for levels in found], axis=-1)


#: Bone lengths, palm curvature, palm spread and joint angles, as of `anatomy`.
QUANTITIES = Kernel(_measured, _join_quantities)
#: `anatomy.joint_angles`.
JOINT_ANGLES = Kernel(lambda *given: _measured(*given)[-2:], _join_angles)


def _assessment(joints: Array, bounds: Bounds, unroll: int) -> Any:
    chain = _chain(joints)
    palm = _palm(chain)
    turns, _ = _turns(chain, palm)
    lengths, curvature, spread, *angles = _quantities(chain, palm, turns)
    outside = [_outside(own, bounds.bone_length[:, i])[0] for i, own in enumerate(lengths)]
    apart = [_apart(turn, bounds.hull[:, i], unroll) for i, turn in enumerate(turns)]
    away = [[distance * x for distance, x, _ in apart], [distance * y for distance, _, y in apart]]
    palm_excess = _outside(curvature, bounds.curvature)[0], _outside(spread, bounds.spread)[0]
    excess = outside, *palm_excess, [distance for distance, _, _ in apart]
    return (lengths, curvature, spread, *angles), away, excess


def _join_assessment(found: Any, bounds: Bounds) -> tuple[tuple[Array, ...], Array, tuple[Array, ...]]:
    quantities, away, excess = found
    return _join_quantities(quantities, bounds), _join_angles(away, bounds), _join_excess(excess, bounds)


#: What `QUANTITIES` holds; by which angles (flexion, abduction) each joint is beyond its hull; what `EXCESS` holds.
ASSESSMENT = Kernel(_assessment, _join_assessment)


def _excess(joints: Array, bounds: Bounds, unroll: int) -> Any:
    return _assessment(joints, bounds, unroll)[-1]


def _join_excess(found: Any, bounds: Bounds) -> tuple[Array, ...]:
    lengths, curvature, spread, angles = found
    return jnp.stack(lengths, axis=-1), curvature, spread, jnp.stack(angles, axis=-1)


#: What `losses.Excess` holds, in the order of its fields.
EXCESS = Kernel(_excess, _join_excess)


def _terms(joints: Array, bounds: Bounds, unroll: int, *, detach: bool) -> tuple[Any, list[Array]]:
    chain = _chain(joints)
    palm = _palm(chain)
    turns, first = _turns(chain, palm)
    lengths = [_outside(own * chain.unit, bounds.bone_length[:, i]) for i, own in enumerate(chain.lengths)]
    curvature, by_curvature = _outside(palm.curvature, bounds.curvature)
    spread, by_spread = _outside(palm.spread, bounds.spread)
    apart = [_apart(turn, bounds.hull[:, i], unroll) for i, turn in enumerate(turns)]
    values = [
        _mean([excess for excess, _ in lengths]),
        2 * _mean([curvature, spread]),
        _mean([row for row, _, _ in apart]),
    ]
    weights = [1.0] * len(values) if bounds.weights is None else bounds.weights
    length_weight, palm_weight, angle_weight = (w / count for w, count in zip(weights, _TERM_COUNTS, strict=True))
    stretch = [unit * (slope * length_weight) for unit, (_, slope) in zip(chain.units, lengths, strict=True)]
    scale = chain.factor * palm_weight
    root = _palm_gradient(chain, palm, by_curvature * scale, by_spread * scale)
    scale = chain.factor * angle_weight
    slopes = [(by_flexion * scale, by_abduction * scale) for _, by_flexion, by_abduction in apart]
    turned = _angle_gradient(chain, palm, turns, first, slopes, detach)
    if bounds.weights is None:
        still = root * 0.0
        return values, [_by_joints(each) for each in (stretch, [root, still, still, still], turned)]
    turned[0] = turned[0] + root
    value = functools.reduce(jnp.add, [weight * value for weight, value in zip(weights, values, strict=True)])
    return [value], [_by_joints([one + other for one, other in zip(stretch, turned, strict=True)])]


def _mean(rows: list[Array]) -> Array:
    """The mean over all rows, added one by one."""
    total = functools.reduce(jnp.add, rows)
    return functools.reduce(jnp.add, [total[row] for row in range(len(total))]) / (len(rows) * len(total))


#: Bones, pairs of neighbouring fingers and joints that the terms are means over.
_TERM_COUNTS = _FINGERS * _LEVELS, _FINGERS - 1, _FINGERS * (_LEVELS - 1)


def _mean_terms(found: Any, bounds: Bounds) -> list[Array]:
    lengths, curvature, spread, angles = found
    parts = lengths, [curvature, spread], angles
    sums = (jnp.sum(functools.reduce(jnp.add, rows), axis=-1) for rows in parts)
    values = [total / count for total, count in zip(sums, _TERM_COUNTS, strict=True)]
    if bounds.weights is None:
        return values
    return [functools.reduce(jnp.add, [weight * value for weight, value in zip(bounds.weights, values, strict=True)])]


#: The terms of `losses.constraints` `[poses]` or, if the bounds have weights, their weighted sum alone.
TERMS = Kernel(_excess, _mean_terms)


def terms_and_gradients(detach: bool) -> Kernel:
    """Returns the kernel of `TERMS` and of the gradient of each `[poses, 21, 3]`; `detach` as `detach_frames` of
    `losses.excess`."""
    return Kernel(functools.partial(_terms, detach=detach), lambda found, bounds: found)
