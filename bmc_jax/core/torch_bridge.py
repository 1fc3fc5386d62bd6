"""The biomechanical losses for PyTorch: the functions of `losses`, by the same names, on tensors.

Each call runs one compiled JAX function, which gives the losses and, where a gradient is wanted, every pose's own
gradient with them: PyTorch's way back is then one product. Tensors of the CPU are shared and not copied (but for those
that are not contiguous, or of another type than float32). Limits are `types.Limits`, as `limits.load` gives them.

Joints are tensors `[..., 21, 3]` of any number of leading axes, right hands in FreiHAND order, on the CPU, or on a GPU
that this JAX sees too. A loss has one value a pose, `[...]`, on the same device, in float32 (for float64 joints in
float64). It is computed in float32, or for float64 joints under JAX's x64 mode in float64; the gradient comes back in
the type of the joints. As in `losses` nothing is masked here: a pose that holds NaN has a gradient of NaN, the others
their own.

The functions raise ValueError for joints that are no tensor, of another shape, of a type that has no fractions, or on a
device that JAX does not see. A gradient of the gradient is refused with a RuntimeError.
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
    """L_BL: by how many scale units bones are too short or too long, mean over the 20 bones. Joints in scale units."""
    return _call(losses.bone_length, joints, limits)


def palm(joints: Float[Tensor, "*batch 21 3"], limits: Limits) -> Float[Tensor, "*batch"]:
    """L_RB: the palm's curvature (per scale unit) and spread (radians) beyond their intervals, summed, mean over the 4
    pairs of neighbouring root bones. Joints in scale units."""
    return _call(losses.palm, joints, limits)


def joint_angle(
    joints: Float[Tensor, "*batch 21 3"],
    limits: Limits,
    *,
    mode: str = "euclidean",
    independent: bool = False,
    detach_frames: bool = False,
) -> Float[Tensor, "*batch"]:
    """L_A (Eq. 7): distance of (flexion, abduction) to the joint's hull, mean over the 15 joints, radians.

    Joints in any unit. The options are those of `losses.joint_angle`.
    """
    return _call(losses.joint_angle, joints, limits, mode=mode, independent=independent, detach_frames=detach_frames)


def constraints(
    joints: Float[Tensor, "*batch 21 3"], limits: Limits, **angle_options: Any
) -> dict[str, Float[Tensor, "*batch"]]:
    """The three biomechanical terms by name, each with a gradient of its own: three calls. `angle_options` are the
    keywords of `joint_angle`."""
    return {
        "bone_length": bone_length(joints, limits),
        "palm": palm(joints, limits),
        "joint_angle": joint_angle(joints, limits, **angle_options),
    }


def biomechanical(
    joints: Float[Tensor, "*batch 21 3"], limits: Limits, weights: LossWeights, **angle_options: Any
) -> Float[Tensor, "*batch"]:
    """L_BMC (Eq. 9): the weighted sum of the biomechanical terms, in one call. Joints in scale units.

    `weights` are numbers, and may be others at every call. `angle_options` are the keywords of `joint_angle`.
    """
    return _call(losses.biomechanical, joints, limits, weights, **angle_options)


def _call(loss: Callable[..., Array], joints: Tensor, *arguments: Any, **options: Any) -> Tensor:
    if not isinstance(joints, torch.Tensor):
        raise ValueError(f"joints are a {type(joints).__name__} where a tensor is needed: torch.as_tensor(joints)")
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    if not joints.is_floating_point():
        raise ValueError(f"joints are of type {joints.dtype}, and a loss is of coordinates: joints.float()")
    _require_shared(joints.device)
    given = tuple(options.items())
    if torch.is_grad_enabled() and joints.requires_grad:
        return _Bridge.apply(joints, loss, arguments, given)
    return _to_torch(_value(_to_jax(joints), arguments, loss=loss, options=given)).to(_value_type(joints))


class _Bridge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, joints: Tensor, loss: Callable[..., Array], arguments: tuple, options: tuple) -> Tensor:
        value, gradient = _value_and_gradient(_to_jax(joints), arguments, loss=loss, options=options)
        ctx.save_for_backward(_to_torch(gradient))
        ctx.joints = joints
        return _to_torch(value).to(_value_type(joints))

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore
        (gradient,) = ctx.saved_tensors
        gradient = (cotangent[..., None, None] * gradient).to(ctx.joints.dtype)
        return _Once.apply(gradient, ctx.joints) if torch.is_grad_enabled() else gradient, None, None, None


class _Once(torch.autograd.Function):
    """Lets a gradient through, and refuses to be differentiated.

    PyTorch's own `once_differentiable` refuses only where the cotangent is differentiable: a penalty on this gradient
    would silently have none.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, joints: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> None:  # pyright: ignore
        raise RuntimeError("a loss of bmc_jax.core.torch_bridge is differentiable once: its gradient has no gradient")


@functools.partial(jax.jit, static_argnames=("loss", "options"))
def _value(joints, arguments, *, loss, options):
    return loss(joints, *arguments, **dict(options))


@functools.partial(jax.jit, static_argnames=("loss", "options"))
def _value_and_gradient(joints, arguments, *, loss, options):
    """A pose's loss is of that pose alone, so the gradient of their sum holds each one's own."""
    value, pull_back = jax.vjp(lambda joints: loss(joints, *arguments, **dict(options)), joints)
    return value, pull_back(jnp.ones_like(value))[0]


def _to_jax(joints: Tensor) -> Any:
    wide = joints.dtype == torch.float64 and jnp.result_type(float) == jnp.float64
    joints = joints.detach().to(torch.float64 if wide else torch.float32).contiguous()
    if joints.is_cpu and jax.default_backend() == "cpu":
        # A compiled function reads numpy's view where it is, like DLPack's array, and starts a tenth of a ms sooner.
        return joints.numpy()
    return jax.dlpack.from_dlpack(joints)


def _to_torch(array: Array) -> Tensor:
    # PyTorch may write to the joints' memory as soon as it has its answer.
    return torch.from_dlpack(array.block_until_ready())


def _value_type(joints: Tensor) -> torch.dtype:
    return torch.promote_types(joints.dtype, torch.float32)


def _require_shared(device: torch.device) -> None:
    """Raise ValueError for a device whose memory this JAX cannot read."""
    if device.type == "cpu":
        return
    try:
        seen = device.type == "cuda" and bool(jax.devices("gpu"))
    except RuntimeError:
        seen = False
    if not seen:
        raise ValueError(
            f"joints are on {device}, which this JAX does not see (it has {jax.default_backend()}): move them, "
            "joints.cpu(), through which gradients find their way back"
            + (", or install JAX for CUDA, pip install 'bmc-jax[cuda13]'" if device.type == "cuda" else "")
        )
