"""Random feasible hands: uniform where they are said to be, within the limits, not through themselves, and the same
for the same key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from support import hands, reference

from bmc_jax import cli, kinematics, limits
from bmc_jax.core.kinematics import Palm
from bmc_jax.poses import sampling
from bmc_jax.synthesis import skeleton, surface

KEY = jax.random.key(7)
ADULT = 0.04463
angles_from_pose = jax.jit(kinematics.angles_from_pose)


def clinical(**changes):
    """The preset, with some of its arrays replaced by what broadcasts to them."""
    preset = limits.load("clinical")
    changed = {
        name: jnp.asarray(np.broadcast_to(np.float32(value), getattr(preset, name).shape))
        for name, value in changes.items()
    }
    return dataclasses.replace(preset, **changed)


@pytest.fixture(scope="module")
def sampled():
    return sampling.sample(KEY, clinical(), 300)


@pytest.fixture(scope="module")
def drawn():
    """4,096 hands as drawn, feasible or not, whether the palm fits, and whether each is apart from itself."""
    return [np.asarray(values) for values in sampling.draw_chunk(KEY, 0, clinical())]


def probability_of_one_law(first, second, cells=12):
    """p of a chi-square test that two samples of points are of one law, counted in equal cells of their range."""
    both = np.concatenate([first, second])
    edges = [np.linspace(low, high, cells + 1) for low, high in zip(both.min(axis=0), both.max(axis=0), strict=True)]
    counts = np.stack([np.histogramdd(points, edges)[0].ravel() for points in (first, second)])
    return scipy.stats.chi2_contingency(counts[:, counts.sum(axis=0) >= 20]).pvalue


def by_rejection(inside, low, high, count, seed=0):
    """Uniform points of a region, from its bounding box."""
    random, found = np.random.default_rng(seed), []
    while sum(map(len, found)) < count:
        points = random.uniform(low, high, (200_000, len(low)))
        found.append(points[inside(points)])
    return np.concatenate(found)[:count]


@pytest.mark.parametrize(
    "polygon",
    [
        limits.load("clinical").hull[1, 0],
        limits.load("eaton").hull[0, 1],
        # A sliver, a vertex on a straight edge, and a triangle of no area.
        [[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.1, 0.3]],
    ],
)
def test_points_are_uniform_in_the_polygon(polygon):
    polygon = np.asarray(polygon, np.float64)
    keys = jax.random.split(KEY, 40_000)
    found = np.asarray(jax.jit(jax.vmap(sampling.uniform_in, in_axes=(0, None)))(keys, jnp.float32(polygon)))

    def inside(points):
        edges = np.roll(polygon, -1, axis=0) - polygon
        offsets = points[:, None] - polygon
        return (edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0] >= -1e-6).all(axis=1)

    assert inside(found).all()
    expected = by_rejection(inside, polygon.min(axis=0), polygon.max(axis=0), 40_000)
    assert probability_of_one_law(found, expected) > 1e-3
    # So many points tell a polygon that is 2 % smaller.
    assert probability_of_one_law(polygon[0] + (found - polygon[0]) * 0.98, expected) < 1e-3


def test_lengths_spreads_and_angles_are_uniform_as_drawn(drawn):
    """Before any hand is left out, by its joints alone."""
    bounds, posture = clinical(), angles_from_pose(drawn[0])
    for name, values in [("bone_length", posture.bone_lengths), ("spread", posture.palm.spread)]:
        ends = np.asarray(getattr(bounds, name)).reshape(-1, 2)
        for place, ((low, high), column) in enumerate(
            zip(ends, np.asarray(values).reshape(len(values), -1).T, strict=True)
        ):
            if (name, place) == ("bone_length", 9):  # the scale bone
                np.testing.assert_allclose(column, 1.0, atol=1e-6)
            else:
                assert scipy.stats.kstest(column, "uniform", (low, high - low)).pvalue > 1e-3
    polygon = np.asarray(bounds.hull[3, 1], np.float64)
    keys = jax.random.split(jax.random.key(1), 4096)
    expected = jax.vmap(sampling.uniform_in, in_axes=(0, None))(keys, jnp.float32(polygon))
    assert probability_of_one_law(np.asarray(posture.angles[:, 3, 1]), np.asarray(expected), 6) > 1e-3


def test_folds_are_uniform_among_those_of_an_allowed_curvature():
    lengths, spread = np.array([1.0, 2.1, 2.0, 1.9, 1.7]), np.array([0.7, 0.25, 0.22, 0.25])
    bounds = np.array([[-0.1, 0.4], [-0.1, 0.5], [-0.3, 0.6], [-0.2, 0.3]])
    root = np.asarray(clinical().bone_length).copy()
    root[:, 0] = lengths[:, None]
    held = clinical(bone_length=root, spread=spread[:, None], curvature=bounds)
    joints, fits, _ = map(np.asarray, sampling.draw_chunk(KEY, 0, held))
    found = np.sin(np.asarray(angles_from_pose(joints).palm.fold)[fits] / 2)

    def allowed(sines):
        """Eq. 1, for planes that stand at half a fold from the edges."""
        apart = np.hypot(lengths[:-1] - lengths[1:] * np.cos(spread), lengths[1:] * np.sin(spread))
        outer = np.pad(sines, [(0, 0), (1, 1)])
        curvature = np.sin(spread) * (lengths[1:] * outer[:, :-1] + lengths[:-1] * outer[:, 1:]) / apart**2
        return ((curvature >= bounds[:, 0]) & (curvature <= bounds[:, 1])).all(axis=1)

    assert allowed(found).all()
    expected = by_rejection(allowed, [-1] * 3, [1] * 3, 20_000)
    assert len(found) > 2000
    assert probability_of_one_law(found, expected, 4) > 1e-3
    curved = np.array([reference.palm_curvature(pose) for pose in joints[fits][:50]])
    assert ((curved >= bounds[:, 0]) & (curved <= bounds[:, 1])).all()


def test_poses_are_within_the_limits_by_the_transcribed_equations(sampled):
    held = hands.for_reference(clinical())
    for pose in hands.in_scale_units(sampled.poses[:40].astype(np.float64)):
        for term in (reference.bone_length_loss, reference.palm_loss, reference.joint_angle_loss):
            assert term(pose, held) < 1e-7


def test_no_violation_is_found_in_the_poses(sampled):
    assert limits.check(sampled.poses, clinical()) == []


def overlap(pose):
    """Metres by which the segments of a hand of metres pass through each other beyond the give of flesh, summed: points
    all along their axes, by loops over what may not touch."""
    fingers = pose[1:].reshape(5, 4, 3)
    size = np.linalg.norm(pose[10] - pose[9]) / ADULT
    radii = surface.RADII.astype(np.float64) / 1000 * size
    steps = np.linspace(0, 1, 30)[:, None]

    def along(start, end, first, last):
        return start + steps * (end - start), first + steps[:, 0] * (last - first)

    segments = {}
    for finger in range(5):
        joints = fingers[finger].copy()
        joints[3] -= radii[finger, 3] * reference.norm(joints[3] - joints[2])
        for level in range(3):
            segments[finger, level] = along(joints[level], joints[level + 1], *radii[finger, level : level + 2])
    for finger in range(1, 5):
        root = fingers[finger, 0] - pose[0]
        palmar = reference.palm_frame(pose, finger + 1)[0] * size / 1000
        start, end = pose[0] + 0.3 * root + 3 * palmar, fingers[finger, 0] + 2 * palmar
        first = surface.METACARPAL_RADII[finger - 1] / 1000 * size
        segments[finger, "metacarpal"] = along(start, end, first, radii[finger, 0])

    def give(finger, level, other, other_level):
        """Share of the radii that two segments may overlap by; None where they may touch, or were asked already."""
        if level == "metacarpal":
            return None
        if other_level == "metacarpal":
            return 0.07 if level > 0 and (finger, level, other) != (0, 1, 1) else None
        if (other, other_level) == (0, 0):  # the thumb's metacarpal
            return 0.07 if level == 2 else None
        if (finger, level) == (0, 0) or finger >= other:
            return None
        return 0.42 if finger > 0 and other == finger + 1 and level == other_level == 0 else 0.07

    total = 0.0
    for place, first in segments.items():
        for other_place, second in segments.items():
            share = give(*place, *other_place)
            if share is None:
                continue
            apart = np.linalg.norm(first[0][:, None] - second[0][None], axis=-1)
            reach = (1 - share) * (first[1][:, None] + second[1][None])
            total += max((reach - apart).max(), 0.0)
    return total / size


def test_poses_do_not_cut_through_themselves_by_points_along_their_axes(sampled, drawn):
    assert max(overlap(pose.astype(np.float64)) for pose in sampled.poses[:60]) < 1.9e-3
    left_out = drawn[0][~drawn[2]][:30].astype(np.float64) * ADULT
    assert min(overlap(pose) for pose in left_out) > 1.3e-3


def test_crossed_fingers_cut_through_the_hand_and_spread_ones_do_not():
    lengths = np.float32(skeleton.BONES / 44.63)
    lengths[:, 0] = 0.9, 2.1, 2.0, 1.9, 1.85
    lengths, palm = jnp.asarray(lengths), Palm(jnp.array([0.7, 0.25, 0.25, 0.25]), jnp.zeros(3))
    straight = np.zeros((5, 3, 2), np.float32)
    crossing = straight.copy()
    crossing[1, 0, 1] = -0.45
    posed = jax.jit(kinematics.pose_from_angles)
    open_hand, crossed = (posed(lengths, palm, jnp.asarray(angles)) for angles in (straight, crossing))
    cuts = jax.jit(sampling.self_intersects)
    assert [bool(cuts(pose)) for pose in (open_hand, 0.04 * open_hand, crossed, 1000 * crossed)] == [0, 0, 1, 1]


def test_same_key_gives_the_same_poses_and_fewer_of_them_are_the_first(sampled):
    again, few = (sampling.sample(KEY, clinical(), count) for count in (300, 20))
    np.testing.assert_array_equal(again.poses, sampled.poses)
    np.testing.assert_array_equal(few.poses, sampled.poses[:20])
    assert (again.drawn, again.kept) == (sampled.drawn, sampled.kept)
    other = sampling.sample(jax.random.key(8), clinical(), 20)
    assert np.abs(other.poses - few.poses).max(axis=(1, 2)).min() > 1e-3


def test_acceptance_is_the_share_of_what_was_drawn(sampled, drawn):
    assert (sampled.drawn, sampled.kept) == (4096, (drawn[1] & drawn[2]).sum())
    assert 0.2 < sampled.acceptance < 0.4


def test_hands_have_the_scale_that_is_asked_for(sampled):
    small = sampling.sample(KEY, clinical(), 20, scale=0.03).poses
    np.testing.assert_allclose(np.linalg.norm(small[:, 10] - small[:, 9], axis=-1), 0.03, rtol=1e-5)
    np.testing.assert_allclose(small / 0.03, sampled.poses[:20] / sampling.ADULT_SCALE, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"curvature": [5.0, 5.1]},
            "expected limits with feasible hands, .* of 4096 hands .*, 0 have a palm with a",
        ),
        (
            {"bone_length": [1, 1], "spread": [0.1, 0.1], "curvature": [-9, 9]},
            " 0 do not intersect themselves, and 0",
        ),
        (
            {"bone_length": [0.5, 0.9]},
            "bone_length middle PIP: expected an interval with 1, .* got 0.5.* to 0.89",
        ),
        ({"bone_length": [1.2, 0.9]}, r"bone_length thumb MCP: .*low <= high, got \[1.2.*, 0.89.*\]"),
        ({"hull": [0.1, 0.1]}, "hull of thumb PIP: two neighbouring vertices are both"),
    ],
)
def test_impossible_limits_are_an_error_and_no_endless_search(monkeypatch, changes, message):
    monkeypatch.setattr(sampling, "MOST_EMPTY_CHUNKS", 1)
    with pytest.raises(ValueError, match=message):
        sampling.sample(KEY, clinical(**changes), 10)


@pytest.mark.parametrize(("count", "scale"), [(0, 0.04), (5, 0.0), (5, float("nan"))])
def test_no_poses_or_no_scale_are_refused(count, scale):
    with pytest.raises(ValueError, match="expected a positive count and scale"):
        sampling.sample(KEY, clinical(), count, scale=scale)


@pytest.mark.parametrize("out", ["poses.npz", "poses.npy", "one.npy"])
def test_bmc_limits_sample_writes_poses_that_bmc_limits_check_passes(tmp_path, capsys, monkeypatch, out):
    """Without options. An .npz has the side; of an .npy, of hands that are anyhow, the limits decide."""
    monkeypatch.chdir(tmp_path)
    count = 1 if out == "one.npy" else 30
    assert cli.main(["limits", "sample", "--count", str(count), "--seed", "7", "--scale", "0.04", "--out", out]) == 0
    assert "drawn hands are feasible" in capsys.readouterr().out
    written = np.load(out) if out.endswith(".npy") else np.load(out)["joints"]
    np.testing.assert_array_equal(written, sampling.sample(KEY, clinical(), count, scale=0.04).poses)
    assert cli.main(["limits", "check", out, "--list", "--fail"]) == 0
    text = capsys.readouterr().out
    assert f"{count} of {count} {'pose is' if count == 1 else 'poses are'} within every limit" in text
    assert "0 violations" in text
    assert "limits clinical: clinical joint ranges" in text


def test_bmc_limits_sample_says_before_drawing_that_there_is_no_folder(tmp_path, capsys):
    assert cli.main(["limits", "sample", "--out", str(tmp_path / "nowhere/poses.npy")]) == 2
    assert "bmc: error: --out: expected an existing folder" in capsys.readouterr().err
