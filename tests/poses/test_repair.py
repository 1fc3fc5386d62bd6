"""Repaired poses: within limits, not needlessly far, and untouched where nothing was wrong."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from support import hands, reference

from bmc_jax import anatomy, hand, hull, kinematics, limits, numerics, repair
from bmc_jax.cli import main
from bmc_jax.poses import feasible, smoothing

COUNT = 16
#: Each finger from its tip, there and back.
RHD = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]


@pytest.fixture(scope="module")
def clinical():
    return limits.load("clinical")


@pytest.fixture(scope="module")
def noisy():
    """Adults' hands before a camera with 10 mm of noise; the first is a gap."""
    joints = hands.adults()[:COUNT] + np.random.default_rng(0).normal(0, 0.01, (COUNT, 21, 3))
    joints[0, 3] = np.nan
    return joints.astype(np.float32)


@pytest.fixture(scope="module")
def freely(noisy, clinical):
    return jax.device_get(repair.project_to_limits(jnp.asarray(noisy), clinical))


@pytest.fixture(scope="module")
def on_rays(noisy, clinical):
    return jax.device_get(repair.project_to_limits(jnp.asarray(noisy), clinical, "projection"))


@pytest.fixture(scope="module")
def with_bones(noisy, clinical):
    return jax.device_get(repair.project_to_limits(jnp.asarray(noisy), clinical, "bones"))


def worst(pose, held, lengths=None):
    """The largest excess by the transcribed equations: scale units, their reciprocal, or radians."""
    unit = np.linalg.norm(pose[10] - pose[9])
    pose = np.asarray(pose, np.float64) / unit
    ours = reference.bone_lengths(pose)
    low, high = np.moveaxis(held.bone_length, -1, 0) if lengths is None else (lengths / unit,) * 2
    rows = [np.maximum(low - ours, ours - high)]
    _, angles = reference.frames_and_angles(pose)
    for value, interval in (
        (reference.palm_spread(pose), held.spread),
        (reference.palm_curvature(pose), held.curvature),
    ):
        rows.append(np.maximum(interval[:, 0] - value, value - interval[:, 1]))
    rows.append(
        np.array([[reference.distance_to_polygon(angles[f, b], held.hull[f, b]) for b in range(3)] for f in range(5)])
    )
    return max(row.max() for row in rows)


def test_repaired_poses_are_within_limits_by_the_equations(noisy, freely, clinical):
    held = hands.for_reference(clinical)
    assert max(worst(pose, held) for pose in noisy[1:]) > 0.1
    assert max(worst(pose, held) for pose in freely.joints[1:]) < numerics.LIMIT_TOLERANCE
    assert (freely.excess[1:] < numerics.LIMIT_TOLERANCE).all()
    assert freely.converged[1:].all()


def test_repaired_poses_pass_the_check_that_allows_nothing(freely, clinical):
    assert not limits.check(freely.joints[1:], clinical)


