"""Limits: fitted, merged, widened, personal, in files, held against poses; and every input that must be refused."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import paths

from bmc_jax import anatomy, hull, limits, losses, numerics
from bmc_jax.core import validation
from bmc_jax.limits.presets import clinical
from bmc_jax.synthesis import skeleton

RHD = paths.SHARED / "rhd_eval_joints.npy"
FREIHAND = paths.SHARED / "freihand_mini/training_xyz.json"
distance = jax.jit(hull.distance)
MIRROR = np.array([-1, 1, 1], np.float32)
INTERVALS = ("bone_length", "curvature", "spread")


@pytest.fixture(scope="module")
def poses():
    """Hands all over their range, somewhere before a camera."""
    hands = skeleton.clinical_poses(600, seed=3)
    return hands + np.random.default_rng(0).uniform([-0.2, -0.2, 0.3], [0.2, 0.2, 1.0], (600, 1, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(poses):
    return limits.fit(poses, source="test")


@pytest.fixture(scope="module")
def rhd():
    if not RHD.is_file():
        pytest.skip("no real poses beside the checkout")
    return np.load(RHD)


@jax.jit
def biomechanical(joints, hand_limits):
    return losses.constraints(joints, hand_limits)


def loss_of(poses, hand_limits):
    """The losses' own way from metres: each hand over its scale, in float32."""
    scale = np.linalg.norm(poses[:, 10] - poses[:, 9], axis=-1)
    terms = biomechanical(jnp.asarray(poses / scale[:, None, None], jnp.float32), hand_limits)
    return {name: np.asarray(value) for name, value in terms.items()}


