"""What must not change losses or angles: a hand's place, turn, size and side, and the way they are computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hands, reference

from bmc_jax import anatomy, losses

COUNT = 50
everywhere = functools.partial(settings, max_examples=25, deadline=None, derandomize=True)
poses = st.integers(0, COUNT - 1).map(lambda i: hands.in_scale_units(hands.sampled()[0])[i])
turns = st.builds(
    lambda seed, angle: reference.rotation_about(reference.norm(np.random.default_rng(seed).normal(size=3)), angle),
    st.integers(0, 2**32 - 1),
    st.floats(-np.pi, np.pi),
)
shifts = st.tuples(*[st.floats(-20, 20)] * 3).map(np.array)


@jax.jit
def quantities(joints):
    return {
        "bone_lengths": anatomy.bone_lengths(joints),
        "palm_curvature": anatomy.palm_curvature(joints),
        "palm_spread": anatomy.palm_spread(joints),
        "joint_angles": anatomy.joint_angles(joints),
    }


def measured(joints):
    return quantities(jnp.asarray(joints, jnp.float32))


def assert_same(found, expected, atol):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=atol, rtol=1e-5, err_msg=name)


@everywhere()
@given(poses, turns)
def test_turning_a_hand_changes_nothing(pose, turn):
    assert_same(measured(pose @ turn.T), measured(pose), atol=1e-5)


@everywhere()
@given(poses, shifts)
def test_moving_a_hand_changes_nothing(pose, shift):
    """But for rounding: joints 20 units away carry 2e-6 of a unit of it."""
    assert_same(measured(pose + shift), measured(pose), atol=2e-4)


@everywhere()
@given(poses, st.floats(1e-5, 1e4))
def test_angles_do_not_know_the_unit_of_length(pose, factor):
    found, expected = measured(pose * factor), measured(pose)
    expected["bone_lengths"] = expected["bone_lengths"] * factor
    expected["palm_curvature"] = expected["palm_curvature"] / factor
    np.testing.assert_allclose(found["bone_lengths"], expected.pop("bone_lengths"), rtol=1e-5)
    largest = float(np.abs(expected["palm_curvature"]).max())
    np.testing.assert_allclose(found["palm_curvature"], expected.pop("palm_curvature"), rtol=1e-4, atol=1e-5 * largest)
    assert_same(found, expected, atol=1e-5)


@everywhere()
@given(poses, turns, shifts)
def test_left_hand_mirrored_at_any_plane_equals_the_right_one(pose, turn, shift):
    """A left hand is a mirrored right one; x -> -x mirrors it back whatever the plane of the mirror was."""
    normal = turn[0]
    left = pose - 2 * (pose @ normal)[:, None] * normal + shift
    assert_same(measured(left * [-1, 1, 1]), measured(pose), atol=2e-4)


@everywhere()
@given(poses)
def test_mirroring_turns_flexion_and_curvature_about(pose):
    """Why left hands must be mirrored first: unmirrored, they bend the wrong way."""
    right, left = measured(pose), measured(pose * [-1, 1, 1])
    np.testing.assert_allclose(left["palm_curvature"], -right["palm_curvature"], atol=1e-5)
    np.testing.assert_allclose(left["joint_angles"][..., 0], -right["joint_angles"][..., 0], atol=1e-5)
    np.testing.assert_allclose(left["joint_angles"][..., 1], right["joint_angles"][..., 1], atol=1e-5)


@everywhere()
@given(poses, turns)
def test_turning_a_hand_changes_no_loss_and_turns_its_gradient(pose, turn):
    # The scale bone's interval is the point 1, where its loss has a kink.
    pose = pose * 1.03
    value, gradient = compiled_loss(jnp.asarray(pose, jnp.float32), hands.narrow_limits())
    turned, turned_gradient = compiled_loss(jnp.asarray(pose @ turn.T, jnp.float32), hands.narrow_limits())
    np.testing.assert_allclose(turned, value, atol=1e-5)
    np.testing.assert_allclose(turned_gradient, np.asarray(gradient) @ turn.T, atol=1e-3)
    # Moving the whole hand costs nothing.
    np.testing.assert_allclose(np.sum(gradient, axis=0), 0, atol=1e-5)


def loss(joints, limits):
    return losses.biomechanical(joints, limits, losses.LossWeights(bone_length=1.0, palm=1.0, joint_angle=1.0))


compiled_loss = jax.jit(jax.value_and_grad(loss))


@pytest.mark.slow
def test_jit_eager_vmap_and_any_batch_shape_agree():
    limits = hands.narrow_limits()
    joints = jnp.asarray(hands.in_scale_units(hands.sampled()[0])[:12], jnp.float32)
    eager = loss(joints, limits)
    ways = {
        "jit": jax.jit(loss)(joints, limits),
        "vmap": jax.vmap(loss, in_axes=(0, None))(joints, limits),
        "jit of vmap": jax.jit(jax.vmap(loss, in_axes=(0, None)))(joints, limits),
        "two batch axes": jax.jit(loss)(joints.reshape(3, 4, 21, 3), limits).reshape(12),
        "one by one": jnp.stack([compiled_loss(pose, limits)[0] for pose in joints]),
    }
    assert eager.shape == (12,)
    for name, found in ways.items():
        np.testing.assert_allclose(found, eager, atol=1e-6, err_msg=name)
