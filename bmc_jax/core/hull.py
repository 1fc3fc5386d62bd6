"""Convex hulls in the plane of flexion and abduction: fitted on the host, and the distance to them under jit (Eq. 7).

A hull is a polygon `[V, 2]` of (flexion, abduction) in radians, convex and counter-clockwise. All hulls have the same
number of vertices, and every edge has a length, so that one array holds those of all joints and no mask is needed.

Flexion is an angle on the circle, but a convex hull needs a line. Hulls are fitted with flexion in
[`FLEXION_CUT`, `FLEXION_CUT` + 2 pi), and the distance is taken on the circle.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.spatial
from jaxtyping import Array, Bool, Float, Int

from bmc_jax.core import numerics
from bmc_jax.core.choices import HULL_DISTANCES

#: Where the circle of flexion is cut open. One place for every joint and every set of poses, so that hulls fitted apart
#: can be merged; no finger bends 120 degrees backwards, while more than 180 degrees forwards occurs in noisy labels.
FLEXION_CUT = -2 * np.pi / 3


def unroll(angles: np.ndarray) -> np.ndarray:
    """Moves the flexion of (flexion, abduction) to [`FLEXION_CUT`, `FLEXION_CUT` + 2 pi).

    Args:
      angles: `[..., 2]`, radians.

    Returns:
      `[..., 2]`, radians.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> print(np.degrees(hull.unroll(np.radians([[-150.0, 0.0], [90.0, 0.0]]))).round())
      [[210.   0.]
       [ 90.   0.]]
    """
    turns = np.floor((angles[..., 0] - FLEXION_CUT) / (2 * np.pi))
    return np.stack([angles[..., 0] - (2 * np.pi * turns).astype(angles.dtype), angles[..., 1]], axis=-1)


def exact(samples: np.ndarray) -> np.ndarray:
    """Returns the vertices of the convex hull of points, counter-clockwise from the first in order.

    Points on a line give the two ends, equal points give one: `fit` refuses such sets, `widen` repairs them.

    Args:
      samples: `[N, 2]`.

    Returns:
      `[M, 2]`.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> print(len(hull.exact(np.array([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2]]))))
      4
    """
    samples = np.unique(samples, axis=0)
    if len(samples) < 3:
        return samples
    try:
        vertices = scipy.spatial.ConvexHull(samples).vertices
        return samples[np.roll(vertices, -vertices.argmin())]
    except scipy.spatial.QhullError:
        centred = samples - samples.mean(axis=0)
        along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        return samples[[along.argmin(), along.argmax()]]


def width(polygon: np.ndarray) -> float:
    """Returns the smallest distance between two parallel lines around a convex polygon.

    Args:
      polygon: `[M, 2]`.

    Returns:
      The distance in the unit of the polygon; 0 for fewer than three vertices.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> hull.width(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0], [0.0, 1.0]]))
      1.0
    """
    if len(polygon) < 3:
        return 0.0
    edges = np.roll(polygon, -1, axis=0) - polygon
    heights = _cross(edges[:, None], polygon[None] - polygon[:, None]) / np.linalg.norm(edges, axis=-1)[:, None]
    return float(heights.max(axis=1).min())


def widen(polygon: np.ndarray, margin: float) -> np.ndarray:
    """Grows a polygon, a segment or a point by a margin in each angle: its Minkowski sum with a square.

    Args:
      polygon: `[M, 2]`.
      margin: half of the side of the square, in the unit of the polygon.

    Returns:
      The wider polygon, counter-clockwise.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> print(hull.widen(np.array([[1.0, 0.0]]), 0.5))
      [[ 0.5 -0.5]
       [ 1.5 -0.5]
       [ 1.5  0.5]
       [ 0.5  0.5]]
    """
    corners = np.array([[-margin, -margin], [margin, -margin], [margin, margin], [-margin, margin]])
    return exact((polygon[:, None] + corners).reshape(-1, 2))


def fit(samples: np.ndarray, vertices: int = 16, outer: bool = True) -> np.ndarray:
    """Fits a convex hull to samples of (flexion, abduction).

    An outer hull contains every sample, with `numerics.FIT_SLACK` to spare so that it also does in float32. An inner
    one has its vertices among the samples, and leaves some out where the exact hull has more vertices.

    Args:
      samples: `[N, 2]`, radians.
      vertices: number of vertices of the hull.
      outer: whether the hull is an outer one.

    Returns:
      `[vertices, 2]`, radians, counter-clockwise.

    Raises:
      ValueError: for samples of another shape, that are not finite, or that span less than
        `numerics.MINIMUM_HULL_WIDTH` one way; and for fewer than 4 vertices.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> samples = np.random.default_rng(0).uniform([0.0, -0.2], [1.5, 0.2], (1000, 2))
      >>> polygon = hull.fit(samples, vertices=8)
      >>> print(polygon.shape, bool((polygon.max(axis=0) > samples.max(axis=0)).all()))
      (8, 2) True
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 2 or samples.shape[1] != 2 or len(samples) == 0:
        raise ValueError(f"hull.fit takes samples of shape [N, 2] with N > 0, not {list(samples.shape)}")
    if not np.isfinite(samples).all():
        raise ValueError(f"{(~np.isfinite(samples).all(axis=1)).sum()} of {len(samples)} samples are not finite")
    polygon = exact(unroll(samples))
    if width(polygon) < numerics.MINIMUM_HULL_WIDTH:
        extent = np.degrees(np.ptp(polygon, axis=0))
        raise ValueError(
            f"{len(samples)} samples lie on a line or in a point: they span {extent[0]:.3g} degrees of flexion and "
            f"{extent[1]:.3g} of abduction, {np.degrees(width(polygon)):.3g} at the narrowest; add samples or a margin"
        )
    return simplify(widen(polygon, numerics.FIT_SLACK) if outer else polygon, vertices, outer)