def same(first, second):
    for name in (*INTERVALS, "hull", "support"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-6)


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
    settings = {name: value for name, value in os.environ.items() if name != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
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
    overextended[7:9] = pose[6] + rotate(pose[7:9] - pose[6], axis, -2.0)
    twisted = pose.copy()
    twisted[6:9] = pose[5] + rotate(pose[6:9] - pose[5], pose[5], 1.5)
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


def rotate(vectors, axis, angle):
    """Rodrigues."""
    axis = axis / np.linalg.norm(axis)
    cosine, sine = np.cos(angle), np.sin(angle)
    return vectors * cosine + np.cross(axis, vectors) * sine + np.outer(vectors @ axis, axis).squeeze() * (1 - cosine)


def test_merging_fits_equals_fitting_the_union(poses):
    together = limits.fit(poses, source="test", left="keep")
    parts = [limits.fit(part, source="test", left="keep") for part in np.array_split(poses, 3)]
    merged = limits.merge(limits.merge(parts[0], parts[1]), parts[2])
    same(merged, together)
    assert merged.meta.count == together.meta.count == 600
    assert merged.meta.source == "test"
    for value in loss_of(poses, merged).values():
        assert not np.any(value)


def test_streaming_chunks_equals_fitting_them_together(poses):
    together = limits.fit(poses, source="test")
    for size in (100, 599):
        streamed = limits.fit((poses[start : start + size] for start in range(0, 600, size)), source="test")
        same(streamed, together)
        assert streamed.meta == together.meta


def test_widening_equals_fitting_with_margins(poses, fitted):
    once = limits.fit(poses, source="test", angle_margin=7.0, length_margin=0.2)
    twice = limits.widen(limits.widen(fitted, degrees=3.0, fraction=0.1), degrees=4.0, fraction=1.2 / 1.1 - 1)
    same(once, twice)
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


def test_limits_go_through_a_file_unchanged(fitted, tmp_path):
    file = tmp_path / "folder" / "limits.json"
    for written in (fitted, limits.widen(fitted, degrees=5.0, fraction=0.1)):
        limits.save(written, file)
        read = limits.load(file)
        assert read.meta == written.meta
        for name in (*INTERVALS, "hull", "support"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert [path.name for path in file.parent.iterdir()] == ["limits.json"]
    assert '"DIP": [' in file.read_text()


def test_a_failed_save_leaves_the_old_file(fitted, tmp_path, monkeypatch):
    file = tmp_path / "limits.json"
    limits.save(fitted, file)
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        limits.save(limits.widen(fitted, degrees=1.0), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_clockwise_hull_in_a_file_is_turned_around(fitted, tmp_path):
    file = tmp_path / "limits.json"
    limits.save(fitted, file)
    content = json.loads(file.read_text())
    content["hull"]["index"]["PIP"].reverse()
    file.write_text(json.dumps(content))
    read = limits.load(file)
    angles = jnp.asarray(np.random.default_rng(0).uniform(-1.5, 1.5, (50, 5, 3, 2)), jnp.float32)
    np.testing.assert_allclose(distance(angles, read.hull), distance(angles, fitted.hull), atol=1e-6)


def edit(path, value):
    """A change to a file's content at a path of keys; DELETE removes."""

    def change(content):
        node = content
        for key in path[:-1]:
            node = node[key]
        if value is DELETE:
            del node[path[-1]]
        else:
            node[path[-1]] = value

    return change


DELETE = object()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(["metadata", "version"], "0"), r"metadata.version is '0', and here it is '1': fit them again"),
        (edit(["metadata", "unit"], "millimetre"), r"metadata.unit is 'millimetre'.*divide lengths"),
        (edit(["metadata", "scale_bone"], [0, 9]), r"metadata.scale_bone is \(0, 9\)"),
        (edit(["metadata", "root"], 9), r"metadata.root is 9"),
        (edit(["metadata", "joint_order"], "rhd"), r"metadata.joint_order is 'rhd'.*reorder the joints"),
        (edit(["metadata", "hand"], "left"), r"metadata.hand is 'left'.*mirror the poses"),
        (edit(["metadata", "convention"], "flexion>0 dorsal"), r"metadata.convention is 'flexion>0 dorsal'"),
        (edit(["metadata", "count"], "many"), r"metadata.count is 'many'"),
        (edit(["metadata", "margin_degrees"], float("nan")), r"metadata.margin_degrees is nan"),
        (edit(["metadata", "outer"], 1), r"metadata.outer is 1"),
        (edit(["metadata", "percentiles"], [100.0, 0.0]), r"metadata.percentiles are \[100.0, 0.0\]"),
        (edit(["metadata", "source"], DELETE), r"'metadata.source' is missing"),
        (edit(["metadata", "colour"], "red"), r"no meaning here: colour"),
        (edit(["metadata"], []), r"'metadata' is missing or not an object"),
        (edit(["format"], "limits of speed"), r"not a limits file: format is 'limits of speed'"),
        (edit(["hull"], DELETE), r"'hull' is missing"),
        (edit(["hull", "ring"], DELETE), r"'hull' lacks ring"),
        (edit(["hull", "ring", "TIP"], DELETE), r"'hull.ring' lacks TIP"),
        (edit(["hull", "ring", "TIP", 3], [0.1, float("nan")]), r"'hull.ring.TIP' holds nan"),
        (edit(["hull", "ring", "TIP", 3], [0.1]), r"'hull.ring.TIP' is .*not numbers"),
        (edit(["hull", "ring", "TIP", 3], DELETE), r"polygons of 15 and of 16 vertices"),
        (edit(["hull", "ring", "TIP", 3], [-1.9, -1.2]), r"hull of ring TIP: not convex"),
        (edit(["hull", "ring", "TIP", 3], [80.0, 5.0]), r"hull of ring TIP: vertex 3 .*wanted in radians"),
        (edit(["bone_length", "index", "DIP"], [0.9, 0.4]), r"bone_length index DIP is \[0.9, 0.4\]: its lower end"),
        (edit(["bone_length", "index", "DIP"], [-0.9, 0.4]), r"bone_length index DIP .*no length is negative"),
        (edit(["bone_length", "index", "DIP"], "long"), r"'bone_length.index.DIP' is long, not numbers"),
        (edit(["spread", "ring-little"], [0.4, 0.1]), r"spread ring-little is \[0.4, 0.1\]: its lower end"),
        (edit(["curvature", "ring-little"], [0.4]), r"'curvature.ring-little' has the shape \[1\]"),
        (edit(["support", "thumb", "PIP"], 7), r"'support.thumb.PIP' has the shape \[\]"),
    ],
)
def test_a_bad_limits_file_is_refused_by_name(fitted, tmp_path, change, message):
    file = tmp_path / "bad.json"
    limits.save(fitted, file)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        limits.load(file)
    assert "bad.json" in str(caught.value)