def test_moved_is_how_far_the_joints_went(noisy, freely):
    distance = np.linalg.norm(freely.joints - noisy, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(freely.moved[1:], distance[1:], rtol=1e-3)
    assert (freely.moved[1:] > 0).all()


def test_a_repaired_pose_is_not_changed_again(freely, clinical):
    again = repair.project_to_limits(jnp.asarray(freely.joints), clinical)
    np.testing.assert_array_equal(again.joints, freely.joints)
    assert not np.asarray(again.moved).any()


def test_a_gap_stays_a_gap_and_harms_no_neighbour(noisy, freely):
    np.testing.assert_array_equal(freely.joints[0], noisy[0])
    assert np.isnan(freely.excess[0])
    assert not freely.converged[0]
    assert freely.moved[0] == 0
    assert np.isfinite(freely.joints[1:]).all()


def test_repair_is_nearer_than_clipping(noisy, freely, clinical):
    """Than the posture clipped angle by angle and length by length, put where its joints' mean was."""

    @jax.jit
    @jax.vmap
    def clipped(pose):
        posture, scale = kinematics.angles_from_pose(pose), anatomy.scale(pose)
        posture = feasible.clip(posture._replace(bone_lengths=posture.bone_lengths / scale), clinical)
        made = kinematics.pose_from_angles(posture.bone_lengths * scale, posture.palm, posture.angles)
        made = kinematics.place(made, kinematics.hand_frame(pose), pose[0])
        return made + jnp.mean(pose - made, axis=0, keepdims=True)

    theirs = clipped(noisy[1:])
    held = hands.for_reference(clinical)
    assert max(worst(pose, held) for pose in np.asarray(theirs)) < numerics.LIMIT_TOLERANCE
    ours, theirs = (np.linalg.norm(np.asarray(x) - noisy[1:], axis=(-2, -1)) for x in (freely.joints[1:], theirs))
    assert (ours < theirs).all()
    assert ours.mean() < 0.7 * theirs.mean()


def test_no_feasible_pose_is_much_nearer_than_the_repaired_one(noisy, freely, clinical):
    """By scipy's slow descent in float64 on the squared move and a penalty on what Eq. 1 to 7 find beyond limits."""
    pose = noisy[1:3].astype(np.float64)
    unit = np.linalg.norm(pose[:, 10] - pose[:, 9], axis=-1)
    with jax.enable_x64(True):
        held = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), clinical)

        @jax.jit
        @jax.value_and_grad
        def cost(move, given):
            joints = given + move.reshape(21, 3)
            scale = anatomy.scale(joints)
            rows = [
                (anatomy.bone_lengths(joints), scale * held.bone_length),
                (anatomy.palm_spread(joints), held.spread),
                (anatomy.palm_curvature(joints) * scale, held.curvature),
            ]
            beyond = sum(jnp.sum((x - jnp.clip(x, ends[..., 0], ends[..., 1])) ** 2) for x, ends in rows)
            angles = anatomy.joint_angles(joints)
            return jnp.sum(move**2) + 300 * (beyond + jnp.sum(hull.distance(angles, held.hull) ** 2))

        for number, given in enumerate(pose / unit[:, None, None]):
            ours = freely.joints[1 + number].astype(np.float64) / unit[number] - given
            least = min(
                scipy.optimize.minimize(cost, start, (given,), "L-BFGS-B", True, options={"maxiter": 200}).fun
                for start in (np.zeros(63), ours.ravel())
            )
            # The least with a penalty lies below that of any pose within limits.
            assert np.linalg.norm(ours) < 1.15 * np.sqrt(least)


def test_under_projection_every_joint_stays_on_its_ray_and_none_gets_worse(noisy, on_rays, clinical):
    before, after = (x[1:, :, :2] / x[1:, :, 2:] for x in (noisy, on_rays.joints))
    np.testing.assert_allclose(after, before, atol=1e-6)
    held = hands.for_reference(clinical)
    for given, pose, left in zip(noisy[1:], on_rays.joints[1:], on_rays.excess[1:], strict=True):
        assert worst(pose, held) == pytest.approx(left, rel=1e-2, abs=1e-3)
        assert left <= worst(given, held) + 1e-3


def test_depth_that_is_off_comes_nearer_to_the_truth_under_projection(clinical):
    truth = hands.adults()[:COUNT].astype(np.float32)
    held = limits.fit(hands.adults(), source="these hands")
    noise = np.random.default_rng(1).normal(0, 0.01, (COUNT, 21, 1)).astype(np.float32)
    noisy = truth + noise * truth / truth[..., 2:]
    found = repair.project_to_limits(jnp.asarray(noisy), held, "projection").joints
    before, after = (np.linalg.norm(np.asarray(x) - truth, axis=-1).mean() for x in (noisy, found))
    assert after < 0.7 * before


def test_kept_bones_have_the_lengths_that_they_had(noisy, with_bones, clinical):
    before, after = (np.stack([reference.bone_lengths(x) for x in poses[1:]]) for poses in (noisy, with_bones.joints))
    np.testing.assert_allclose(after, before, rtol=1e-4)
    held = hands.for_reference(clinical)
    for pose, lengths in zip(with_bones.joints[1:], before, strict=True):
        assert worst(pose, held, lengths) < numerics.LIMIT_TOLERANCE


