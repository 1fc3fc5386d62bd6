"""Gradients of every loss: right against differences in float64, and finite in float32 wherever a hand can degenerate.

Every loss is made of smooth pieces that meet in kinks: ends of intervals, edges of hulls. Second differences across a
kink mean nothing, so the poses of `check_grads` are sampled ones around which no small step in random directions
changes a piece, as told by the discrete choices of an independent numpy version. Derivatives of first order are checked
forward and backward, those of second order forward over backward.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import compiling, hands, reference

from bmc_jax import anatomy, hull, losses
from bmc_jax.core.types import Batch, Prediction

ANGLE_LOSSES = {
    "joint_angle": losses.joint_angle,
    "joint_angle independent": functools.partial(losses.joint_angle, independent=True),
    "joint_angle circle_l1": functools.partial(losses.joint_angle, mode="circle_l1"),
    "joint_angle circle_l1_squared": functools.partial(losses.joint_angle, mode="circle_l1_squared"),
}
# Their weighted sum is derived in that of all terms, the total.
LOSSES = {
    "bone_length": losses.bone_length,
    "palm": losses.palm,
    **ANGLE_LOSSES,
}
STEP = 3e-4


def side_of_interval(value, interval):
    return (value > interval[..., 0]).astype(int) + (value > interval[..., 1])


def nearest_of_hull(angles, polygon):
    """Where a distance to a hull is measured: the nearest edge, or the vertex where two edges tie, and the signs that
    an L1 distance on the circle takes; -1 inside. Angles `[..., 2]`, polygon `[..., V, 2]`."""
    count = polygon.shape[-2]
    turns = [np.array([turn, 0]) for turn in (-2 * np.pi, 0, 2 * np.pi)]
    starts = np.concatenate([polygon + turn for turn in turns], axis=-2)
    ends = np.concatenate([np.roll(polygon, -1, axis=-2) + turn for turn in turns], axis=-2)
    edges, offsets = ends - starts, angles[..., None, :] - starts
    along = np.clip(np.sum(edges * offsets, axis=-1) / np.sum(edges * edges, axis=-1), 0, 1)
    points = starts + along[..., None] * edges
    apart = np.stack([circle(angles[..., None, :]) - circle(points) for circle in (np.cos, np.sin)], axis=-1)
    choices = []
    for distance in (np.linalg.norm(angles[..., None, :] - points, axis=-1), np.abs(apart).sum(axis=(-2, -1))):
        nearest = distance.argmin(axis=-1)
        share = np.take_along_axis(along, nearest[..., None], axis=-1)[..., 0]
        following = nearest // count * count + (nearest + 1) % count
        place = np.where(share == 0, -nearest, np.where(share == 1, -following, 1 + nearest))
        signs = np.sign(np.where(np.abs(apart) < 1e-12, 0, apart))
        signs = np.take_along_axis(signs, nearest[..., None, None, None], axis=-3)[..., 0, :, :]
        choices += [place, signs @ [1, 3] @ [1, 9]]
    cross = edges[..., 0] * offsets[..., 1] - edges[..., 1] * offsets[..., 0]
    inside = (cross.reshape(*cross.shape[:-1], 3, count) > 0).all(axis=-1).any(axis=-1)
    return np.where(inside[..., None], -1, np.stack(choices, axis=-1))


def piece(joints, limits):
    """Every discrete choice that the losses of joints `[N, 21, 3]` rest on, `[N, choices]`."""
    joints = jnp.asarray(joints)
    lengths, angles = anatomy.bone_lengths(joints), np.asarray(anatomy.joint_angles(joints))
    curvature, spread = anatomy.palm_curvature(joints), anatomy.palm_spread(joints)
    choices = [
        side_of_interval(np.asarray(lengths), np.asarray(limits.bone_length)),
        side_of_interval(np.asarray(curvature), np.asarray(limits.curvature)),
        side_of_interval(np.asarray(spread), np.asarray(limits.spread)),
        nearest_of_hull(angles, np.asarray(limits.hull)),
        nearest_of_hull(angles, np.asarray(hull.box(limits.hull))),
    ]
    return np.concatenate([choice.reshape(len(joints), -1) for choice in choices], axis=-1)


@functools.cache
def smooth_poses(count=50, steps=8):
    """Sampled hands that break about half of the limits and that no step in random directions moves over a kink.

    3 % larger than they should be, since the scale bone's interval is a point and one unit long would be its kink.
    """
    with jax.enable_x64(True):
        limits = hands.narrow_limits(np.float64)
        poses = 1.03 * hands.in_scale_units(hands.sampled(1000)[0])
        generator = np.random.default_rng(2)
        smooth = np.ones(len(poses), bool)
        here = piece(poses, limits)
        for _ in range(steps):
            direction = generator.normal(size=poses.shape)
            direction *= STEP / np.linalg.norm(direction, axis=(1, 2), keepdims=True)
            smooth &= (piece(poses + direction, limits) == here).all(axis=-1)
    assert smooth.sum() >= count
    return poses[smooth][:count]


def every_loss(joints, limits):
    """The losses of one pose or more, stacked in the order of `LOSSES` so that they share one compilation."""
    return jnp.stack([loss(joints, limits=limits) for loss in LOSSES.values()], axis=-1)


@pytest.mark.slow
def test_derivatives_of_every_biomechanical_loss():
    poses = smooth_poses()
    with jax.enable_x64(True):
        losses_of = jax.jit(functools.partial(every_loss, limits=hands.narrow_limits(np.float64)))
        assert (np.asarray(losses_of(jnp.asarray(poses))) > 0).all()
        check_grads(losses_of, (jnp.asarray(poses),), order=1, atol=1e-5, rtol=1e-5, eps=1e-5)


@pytest.mark.slow
def test_second_derivatives_of_every_biomechanical_loss_are_differences_of_gradients():
    poses, generator = smooth_poses(), np.random.default_rng(8)
    direction, shares = generator.normal(size=poses.shape), generator.uniform(0.5, 1.5, len(LOSSES))
    with jax.enable_x64(True):
        limits = hands.narrow_limits(np.float64)

        @jax.jit
        def gradient_and_second(joints):
            def weighted(joints):
                return jnp.sum(every_loss(joints, limits) @ shares)

            return jax.jvp(jax.grad(weighted), (joints,), (jnp.asarray(direction),))

        _, second = gradient_and_second(jnp.asarray(poses))
        after, before = (np.asarray(gradient_and_second(jnp.asarray(poses + e * direction))[0]) for e in (1e-5, -1e-5))
    assert (np.abs(second).max(axis=(1, 2)) > 0.01).all()
    np.testing.assert_allclose(second, (after - before) / 2e-5, rtol=1e-4, atol=1e-4)


def labels_and_prediction(count=50):
    """Labels, and predictions that miss each of them by 0.05 to 1 of its unit: no absolute error near its kink."""
    generator = np.random.default_rng(3)

    def miss(*shape):
        return generator.uniform(0.05, 1, shape) * generator.choice([-1, 1], shape)

    joints = hands.sampled(count)[0]
    pixels = generator.uniform(0, 127, (count, 21, 2))
    batch = Batch(
        image=jnp.zeros((count, 8, 128, 3), jnp.uint8),
        intrinsics=jnp.asarray(np.broadcast_to(np.eye(3), (count, 3, 3))),
        joints_2d=jnp.asarray(pixels),
        joints_2d_valid=jnp.asarray(generator.uniform(size=(count, 21)) < 0.8),
        joints_3d=jnp.asarray(joints * 0.03),
        joints_3d_valid=jnp.asarray(generator.uniform(size=(count, 21)) < 0.8),
        scale=jnp.full(count, 0.03),
        source=jnp.zeros(count, int),
        index=jnp.arange(count),
        present=jnp.arange(count) % 5 > 0,
    )
    prediction = Prediction(
        joints_2d=jnp.asarray(pixels + miss(count, 21, 2)),
        relative_depth=jnp.asarray(joints[..., 2] - joints[:, :1, 2] + miss(count, 21)),
        root_depth=jnp.asarray(joints[:, 0, 2]),
        refined_root_depth=jnp.asarray(joints[:, 0, 2] + miss(count)),
        joints_3d=jnp.asarray(smooth_poses(count)),
    )
    return prediction, batch


@pytest.mark.slow
def test_derivatives_of_the_supervised_terms_and_of_the_total():
    with jax.enable_x64(True):
        prediction, batch = labels_and_prediction()

        @jax.jit
        def outputs(*fields):
            prediction = Prediction(*fields)
            value, _ = losses.total(prediction, batch, hands.narrow_limits(np.float64), losses.LossWeights())
            return losses.pose(prediction, batch), value

        fields = jax.tree.leaves(prediction)
        check_grads(outputs, fields, order=1, atol=1e-5, rtol=1e-5, eps=1e-5)


def degenerate_poses():
    """Every way in which a hand can lose a length, a plane or an angle, by name: joints `[21, 3]` in scale units."""
    pose = hands.in_scale_units(hands.sampled(1)[0])[0]
    wrist, mcp, pip, dip, tip = 0, 5, 6, 7, 8

    def changed(joint, position):
        joints = pose.copy()
        joints[joint] = position
        return joints

    straight = pose.copy()
    straight[[pip, dip, tip]] = pose[mcp] * np.array([[1.5], [2.0], [2.25]])
    opposite = straight.copy()
    opposite[[pip, dip, tip]] = pose[mcp] * np.array([[0.5], [1.0], [0.5]])
    sideways = pose.copy()
    sideways[pip] = pose[mcp] + reference.palm_frame(pose, 2)[1]
    on_a_line = pose.copy()
    on_a_line[1::4] = np.arange(1, 6)[:, None] * [0.3, 0.4, 0.0]
    flat = pose * [1, 1, 0]
    axis = np.zeros((21, 3))
    axis[:, 2] = np.arange(21)
    x, _, z = reference.palm_frame(pose, 2)
    return {
        "straight finger": straight,
        "opposite bones": opposite,
        "bone along the abduction axis": sideways,
        "root bone of no length": changed(mcp, pose[wrist]),
        "bone of no length": changed(pip, pose[mcp]),
        "tip bone of no length": changed(tip, pose[dip]),
        "joints that coincide": np.zeros_like(pose),
        "joints that coincide elsewhere": np.full_like(pose, 0.7),
        "two root bones on a line": changed(mcp, 2 * pose[9]),
        "two root bones opposite": changed(mcp, -2 * pose[9]),
        "two root bones equal": changed(mcp, pose[9]),
        "all root bones on a line": on_a_line,
        "flat palm": flat,
        "all joints on a line": axis,
        "flexion of pi": changed(pip, pose[mcp] - z),
        "flexion just above -pi": changed(pip, pose[mcp] - z - 1e-6 * x),
        "flexion just below pi": changed(pip, pose[mcp] - z + 1e-6 * x),
        "hand of 1e-6": pose * 1e-6,
        "hand of 10": pose * 10 / np.abs(pose).max(),
        "hand of 1e-12": pose * 1e-12,
        "hand of 1e6": pose * 1e6,
        "far away": pose + np.array([0, 0, 1e4]),
    }


CHUNK = 2000


def total(joints, limits, read):
    """The sum of the losses, finite only if each one is, and the losses; of joints in scale units, or as `read` from a
    file in any unit."""
    values = every_loss(jnp.where(read, anatomy.normalize(joints)[0], joints), limits)
    return jnp.sum(values), values


eager_gradient = jax.value_and_grad(total, has_aux=True)
# Fifty calls and more of one program pay for its optimization, and users run what is found to be finite.
compiled_gradient = jax.jit(eager_gradient, compiler_options=compiling.AS_USERS_COMPILE)


def losses_and_gradient(joints, limits=None, *, read=False, of=compiled_gradient):
    """The losses `[N, losses]` of poses `[N, 21, 3]`, N at most `CHUNK`, and the gradient of their sum."""
    padded = jnp.asarray(np.resize(joints, (CHUNK, 21, 3)), jnp.float32)
    (_, values), gradient = of(padded, limits or hands.narrow_limits(), read)
    return np.asarray(values)[: len(joints)], np.asarray(gradient)[: len(joints)]


def finite(joints, limits=None):
    """Which of the poses have finite values and gradients."""
    values, gradient = losses_and_gradient(joints, limits)
    return np.isfinite(values).all(axis=-1) & np.isfinite(gradient).all(axis=(-2, -1))


@pytest.mark.parametrize("name", degenerate_poses())
def test_gradients_are_finite_at_a_degenerate_pose(name):
    assert finite(degenerate_poses()[name][None]).all()


def placed(pose):
    """By name, poses next to a degenerate one: functions of the small vector `[3]` between them, in scale units."""
    _, radial, _ = reference.palm_frame(pose, 2)
    places = {
        "PIP on MCP": (6, pose[5]),
        "DIP on PIP": (7, pose[6]),
        "TIP on DIP": (8, pose[7]),
        "MCP on wrist": (5, pose[0]),
        "CMC on wrist": (1, pose[0]),
        "MCP on MCP": (5, pose[9]),
        "root bones on a line": (5, 1.7 * pose[9]),
        "root bones opposite": (5, -1.3 * pose[9]),
        "bone along the abduction axis": (6, pose[5] + radial),
        "no scale": (10, pose[9]),
    }

    def moved(joint, position):
        return lambda vector: np.where(np.arange(21)[:, None] == joint, position + vector, pose)

    return {name: moved(*place) for name, place in places.items()}


DIRECTIONS = np.random.default_rng(6).normal(size=(40, 3))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=-1, keepdims=True)


BOTH = pytest.mark.parametrize("of", [compiled_gradient, eager_gradient], ids=["compiled", "eager"])


@pytest.mark.slow
def test_compiled_and_eager_agree_at_every_degenerate_pose():
    """Whatever a program's fused arithmetic leaves of a length that is zero, of hands half a metre from the camera."""
    poses = [place(distance * DIRECTIONS[0]) for place in placed(smooth_poses()[0]).values() for distance in (0, 1e-9)]
    poses += [pose for name, pose in degenerate_poses().items() if not name.startswith(("hand of", "far away"))]
    poses = (np.stack(poses) + np.array([0.5, -3.0, 18.0])) * 0.028
    values, gradient = losses_and_gradient(poses, read=True)
    expected, expected_gradient = losses_and_gradient(poses, read=True, of=eager_gradient)
    np.testing.assert_allclose(values, expected, atol=1e-3)
    np.testing.assert_allclose(0.028 * gradient, 0.028 * expected_gradient, rtol=0.02, atol=0.02)
    assert np.abs(0.028 * gradient).max() < 100