def test_corrupted_and_missing_files_are_refused(fitted, tmp_path):
    file = tmp_path / "bad.json"
    limits.save(fitted, file)
    text = file.read_text()
    for corrupted in (text[: len(text) // 2], "", "\x00\x01"):
        file.write_text(corrupted)
        with pytest.raises(ValueError, match="not valid JSON"):
            limits.load(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="not valid JSON"):
        limits.load(file)
    file.write_text("[1, 2]")
    with pytest.raises(ValueError, match="not a limits file"):
        limits.load(file)
    with pytest.raises(FileNotFoundError, match="no preset 'clinicle'; presets: clinical"):
        limits.load("clinicle")


def test_merging_refuses_what_differs(poses, fitted):
    with pytest.raises(ValueError, match=r"differ in percentiles: \(0.0, 100.0\) and \(1.0, 99.0\)"):
        limits.merge(fitted, limits.fit(poses, source="trimmed", percentiles=(1, 99)))
    with pytest.raises(ValueError, match="differ in outer"):
        limits.merge(fitted, limits.fit(poses, source="inner", outer=False))
    left = dataclasses.replace(fitted, meta=dataclasses.replace(fitted.meta, hand="left"))
    with pytest.raises(ValueError, match="differ in hand: right and left"):
        limits.merge(fitted, left)


def spoil(poses, index, value):
    poses = poses.copy()
    poses[index] = value
    return poses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:0], "no poses: the array is empty"),
        (lambda p: [], "no poses to fit limits to"),
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
        (lambda p: p[:1], "thumb PIP bone: its angles in the 1 poses of 'test' lie on a line or in a point"),
        (lambda p: np.repeat(p[:1], 50, axis=0), "thumb PIP bone: .*add poses that differ, or an angle margin"),
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


def test_left_hands_among_right_ones_are_found_and_treated(poses):
    poses = poses[validation.screen(poses).undecided.size :]
    left = np.arange(5, len(poses), 20)
    mixed = poses.copy()
    mixed[left] *= MIRROR
    for treatment, expected in (("drop", np.delete(poses, left, axis=0)), ("mirror", poses), ("keep", mixed)):
        screened = validation.screen(mixed, left=treatment)
        np.testing.assert_array_equal(screened.left, left)
        np.testing.assert_array_equal(screened.poses, expected)
        assert f"{len(left)} left hands ({100 * len(left) / len(poses):.1f} %)" in screened.report()
    same(limits.fit(mixed, source="test", left="mirror"), limits.fit(poses, source="test"))
    dropped = limits.fit(mixed, source="test", left="drop")
    assert dropped.meta.count == len(poses) - len(left)
    assert "30 left hands (5.0 %), left out" in dropped.meta.screening


def test_sides_change_sign_in_a_mirror(poses):
    for side in (validation.thumb_side, validation.finger_side):
        np.testing.assert_allclose(side(poses * MIRROR), -side(poses), atol=1e-6)
    assert np.all(np.abs(validation.thumb_side(poses)) <= 1)


def test_a_thumb_in_the_palms_plane_is_counted_as_undecided(poses):
    flat = poses[:4].copy()
    flat[..., 2] = 0.5
    palm = np.linalg.norm(flat[:, 9] - flat[:, 0], axis=-1)
    bone = np.linalg.norm(flat[:, 10] - flat[:, 9], axis=-1)
    flat = flat[(palm > 0.02) & (bone > 0.01)]
    screened = validation.screen(flat)
    np.testing.assert_array_equal(screened.undecided, np.arange(len(flat)))
    assert "taken as right" in screened.report()


def test_real_right_hands_that_bend_back_are_no_left_hands(rhd):
    screened = validation.screen(rhd)
    assert len(screened.left) == len(screened.undecided) == 0
    assert len(screened.bent_back) == 119
    assert "119 (4.4 %) left-hand-like in their fingers" in limits.fit(rhd, source="rhd").meta.screening
    # Their palms are those of other poses, and curved the same way: a left hand's palm would be curved the other way.
    measured = limits.measure(rhd)
    palm = np.concatenate([measured["curvature"], measured["spread"]], axis=1)
    others = np.delete(palm, screened.bent_back, axis=0)
    for one in palm[screened.bent_back]:
        assert np.abs(others - one).max(axis=1).min() < 0.01
        assert np.abs(one[:4]).max() > 0.3
    mirrored = validation.screen(rhd * MIRROR, left="mirror")
    assert len(mirrored.left) == len(rhd)
    np.testing.assert_array_equal(mirrored.poses, rhd)