def test_known_bones_are_given_to_the_hand(noisy, clinical):
    lengths = np.stack([reference.bone_lengths(pose) for pose in hands.adults()[:COUNT]]).astype(np.float32)
    found = repair.project_to_limits(jnp.asarray(noisy), clinical, "bones", bone_lengths=jnp.asarray(lengths))
    after = np.stack([reference.bone_lengths(pose) for pose in np.asarray(found.joints)[1:]])
    np.testing.assert_allclose(after, lengths[1:], rtol=1e-4)


@pytest.mark.parametrize("keep", repair.KEEP)
def test_what_are_no_hands_stays_finite(noisy, clinical, keep):
    strange = np.stack([np.zeros((21, 3)), np.ones((21, 3)), np.linspace(0, 1, 63).reshape(21, 3) ** 2])
    strange = np.concatenate([strange, np.random.default_rng(0).normal(0, 1, (COUNT - 3, 21, 3))]).astype(np.float32)
    found = jax.device_get(repair.project_to_limits(jnp.asarray(strange), clinical, keep))
    assert np.isfinite(found.joints).all()
    assert not found.converged[:2].any()


@pytest.mark.parametrize("keep", repair.KEEP)
def test_the_program_is_small_enough_to_be_compiled_in_seconds_whatever_the_number_of_steps(clinical, keep):
    def lines(steps):
        call = jax.jit(lambda joints: repair.project_to_limits(joints, clinical, keep, steps=steps))
        return call.lower(jax.ShapeDtypeStruct((repair.CHUNK, 21, 3), jnp.float32)).as_text().count("\n")

    # Compiling takes about 1.7 ms of CPU time a line, of which each holds an operation.
    assert lines(repair.STEPS) < 11_000
    assert lines(2 * repair.STEPS) == lines(repair.STEPS)


