"""The losses from PyTorch: values and gradients of JAX's own, finite differences, types, and what is refused."""

import importlib.util
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import hands, paths, reference

from bmc_jax import losses

WEIGHTS = losses.LossWeights(bone_length=1.0, palm=0.5, joint_angle=0.3)
GUIDE = paths.ROOT / "docs/own_network.md"

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


@pytest.fixture
def bridge():
    pytest.importorskip("torch", reason="torch is not installed")
    from bmc_jax import torch_bridge

    return torch_bridge


def tensor(array, **options):
    import torch

    return torch.tensor(np.asarray(array), **options)


def poses(count=6):
    """Larger than their limits by enough that no bone is exactly at its limit's end."""
    return (1.02 * hands.in_scale_units(hands.sampled(200)[0])[:count]).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "options"),
    [
        ("bone_length", (2, 3), (), {}),
        ("palm", (2, 3), (), {}),
        ("joint_angle", (2, 3), (), {"mode": "circle_l1", "independent": True, "detach_frames": True}),
        ("biomechanical", (6,), (WEIGHTS,), {}),
    ],
)
def test_values_and_gradients_are_those_of_jax(bridge, name, shape, arguments, options):
    limits, joints = hands.narrow_limits(), poses().reshape(*shape, 21, 3)
    scale = jnp.arange(1.0, 7.0).reshape(shape)

    @jax.jit
    def ours(joints):
        value, pull_back = jax.vjp(lambda joints: getattr(losses, name)(joints, limits, *arguments, **options), joints)
        return value, *pull_back(scale)

    value, gradient = ours(jnp.asarray(joints))
    given = tensor(joints, requires_grad=True)
    found = getattr(bridge, name)(given, limits, *arguments, **options)
    assert found.shape == shape
    (found * tensor(scale)).sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), value, rtol=1e-6)
    np.testing.assert_allclose(given.grad.numpy(), gradient, atol=2e-6 * float(jnp.abs(gradient).max()))
    assert np.abs(gradient).max() > 0.01


def test_loss_is_that_of_the_transcribed_equations(bridge):
    held = hands.for_reference(hands.narrow_limits())
    expected = [reference.biomechanical_loss(pose, held, WEIGHTS) for pose in poses()]
    found = bridge.biomechanical(tensor(poses()), hands.narrow_limits(), WEIGHTS)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_constraints_are_the_terms_by_name_each_with_its_own_gradient(bridge):
    given, limits = tensor(poses().reshape(2, 3, 21, 3), requires_grad=True), hands.narrow_limits()
    options = {"mode": "circle_l1", "independent": True, "detach_frames": True}
    terms = bridge.constraints(given, limits, **options)
    expected = jax.jit(lambda joints: losses.constraints(joints, limits, **options))(given.detach().numpy())
    assert set(terms) == set(expected)
    for name, term in terms.items():
        np.testing.assert_allclose(term.detach().numpy(), expected[name], rtol=1e-5)
    terms["palm"].sum().backward()
    assert not given.grad[..., 2:5, :].any(), "the palm is not of the thumb's other joints"


def test_gradients_are_those_of_finite_differences_in_double(bridge):
    import torch

    limits = hands.narrow_limits(np.float64)
    with jax.enable_x64(True):
        given = tensor(poses(2).astype(np.float64), requires_grad=True)
        assert torch.autograd.gradcheck(lambda joints: bridge.biomechanical(joints, limits, WEIGHTS), given)


def test_other_floating_types_are_computed_in_float32_and_have_gradients_of_their_own(bridge):
    import torch

    expected = jax.jit(losses.biomechanical)(poses(), hands.narrow_limits(), WEIGHTS)
    for dtype, value_type, tolerance in [
        (torch.float64, torch.float64, 1e-6),
        (torch.float16, torch.float32, 1e-2),
        (torch.bfloat16, torch.float32, 1e-1),
    ]:
        given = tensor(poses()).to(dtype).requires_grad_()
        found = bridge.biomechanical(given, hands.narrow_limits(), WEIGHTS)
        found.mean().backward()
        assert (found.dtype, given.grad.dtype) == (value_type, dtype)
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=tolerance)


def test_joints_that_are_not_contiguous_or_begin_within_a_tensor_are_read_right(bridge):
    limits = hands.narrow_limits()
    expected = [reference.bone_length_loss(pose, hands.for_reference(limits)) for pose in poses()]
    turned = tensor(np.moveaxis(poses(), -1, 0).copy()).movedim(0, -1).requires_grad_()
    padded = tensor(np.concatenate([poses()[:1], poses()]))[1:]
    assert not turned.is_contiguous()
    np.testing.assert_allclose(bridge.bone_length(padded, limits).numpy(), expected, rtol=1e-4)
    loss = bridge.bone_length(turned, limits)
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-4)
    straight = tensor(poses(), requires_grad=True)
    bridge.bone_length(straight, limits).sum().backward()
    loss.sum().backward()
    np.testing.assert_array_equal(turned.grad, straight.grad)