def simplify(polygon: np.ndarray, vertices: int = 16, outer: bool = True) -> np.ndarray:
    """Gives a polygon exactly `vertices` vertices.

    From too many, outer removes the edge whose neighbours, extended until they meet, add the least area, and inner cuts
    the vertex that costs the least. With too few, the longest edges are divided, which changes no distance.

    Args:
      polygon: `[M, 2]`, convex and counter-clockwise.
      vertices: number of vertices of the result.
      outer: whether the result contains the polygon, else it lies within.

    Returns:
      `[vertices, 2]`.

    Raises:
      ValueError: for fewer than 4 vertices.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
      >>> circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
      >>> hull.simplify(circle, 8).shape
      (8, 2)
    """
    if vertices < 4:
        raise ValueError(f"a hull of {vertices} vertices cannot enclose every set of samples; ask for 4 or more")
    polygon = np.asarray(polygon, dtype=np.float64)
    while len(polygon) > vertices:
        polygon = _without_an_edge(polygon) if outer else _without_a_vertex(polygon)
    lengths = np.linalg.norm(np.roll(polygon, -1, axis=0) - polygon, axis=-1)
    pieces = np.ones(len(polygon), dtype=int)
    while pieces.sum() < vertices:
        pieces[(lengths / pieces).argmax()] += 1
    ends = np.roll(polygon, -1, axis=0)
    divided = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(polygon, ends, pieces, strict=True)]
    return np.concatenate(divided)


def _without_an_edge(polygon: np.ndarray) -> np.ndarray:
    before, start, end, after = (np.roll(polygon, shift, axis=0) for shift in (1, 0, -1, -2))
    incoming, edge, outgoing = start - before, end - start, after - end
    turn = _cross(incoming, outgoing)
    # Neighbours that turn by half a circle or more together do not meet outside. With five edges or more, some do.
    meets = (turn > 0) & (_cross(incoming, edge) > 0) & (_cross(edge, outgoing) > 0)
    ahead = np.where(meets, _cross(edge, outgoing) / np.where(meets, turn, 1.0), 0.0)
    corner = start + ahead[:, None] * incoming
    area = np.where(meets, _cross(edge, corner - start) * -0.5, np.inf)
    cheapest = int(area.argmin())
    polygon = np.where(np.arange(len(polygon))[:, None] == cheapest, corner, polygon)
    return np.delete(polygon, (cheapest + 1) % len(polygon), axis=0)


