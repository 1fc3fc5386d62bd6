"""Limits fitted, merged, widened and personalized, the presets, and errors for wrong input."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import compiling, hands, paths

from bmc_jax import anatomy, hull, limits, losses, numerics
from bmc_jax.limits import comparison
from bmc_jax.limits.presets import clinical as clinical_preset
from bmc_jax.limits.presets import literature
from bmc_jax.limits.presets import people as people_preset

distance = jax.jit(hull.distance)


MIRROR = np.array([-1, 1, 1], np.float32)


INTERVALS = ("bone_length", "curvature", "spread")


@jax.jit
def biomechanical(joints, hand_limits):
    return losses.constraints(joints, hand_limits)


def loss_of(poses, hand_limits):
    """Computes the losses of poses in metres like training: each hand is divided by its scale, in float32."""
    scale = np.linalg.norm(poses[:, 10] - poses[:, 9], axis=-1)
    terms = biomechanical(jnp.asarray(poses / scale[:, None, None], jnp.float32), hand_limits)
    return {name: np.asarray(value) for name, value in terms.items()}


def test_fitted_limits_give_zero_loss_on_their_own_poses(poses, fitted):
    from_wrist = poses - poses[:, :1]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = poses @ (turn * np.linalg.det(turn)).astype(np.float32)
    for same_hands in (poses, from_wrist, turned):
        for value in loss_of(same_hands, fitted).values():
            assert not np.any(value)
    assert limits.check(poses, fitted) == []


OWN_POSES = """
import jax, jax.numpy as jnp, numpy as np
from bmc_jax import limits, losses
from bmc_jax.synthesis import skeleton

poses = skeleton.clinical_poses(600, seed=3) + np.float32([0.1, -0.2, 0.6])
units = poses / np.linalg.norm(poses[:, 10] - poses[:, 9], axis=-1)[:, None, None]
fitted = limits.fit(poses, source="test")

@jax.jit
@jax.value_and_grad
def loss(joints):
    return sum(map(jnp.sum, losses.constraints(joints, fitted).values()))