def test_joints_of_the_cpu_are_shared_and_not_copied(bridge, monkeypatch):
    given = tensor(poses())
    assert np.shares_memory(bridge._to_jax(given), given.numpy())
    # Where JAX works on an accelerator, joints of the CPU stay there.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert bridge._to_jax(given).unsafe_buffer_pointer() == given.data_ptr()
    expected = bridge.bone_length(given, hands.narrow_limits())
    monkeypatch.undo()
    np.testing.assert_array_equal(bridge.bone_length(given, hands.narrow_limits()), expected)


def test_joints_may_be_written_to_as_soon_as_the_loss_is_there(bridge):
    import torch

    many = tensor(np.tile(poses(), (500, 1, 1)), requires_grad=True)
    loss = bridge.bone_length(many, hands.narrow_limits())
    before = loss.detach().clone()
    with torch.no_grad():
        many.zero_()
    loss.sum().backward()
    expected = [reference.bone_length_loss(pose, hands.for_reference(hands.narrow_limits())) for pose in poses()]
    np.testing.assert_allclose(before.numpy(), np.tile(expected, 500), rtol=1e-4)
    assert many.grad.abs().amax(dim=(1, 2)).min() > 0


def test_a_pose_that_is_no_number_leaves_the_others_their_gradients(bridge):
    broken = tensor(poses())
    broken[2, 7] = np.nan
    broken.requires_grad_()
    whole = tensor(poses(), requires_grad=True)
    for joints in (broken, whole):
        bridge.biomechanical(joints, hands.narrow_limits(), WEIGHTS).sum().backward()
    assert broken.grad[2].isnan().any()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(broken.grad[others], whole.grad[others])


def test_no_gradient_is_made_where_none_is_wanted(bridge):
    import torch

    limits = hands.narrow_limits()
    assert not bridge.palm(tensor(poses()), limits).requires_grad
    with torch.no_grad():
        assert not bridge.palm(tensor(poses(), requires_grad=True), limits).requires_grad


def test_weights_may_change_while_training(bridge):
    limits, given = hands.narrow_limits(), tensor(poses())
    once, twice = (
        bridge.biomechanical(given, limits, losses.LossWeights(bone_length=0.0, palm=0.0, joint_angle=weight))
        for weight in (0.1, 0.2)
    )
    np.testing.assert_allclose(twice.numpy(), 2 * once.numpy(), rtol=1e-6)


def test_no_pose_and_one_pose_have_losses_of_their_shape(bridge):
    empty = tensor(np.zeros((0, 21, 3), np.float32), requires_grad=True)
    loss = bridge.bone_length(empty, hands.narrow_limits())
    loss.sum().backward()
    assert loss.shape == (0,)
    assert empty.grad.shape == (0, 21, 3)
    assert bridge.bone_length(tensor(poses()[0]), hands.narrow_limits()).shape == ()


def test_gradient_of_the_gradient_is_refused(bridge):
    import torch

    given = tensor(poses(), requires_grad=True)
    loss = bridge.bone_length(given, hands.narrow_limits()).sum()
    (gradient,) = torch.autograd.grad(loss, given, create_graph=True)
    np.testing.assert_array_equal(gradient.detach(), torch.autograd.grad(loss, given)[0])
    with pytest.raises(RuntimeError, match="the gradient has no gradient"):
        (gradient**2).sum().backward()


def test_joints_of_another_kind_are_refused(bridge, without_shape_checks):
    import torch

    limits = hands.narrow_limits()
    with pytest.raises(ValueError, match=r"joints in FreiHAND order: .*\[\.\.\., 21, 3\], got shape \[6, 20, 3\]"):
        bridge.palm(tensor(poses()[:, 1:]), limits)
    with pytest.raises(ValueError, match=r"expected a torch\.Tensor, got ndarray; convert with torch\.as_tensor"):
        bridge.palm(poses(), limits)
    with pytest.raises(ValueError, match=r"got torch\.int32; convert with joints\.float\(\)"):
        bridge.palm(tensor(poses()).int(), limits)
    with pytest.raises(ValueError, match=r"on meta, which this JAX does not see .* joints\.cpu\(\)"):
        bridge.palm(torch.zeros(2, 21, 3, device="meta"), limits)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="this JAX has an accelerator")
def test_a_gpu_that_jax_does_not_see_is_refused_with_both_ways_out(bridge):
    import torch

    class OnGpu(torch.Tensor):
        device = torch.device("cuda:0")

    with pytest.raises(ValueError, match=r"on cuda:0, .* joints\.cpu\(\), .* pip install 'bmc-jax\[cuda13\]'"):
        bridge.palm(tensor(poses()).as_subclass(OnGpu), hands.narrow_limits())


def test_without_pytorch_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "bmc_jax.core.torch_bridge", raising=False)
    with pytest.raises(ImportError, match=r"needs PyTorch: pip install 'bmc-jax\[torch\]'"):
        importlib.import_module("bmc_jax.core.torch_bridge")


@needs_torch
def test_training_loop_of_the_guide_teaches(capsys):
    setting, *_, code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(setting + code, str(GUIDE), "exec"), {})
    first, *_, last = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert last < 0.5 * first