def _without_a_vertex(polygon: np.ndarray) -> np.ndarray:
    before, after = np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0)
    return np.delete(polygon, _cross(polygon - before, after - polygon).argmin(), axis=0)


def check(polygon: np.ndarray) -> np.ndarray:
    """Checks a polygon and returns it as a counter-clockwise hull.

    Args:
      polygon: `[V, 2]`, (flexion, abduction), radians.

    Returns:
      `[V, 2]`, float64.

    Raises:
      ValueError: naming vertex and value, for a polygon that is not finite, in degrees, without area or not convex.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hull
      >>> print(hull.check(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])))  # was clockwise
      [[1. 0.]
       [0. 1.]
       [0. 0.]]
    """
    polygon = np.asarray(polygon, dtype=np.float64)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise ValueError(f"a hull is an array [V, 2] with V > 2, not {list(polygon.shape)}")
    if not np.isfinite(polygon).all():
        vertex = int((~np.isfinite(polygon)).any(axis=1).argmax())
        raise ValueError(f"vertex {vertex} is {polygon[vertex].tolist()}, not finite")
    if (np.abs(polygon) > [2 * np.pi, np.pi]).any():
        vertex = int((np.abs(polygon) > [2 * np.pi, np.pi]).any(axis=1).argmax())
        raise ValueError(f"vertex {vertex} is {polygon[vertex].tolist()}: (flexion, abduction) are wanted in radians")
    ends = np.roll(polygon, -1, axis=0)
    if _cross(polygon, ends).sum() < 0:
        polygon, ends = polygon[::-1], np.roll(polygon[::-1], -1, axis=0)
    edges = ends - polygon
    following = np.roll(edges, -1, axis=0)
    lengths = np.linalg.norm(edges, axis=-1)
    if lengths.min() == 0:
        raise ValueError(f"two neighbouring vertices are both {polygon[lengths.argmin()].tolist()}")
    # A vertex may lie inside the line of its neighbours by what rounding to float32 can do to a straight edge.
    dent = -_cross(edges, following) / np.maximum(np.linalg.norm(edges + following, axis=-1), numerics.FIT_SLACK)
    turning = np.arctan2(_cross(edges, following), (edges * following).sum(axis=-1)).sum()
    if dent.max() > numerics.FIT_SLACK or not np.isclose(turning, 2 * np.pi):
        raise ValueError(
            f"not convex: the vertex {ends[dent.argmax()].tolist()} lies {np.degrees(dent.max()):.3g} degrees inside "
            f"the line of its neighbours, and the polygon turns {turning / (2 * np.pi):.3g} times, not once"
        )
    return polygon


def box(points: Float[Array, "*joints point 2"]) -> Float[Array, "*joints 4 2"]:
    """Returns the bounding box of samples or of a hull, itself a hull of four vertices.

    With it `distance` limits flexion and abduction independently of each other (Table 5).

    Args:
      points: radians.

    Returns:
      The corners, counter-clockwise, radians.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hull
      >>> print(jax.jit(hull.box)(jnp.array([[0.0, -0.5], [1.0, 0.0], [0.0, 0.5]])))
      [[ 0.  -0.5]
       [ 1.  -0.5]
       [ 1.   0.5]
       [ 0.   0.5]]
    """
    low, high = jnp.min(points, axis=-2), jnp.max(points, axis=-2)
    corners = jnp.stack([low[..., 0], low[..., 1], high[..., 0], high[..., 1]], axis=-1)
    return corners[..., np.array([[0, 1], [2, 1], [2, 3], [0, 3]])]


