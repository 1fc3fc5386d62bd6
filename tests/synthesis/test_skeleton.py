"""Rendered hands: bone lengths, ranges of motion, signs of angles, no self-penetration, and clinical poses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmc_jax import anatomy, hand, synthesis
from bmc_jax.synthesis import gestures, skeleton
from bmc_jax.synthesis.rng import RandomStream

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hands():
    """Returns 256 people with a pose each: (shape, pose, skeleton, the hand's capsules, penetration)."""

    def one(key):
        shape_key, pose_key = jax.random.split(key)
        shape = gestures.draw_shape(RandomStream(shape_key), synthesis.DOMAINS["real_like"])
        return shape, *gestures.sample_hand(pose_key, shape)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 256))


def angles_within_ranges(pose, slack=1e-5):
    for name, limits in skeleton.JOINT_RANGES.items():
        degrees = np.rad2deg(getattr(pose, name))
        assert degrees.min() >= limits.low - slack, name
        assert degrees.max() <= limits.high + slack, name


def test_bones_have_the_lengths_of_their_shape(hands):
    shape, _, posed, _, _ = hands
    lengths = np.linalg.norm(anatomy.bones(posed.joints), axis=-1)
    asked = skeleton.BONES * np.asarray(shape.bones) * np.asarray(shape.size)[:, None, None] * 1e-3
    # The first of each finger runs from the wrist, past the carpal bones, to the end of the metacarpal.
    np.testing.assert_allclose(lengths[:, :, 1:], asked[:, :, 1:], rtol=1e-4)
    metacarpals = np.linalg.norm(posed.joints[:, hand.FINGER_JOINTS[1:, 0]] - posed.bases, axis=-1)
    np.testing.assert_allclose(metacarpals, asked[:, 1:, 0], rtol=1e-4)


def test_frames_are_rotations_whose_y_runs_along_the_bone(hands):
    frames = np.asarray(hands[2].frames)
    np.testing.assert_allclose(
        np.swapaxes(frames, -1, -2) @ frames, np.broadcast_to(np.eye(3), frames.shape), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-5)
    bones = np.asarray(anatomy.bones(hands[2].joints))[:, :, 1:]
    directions = bones / np.linalg.norm(bones, axis=-1, keepdims=True)
    np.testing.assert_allclose(frames[:, :, 1:, :, 1], directions, atol=1e-4)


def test_drawn_poses_stay_within_the_joints_ranges(hands):
    angles_within_ranges(hands[1])


def test_angles_beyond_the_range_are_clamped_to_its_end():
    for sign in (-1.0, 1.0):
        fields = {
            f.name: jnp.full(4 if f.name[:3] in ("mcp", "pip", "dip") else (), sign * 9)
            for f in dataclasses.fields(skeleton.Pose)
        }
        angles_within_ranges(skeleton.clamp_pose(skeleton.Pose(**fields)))


def test_flexion_reduces_abduction():
    def spread(flexion):
        angles = {
            f.name: jnp.zeros(4 if f.name[:3] in ("mcp", "pip", "dip") else ())
            for f in dataclasses.fields(skeleton.Pose)
        }
        angles.update(mcp_abduction=jnp.full(4, 1.0), mcp_flexion=jnp.full(4, np.deg2rad(flexion)))
        return np.rad2deg(skeleton.clamp_pose(skeleton.Pose(**angles)).mcp_abduction)

    np.testing.assert_allclose(spread(0.0), 20, rtol=1e-5)
    np.testing.assert_allclose(spread(90.0), 3, rtol=1e-4)


def test_flexion_is_positive_towards_the_palm():
    """Signs are those of `anatomy`, in which limits are stated."""
    straight = {
        f.name: jnp.zeros(4 if f.name[:3] in ("mcp", "pip", "dip") else ()) for f in dataclasses.fields(skeleton.Pose)
    }
    shape = skeleton.Shape(
        jnp.ones(()), jnp.ones((5, 4)), jnp.ones(()), jnp.ones(()), jnp.zeros(4), jnp.zeros(4), jnp.zeros(3)
    )
    bent = skeleton.Pose(**straight | {"pip_flexion": jnp.full(4, 1.0), "dip_flexion": jnp.full(4, 0.5)})
    angles = jax.jit(lambda pose: anatomy.joint_angles(skeleton.forward(pose, shape).joints))(bent)
    # The fingers' flexion planes converge, by which they differ a little from those of the palm's frames.
    np.testing.assert_allclose(angles[1:, 1, 0], 1.0, atol=0.01)
    np.testing.assert_allclose(angles[1:, 2, 0], 0.5, atol=0.01)


def test_hands_do_not_penetrate_themselves(hands):
    assert np.mean(hands[4] < gestures.ALLOWED_OVERLAP) > 0.98
    assert np.max(hands[4]) < 0.01


def test_segment_distance_agrees_with_a_search():
    ends = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)
    ends[3, 0] = ends[2, 0] + (ends[1, 0] - ends[0, 0])  # parallel
    distance, here, there = gestures.segment_distance(*jnp.asarray(ends))
    steps = np.linspace(0, 1, 201)[:, None, None]
    first, second = (start + steps * (end - start) for start, end in (ends[:2], ends[2:]))
    searched = np.linalg.norm(first[:, None] - second[None], axis=-1).min(axis=(0, 1))
    np.testing.assert_allclose(distance, searched, atol=0.02)
    assert np.all((here >= 0) & (here <= 1) & (there >= 0) & (there <= 1))


def test_clinical_poses_reach_the_corners_of_the_ranges():
    poses = synthesis.skeleton.clinical_poses(2000, 0)
    assert poses.shape == (2000, 21, 3)
    assert poses.dtype == np.float32
    bones = np.asarray(anatomy.bones(jnp.asarray(poses)))[:, 1:, 1:]
    before, after = bones[:, :, :-1], bones[:, :, 1:]
    bends = np.rad2deg(np.arctan2(np.linalg.norm(np.cross(before, after), axis=-1), np.sum(before * after, axis=-1)))
    high = [skeleton.JOINT_RANGES[name].high for name in ("pip_flexion", "dip_flexion")]
    np.testing.assert_allclose(bends.max(axis=(0, 1)), high, atol=0.1)
    flexion = np.rad2deg(jax.jit(anatomy.joint_angles)(poses))[:, 1:, 1:, 0]
    low = [skeleton.JOINT_RANGES[name].low for name in ("pip_flexion", "dip_flexion")]
    np.testing.assert_allclose(flexion.min(axis=(0, 1)), low, atol=1)
    # Independent, unlike the coupled joints of a gesture: a straight PIP meets a fully bent DIP.
    assert np.any((bends[..., 0] < 5) & (bends[..., 1] > 75))
    lengths = np.linalg.norm(anatomy.bones(jnp.asarray(poses)), axis=-1)[:, :, 1:]
    off = np.abs(lengths / 1e-3 - skeleton.BONES[:, 1:]) / skeleton.BONE_DEVIATIONS[:, 1:]
    assert 1.99 < off.max() < 2.01
    np.testing.assert_array_equal(poses[:10], synthesis.skeleton.clinical_poses(2000, 0)[:10])


def test_clinical_poses_refuse_a_count_of_zero():
    with pytest.raises(ValueError, match="got 0"):
        synthesis.skeleton.clinical_poses(0, 0)
