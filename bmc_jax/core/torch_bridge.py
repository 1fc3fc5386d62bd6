"""The biomechanical losses of `losses` on PyTorch tensors, under the same names.

Joints are tensors `[..., 21, 3]` of right hands in FreiHAND order, on the CPU or on a GPU that this JAX sees. A loss
has one value for each pose, `[...]`, on the same device. Limits are `types.Limits`, as returned by `limits.load`.
Losses are computed and returned in float32; for float64 joints they are returned in float64, and also computed in
float64 if JAX's x64 mode is on. The gradient has the dtype of the joints. Nothing is masked: a pose that holds NaN has
a NaN gradient, which does not affect other poses.

Each call runs one compiled JAX function, which also returns the gradient of every pose if one is needed; PyTorch's
backward pass is then one product. CPU tensors are shared without a copy, unless they are not contiguous or not float32.

The functions raise ValueError for joints that are not a tensor, of another shape, not of a floating-point dtype, or on
a device that JAX does not see. Differentiating the gradient raises RuntimeError.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmc_jax.core import hand, losses
from bmc_jax.core.losses import LossWeights
from bmc_jax.core.types import Limits, require_shape

try:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import Tensor  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError("bmc_jax.core.torch_bridge needs PyTorch: pip install 'bmc-jax[torch]'") from error


def bone_length(joints: Float[Tensor, "*batch 21 3"], limits: Limits) -> Float[Tensor, "*batch"]:
    """Returns L_BL (section 3.1): the excess of the bone lengths, mean over the 20 bones.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.

    Returns:
      One value for each pose, scale units.

    Raises:
      ValueError: see the module.

    Examples:
      >>> import torch
      >>> from bmc_jax import hand, limits, torch_bridge
      >>> joints = torch.tensor(hand.EXAMPLE) / 0.0465  # the length of its scale bone
      >>> print(torch_bridge.bone_length(2 * joints, limits.load("clinical")) > 0)
      tensor(True)
    """
    return _call(losses.bone_length, joints, limits)


def palm(joints: Float[Tensor, "*batch 21 3"], limits: Limits) -> Float[Tensor, "*batch"]:
    """Returns L_RB (section 3.1): the excess of the palm's curvature plus that of its spread.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.

    Returns:
      One value for each pose: the mean over the 4 pairs of neighbouring root bones of curvature (1 / scale unit) plus
      spread (radians).

    Raises:
      ValueError: see the module.

    Examples:
      >>> import torch
      >>> from bmc_jax import hand, limits, torch_bridge
      >>> joints = torch.tensor(hand.EXAMPLE) / 0.0465  # the length of its scale bone
      >>> print(torch_bridge.palm(joints, limits.load("clinical")))
      tensor(0.)
    """
    return _call(losses.palm, joints, limits)


def joint_angle(
    joints: Float[Tensor, "*batch 21 3"],
    limits: Limits,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
) -> Float[Tensor, "*batch"]:
    """Returns L_A (Eq. 7): the distance of (flexion, abduction) to the joint's hull, mean over the 15 joints.

    Args:
      joints: right hands, FreiHAND order, any length unit.
      limits: limits of the hand.
      mode: see `losses.excess`.
      independent: see `losses.excess`.
      detach_frames: see `losses.excess`.

    Returns:
      One value for each pose, radians, or the unit of `mode`.

    Raises:
      ValueError: see the module, and for another mode.

    Examples:
      >>> import torch
      >>> from bmc_jax import hand, limits, torch_bridge
      >>> print(torch_bridge.joint_angle(torch.tensor(hand.EXAMPLE), limits.load("clinical")))
      tensor(0.)
    """
    return _call(losses.joint_angle, joints, limits, mode=mode, independent=independent, detach_frames=detach_frames)


def constraints(
    joints: Float[Tensor, "*batch 21 3"], limits: Limits, **angle_options: Any
) -> dict[str, Float[Tensor, "*batch"]]:
    """Returns the three biomechanical terms by name, each with its own gradient, in three calls.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.
        **angle_options: keywords of `joint_angle`.

    Returns:
      "bone_length", "palm" and "joint_angle", each with one value for each pose.

    Raises:
      ValueError: see the module.

    Examples:
      >>> import torch
      >>> from bmc_jax import hand, limits, torch_bridge
      >>> joints = torch.tensor(hand.EXAMPLE) / 0.0465  # the length of its scale bone
      >>> print(list(torch_bridge.constraints(joints, limits.load("clinical"))))
      ['bone_length', 'palm', 'joint_angle']
    """
    return {
        "bone_length": bone_length(joints, limits),
        "palm": palm(joints, limits),
        "joint_angle": joint_angle(joints, limits, **angle_options),
    }


def biomechanical(
    joints: Float[Tensor, "*batch 21 3"], limits: Limits, weights: LossWeights, **angle_options: Any
) -> Float[Tensor, "*batch"]:
    """Returns L_BMC (Eq. 9): the weighted sum of the biomechanical terms, in one call.

    Args:
      joints: right hands, FreiHAND order, scale units.
      limits: limits of the hand.
      weights: weights of the terms, which may change from call to call without recompilation.
        **angle_options: keywords of `joint_angle`.

    Returns:
      One value for each pose.

    Raises:
      ValueError: see the module.

    Examples:
      >>> import torch
      >>> from bmc_jax import hand, limits, losses, torch_bridge
      >>> joints = (torch.tensor(hand.EXAMPLE) / 0.0465).requires_grad_()
      >>> torch_bridge.biomechanical(joints, limits.load("clinical"), losses.LossWeights()).backward()
      >>> print(joints.grad.abs().max())  # a pose within the limits
      tensor(0.)
    """
    return _call(losses.biomechanical, joints, limits, weights, **angle_options)


def _call(loss: Callable[..., Array], joints: Tensor, *arguments: Any, **options: Any) -> Tensor:
    if not isinstance(joints, torch.Tensor):
        raise ValueError(
            f"joints: expected a torch.Tensor, got {type(joints).__name__}; convert with torch.as_tensor(joints)"
        )
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    if not joints.is_floating_point():
        raise ValueError(f"joints: expected a floating-point dtype, got {joints.dtype}; convert with joints.float()")
    _require_shared(joints.device)
    static = tuple(options.items())
    if torch.is_grad_enabled() and joints.requires_grad:
        return _Bridge.apply(joints, loss, arguments, static)
    return _to_torch(_value(_to_jax(joints), arguments, loss=loss, options=static)).to(_value_dtype(joints))


class _Bridge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, joints: Tensor, loss: Callable[..., Array], arguments: tuple, options: tuple) -> Tensor:
        value, gradient = _value_and_gradient(_to_jax(joints), arguments, loss=loss, options=options)
        ctx.save_for_backward(_to_torch(gradient))
        ctx.joints = joints
        return _to_torch(value).to(_value_dtype(joints))

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore
        (gradient,) = ctx.saved_tensors
        gradient = (cotangent[..., None, None] * gradient).to(ctx.joints.dtype)
        if torch.is_grad_enabled():
            gradient = _DifferentiableOnce.apply(gradient, ctx.joints)
        return gradient, None, None, None


class _DifferentiableOnce(torch.autograd.Function):
    """Passes a gradient on and raises RuntimeError if it is differentiated.

    PyTorch's `once_differentiable` raises only where the cotangent is differentiable: a gradient penalty would silently
    have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, joints: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> None:  # pyright: ignore
        raise RuntimeError("losses of bmc_jax.core.torch_bridge are differentiable once: the gradient has no gradient")