def test_limits_of_any_source_are_used_by_the_program_that_is_there(noisy, freely, caplog):
    with jax.log_compiles():
        repair.project_to_limits(jnp.asarray(noisy), limits.load("people"))
        jax.jit(lambda x: x + 1)(jnp.zeros(7))
    compiled = [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
    assert any("lambda" in message for message in compiled)
    assert not any("_repair_batch" in message for message in compiled)


@pytest.mark.parametrize(("arguments", "words"), [({"keep": "rays"}, "projection"), ({"steps": 0}, "1 or more")])
def test_what_cannot_be_asked_for_is_refused(noisy, clinical, arguments, words):
    with pytest.raises(ValueError, match=words):
        repair.project_to_limits(jnp.asarray(noisy), clinical, **arguments)


@pytest.mark.parametrize("shape", [(0, 21, 3), (21, 3), (4, 20, 3)])
def test_what_are_no_poses_is_refused(clinical, shape):
    with pytest.raises(ValueError, match="21, 3"):
        repair.repair_poses(np.ones(shape, np.float32), clinical)


def test_a_sequence_is_made_smooth_along_its_rays_and_its_gaps_stay(noisy, clinical, monkeypatch):
    monkeypatch.setattr(repair, "CHUNK", COUNT)  # as the fixtures have it: compiled
    found = repair.repair_poses(noisy, clinical, keep="projection", smooth=8)
    np.testing.assert_array_equal(found.joints[0], noisy[0])
    after, before = (x[1:, :, :2] / x[1:, :, 2:] for x in (found.joints, noisy))
    np.testing.assert_allclose(after, before, atol=1e-6)
    distance = smoothing.smooth(np.linalg.norm(noisy, axis=-1), 8)
    rays = noisy / np.linalg.norm(noisy, axis=-1, keepdims=True)
    expected = repair.project_to_limits(jnp.asarray(rays * distance[..., None], jnp.float32), clinical, "projection")
    np.testing.assert_allclose(found.joints, expected.joints, atol=1e-5)
    assert found.moved[0] == 0


def test_repair_verb_writes_poses_as_they_came_and_says_what_it_did(tmp_path, capsys, noisy, freely, monkeypatch):
    monkeypatch.setattr(repair, "CHUNK", COUNT)
    theirs = (noisy * [-1000, 1000, 1000])[
        :, [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
    ]
    np.savez(tmp_path / "poses.npz", joints=theirs)
    out = tmp_path / "out.npy"
    told = ["--limits", "clinical", "--order", "rhd", "--unit", "mm", "--side", "left", "--out", str(out)]
    assert main(["limits", "repair", str(tmp_path / "poses.npz"), *told]) == 0
    said = capsys.readouterr().out
    assert "15 changed, 0 not, 1 gap" in said
    assert "mm on average" in said
    written = np.load(out)
    np.testing.assert_array_equal(written[0], theirs[0])
    back = written[:, RHD] * [-1e-3, 1e-3, 1e-3]
    np.testing.assert_allclose(back[1:], freely.joints[1:], atol=1e-5)


def test_repair_verb_keeps_float32_and_reports_the_joint_that_moves_farthest(tmp_path, capsys, freely, monkeypatch):
    monkeypatch.setattr(repair, "CHUNK", len(freely.joints))  # compiled by now
    poses = 1000 * hands.adults()[:12].astype(np.float32)
    poses[2, 8] += 40
    poses[11] = np.nan
    np.save(tmp_path / "a.npy", poses)
    out = tmp_path / "b.npy"
    assert main(["limits", "repair", str(tmp_path / "a.npy"), "--limits", "clinical", "--out", str(out)]) == 0
    repaired = np.load(out)
    assert repaired.dtype == np.float32
    moves = np.linalg.norm(repaired - poses, axis=-1)[:11]
    pose, joint = np.unravel_index(moves.argmax(), moves.shape)
    printed = re.search(rf"at most ([\d.]+) mm \(([\w ]+) of pose {pose}\)", capsys.readouterr().out)
    assert printed[2] == hand.JOINTS[joint]
    assert float(printed[1]) == pytest.approx(moves.max(), abs=0.06)
    unchanged = [row for row in range(12) if row == 11 or not moves[row].any()]
    assert 1 < len(unchanged) < 12
    np.testing.assert_array_equal(repaired[unchanged], poses[unchanged])


def test_repair_verb_has_limits_of_whole_hands_and_says_what_remains_on_the_rays(tmp_path, capsys, noisy, monkeypatch):
    monkeypatch.setattr(repair, "CHUNK", COUNT)
    np.save(tmp_path / "poses.npy", noisy)
    stated = ["--order", "freihand", "--unit", "m", "--side", "right", "--out", str(tmp_path / "out.npy")]
    assert main(["limits", "repair", str(tmp_path / "poses.npy"), "--keep", "projection", *stated]) == 0
    people = limits.load("people")
    found = jax.device_get(repair.project_to_limits(jnp.asarray(noisy), people, "projection"))
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), found.joints, atol=1e-6)
    outside = np.flatnonzero(~found.converged & np.isfinite(found.excess))
    said = re.search(
        r"(\d+) poses? still beyond .* few hands .* joint angles by ([\d.]+) degrees", capsys.readouterr().out
    )
    assert int(said[1]) == len(outside)
    held, beyond = hands.for_reference(people), []
    for pose in hands.in_scale_units(found.joints[outside].astype(np.float64)):
        _, angles = reference.frames_and_angles(pose)
        beyond += [reference.distance_to_polygon(angles[f, b], held.hull[f, b]) for f, b in np.ndindex(5, 3)]
    median = np.degrees(np.median([angle for angle in beyond if angle > numerics.LIMIT_TOLERANCE]))
    assert float(said[2]) == pytest.approx(median, rel=0.06)


def test_repair_verb_refuses_joints_behind_the_camera_and_other_files(tmp_path, capsys, noisy):
    np.save(tmp_path / "poses.npy", noisy - [0, 0, 2])
    arguments = ["limits", "repair", str(tmp_path / "poses.npy"), "--limits", "clinical"]
    assert main([*arguments, "--order", "freihand", "--unit", "m", "--side", "right", "--keep", "projection"]) == 2
    assert "behind the camera" in capsys.readouterr().err
    assert main([*arguments, "--out", "repaired.json"]) == 2
    assert ".npy" in capsys.readouterr().err