value, gradient = loss(jnp.asarray(units))
print(float(value), int(jnp.count_nonzero(gradient)), len(limits.check(poses, fitted)))
"""


def test_fitted_limits_give_zero_loss_in_a_process_that_optimizes_as_users_do():
    settings = {name: value for name, value in os.environ.items() if name not in compiling.QUICK}
    settings["PYTHONPATH"] = str(paths.ROOT)
    ran = subprocess.run([sys.executable, "-c", OWN_POSES], env=settings, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0.0", "0", "0"]


def test_fitted_limits_give_zero_loss_on_real_poses(rhd):
    for hand_limits in (limits.fit(rhd, source="rhd"), limits.fit(rhd, source="rhd", vertices=8)):
        for shifted in (rhd, rhd - rhd[:, :1]):
            for value in loss_of(shifted, hand_limits).values():
                assert not np.any(value)


def test_limits_are_no_wider_than_the_poses(poses, fitted):
    measured = limits.measure(poses)
    for name in INTERVALS:
        ends = np.stack([measured[name].min(axis=0), measured[name].max(axis=0)], axis=-1)
        np.testing.assert_allclose(getattr(fitted, name), ends, atol=2 * numerics.FIT_SLACK)
    # Every hull vertex is at most a degree or two from the samples' exact hull.
    np.testing.assert_array_less(distance(fitted.hull, fitted.support[:, :, None, :, :]), np.radians(2.5))


def test_four_kinds_of_damage_are_outside(rhd):
    hand_limits = limits.fit(rhd, source="rhd")
    pose = rhd[1000] - rhd[1000, 0]
    along = pose[7] - pose[6]
    long_bone = pose.copy()
    long_bone[7:9] += 0.5 * along
    overextended = pose.copy()
    axis = np.asarray(jax.jit(anatomy.bone_frames)(jnp.asarray(pose)))[1, 1, 1]
    overextended[7:9] = pose[6] + hands.rotate(pose[7:9] - pose[6], axis, -2.0)
    twisted = pose.copy()
    twisted[6:9] = pose[5] + hands.rotate(pose[6:9] - pose[5], pose[5], 1.5)
    crossed = pose.copy()
    crossed[5:9], crossed[9:13] = pose[9:13], pose[5:9]
    for name, damaged in (
        ("bone_length", long_bone),
        ("joint_angle", overextended),
        ("joint_angle", twisted),
        ("palm", crossed),
    ):
        assert loss_of(damaged[None], hand_limits)[name][0] > 0
        assert limits.check(damaged, hand_limits)


def test_merging_fits_equals_fitting_the_union(poses):
    together = limits.fit(poses, source="test", left="keep")
    parts = [limits.fit(part, source="test", left="keep") for part in np.array_split(poses, 3)]
    merged = limits.merge(limits.merge(parts[0], parts[1]), parts[2])
    hands.assert_same_limits(merged, together)
    assert merged.meta.count == together.meta.count == 600
    assert merged.meta.source == "test"
    for value in loss_of(poses, merged).values():
        assert not np.any(value)


def test_streaming_chunks_equals_fitting_them_together(poses):
    together = limits.fit(poses, source="test")
    for size in (100, 599):
        streamed = limits.fit((poses[start : start + size] for start in range(0, 600, size)), source="test")
        hands.assert_same_limits(streamed, together)
        assert streamed.meta == together.meta


def test_widening_equals_fitting_with_margins(poses, fitted):
    once = limits.fit(poses, source="test", angle_margin=7.0, length_margin=0.2)
    twice = limits.widen(limits.widen(fitted, degrees=3.0, fraction=0.1), degrees=4.0, fraction=1.2 / 1.1 - 1)
    hands.assert_same_limits(once, twice)
    assert twice.meta.margin_degrees == pytest.approx(7.0)
    assert twice.meta.margin_fraction == pytest.approx(0.2)
    np.testing.assert_allclose(once.bone_length[..., 1], 1.2 * fitted.bone_length[..., 1], rtol=1e-6)
    np.testing.assert_allclose(once.spread[..., 1] - fitted.spread[..., 1], np.radians(7.0), rtol=1e-4)
    for finger, level in np.ndindex(5, 3):
        low, high = (np.asarray(end(fitted.support[finger, level], axis=0)) for end in (jnp.min, jnp.max))
        corner = distance(jnp.asarray([low - np.radians(6.9), high + np.radians(6.9)]), once.hull[finger, level])
        assert np.all(corner < np.radians(40))
        shifted = fitted.support[finger, level] + np.radians([6.9, -6.9]).astype(np.float32)[None]
        assert not np.any(distance(shifted, once.hull[finger, level]))


def test_merging_limits_of_different_margins_allows_what_either_allows(poses, fitted):
    wide = limits.fit(poses[:300], source="wide", angle_margin=10.0, length_margin=0.1)
    merged = limits.merge(fitted, wide)
    assert merged.meta.margin_degrees == 0
    for part in (fitted, wide):
        assert not np.any(distance(part.support, merged.hull[:, :, None, :, :]))
        np.testing.assert_array_less(merged.bone_length[..., 0], part.bone_length[..., 0] + 1e-6)
        np.testing.assert_array_less(part.bone_length[..., 1] - 1e-6, merged.bone_length[..., 1])
    inset = distance(wide.hull, merged.hull[:, :, None, :, :])
    assert np.max(inset) < np.radians(2.0)


def test_percentiles_leave_out_what_is_beyond(poses):
    outlier = poses[:1].copy()
    outlier[:, 8] += 0.1 * (outlier[:, 8] - outlier[:, 7]) / 0.02
    spoilt = np.concatenate([poses, outlier])
    everything = limits.fit(spoilt, source="test")
    trimmed = limits.fit([spoilt[:200], spoilt[200:]], source="test", percentiles=(1, 99))
    assert trimmed.meta.percentiles == (1.0, 99.0)
    assert trimmed.bone_length[1, 3, 1] < 0.5 * everything.bone_length[1, 3, 1]
    measured = limits.measure(spoilt)["angles"]
    low, high = np.percentile(hull.unroll(measured), [1, 99], axis=0)
    support = np.asarray(trimmed.support)
    assert np.all(support >= low[:, :, None] - numerics.ANGLE_GRID)
    assert np.all(support <= high[:, :, None] + numerics.ANGLE_GRID)
    inside = distance(jnp.asarray(measured), trimmed.hull) == 0
    assert 0.95 < np.mean(inside) < 1


def test_inner_hulls_lie_within_the_samples(poses):
    inner = limits.fit(poses, source="test", outer=False, vertices=6)
    assert inner.hull.shape == (5, 3, 6, 2)
    np.testing.assert_allclose(distance(inner.hull, inner.support[:, :, None, :, :]), 0, atol=1e-5)


def test_merging_refuses_what_differs(poses, fitted):
    with pytest.raises(ValueError, match=r"expected equal percentiles, got \(0.0, 100.0\) .* and \(1.0, 99.0\)"):
        limits.merge(fitted, limits.fit(poses, source="trimmed", percentiles=(1, 99)))
    with pytest.raises(ValueError, match="expected equal outer"):
        limits.merge(fitted, limits.fit(poses, source="inner", outer=False))
    left = dataclasses.replace(fitted, meta=dataclasses.replace(fitted.meta, hand="left"))
    with pytest.raises(ValueError, match=r"expected equal hand, got right .* and left"):
        limits.merge(fitted, left)


def spoil(poses, index, value):
    poses = poses.copy()
    poses[index] = value
    return poses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:0], "no poses: the array is empty"),
        (lambda p: [], "expected poses to fit limits to, got none"),
        (lambda p: p[0], r"not \[21, 3\]"),
        (lambda p: p[:, :20], r"not \[600, 20, 3\]"),
        (lambda p: (p * 1000).astype(int), "floating-point metres, not int"),
        (lambda p: spoil(p, (7, 3, 1), np.nan), r"1 of 600 poses \(index 7\) has joints that are not finite"),
        (lambda p: spoil(p, slice(20, 30), np.inf), r"10 of 600 poses \(index 20, 21, 22, 23, 24, ...\) have joints"),
        (lambda p: p * 1000, r"600 of 600 .* from the wrist to the middle MCP.*divide millimetres by 1000"),
        (lambda p: p / 1000, r"600 of 600 .* from the wrist to the middle MCP"),
        (lambda p: spoil(p, (4, 10), p[4, 9]), r"1 of 600 poses \(index 4\) has a scale bone .* of 0 metres"),
        (lambda p: [p, p * 1000], r"test, chunk 1: 600 of 600"),
        (lambda p: p * MIRROR, r"test: 600 of 600 .* the thumb behind the palm.*left='mirror'"),
        (
            lambda p: np.concatenate([p, p[:3] * MIRROR]),
            r"3 of 603 poses \(index 600, 601, 602\) have the thumb behind",
        ),
        (lambda p: p[:1], "thumb PIP bone: its angles in the 1 pose of 'test' are on a line or in a point"),
        (lambda p: np.repeat(p[:1], 50, axis=0), "thumb PIP bone: .*add different poses, or an angle margin"),
    ],
)
def test_poses_without_limits_are_refused(poses, change, message):
    with pytest.raises(ValueError, match=message):
        limits.fit(change(poses), source="test")


def test_one_pose_has_limits_with_a_margin(poses):
    one = limits.fit(poses[:1], source="one", angle_margin=5.0)
    widths = np.ptp(np.degrees(np.asarray(one.hull)), axis=2)
    np.testing.assert_allclose(widths, 10.0, atol=0.05)
    assert limits.check(poses[0], one) == []


@pytest.mark.parametrize(
    "options",
    [
        {"percentiles": (50, 50)},
        {"percentiles": (-1, 100)},
        {"angle_margin": -1.0},
        {"left": "ignore"},
        {"vertices": 3},
    ],
)
def test_impossible_options_are_refused(poses, options):
    with pytest.raises(ValueError, match=r"percentiles|margins|'ignore'|vertices"):
        limits.fit(poses, source="test", **options)


def test_the_clinical_preset_is_what_its_command_makes():
    preset, remade = limits.load("clinical"), clinical_preset.clinical(4000)
    assert remade.meta.references == preset.meta.references
    for name in ("source", "margin_degrees", "margin_fraction", "percentiles", "convention"):
        assert getattr(remade.meta, name) == getattr(preset.meta, name)
    assert preset.meta.count == clinical_preset.COUNT
    # Fewer hands give slightly tighter limits: inside, and close to all ends.
    for name in INTERVALS:
        ours, theirs = np.asarray(getattr(remade, name)), np.asarray(getattr(preset, name))
        extent = theirs[..., 1] - theirs[..., 0]
        assert np.all(ours[..., 0] >= theirs[..., 0] - 1e-3)
        assert np.all(ours[..., 1] <= theirs[..., 1] + 1e-3)
        assert np.all(ours[..., 1] - ours[..., 0] >= 0.6 * extent)
    assert np.max(distance(remade.hull, preset.hull[:, :, None, :, :])) < np.radians(2.0)
    assert np.max(distance(preset.hull, remade.hull[:, :, None, :, :])) < np.radians(20.0)


def test_the_clinical_preset_allows_real_hands(rhd):
    preset = limits.load("clinical")
    angles = jnp.asarray(limits.measure(rhd)["angles"])
    inside = np.asarray(distance(angles, preset.hull)) == 0
    assert np.mean(inside) > 0.99
    assert np.mean(inside.all(axis=(1, 2))) > 0.95
    # A mirrored hand, which bends in the other direction, is outside.
    mirrored = jnp.asarray(limits.measure(rhd * MIRROR)["angles"])
    assert np.mean((np.asarray(distance(mirrored, preset.hull)) == 0).all(axis=(1, 2))) < 0.1


@pytest.mark.slow
def test_the_preset_of_people_is_what_its_command_makes():
    preset, remade = limits.load("people"), people_preset.people(1024)
    for field in dataclasses.fields(preset.meta):
        if field.name not in ("count", "screening"):
            assert getattr(remade.meta, field.name) == getattr(preset.meta, field.name)
    assert preset.meta.count == people_preset.COUNT
    for name in INTERVALS:
        ours, theirs = np.asarray(getattr(remade, name)), np.asarray(getattr(preset, name))
        extent = theirs[..., 1] - theirs[..., 0]
        assert np.max(np.abs(ours - theirs) / (extent[..., None] + 1e-2)) < 0.1
    for one, other in ((remade, preset), (preset, remade)):
        assert np.mean(distance(one.hull, other.hull[:, :, None, :, :])) < np.radians(4)


def test_the_preset_of_people_lies_within_the_clinical_one():
    people, clinical = limits.load("people"), limits.load("clinical")
    for name in INTERVALS:
        ours, theirs = np.asarray(getattr(people, name)), np.asarray(getattr(clinical, name))
        assert np.all(ours[..., 0] >= theirs[..., 0])
        assert np.all(ours[..., 1] <= theirs[..., 1])
    assert np.max(distance(people.hull, clinical.hull[:, :, None, :, :])) < np.radians(2.0)


def test_no_pose_gives_the_prior_and_many_the_fit(adults, clinical):
    assert limits.personalize(clinical, adults[:0], source="nobody") is clinical
    fitted = limits.fit(adults, source="me", angle_margin=5.0, length_margin=0.05, left="keep")
    crowd = np.tile(adults, (50, 1, 1))
    many = limits.personalize(clinical, crowd, source="me", left="keep")
    for name in INTERVALS:
        np.testing.assert_allclose(getattr(many, name), getattr(fitted, name), atol=5e-3)
    apart = comparison.compare(many, fitted)
    assert max(max(row.first_beyond, row.second_beyond) for row in apart) < 1.5


@pytest.mark.parametrize("count", [1, 20])
def test_limits_are_weighted_means_in_every_direction(adults, clinical, count):
    mine = limits.personalize(clinical, adults[:count], source="me", left="keep")
    fitted = limits.fit(adults[:count], source="me", angle_margin=5.0, length_margin=0.05, left="keep")
    share, angle_share = count / (count + 5), count / (count + 100)
    for name in INTERVALS:
        wanted = (1 - share) * np.asarray(getattr(clinical, name)) + share * np.asarray(getattr(fitted, name))
        np.testing.assert_allclose(getattr(mine, name), wanted, atol=1e-5)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    directions = np.stack([np.cos(around), np.sin(around)])

    def reach(of):
        """How far the supports with their margins, a square's, reach in each direction."""
        far = (np.asarray(of.support, np.float64) @ directions).max(axis=2)
        return far + np.radians(of.meta.margin_degrees) * np.abs(directions).sum(axis=0)

    np.testing.assert_allclose(
        reach(mine), (1 - angle_share) * reach(clinical) + angle_share * reach(fitted), atol=1e-4
    )
    # The hull is the outer simplification of this.
    assert (reach(mine) < (np.asarray(mine.hull, np.float64) @ directions).max(axis=2) + 1e-4).all()