@functools.partial(jax.jit, static_argnames=("loss", "options"))
def _value(joints, arguments, *, loss, options):
    return loss(joints, *arguments, **dict(options))


@functools.partial(jax.jit, static_argnames=("loss", "options"))
def _value_and_gradient(joints, arguments, *, loss, options):
    """The loss of a pose depends on that pose only, so the gradient of the sum holds the gradient of each."""
    value, pull_back = jax.vjp(lambda joints: loss(joints, *arguments, **dict(options)), joints)
    return value, pull_back(jnp.ones_like(value))[0]


def _to_jax(joints: Tensor) -> Any:
    wide = joints.dtype == torch.float64 and jnp.result_type(float) == jnp.float64
    joints = joints.detach().to(torch.float64 if wide else torch.float32).contiguous()
    if joints.is_cpu and jax.default_backend() == "cpu":
        # A compiled function reads numpy's view without a copy, as with DLPack, but starts 0.1 ms sooner.
        return joints.numpy()
    return jax.dlpack.from_dlpack(joints)


def _to_torch(array: Array) -> Tensor:
    # The joints' memory is shared, and PyTorch may write to it as soon as it has the result.
    return torch.from_dlpack(array.block_until_ready())


def _value_dtype(joints: Tensor) -> torch.dtype:
    return torch.promote_types(joints.dtype, torch.float32)


def _require_shared(device: torch.device) -> None:
    """Raises ValueError for a device whose memory this JAX cannot read."""
    if device.type == "cpu":
        return
    try:
        shared = device.type == "cuda" and bool(jax.devices("gpu"))
    except RuntimeError:
        shared = False
    if not shared:
        raise ValueError(
            f"joints are on {device}, which this JAX does not see (it has {jax.default_backend()}); move them with "
            "joints.cpu(), which passes gradients on"
            + (", or install JAX for CUDA: pip install 'bmc-jax[cuda13]'" if device.type == "cuda" else "")
        )