def test_photographed_right_hands_are_right():
    if not FREIHAND.is_file():
        pytest.skip("no FreiHAND samples beside the checkout")
    hands = np.asarray(json.loads(FREIHAND.read_text()), np.float32)
    assert len(validation.screen(hands).left) == 0
    assert len(validation.screen(hands * MIRROR, left="keep").left) == len(hands)


def test_sides_stand_five_millimetres_of_noise(rhd):
    noisy = rhd + np.random.default_rng(0).normal(size=rhd.shape) * 0.005
    assert np.mean(validation.thumb_side(noisy) < -validation.UNDECIDED) < 0.001


def test_check_says_which_joint_by_how_much(poses, fitted):
    pose = poses[10].copy()
    start, end = pose[6].copy(), pose[7].copy()
    pose[7:9] += end - start
    found = limits.check(pose, fitted)
    long_bone = next(v for v in found if v.quantity == "bone length" and (v.finger, v.bone) == ("index", "DIP"))
    length = 2000 * np.linalg.norm(end - start)
    scale = 1000 * np.linalg.norm(pose[10] - pose[9])
    assert long_bone.unit == "mm"
    assert long_bone.value[0] == pytest.approx(length, rel=1e-4)
    assert long_bone.limit[0] == pytest.approx(float(scale * fitted.bone_length[1, 2, 1]), rel=1e-4)
    assert long_bone.excess == pytest.approx(long_bone.value[0] - long_bone.limit[0], rel=1e-3)
    assert str(long_bone).startswith("pose 0: index DIP bone: length")


def test_check_gives_angles_in_degrees_and_the_nearest_allowed(poses, fitted):
    axis = np.asarray(jax.jit(anatomy.bone_frames)(jnp.asarray(poses[3])))[2, 1, 1]
    flexion = float(limits.measure(poses[3:4])["angles"][0, 2, 1, 0])
    pose = poses[3].copy()
    # Flexion turns z towards x, about y; the middle PIP joint ends 60 degrees bent backwards.
    pose[11:13] = pose[10] + rotate(pose[11:13] - pose[10], axis, np.radians(-60) - flexion)
    found = [v for v in limits.check(np.stack([poses[3], pose]), fitted) if v.quantity == "joint angle"]
    (bent,) = [v for v in found if (v.finger, v.bone) == ("middle", "DIP")]
    assert bent.pose == 1
    assert bent.unit == "degrees"
    assert bent.value[0] == pytest.approx(-60, abs=3)
    assert bent.excess == pytest.approx(np.hypot(*np.subtract(bent.value, bent.limit)), rel=1e-3)
    edge = distance(jnp.asarray(np.radians(bent.limit), jnp.float32), fitted.hull[2, 1])
    assert edge < 1e-4
    assert "middle PIP joint: flexion, abduction" in str(bent)
    text = limits.violations_table(found, 2)
    assert "1 of 2 poses violate limits" in text
    assert str(bent) in text


def test_check_reports_the_palm(poses, fitted):
    pose = poses[0].copy()
    pose[5:9], pose[9:13] = poses[0, 9:13], poses[0, 5:9]
    quantities = {violation.quantity for violation in limits.check(pose, fitted)}
    assert {"palm curvature", "palm spread"} & quantities
    assert limits.violations_table([], 5) == "all 5 poses are within the limits"
    with pytest.raises(ValueError, match="divide millimetres by 1000"):
        limits.check(1000 * pose, fitted)


def test_limits_are_described_in_words(fitted):
    text = limits.describe(fitted)
    for word in ("limits of test: 600 poses", "left hands", "index-middle", "thumb", "spread, degrees"):
        assert word in text


def test_the_clinical_preset_is_what_its_command_makes():
    preset, remade = limits.load("clinical"), clinical.clinical(4000)
    assert remade.meta.references == preset.meta.references
    for name in ("source", "margin_degrees", "margin_fraction", "percentiles", "convention"):
        assert getattr(remade.meta, name) == getattr(preset.meta, name)
    assert preset.meta.count == clinical.COUNT
    # Fewer hands reach less far, but nearly: inside, and close to every end.
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
    # And not everything: a mirrored hand, which bends the other way, is outside.
    mirrored = jnp.asarray(limits.measure(rhd * MIRROR)["angles"])
    assert np.mean((np.asarray(distance(mirrored, preset.hull)) == 0).all(axis=(1, 2))) < 0.1
