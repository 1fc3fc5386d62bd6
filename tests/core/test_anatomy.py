"""Bones, palm and angles against the loop transcription of Eq. 1-6, and against hands whose angles are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import hands, reference

from bmc_jax import anatomy


def synthetic():
    """Half in the range of motion, half over the whole sphere of directions."""
    natural, _ = hands.sampled(500)
    anywhere, _ = hands.sampled(500, (-np.pi, np.pi), (-1.4, 1.4))
    return np.concatenate([natural, anywhere])


@pytest.fixture(scope="module", params=[hands.real, synthetic], ids=["real", "synthetic"])
def poses(request):
    """Hands in scale units, of values that float32 holds, and what Eq. 1-6 say of them."""
    joints = hands.in_scale_units(request.param()).astype(np.float32).astype(np.float64)
    measured = [reference.frames_and_angles(pose) for pose in joints]
    return joints, {
        "lengths": np.stack([reference.bone_lengths(pose) for pose in joints]),
        "edge normals": np.stack([[reference.edge_normal(pose, i) for i in range(1, 6)] for pose in joints]),
        "curvature": np.stack([reference.palm_curvature(pose) for pose in joints]),
        "curvature by length": np.stack([reference.palm_curvature(pose, power=1) for pose in joints]),
        "spread": np.stack([reference.palm_spread(pose) for pose in joints]),
        "frames": np.stack([frames for frames, _ in measured]),
        "angles": np.stack([angles for _, angles in measured]),
    }


@jax.jit
def measure(joints):
    return {
        "lengths": anatomy.bone_lengths(joints),
        "edge normals": anatomy.edge_normals(joints),
        "curvature": anatomy.palm_curvature(joints),
        "curvature by length": anatomy.palm_curvature(joints, squared=False),
        "spread": anatomy.palm_spread(joints),
        "frames": anatomy.bone_frames(joints),
        "angles": anatomy.joint_angles(joints),
    }


def differences(measured, expected):
    found = {name: np.abs(np.asarray(measured[name], np.float64) - expected[name]) for name in expected}
    flexion = found["angles"][..., 0]
    found["angles"][..., 0] = np.minimum(flexion, 2 * np.pi - flexion)
    return {name: value.max() for name, value in found.items()}


def test_every_quantity_agrees_with_the_equations_in_float64(poses):
    joints, expected = poses
    with jax.enable_x64(True):
        found = differences(measure(jnp.asarray(joints)), expected)
    assert max(found.values()) < 1e-9, found


def test_every_quantity_agrees_with_the_equations_in_float32(poses):
    joints, expected = poses
    found = differences(measure(jnp.asarray(joints, jnp.float32)), expected)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("flexion", [(-0.6, 1.9), (-np.pi, np.pi)], ids=["natural", "all round"])
def test_forward_kinematics_of_sampled_angles_returns_the_angles(flexion):
    joints, angles = hands.sampled(500, flexion, (-1.4, 1.4))
    with jax.enable_x64(True):
        found = jax.jit(anatomy.joint_angles)(jnp.asarray(joints))
        np.testing.assert_allclose(found, angles, atol=1e-9)


def open_hand():
    """A flat right hand, palm to the camera, fingers up: x right, y down, z forward. The thumb is at the right."""
    joints = np.zeros((21, 3))
    for finger, across in enumerate([0.9, 0.25, 0.0, -0.2, -0.45]):
        direction = np.array([np.sin(across), -np.cos(across), 0.0])
        for level, reach in enumerate([2.5, 3.5, 4.2, 4.8]):
            joints[1 + 4 * finger + level] = reach * direction
    return joints


def measured(quantity, joints):
    return np.asarray(jax.jit(quantity)(jnp.asarray(joints, jnp.float32)))


@pytest.mark.slow
def test_open_hand_is_flat_and_straight():
    assert np.abs(measured(anatomy.palm_curvature, open_hand())).max() < 1e-6
    assert np.abs(measured(anatomy.joint_angles, open_hand())).max() < 1e-3
    np.testing.assert_allclose(measured(anatomy.palm_spread, open_hand()), [0.65, 0.25, 0.2, 0.25], atol=1e-5)
    np.testing.assert_allclose(measured(anatomy.bone_lengths, open_hand()), [[2.5, 1, 0.7, 0.6]] * 5, atol=1e-5)
    assert measured(anatomy.scale, open_hand()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("finger", range(5))
def test_bending_towards_the_palm_is_positive_flexion(finger):
    """The palm looks at the camera, along -z."""
    joints = open_hand()
    joints[4 + 4 * finger] += [0, 0, -0.3]
    flexion, abduction = measured(anatomy.joint_angles, joints)[finger, 2]
    assert flexion == pytest.approx(np.arctan(0.3 / 0.6), abs=1e-4)
    assert abduction == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("finger", range(1, 5))
def test_leaning_to_the_thumb_is_positive_abduction(finger):
    """The thumb is at the right, along x."""
    joints = open_hand()
    across, up = joints[4 + 4 * finger, :2] - joints[3 + 4 * finger, :2]
    joints[4 + 4 * finger] += 0.5 * np.array([-up, across, 0.0])
    assert joints[4 + 4 * finger, 0] > open_hand()[4 + 4 * finger, 0]
    flexion, abduction = measured(anatomy.joint_angles, joints)[finger, 2]
    assert abduction == pytest.approx(np.arctan(0.5), abs=1e-4)
    assert flexion == pytest.approx(0, abs=1e-4)


def test_cupped_palm_has_positive_curvature_and_a_bent_back_one_negative():
    cupped, bent_back = open_hand(), open_hand()
    for joints, depth in ((cupped, -0.5), (bent_back, 0.5)):
        joints[1:5, 2] += depth
        joints[17:21, 2] += depth
    assert (measured(anatomy.palm_curvature, cupped)[[0, 3]] > 0).all()
    assert (measured(anatomy.palm_curvature, bent_back)[[0, 3]] < 0).all()


def test_moving_the_thumb_does_not_turn_the_index_frame():
    """Eq. 4 stands the index on the plane to the middle finger alone."""
    joints = np.array(hands.sampled(1)[0][0])
    before = measured(anatomy.bone_frames, joints)
    joints[1:5] += [0.3, -0.4, 0.5]
    np.testing.assert_array_equal(measured(anatomy.bone_frames, joints)[1], before[1])


@pytest.mark.slow
def test_frames_are_orthonormal_and_carry_their_bone_to_its_angles():
    joints = jnp.asarray(hands.sampled(200)[0], jnp.float32)
    found = measure(joints)
    frames, angles, bones = found["frames"], found["angles"], anatomy.bones(joints)
    identity = jnp.broadcast_to(jnp.eye(3), frames.shape)
    np.testing.assert_allclose(jnp.einsum("...ij,...kj->...ik", frames, frames), identity, atol=2e-6)
    np.testing.assert_allclose(jnp.linalg.det(frames), jnp.ones(frames.shape[:-2]), atol=2e-6)
    flexion, abduction = angles[..., 0], angles[..., 1]
    local = jnp.stack(
        [jnp.cos(abduction) * jnp.sin(flexion), jnp.sin(abduction), jnp.cos(abduction) * jnp.cos(flexion)], axis=-1
    )
    direction = bones[..., 1:, :] / jnp.linalg.norm(bones[..., 1:, :], axis=-1, keepdims=True)
    np.testing.assert_allclose(jnp.einsum("...ij,...i->...j", frames, local), direction, atol=5e-6)


@pytest.mark.slow
def test_detached_frames_leave_a_bone_alone_with_its_angle():
    joints = jnp.asarray(hands.sampled(1)[0][0], jnp.float32)
    for detach, moved in ((True, [7, 8]), (False, [0, 5, 6, 7, 8, 9])):

        @jax.jit
        @jax.value_and_grad
        def index_tip(pose, detach=detach):
            return anatomy.joint_angles(pose, detach_frames=detach)[1, 2].sum()

        value, gradient = index_tip(joints)
        assert value == pytest.approx(float(measured(anatomy.joint_angles, joints)[1, 2].sum()), abs=1e-6)
        assert np.flatnonzero(np.abs(gradient).max(axis=-1) > 0).tolist() == moved


def test_bone_of_no_length_is_straight_and_hands_its_frame_on():
    joints = np.array(hands.sampled(1)[0][0])
    joints[7:9] -= joints[7] - joints[6]
    angles, frames = measured(anatomy.joint_angles, joints), measured(anatomy.bone_frames, joints)
    np.testing.assert_array_equal(angles[1, 1], 0)
    np.testing.assert_allclose(frames[1, 2], frames[1, 1], atol=1e-6)
    assert np.isfinite(angles).all()


@pytest.mark.slow
def test_curvature_can_be_divided_by_the_length_alone():
    joints = jnp.asarray(hands.sampled(3)[0], jnp.float32)
    larger = anatomy.palm_curvature(joints * 10, squared=False)
    np.testing.assert_allclose(larger, anatomy.palm_curvature(joints, squared=False), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(anatomy.palm_curvature(joints * 10) * 10, anatomy.palm_curvature(joints), rtol=1e-4)


def test_a_pose_of_another_shape_is_refused():
    with pytest.raises(TypeError):
        anatomy.joint_angles(jnp.zeros((20, 3)))


def test_angles_of_float64_arrays_are_float32_without_a_warning(without_shape_checks):
    joints = hands.sampled(2)[0].astype(np.float64)
    found = anatomy.joint_angles(joints)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, anatomy.joint_angles(joints.astype(np.float32)))