@BOTH
def test_gradients_next_to_every_degenerate_pose_are_at_most_1e7(of):
    lengths = np.geomspace(1e-6, 1e-2, len(DIRECTIONS))[:, None]
    near = [
        place(vector)
        for pose in smooth_poses()[:3]
        for place in placed(pose).values()
        for vector in lengths * DIRECTIONS
    ]
    for read in (True, False):
        values, gradient = losses_and_gradient(near, read=read, of=of)
        assert np.isfinite(values).all()
        assert np.abs(gradient).max() < 1e7


@BOTH
def test_a_frame_without_a_hand_leaves_a_batch_its_gradients(of):
    poses = np.array(smooth_poses()[:3])
    poses[1] = 0
    values, gradient = losses_and_gradient(poses, read=True, of=of)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max(axis=(1, 2)) > 0).tolist() == [True, False, True]


@BOTH
def test_a_joint_that_is_nan_makes_value_and_gradient_nan(of):
    poses = np.tile(smooth_poses()[0], (63, 1, 1))
    each = np.arange(63)
    poses.reshape(63, 63)[each, each] = np.nan
    values, gradient = losses_and_gradient(poses, of=of)
    uses = np.isnan(values)
    for name, found in zip(LOSSES, uses.T, strict=True):
        # The palm consists of the wrist and the ends of the root bones.
        expected = np.isin(each // 3, [0, *range(1, 21, 4)]) if name == "palm" else True
        assert (found == expected).all(), name
    assert np.isnan(gradient.reshape(63, 63)[each, each]).all()


@pytest.mark.slow
def test_forward_and_reverse_derivatives_agree_at_every_degenerate_pose():
    poses = jnp.asarray(np.resize(list(degenerate_poses().values()), (CHUNK, 21, 3)), jnp.float32)
    direction = np.random.default_rng(7).normal(size=(21, 3)).astype(np.float32)

    @jax.jit
    def along(poses, limits):
        return jax.jvp(
            lambda poses: jnp.sum(every_loss(poses, limits), axis=-1),
            (poses,),
            (jnp.broadcast_to(direction, poses.shape),),
        )[1]

    forward = np.asarray(along(poses, hands.narrow_limits()))
    _, gradient = losses_and_gradient(poses)
    size = np.abs(gradient).max(axis=(1, 2))
    np.testing.assert_array_less(np.abs(forward - np.sum(gradient * direction, axis=(1, 2))), 1e-4 * (1 + size))


@pytest.mark.slow
def test_second_derivatives_of_angles_are_finite_whatever_the_unit_of_length():
    """They are those in scale units over the square of the unit: 1e30 for 1e-15."""
    pose, direction = smooth_poses()[0], np.random.default_rng(7).normal(size=(21, 3))

    @jax.jit
    def second(joints, direction):
        gradient = jax.grad(functools.partial(losses.joint_angle, limits=hands.narrow_limits()))
        return jax.jvp(gradient, (joints,), (direction,))[1]

    expected = second(jnp.asarray(pose, jnp.float32), jnp.asarray(direction, jnp.float32))
    found = second(jnp.asarray(1e-15 * pose, jnp.float32), jnp.asarray(1e-15 * direction, jnp.float32))
    np.testing.assert_allclose(1e-15 * found, expected, atol=1e-3)


@pytest.mark.parametrize("touching", ["vertex", "edge"])
def test_gradients_are_finite_where_limits_touch_the_pose(touching):
    """Hulls with a vertex or the middle of an edge exactly at the pose's angles, and intervals that are its values."""
    pose = jnp.asarray(hands.in_scale_units(hands.sampled(1)[0]), jnp.float32)
    quarters = np.arange(8) * np.pi / 4
    octagon = np.stack([np.cos(quarters), np.sin(quarters)], axis=-1)
    start = octagon[0] if touching == "vertex" else (octagon[0] + octagon[1]) / 2
    measured = {
        "bone_length": anatomy.bone_lengths(pose),
        "curvature": anatomy.palm_curvature(pose),
        "spread": anatomy.palm_spread(pose),
    }
    intervals = {name: jnp.stack([value[0], value[0]], axis=-1) for name, value in measured.items()}
    corners = np.asarray(anatomy.joint_angles(pose))[0][:, :, None] + (octagon - start).astype(np.float32)
    limits = dataclasses.replace(hands.narrow_limits(), hull=jnp.asarray(corners), **intervals)
    assert finite(np.asarray(pose), limits).all()


def test_gradients_are_finite_for_a_hundred_thousand_random_joint_sets():
    generator = np.random.default_rng(4)
    for _ in range(100_000 // CHUNK):
        assert finite(generator.normal(size=(CHUNK, 21, 3))).all()


def test_gradients_of_hands_are_moderate():
    """No angle is measured against a nearly vanishing axis: moving a joint by one unit costs a few units at most."""
    _, gradient = losses_and_gradient(hands.in_scale_units(hands.sampled(1000)[0]))
    assert np.abs(gradient).max() < 10
