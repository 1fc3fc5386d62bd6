"""How fast training could be: the network's arithmetic, and what accelerators can do at most.

MFU, model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B), is the share of the devices' peak that the
network's own arithmetic takes: what XLA computes besides, or twice, does not count.
"""

import functools
import math
import typing
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from bmc_jax.config import Config
from bmc_jax.training import step

TERA = 1e12

#: TFLOP/s by `device_kind`: of bfloat16, and of float32 as JAX computes it by default, which is TensorFloat-32 on
#: NVIDIA from Ampere on and one pass of bfloat16 on TPUs. Without sparsity. Sources: NVIDIA's data sheets of V100,
#: A100, L4, H100 and H200, which print the last four with sparsity, twice as much; the pages of TPU versions in Google
#: Cloud's documentation. V100 has no bfloat16.
PEAK = {
    "NVIDIA H200": (989.4, 494.7),
    "NVIDIA H100 80GB HBM3": (989.4, 494.7),
    "NVIDIA H100 PCIe": (756.0, 378.0),
    "NVIDIA H100 NVL": (835.5, 417.5),
    "NVIDIA A100-SXM4-40GB": (312.0, 156.0),
    "NVIDIA A100-SXM4-80GB": (312.0, 156.0),
    "NVIDIA A100-PCIE-40GB": (312.0, 156.0),
    "NVIDIA A100 80GB PCIe": (312.0, 156.0),
    "NVIDIA L4": (121.0, 60.0),
    "Tesla V100-SXM2-16GB": (None, 15.7),
    "Tesla V100-SXM2-32GB": (None, 15.7),
    "Tesla V100-PCIE-16GB": (None, 14.0),
    "Tesla V100-PCIE-32GB": (None, 14.0),
    "TPU v4": (275.0, 275.0),
    "TPU v5 lite": (197.0, 197.0),
    "TPU v5e": (197.0, 197.0),
    "TPU v5": (459.0, 459.0),
    "TPU v5p": (459.0, 459.0),
    "TPU v6 lite": (918.0, 918.0),
    "TPU v6e": (918.0, 918.0),
}


def images_per_second(config: Config) -> float | None:
    """Of training at the peak of all devices, an MFU of one; None where the peak is not known."""
    bfloat16, float32 = PEAK.get(jax.devices()[0].device_kind, (None, None))
    peak = bfloat16 if config.network.dtype == "bfloat16" else float32
    return peak and peak * TERA * jax.device_count() / an_image(config)


def an_image(config: Config) -> int:
    """Floating-point operations of training on one image: those of the network's convolutions and matrix products,
    once forwards and twice backwards, towards what comes in and towards the weights."""
    given = step.blank(config)
    network = step.network(config)
    key = jax.random.key(0, impl="rbg")
    variables = jax.eval_shape(functools.partial(network.init, train=False), key, *given)
    forward = jax.make_jaxpr(functools.partial(network.apply, train=False))(variables, *given)
    return 3 * _operations(forward.jaxpr)


def _operations(jaxpr: Jaxpr) -> int:
    """Multiplications and additions of the convolutions and matrix products of a function, and of those it calls."""
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
        total += sum(_operations(function.jaxpr) for function in called)
    return total
