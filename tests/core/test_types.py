"""Arrays of a wrong shape are refused by name, in the code that users run."""

import jax
import jax.numpy as jnp
import pytest

from bmc_jax import anatomy, camera, limits, losses

pytestmark = pytest.mark.usefixtures("without_shape_checks")


@pytest.mark.parametrize("shape", [(20, 3), (22, 3), (3, 21, 2), (21, 4), (21,), (63,)])
@pytest.mark.parametrize(
    "function", [anatomy.bones, anatomy.scale, anatomy.palm_curvature, anatomy.palm_spread, anatomy.joint_angles]
)
def test_anatomy_refuses_what_is_not_21_joints(function, shape):
    with pytest.raises(ValueError, match=r"joints.*expected .*21, 3\]"):
        jax.jit(function)(jnp.ones(shape))


def test_joints_of_whole_numbers_are_refused_with_the_remedy():
    for function in (anatomy.normalize, anatomy.joint_angles):
        with pytest.raises(ValueError, match="joints: expected floating-point numbers, got int32; convert them"):
            function(jnp.ones((21, 3), jnp.int32))


def test_lists_are_refused_with_the_remedy():
    joints = [[0.0, 0.0, 0.0]] * 21
    for function in (anatomy.joint_angles, lambda of: losses.constraints(of, limits.load("clinical"))):
        with pytest.raises(TypeError, match=r"joints.*expected an array, got list; convert it with jnp.asarray"):
            function(joints)


def test_losses_refuse_what_is_not_21_joints():
    with pytest.raises(ValueError, match=r"shape \[2, 20, 3\]"):
        losses.biomechanical(jnp.ones((2, 20, 3)), limits.load("clinical"), losses.LossWeights())


def test_camera_refuses_points_pixels_and_intrinsics_of_another_shape():
    points, pixels, intrinsics = jnp.ones((21, 3)), jnp.ones((21, 2)), jnp.eye(3)
    with pytest.raises(ValueError, match=r"points.*got shape \[21, 2\]"):
        camera.project(pixels, intrinsics)
    with pytest.raises(ValueError, match=r"pixels.*got shape \[21, 3\]"):
        camera.rays(points, intrinsics)
    with pytest.raises(ValueError, match=r"intrinsics.*got shape \[2, 2\]"):
        camera.rays(pixels, jnp.eye(2))


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((4, 63), r"reshape it to \[\.\.\., 21, 3\]"),
        ((4, 3, 21), "reverse its last 2 axes"),
        ((4, 20, 3), r"give all values of \[\.\.\., 21, 3\]"),
        ((), r"give all values of \[\.\.\., 21, 3\]"),
    ],
)
def test_an_array_of_another_shape_is_refused_with_the_remedy(shape, remedy):
    expected = rf"joints in FreiHAND order: expected an array of shape \[\.\.\., 21, 3\], got shape .*; {remedy}$"
    with pytest.raises(ValueError, match=expected):
        anatomy.bones(jnp.ones(shape))