def distance(
    angles: Float[Array, "*batch 2"], hull: Float[Array, "*joints vertex 2"], mode: str = "euclidean"
) -> Float[Array, "..."]:
    """Returns the distance D_H from (flexion, abduction) to a hull, zero inside (Eq. 7).

    The gradient is zero inside and where the distance is zero, and outside of length one for `euclidean`. Where two
    edges are equally near, as opposite flexion a half turn from the hull, it is that of one of them: a subgradient.

    Args:
      angles: radians.
      hull: radians.
      mode: `euclidean` is in radians, in the plane of the two angles and periodic in flexion. `circle_l1` takes the
        point of each edge that is nearest in that plane, measures |cos - cos| + |sin - sin| of both angles, and is the
        least over the edges; `circle_l1_squared` is its square.

    Returns:
      The distances; the leading axes of both arguments broadcast.

    Raises:
      ValueError: for another mode.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hull
      >>> polygon = jnp.radians(jnp.array([[0.0, -10.0], [90.0, -10.0], [90.0, 10.0], [0.0, 10.0]]))
      >>> angles = jnp.radians(jnp.array([[45.0, 0.0], [100.0, 0.0]]))
      >>> print(jnp.degrees(jax.jit(hull.distance)(angles, polygon)).round())
      [ 0. 10.]
    """
    if mode not in HULL_DISTANCES:
        raise ValueError(f"unknown hull distance '{mode}'; choose one of {', '.join(HULL_DISTANCES)}")
    rank = max(angles.ndim - 1, hull.ndim - 2)
    angles = angles.reshape((1,) * (rank + 1 - angles.ndim) + angles.shape)
    hull = hull.reshape((1,) * (rank + 2 - hull.ndim) + hull.shape)

    # (flexion, abduction) lead, then the edges, so that the search over edges runs along the batch. Copies of the hull
    # one turn away on either side make flexion periodic.
    point = jnp.moveaxis(angles, -1, 0)[:, None]
    start = jnp.moveaxis(hull, (-1, -2), (0, 1))
    edge = jnp.roll(start, -1, axis=1) - start
    turn = jnp.array([2 * np.pi, 0.0], dtype=hull.dtype).reshape((2, 1) + (1,) * rank)
    start = jnp.concatenate([start - turn, start, start + turn], axis=1)
    edge = jnp.concatenate([edge, edge, edge], axis=1)

    # Only the nearest edge is differentiated: the search is free of gradients and leaves nothing for the way back.
    nearest, inside = _search(*jax.lax.stop_gradient((point, start, edge)), mode)
    start = jnp.take_along_axis(start, nearest[None, None], axis=1)
    edge = jnp.take_along_axis(edge, nearest[None, None], axis=1)
    value = _apart(point, start, edge, mode)[0]
    # NaN is neither inside nor outside by parity, and stays NaN.
    value = jnp.where((inside & (value >= 0)) | (value == 0), 0.0, value)
    if mode == "euclidean":
        return numerics.square_root(value)
    return value**2 if mode == "circle_l1_squared" else value


