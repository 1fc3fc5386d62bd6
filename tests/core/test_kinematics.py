"""Forward kinematics against the loops of the reference, inverse kinematics, and the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import hands, reference

from bmc_jax import anatomy, kinematics
from bmc_jax.core.kinematics import Palm, Posture

pose_from_angles = jax.jit(kinematics.pose_from_angles)
angles_from_pose = jax.jit(kinematics.angles_from_pose)


@jax.jit
def there_and_back(bone_lengths, palm, angles):
    return kinematics.angles_from_pose(kinematics.pose_from_angles(bone_lengths, palm, angles))


@jax.jit
def back_and_there(joints):
    local = kinematics.pose_from_angles(*kinematics.angles_from_pose(joints))
    return kinematics.place(local, kinematics.hand_frame(joints), joints[..., 0, :])


def postures(count=4000, abduction=1.2, dtype=np.float32):
    """Half of the flexions all around, a quarter within a thousandth of a right angle."""
    generator = np.random.default_rng(0)
    flexion = generator.uniform(-np.pi + 0.01, np.pi - 0.01, (count, 5, 3))
    right_angle = generator.choice([-1, 1], flexion.shape) * np.pi / 2 + generator.normal(
        scale=1e-3, size=flexion.shape
    )
    flexion = np.where(generator.random(flexion.shape) < 0.25, right_angle, flexion)
    angles = np.stack([flexion, generator.uniform(-abduction, abduction, flexion.shape)], axis=-1)
    lengths = generator.uniform(0.5, 2.5, (count, 5, 4))
    palm = Palm(generator.uniform(0.1, 1.0, (count, 4)), generator.uniform(-1.2, 1.2, (count, 3)))
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), (lengths, palm, angles))


def difference(found, expected):
    return max(
        float(np.abs(np.angle(np.exp(1j * (np.asarray(a, np.float64) - np.asarray(b, np.float64))))).max())
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    )


def test_angles_survive_the_way_to_joints_and_back_in_float32():
    given = postures()
    assert difference(there_and_back(*given), given) < 1e-5


def test_angles_survive_the_way_to_joints_and_back_in_float64():
    with jax.enable_x64(True):
        given = postures(dtype=np.float64)
        assert difference(there_and_back(*given), given) < 1e-9


@pytest.mark.parametrize("poses", [hands.real, lambda: hands.sampled(500, (-3.1, 3.1), (-1.4, 1.4))[0]])
def test_joints_survive_the_way_to_angles_and_back(poses):
    joints = hands.in_scale_units(poses())
    assert np.abs(back_and_there(jnp.asarray(joints, jnp.float32)) - joints).max() < 1e-5
    with jax.enable_x64(True):
        assert np.abs(back_and_there(jnp.asarray(joints)) - joints).max() < 1e-9


def test_joints_are_those_of_the_transcribed_equations():
    """The reference builds a hand from root bones, lengths and angles."""
    with jax.enable_x64(True):
        lengths, palm, angles = postures(20, dtype=np.float64)
        joints = np.asarray(pose_from_angles(lengths, palm, angles))
        for pose, length, spread, angle in zip(joints, lengths, palm.spread, angles, strict=True):
            expected = reference.joints_from_angles(pose[1::4], np.asarray(length[:, 1:]), np.asarray(angle))
            np.testing.assert_allclose(pose, expected, atol=1e-12)
            np.testing.assert_allclose(reference.palm_spread(pose), spread, atol=1e-7)
            np.testing.assert_allclose(reference.bone_lengths(pose), length, atol=1e-12)


def test_hand_frame_is_the_middle_fingers_at_the_wrist():
    joints = pose_from_angles(*postures(50))
    assert np.abs(joints[:, 0]).max() == 0
    np.testing.assert_allclose(
        jax.jit(kinematics.hand_frame)(joints), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-5
    )


def test_curvature_is_linear_in_the_sines_of_half_the_folds():
    with jax.enable_x64(True):
        lengths, palm, angles = postures(200, dtype=np.float64)
        joints = pose_from_angles(lengths, palm, angles)
        half_sines = np.pad(kinematics.half_fold_sines(palm), [(0, 0), (1, 1)])
        here, there = kinematics.curvature_slopes(lengths[..., 0], palm.spread)
        found = here * half_sines[:, :-1] + there * half_sines[:, 1:]
        np.testing.assert_allclose(found, [reference.palm_curvature(np.asarray(pose)) for pose in joints], atol=1e-9)


def test_a_positive_fold_cups_the_palm():
    lengths, palm, angles = postures(20)
    cupped = pose_from_angles(lengths, palm._replace(fold=jnp.full((20, 3), 0.3)), angles)
    assert (np.asarray(jax.jit(anatomy.palm_curvature)(cupped)) > 0).all()


def test_derivatives_there_and_back_undo_each_other():
    """The composition is the identity, and so is its derivative: also for a straight and flat hand."""
    straight = (jnp.ones((5, 4)), Palm(jnp.full(4, 0.2), jnp.zeros(3)), jnp.zeros((5, 3, 2)))
    given = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), postures(20, abduction=0.8), straight)
    cotangent = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), given)
    pull_back = jax.jit(lambda given, cotangent: jax.vjp(there_and_back, *given)[1](Posture(*cotangent)))
    for found, expected in zip(*map(jax.tree.leaves, (pull_back(given, cotangent), cotangent)), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_forward_kinematics_has_the_derivative_of_finite_differences():
    with jax.enable_x64(True):
        check_grads(pose_from_angles, postures(1, dtype=np.float64), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_one_hand_is_as_one_of_many():
    given = postures(3)
    one = pose_from_angles(*jax.tree.map(lambda x: x[1], given))
    np.testing.assert_allclose(one, pose_from_angles(*given)[1], atol=1e-6)


def test_another_shape_is_refused():
    lengths, palm, angles = postures(1)
    with pytest.raises((TypeError, ValueError)):
        kinematics.pose_from_angles(lengths[:, :4], palm, angles)


def test_jacobian_in_closed_form_is_that_of_automatic_differentiation():
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        scale = jnp.asarray(1.3)
        parts = generator.uniform([0.2] * 4, [1.2] * 4, (5, 4)), generator.uniform(0.2, 0.8, 4)
        lengths, spread = (jnp.asarray(part) for part in parts)
        fold, angles = jnp.asarray(generator.normal(0, 1, 3)), jnp.asarray(generator.normal(0, 0.6, (5, 3, 2)))

        def ends(lengths, spread, fold, angles, turn, move, size):
            bones = kinematics.chain(lengths * (scale + size), Palm(spread, fold), angles)
            turned = bones.ends + jnp.cross(jnp.broadcast_to(turn, bones.ends.shape), bones.ends)
            return turned + move[None, None]

        zero = jnp.zeros(3)
        expected = jax.jacfwd(ends, range(7))(lengths, spread, fold, angles, zero, zero, jnp.asarray(0.0))
        bones = kinematics.chain(lengths * scale, Palm(spread, fold), angles)
        own = kinematics.finger_jacobian(bones, scale)
        palm = kinematics.palm_jacobian(bones, Palm(spread, fold), scale)
    for finger in range(5):
        by_length, by_angles = expected[0][finger, :, :, finger], expected[3][finger, :, :, finger]
        found = np.moveaxis(np.asarray(own[finger]), 0, -1)
        np.testing.assert_allclose(found[..., kinematics.LENGTHS], by_length, atol=1e-9)
        np.testing.assert_allclose(found[..., kinematics.FLEXIONS], by_angles[..., 0], atol=1e-9)
        np.testing.assert_allclose(found[..., kinematics.ABDUCTIONS], by_angles[..., 1], atol=1e-9)
        found = np.moveaxis(np.asarray(palm[finger]), 0, -1)
        for columns, slopes in (
            (kinematics.SPREADS, expected[1]),
            (kinematics.FOLDS, expected[2]),
            (kinematics.TURN, expected[4]),
            (kinematics.MOVE, expected[5]),
            (kinematics.SIZE, expected[6][..., None]),
        ):
            np.testing.assert_allclose(found[..., columns], slopes[finger], atol=1e-9)
