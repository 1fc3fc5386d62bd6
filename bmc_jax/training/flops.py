"""Floating-point operations of the network, for the MFU.

The MFU, model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B), is the share of the devices' peak that the
network's operations use. Other operations and recomputation do not count.
"""

import functools
import math
import typing
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from bmc_jax.config import Config
from bmc_jax.training import step


def peak_images_per_second(config: Config) -> float | None:
    """Returns the images per second at an MFU of 1 on all devices; None unless `training.peak_tflops` is given."""
    peak = 1e12 * config.training.peak_tflops
    return peak * jax.device_count() / training_flops(config) if peak else None


def training_flops(config: Config) -> int:
    """Returns the floating-point operations of training on one image.

    The network's convolutions and matrix products count, once for the forward pass and twice for the backward pass:
    gradients with respect to the inputs and to the weights.
    """
    given = step.blank(config)
    network = step.network(config)
    key = jax.random.key(0, impl="rbg")
    variables = jax.eval_shape(functools.partial(network.init, train=False), key, *given)
    forward = jax.make_jaxpr(functools.partial(network.apply, train=False))(variables, *given)
    return 3 * _operations(forward.jaxpr)


def _operations(jaxpr: Jaxpr) -> int:
    """Returns the operations of the convolutions and matrix products in a function and in the functions it calls."""
    total, equations = 0, typing.cast(Any, jaxpr.eqns)
    for equation in equations:
        result = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += 2 * result * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
            total += 2 * result * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
        called = [value for value in equation.params.values() if isinstance(value, ClosedJaxpr)]
        # The branches are the platforms' implementations of one function, see `backbone.pointwise`.
        called += equation.params.get("branches", ())[:1]
        total += sum(_operations(function.jaxpr) for function in called)
    return total