def project(
    angles: Float[Array, "*batch 2"], hull: Float[Array, "*joints vertex 2"], margin: float = 0.0
) -> tuple[Float[Array, "*batch 2"], Float[Array, "*batch"]]:
    """Projects (flexion, abduction) onto a hull.

    Args:
      angles: radians; the last leading axes are those of `hull`.
      hull: radians.
      margin: by which angles from outside go further, past the nearest point of the edge.

    Returns:
      The nearest angles inside, and the distance to them, 0 inside: `distance` in the mode `euclidean`. Both in
      radians.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hull
      >>> polygon = jnp.radians(jnp.array([[0.0, -10.0], [90.0, -10.0], [90.0, 10.0], [0.0, 10.0]]))
      >>> nearest, away = jax.jit(hull.project)(jnp.radians(jnp.array([[100.0, 5.0], [45.0, 0.0]])), polygon)
      >>> print(jnp.degrees(nearest).round(), jnp.degrees(away).round())
      [[90.  5.]
       [45.  0.]] [10.  0.]
    """
    points = angles.reshape(-1, *hull.shape[:-2], 2)
    # Poses are the last axis here, so that every operation of the search runs along them.
    flexion, abduction = jnp.moveaxis(points, (-1, 0), (0, -1))
    start = jnp.moveaxis(hull, (-2, -1), (0, 1))[..., None]
    edge = jnp.roll(start, -1, axis=0) - start
    inverse = numerics.divide(edge, jnp.broadcast_to(jnp.sum(edge**2, axis=1, keepdims=True), edge.shape))

    turns = (-2 * np.pi, 0.0, 2 * np.pi)

    def nearer(found, one):
        start, end, edge, inverse = one
        squared, offset, *parities = found
        straddles = (abduction < start[1]) != (abduction < end[1])
        y = abduction - start[1]
        for i, turn in enumerate(turns):
            x = flexion - start[0] - turn
            share = jnp.clip(x * inverse[0] + y * inverse[1], 0.0, 1.0)
            away = x - share * edge[0], y - share * edge[1]
            length = away[0] ** 2 + away[1] ** 2
            offset = tuple(jnp.where(length < squared, new, old) for new, old in zip(away, offset, strict=True))
            squared = jnp.minimum(squared, length)
            parities[i] ^= straddles & ((y * edge[0] > x * edge[1]) == (edge[1] > 0))
        return (squared, offset, *parities), None

    nothing = jnp.zeros_like(flexion)
    begin = (jnp.full_like(flexion, jnp.inf), (nothing, nothing), *[jnp.zeros(flexion.shape, bool) for _ in turns])
    (squared, offset, *parities), _ = jax.lax.scan(nearer, begin, (start, jnp.roll(start, -1, axis=0), edge, inverse))
    inside = functools.reduce(jnp.logical_or, parities)
    away = jnp.where(inside & (squared >= 0), 0.0, numerics.square_root(squared))
    shift = jnp.stack([jnp.where(away == 0, 0.0, (away + margin) / away * one) for one in offset], axis=-1)
    return angles - jnp.moveaxis(shift, -2, 0).reshape(angles.shape), jnp.moveaxis(away, -1, 0).reshape(
        angles.shape[:-1]
    )


def _search(
    point: Float[Array, "2 1 *batch"],
    start: Float[Array, "2 _ *joints"],
    edge: Float[Array, "2 _ *joints"],
    mode: str,
) -> tuple[Int[Array, "..."], Bool[Array, "..."]]:
    """Which edge is nearest to each point, and whether the point is inside.

    Inside by parity: a ray along flexion crosses the boundary an odd number of times. That holds for the polygon as
    float32 stores it, while the sign of an edge's normal does not: rounding dents the boundary where edges are short.
    """
    nearest = jnp.argmin(_apart(point, start, edge, mode), axis=0)
    flexion, abduction = point - start
    # An edge ends where the next starts, to the bit: else a point level with a vertex would cross both or neither.
    below = point[1] < start[1]
    straddles = below != jnp.roll(below, -1, axis=0)
    on_the_left = abduction * edge[0] > flexion * edge[1]
    crosses = straddles & (on_the_left == (edge[1] > 0))
    # Each of the three copies by itself: those of a hull that is wider than a turn overlap.
    of_copies = crosses.reshape(3, len(crosses) // 3, *crosses.shape[1:])
    return nearest, jnp.any(jnp.sum(of_copies, axis=1) % 2 == 1, axis=0)


def _apart(
    point: Float[Array, "2 1 *batch"],
    start: Float[Array, "2 _ *joints"],
    edge: Float[Array, "2 _ *joints"],
    mode: str,
) -> Float[Array, "_ ..."]:
    """How far each edge is, at its point that is nearest in the plane of the angles: squared for `euclidean`, otherwise
    in L1 on the circle. Leading axes broadcast."""
    offset = point - start
    along = _dot(offset, numerics.divide(edge, jnp.broadcast_to(_dot(edge, edge), edge.shape)))
    nearest = jnp.clip(along, 0.0, 1.0)[None] * edge
    if mode == "euclidean":
        return _dot(offset - nearest, offset - nearest)
    nearest = start + nearest
    flexion, abduction = jnp.abs(jnp.cos(point) - jnp.cos(nearest)) + jnp.abs(jnp.sin(point) - jnp.sin(nearest))
    return flexion + abduction


def _dot(u: Float[Array, "2 ..."], v: Float[Array, "2 ..."]) -> Float[Array, "..."]:
    return u[0] * v[0] + u[1] * v[1]


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
