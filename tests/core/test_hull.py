"""Hulls: what a fit contains, and the distance against a loop over edges in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from bmc_jax import hull, numerics
from bmc_jax.core.choices import HULL_DISTANCES

RNG = np.random.default_rng(0)
distance = jax.jit(hull.distance, static_argnums=2)
SQUARE = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def cloud(seed: int, count: int = 300) -> np.ndarray:
    """Skewed samples of (flexion, abduction), some of them beyond pi when bent far."""
    rng = np.random.default_rng(seed)
    flexion = rng.uniform(-0.5, 1.6) + rng.uniform(0.1, 0.6) * rng.standard_t(5, count)
    abduction = 0.3 * rng.normal(size=count) * (1 - 0.2 * flexion)
    return np.stack([np.clip(flexion, -2.0, 3.0), np.clip(abduction, -1.0, 1.0)], axis=-1)


def signed_area(polygon: np.ndarray) -> float:
    following = np.roll(polygon, -1, axis=0)
    return 0.5 * float(np.sum(polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]))


def depth_inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Least distance to the lines of the edges, negative outside; for convex counter-clockwise polygons."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    offset = points[:, None] - polygon
    return ((edges[:, 0] * offset[..., 1] - edges[:, 1] * offset[..., 0]) / np.linalg.norm(edges, axis=-1)).min(axis=1)


def reference_distance(point: np.ndarray, polygon: np.ndarray, mode: str) -> float:
    """Eq. 7 for one point, edge by edge and turn by turn."""
    best = np.inf
    for turns in (-2, -1, 0, 1, 2):
        shifted = point + np.array([2 * np.pi * turns, 0.0])
        inside = True
        for index, start in enumerate(polygon):
            end = polygon[(index + 1) % len(polygon)]
            edge = end - start
            inside &= edge[0] * (shifted - start)[1] - edge[1] * (shifted - start)[0] >= 0
            nearest = start + min(max((shifted - start) @ edge / (edge @ edge), 0.0), 1.0) * edge
            if mode == "euclidean":
                best = min(best, float(np.hypot(*(shifted - nearest))))
            else:
                circle = np.abs(np.cos(shifted) - np.cos(nearest)) + np.abs(np.sin(shifted) - np.sin(nearest))
                best = min(best, float(circle.sum()))
        if inside:
            return 0.0
    return best**2 if mode == "circle_l1_squared" else best


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("vertices", [4, 6, 16, 40])
def test_outer_hull_contains_every_sample(seed, vertices):
    samples = cloud(seed)
    polygon = hull.fit(samples, vertices)
    assert polygon.shape == (vertices, 2)
    assert polygon.dtype == np.float64
    assert depth_inside(hull.unroll(samples), polygon).min() > 0.5 * numerics.FIT_SLACK
    assert signed_area(polygon) > 0


@pytest.mark.parametrize("seed", range(8))
def test_outer_hull_is_exactly_zero_on_its_samples_in_float32(seed):
    samples = cloud(seed, 3000).astype(np.float32)
    for vertices in (4, 16, 64):
        assert not np.any(distance(jnp.asarray(samples), jnp.asarray(hull.fit(samples, vertices), jnp.float32)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("vertices", [4, 7])
def test_inner_hull_is_spanned_by_samples(seed, vertices):
    samples = cloud(seed)
    polygon = hull.fit(samples, vertices, outer=False)
    assert polygon.shape == (vertices, 2)
    assert signed_area(polygon) <= signed_area(hull.exact(samples)) + 1e-12
    assert all(np.abs(hull.unroll(samples) - vertex).max(axis=1).min() < 1e-12 for vertex in polygon)


def test_more_vertices_come_closer_to_the_exact_hull():
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, 200)
    samples = np.stack([0.8 * np.cos(angle), 0.4 * np.sin(angle)], axis=-1)
    true = signed_area(hull.exact(samples))
    outer = [signed_area(hull.fit(samples, vertices)) for vertices in (4, 8, 16)]
    inner = [signed_area(hull.fit(samples, vertices, outer=False)) for vertices in (4, 8, 16)]
    assert outer[0] > outer[1] > outer[2] > true > inner[2] > inner[1] > inner[0]
    assert outer[2] < 1.05 * true
    assert inner[2] > 0.95 * true


def test_a_triangle_is_divided_into_real_edges():
    triangle = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    polygon = hull.fit(triangle, 16, outer=False)
    assert len(polygon) == 16
    assert np.linalg.norm(np.roll(polygon, -1, axis=0) - polygon, axis=-1).min() > 0.15
    assert signed_area(polygon) == pytest.approx(0.5)
    for vertex in triangle:
        assert np.abs(polygon - vertex).max(axis=1).min() == 0


def test_flexion_is_unrolled_at_the_cut():
    bent_back, bent_far = hull.unroll(np.array([[-2.0, 0.1], [-2.2, 0.1]]))
    np.testing.assert_allclose(bent_back, [-2.0, 0.1])
    np.testing.assert_allclose(bent_far, [2 * np.pi - 2.2, 0.1])
    # Samples on both sides of pi are neighbours, and so is their hull narrow.
    samples = np.stack([np.array([3.1, 3.0, -3.1, -3.0, 3.12]), np.array([0, 0.1, 0.1, 0.0, 0.2])], axis=-1)
    assert np.ptp(hull.fit(samples), axis=0)[0] < 0.5


@pytest.mark.parametrize("mode", HULL_DISTANCES)
def test_distance_equals_the_loop_over_edges(mode):
    polygons = np.array([[hull.fit(cloud(10 * i + j)) for j in range(3)] for i in range(5)])
    points = RNG.uniform([-np.pi, -np.pi / 2], [np.pi, np.pi / 2], (60, 5, 3, 2))
    joints = [(i, j) for i in range(5) for j in range(3)]
    expected = [[reference_distance(p[joint], polygons[joint], mode) for joint in joints] for p in points]
    expected = np.reshape(expected, (60, 5, 3))
    with jax.enable_x64(True):
        exact = distance(jnp.asarray(points), jnp.asarray(polygons), mode)
        np.testing.assert_allclose(exact, expected, atol=1e-12)
    single = distance(jnp.asarray(points, jnp.float32), jnp.asarray(polygons, jnp.float32), mode)
    np.testing.assert_allclose(single, expected, atol=3e-6, rtol=3e-6)
    assert 0.05 < np.mean(expected == 0) < 0.95


def test_distance_is_the_same_under_jit_and_vmap_and_broadcasts():
    polygons = jnp.asarray([[hull.fit(cloud(3 * i + j)) for j in range(3)] for i in range(5)], jnp.float32)
    points = jnp.asarray(RNG.normal(size=(2, 4, 5, 3, 2)), jnp.float32)
    eager = hull.distance(points, polygons)
    assert eager.shape == (2, 4, 5, 3)
    np.testing.assert_allclose(distance(points, polygons), eager, atol=1e-6)
    mapped = jax.jit(jax.vmap(jax.vmap(lambda p: hull.distance(p, polygons))))(points)
    np.testing.assert_allclose(mapped, eager, atol=1e-6)
    one = distance(points[1, 2, 3, 1], polygons[3, 1])
    np.testing.assert_allclose(one, eager[1, 2, 3, 1], atol=1e-6)
    # One point against many hulls, and hulls that differ from example to example.
    assert distance(points[0, 0, 0, 0], polygons).shape == (5, 3)
    repeated = jnp.broadcast_to(polygons, (2, 4, *polygons.shape))
    np.testing.assert_allclose(distance(points, repeated), eager, atol=1e-6)


@given(st.integers(0, 50), st.floats(-np.pi, np.pi), st.floats(-1.5, 1.5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_distance_is_periodic_in_flexion(seed, flexion, abduction):
    polygon = jnp.asarray(hull.fit(cloud(seed)), jnp.float32)
    here = distance(jnp.array([flexion, abduction]), polygon)
    for turned in (flexion - 2 * np.pi, flexion + 2 * np.pi):
        if -2 * np.pi <= turned <= 2 * np.pi:
            there = distance(jnp.array([turned, abduction]), polygon)
            np.testing.assert_allclose(there, here, atol=3e-6)


def test_distance_is_continuous_where_flexion_jumps():
    # A hull near pi is reached from both sides; one near zero is equally far from both.
    samples = cloud(1) * np.array([0.2, 1.0])
    far = jnp.asarray(hull.fit(samples + np.array([3.0, 0.0])), jnp.float32)
    near = jnp.asarray(hull.fit(samples), jnp.float32)
    for polygon in (far, near):
        above, below = distance(jnp.array([[np.pi, 0.4], [-np.pi, 0.4]]), polygon)
        np.testing.assert_allclose(above, below, atol=1e-6)
    assert distance(jnp.array([-np.pi + 0.02, 0.0]), far) == 0


def test_wide_hulls_are_nearest_on_the_right_side():
    # Nine tenths of the circle: points in the gap belong to the nearer end, whichever sign their flexion has.
    wide = np.array([[-2.0, -0.2], [3.6, -0.2], [3.6, 0.2], [-2.0, 0.2]])
    flexions = np.linspace(-np.pi, np.pi, 101)
    expected = [reference_distance(np.array([f, 0.0]), wide, "euclidean") for f in flexions]
    points = jnp.asarray(np.stack([flexions, np.zeros(101)], -1), jnp.float32)
    np.testing.assert_allclose(distance(points, jnp.asarray(wide, jnp.float32)), expected, atol=1e-6)


def test_euclidean_gradient_has_length_one_outside_and_zero_inside():
    polygon = jnp.asarray(hull.fit(cloud(5)), jnp.float32)
    points = jnp.asarray(RNG.uniform([-np.pi, -1.5], [np.pi, 1.5], (2000, 2)), jnp.float32)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda p: hull.distance(p, polygon))))(points)
    length = np.linalg.norm(gradient, axis=-1)
    np.testing.assert_allclose(length[np.asarray(value) > 1e-3], 1.0, atol=1e-3)
    assert not np.any(length[np.asarray(value) == 0])
    assert 0.01 < np.mean(np.asarray(value) == 0) < 0.9


@pytest.mark.parametrize("mode", HULL_DISTANCES)
def test_gradient_is_finite_on_edges_on_vertices_and_at_half_a_turn(mode):
    polygons = [SQUARE, hull.fit(cloud(2)), hull.simplify(SQUARE, 16), SQUARE + np.array([np.pi - 0.5, 0.0])]
    derive = jax.jit(jax.vmap(jax.value_and_grad(lambda p, polygon: hull.distance(p, polygon, mode)), (0, None)))
    for polygon in (jnp.asarray(p, jnp.float32) for p in polygons):
        middles = (polygon + jnp.roll(polygon, -1, axis=0)) / 2
        turns = jnp.array([[np.pi, 0.0], [-np.pi, 0.0], [np.pi, np.pi / 2], [0.0, -np.pi / 2], [0.0, 0.0]])
        points = jnp.concatenate([polygon, middles, turns])
        points = jnp.concatenate([points, jnp.nextafter(points, 10.0), jnp.nextafter(points, -10.0)])
        value, gradient = derive(points, polygon)
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() < 8.0
        np.testing.assert_allclose(value[: 2 * len(polygon)], 0.0, atol=1e-6)


def test_gradient_is_exactly_zero_on_vertices_and_edges_of_a_square():
    square = jnp.asarray(SQUARE, jnp.float32)
    points = jnp.concatenate([square, jnp.array([[0.5, 0.0], [0.0, 0.5], [-0.5, 0.25], [0.125, -0.5]])])
    for mode in HULL_DISTANCES:
        derive = jax.jit(jax.vmap(jax.value_and_grad(lambda p, mode=mode: hull.distance(p, square, mode))))
        value, gradient = derive(points)
        assert not np.any(value)
        assert not np.any(gradient)


@pytest.mark.slow
@pytest.mark.parametrize("mode", HULL_DISTANCES)
def test_derivatives_agree_with_finite_differences(mode):
    # A step that is small against the regions where another edge is nearest: there the second derivative jumps.
    tolerance = {"atol": 1e-5, "rtol": 1e-5, "eps": 1e-6}
    with jax.enable_x64(True):
        polygon = jnp.asarray(hull.fit(cloud(7)))
        points = jnp.asarray(np.random.default_rng(7).uniform([-np.pi, -1.5], [np.pi, 1.5], (20, 2)))
        check_grads(lambda p: distance(jnp.asarray(p), polygon, mode), (points,), order=2, **tolerance)
        check_grads(lambda h: distance(points, jnp.asarray(h), mode), (polygon,), order=1, **tolerance)


def test_short_edges_do_not_let_samples_out():
    # Rounding to float32 turns an edge of 1e-5 by a hundredth of a radian: half-planes would shut samples out.
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    bunch = np.array([1.8, 0.7]) + 1e-5 * np.stack([np.cos(angles), np.sin(angles)], -1)
    polygon = hull.exact(np.concatenate([bunch, [[-1.0, -0.3], [-1.0, 0.2]]]))
    inside = RNG.dirichlet(np.ones(len(polygon)), 5000) @ polygon
    inside = inside[depth_inside(inside, polygon) > 1e-5]
    assert not np.any(distance(jnp.asarray(inside, jnp.float32), jnp.asarray(polygon, jnp.float32)))


@pytest.mark.parametrize("seed", range(3))
def test_points_level_with_a_vertex_to_a_rounding_are_inside_if_they_are(seed):
    polygon = hull.fit(cloud(seed)).astype(np.float32)
    middle = polygon.mean(axis=0)
    level = polygon[:, 1:] + np.float32(1e-8) * np.arange(-40, 41, dtype=np.float32)
    level = np.concatenate([level, *(np.nextafter(polygon[:, 1:], np.float32(side)) for side in (-9, 9))], axis=1)
    points = np.stack([np.broadcast_to(middle[0], level.shape), level], axis=-1).reshape(-1, 2)
    points = points[depth_inside(points.astype(np.float64), polygon.astype(np.float64)) > 1e-3]
    assert len(points) > 500
    np.testing.assert_array_equal(distance(points, polygon), 0)


def test_projected_points_are_as_near_as_the_distance_says_and_go_on_by_the_margin():
    polygon = hull.fit(cloud(6))
    points = RNG.uniform([-np.pi, -1.5], [np.pi, 1.5], (400, 2))
    project = jax.jit(hull.project, static_argnames="margin")
    nearest, far = project(jnp.asarray(points, jnp.float32), jnp.asarray(polygon, jnp.float32))
    expected = [reference_distance(point, polygon, "euclidean") for point in points]
    np.testing.assert_allclose(far, expected, atol=3e-6)
    np.testing.assert_allclose(np.linalg.norm(nearest - points, axis=-1), expected, atol=3e-6)
    assert max(reference_distance(point, polygon, "euclidean") for point in np.asarray(nearest)) < 3e-6
    inside, _ = project(jnp.asarray(points, jnp.float32), jnp.asarray(polygon, jnp.float32), margin=1e-3)
    outside = np.asarray(far) > 0
    np.testing.assert_array_equal(np.asarray(inside)[~outside], points[~outside].astype(np.float32))
    np.testing.assert_allclose(
        np.linalg.norm(inside - points, axis=-1)[outside], np.asarray(expected)[outside] + 1e-3, atol=1e-5
    )
    assert np.mean(distance(inside, jnp.asarray(polygon, jnp.float32)) == 0) > 0.9
    assert 0.05 < outside.mean() < 0.95


@pytest.mark.parametrize("turns", [1.5, 2.5, 3.5])
def test_a_hull_wider_than_a_turn_contains_every_flexion(turns):
    wide = (SQUARE * [2 * np.pi * turns, 2]).astype(np.float32)
    points = RNG.uniform([-np.pi, -0.9], [np.pi, 0.9], (50, 2)).astype(np.float32)
    np.testing.assert_array_equal(distance(points, wide), 0)
    nearest, away = jax.jit(hull.project)(points, wide)
    np.testing.assert_array_equal(nearest, points)
    np.testing.assert_array_equal(away, 0)


def test_box_bounds_each_angle_alone():
    samples = cloud(4)
    box = np.asarray(hull.box(jnp.asarray(samples)))
    assert box.shape == (4, 2)
    np.testing.assert_allclose(box.min(axis=0), samples.min(axis=0), atol=1e-6)
    np.testing.assert_allclose(box.max(axis=0), samples.max(axis=0), atol=1e-6)
    np.testing.assert_array_equal(hull.check(box), box.astype(np.float64))
    # At most as far as from the hull, and sometimes nearer: a corner of the box that no sample reaches.
    points = jnp.asarray(RNG.uniform(-2, 2, (500, 2)), jnp.float32)
    loose = distance(points, hull.box(jnp.asarray(hull.exact(samples), jnp.float32)))
    tight = distance(points, jnp.asarray(hull.exact(samples), jnp.float32))
    assert np.all(loose <= tight + 1e-6)
    assert np.any(loose < tight - 0.05)


def test_boxes_of_all_joints_have_one_shape():
    assert hull.box(jnp.zeros((5, 3, 9, 2))).shape == (5, 3, 4, 2)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.full((10, 2), 0.3), "span 0 degrees of flexion"),
        (np.stack([np.linspace(0, 1, 10), np.linspace(0, 0.5, 10)], -1), "on a line"),
        (np.stack([np.linspace(0, 1, 10), 1e-5 * RNG.normal(size=10)], -1), "on a line"),
        (np.array([[0.0, 0.0], [1.0, 1.0]]), "on a line"),
        (np.zeros((0, 2)), r"\[0, 2\]"),
        (np.zeros((4, 3)), r"\[4, 3\]"),
        (np.array([[0.0, 0.0], [1.0, np.nan], [0.0, 1.0]]), "1 of 3 samples are not finite"),
    ],
)
def test_samples_without_a_hull_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        hull.fit(samples)


def test_degenerate_samples_have_a_hull_once_widened():
    for samples in (np.full((3, 2), 0.3), np.array([[0.0, 0.0], [1.0, 0.5], [2.0, 1.0]])):
        polygon = hull.widen(hull.exact(samples), 0.1)
        assert hull.width(polygon) > 0.19
        assert depth_inside(samples, polygon).min() > 0.05


def test_unknown_mode_and_too_few_vertices_are_refused():
    with pytest.raises(ValueError, match="unknown hull distance 'manhattan'; choose one of euclidean, circle_l1"):
        hull.distance(jnp.zeros(2), jnp.asarray(SQUARE, jnp.float32), "manhattan")
    with pytest.raises(ValueError, match="3 vertices"):
        hull.fit(cloud(0), vertices=3)


def test_check_turns_a_clockwise_hull_around_and_accepts_every_fit():
    for seed in range(10):
        polygon = hull.fit(cloud(seed)).astype(np.float32)
        np.testing.assert_array_equal(hull.check(polygon), polygon.astype(np.float64))
        assert signed_area(hull.check(polygon[::-1])) > 0


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        (SQUARE[[0, 2, 1, 3]], "not convex"),
        (np.array([[0, 0], [1, 0], [0.2, 0.2], [0, 1]]), r"not convex: the vertex \[0.2, 0.2\]"),
        (np.array([[np.sin(4 * np.pi * k / 5), np.cos(4 * np.pi * k / 5)] for k in range(5)]), "turns 2 times"),
        (SQUARE[[0, 1, 1, 2, 3]], r"both \[0.5, -0.5\]"),
        (SQUARE * 60, "wanted in radians"),
        (np.where(SQUARE > 0, np.nan, SQUARE), "vertex 1 is .*not finite"),
        (SQUARE[:2], r"not \[2, 2\]"),
        (np.array([[0, 0], [1, 0], [2, 0], [3, 0]]), "not convex|without area"),
    ],
)
def test_check_refuses_what_is_no_hull(polygon, message):
    with pytest.raises(ValueError, match=message):
        hull.check(polygon)
