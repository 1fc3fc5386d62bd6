"""The fast losses against the readable ones: values and gradients at every degenerate pose, under every transformation,
and in the programs for accelerators."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core import test_gradients
from support import hands

from bmc_jax import anatomy, losses

WEIGHTS = losses.LossWeights(bone_length=1.0, palm=0.3, joint_angle=0.7)
OPTIONS = [{}, pytest.param({"independent": True, "detach_frames": True}, marks=pytest.mark.slow)]
COUNT = 160


def fast(joints, limits, **options):
    return jnp.stack(list(losses.constraints(joints, limits, **options).values()))


def readable(joints, limits, **options):
    return jnp.stack(list(losses.excess(joints, limits, **options).terms.values()))


#: Of the gradient's sum over terms, `[3, pose]`, another one for each pose.
SHARES = np.random.default_rng(5).uniform(0.2, 1.0, (3, COUNT)).astype(np.float32)


@functools.cache
def program(**options):
    """The terms `[3, pose]` and the gradient of their sum, each times its share, fast and readable."""

    def derived(terms, joints, limits):
        values, pull_back = jax.vjp(lambda joints: terms(joints, limits, **options), joints)
        return values, pull_back(jnp.asarray(SHARES))[0]

    return jax.jit(lambda *given: (derived(fast, *given), derived(readable, *given)))


def found_and_expected(joints, limits=None, **options):
    padded = jnp.asarray(np.resize(joints, (COUNT, 21, 3)), jnp.float32)
    of_all = program(**options)(padded, hands.narrow_limits() if limits is None else limits)
    return [(np.asarray(values)[:, : len(joints)], np.asarray(gradient)[: len(joints)]) for values, gradient in of_all]


@functools.cache
def poses():
    """Hands, degenerate ones of usual size, and hands a millionth and a thousandth of a unit from those."""
    smooth = test_gradients.smooth_poses()
    placed = test_gradients.placed(smooth[0]).values()
    near = [place(size * test_gradients.DIRECTIONS[1]) for size in (0, 1e-6, 1e-3) for place in placed]
    everywhere = [*test_gradients.degenerate_poses().values(), *near, *smooth]
    assert len(everywhere) <= COUNT
    return np.stack(everywhere).astype(np.float32)


@pytest.mark.parametrize("options", OPTIONS, ids=["hull", "box and detached frames"])
def test_values_and_gradients_are_those_of_the_readable_losses_at_every_degenerate_pose(options):
    (values, gradient), (expected, expected_gradient) = found_and_expected(poses(), **options)
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=2e-6)
    size = np.maximum(np.abs(expected_gradient).max(axis=(1, 2)), 1)
    assert (np.abs(gradient - expected_gradient).max(axis=(1, 2)) / size).max() < 5e-4
    assert (expected.max(axis=1) > 0).all()


def test_a_joint_that_is_nan_makes_the_same_terms_nan_and_its_own_gradient():
    joints = np.tile(test_gradients.smooth_poses()[0], (63, 1, 1))
    each = np.arange(63)
    joints.reshape(63, 63)[each, each] = np.nan
    (values, gradient), (expected, _) = found_and_expected(joints)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
    assert np.isnan(gradient.reshape(63, 63)[each, each]).all()
    alone = found_and_expected(np.stack([joints[0], *test_gradients.smooth_poses()[:2]]))[0]
    assert np.isfinite(alone[0][:, 1:]).all()


@pytest.mark.parametrize("touching", ["vertex", "edge"])
def test_limits_that_touch_the_pose_cost_nothing_and_have_no_gradient(touching):
    pose = jnp.asarray(hands.in_scale_units(hands.sampled(1)[0]), jnp.float32)
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    start = square[2] if touching == "vertex" else (square[1] + square[2]) / 2
    corners = np.asarray(anatomy.joint_angles(pose))[0][:, :, None] + (square - start).astype(np.float32)
    # As many vertices as the other limits have, in pairs, whose edges have no length.
    corners = np.repeat(corners, hands.narrow_limits().hull.shape[2] // len(square), axis=2)
    touched = dataclasses.replace(hands.narrow_limits(), hull=jnp.asarray(corners))
    (values, gradient), _ = found_and_expected(np.asarray(pose), touched)
    assert values[2] < 1e-6
    assert np.isfinite(gradient).all()
    inside = dataclasses.replace(touched, hull=jnp.asarray(corners + 1e-3 * np.asarray(start, np.float32)))
    (values, gradient), (_, expected) = found_and_expected(np.asarray(pose), inside)
    assert values[2] == 0
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def derive(joints, limits):
    return jax.value_and_grad(lambda joints: losses.biomechanical(joints, limits, WEIGHTS))(joints)


def test_batches_of_any_shape_are_computed_pose_by_pose():
    """300 poses are taken in blocks on a CPU, none of them full."""
    joints, limits = np.resize(test_gradients.smooth_poses(), (300, 21, 3)).astype(np.float32), hands.narrow_limits()
    terms = found_and_expected(joints[:COUNT])[1][0]
    expected = WEIGHTS.bone_length * terms[0] + WEIGHTS.palm * terms[1] + WEIGHTS.joint_angle * terms[2]
    expected = np.resize(expected[:50], 300)
    for shape in ((300,), (2, 5), ()):
        count = int(np.prod(shape))
        found = losses.biomechanical(jnp.asarray(joints[:count].reshape(*shape, 21, 3)), limits, WEIGHTS)
        assert found.shape == shape
        np.testing.assert_allclose(found.ravel(), expected[:count], rtol=1e-5, atol=1e-6)
    assert losses.biomechanical(jnp.asarray(joints[:0]), limits, WEIGHTS).shape == (0,)


@pytest.mark.slow
def test_mapped_joints_and_mapped_limits_give_what_batches_do():
    joints, limits = jnp.asarray(test_gradients.smooth_poses()[:4], jnp.float32), hands.narrow_limits()
    of_each = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), limits)
    values, pull_back = jax.vjp(lambda joints: losses.biomechanical(joints, limits, WEIGHTS), joints)
    values, gradients = np.asarray(values), np.asarray(pull_back(jnp.ones_like(values))[0])

    @jax.jit
    def mapped(joints, limits, of_each):
        along_last = jnp.moveaxis(joints.reshape(2, 2, 21, 3), 1, 3)
        twice = jax.vmap(jax.vmap(derive, (2, None)), (0, None))(along_last, limits)
        return {
            "twice, by the last axis first": jax.tree.map(lambda leaf: leaf.reshape(4, *leaf.shape[2:]), twice),
            "joints and limits": jax.vmap(derive)(joints, of_each),
            "limits": jax.vmap(derive, (None, 0))(joints[0], of_each),
        }

    for name, found in mapped(joints, limits, of_each).items():
        rows = [0] * 4 if name == "limits" else range(4)
        np.testing.assert_allclose(found[0], values[rows], rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found[1], gradients[rows], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_derivatives_by_limits_and_of_second_order_are_those_of_the_readable_losses():
    with jax.enable_x64(True):
        joints, limits = jnp.asarray(test_gradients.smooth_poses()[:3]), hands.narrow_limits(np.float64)
        direction = jnp.asarray(np.random.default_rng(3).normal(size=joints.shape))

        def total(terms, joints, hull):
            return jnp.sum(terms(joints, dataclasses.replace(limits, hull=hull)))

        @jax.jit
        def derived(joints, hull):
            of_fast, of_readable = functools.partial(total, fast), functools.partial(total, readable)
            found = (
                jax.grad(of_fast, 1)(joints, hull),
                jax.jvp(lambda joints: jax.grad(of_fast)(joints, hull), (joints,), (direction,))[1],
                jax.jvp(lambda joints: of_fast(joints, hull), (joints,), (direction,))[1],
            )
            (gradient, by_hull), (second, _) = jax.jvp(
                lambda joints: jax.grad(of_readable, (0, 1))(joints, hull), (joints,), (direction,)
            )
            return found, (by_hull, second, jnp.sum(gradient * direction))

        found, expected = derived(joints, limits.hull)
    for part, value in zip(found, expected, strict=True):
        assert np.abs(value).max() > 0
        np.testing.assert_allclose(part, value, atol=1e-9)


def test_a_hull_wider_than_a_turn_contains_every_flexion():
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [2.5 * np.pi, 2]
    corners = np.repeat(square, hands.narrow_limits().hull.shape[2] // len(square), axis=0)
    limits = dataclasses.replace(hands.narrow_limits(), hull=jnp.asarray(np.tile(corners, (5, 3, 1, 1)), jnp.float32))
    (values, _), (expected, _) = found_and_expected(test_gradients.smooth_poses()[:5], limits)
    np.testing.assert_array_equal(values[2], 0)
    np.testing.assert_array_equal(expected[2], 0)


def test_an_exported_program_of_any_batch_gives_what_the_losses_do(without_shape_checks):
    limits, poses = hands.narrow_limits(), test_gradients.smooth_poses()[:3].astype(np.float32)
    call = jax.jit(lambda joints: losses.biomechanical(joints, limits, WEIGHTS))
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, 21, 3"), jnp.float32)
    exported = jax.export.export(call)(shape)
    np.testing.assert_allclose(exported.call(poses), call(poses), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_for_accelerators_are_elementwise(platform):
    def of_each(joints, limits):
        return jax.vmap(derive, (0, None))(joints, limits)

    shapes = jax.ShapeDtypeStruct((64, 21, 3), jnp.float32), hands.narrow_limits()
    text = jax.export.export(jax.jit(of_each), platforms=[platform])(*shapes).mlir_module()
    assert text.count("stablehlo.multiply") > 100
    for refused in ("f64", "stablehlo.dot", "custom_call", "stablehlo.while", "gather", "scatter", "callback"):
        assert refused not in text, refused