def test_personal_limits_are_kept_in_a_file_and_remember_their_weight(adults, clinical, tmp_path):
    mine = limits.personalize(clinical, adults[:20], source="me", left="keep")
    limits.save(mine, tmp_path / "mine.json")
    read = limits.load(tmp_path / "mine.json")
    assert read.meta.count == 20
    assert "weights: 0.800 for bones and palm, 0.167 for angles" in read.meta.screening
    np.testing.assert_allclose(read.hull, mine.hull, atol=1e-6)


def test_literature_presets_are_what_their_command_makes(monkeypatch):
    monkeypatch.setattr(literature, "PEOPLE", 4)
    for name, ranges in literature.SOURCES.items():
        preset = limits.load(name)
        assert any(next(iter(ranges.values())).source in reference for reference in preset.meta.references)
        flexion = np.degrees(np.asarray(preset.hull))[1:, 1, :, 0]
        wanted = ranges["pip_flexion"]
        np.testing.assert_allclose(flexion.min(axis=1), wanted.low - literature.ANGLE_MARGIN, atol=3)
        np.testing.assert_allclose(flexion.max(axis=1), wanted.high + literature.ANGLE_MARGIN, atol=3)
    # Fewer people give tighter limits, except for the margin of the outer simplification of each hull.
    for row in comparison.compare(literature.literature("eaton"), limits.load("eaton")):
        assert row.first_beyond < 3
        assert row.shared_percent > 65
