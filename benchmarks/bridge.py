"""Overhead of the losses called from PyTorch, relative to the compiled JAX function.

    python benchmarks/bridge.py [--calls 2000]

Needs the extra `torch`. L_BMC is computed on the CPU in float32, from existing jax.numpy arrays or tensors. "Forward"
is the loss of each pose; "forward and backward" is also the gradient of the sum of the losses. Limits and weights are
arguments in both ways, which are called in turn, so that other processes affect both equally. The overhead is the
difference of the shortest calls, with the median difference of consecutive calls in parentheses.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from machine import machine

from bmc_jax import limits, losses, torch_bridge
from bmc_jax.synthesis import skeleton

BATCHES = (1, 64, 256)
WEIGHTS = losses.LossWeights(bone_length=1.0, palm=0.3, joint_angle=0.3)


def poses(count: int) -> np.ndarray:
    """Returns noisy synthetic hands `[count, 21, 3]` in scale units."""
    joints = skeleton.clinical_poses(count, seed=1)
    joints = joints / np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1)[:, None, None]
    return (joints + np.random.default_rng(0).normal(scale=0.1, size=joints.shape)).astype(np.float32)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="number of calls of each kind (default: 2000)")
    options = parser.parse_args()
    clinical = limits.load("clinical")
    value = jax.jit(losses.biomechanical)
    both = jax.jit(jax.value_and_grad(lambda *given: jnp.sum(losses.biomechanical(*given))))
    print(f"{machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| poses | | JAX ms, shortest (median) | bridge ms | overhead ms |\n|---|---|---|---|---|")
    for count in BATCHES:
        tensor = torch.tensor(poses(count), requires_grad=True)

        def forward(tensor=tensor):
            with torch.no_grad():
                return torch_bridge.biomechanical(tensor, clinical, WEIGHTS)

        def backward(tensor=tensor):
            tensor.grad = None
            torch_bridge.biomechanical(tensor, clinical, WEIGHTS).sum().backward()

        given = jnp.asarray(poses(count)), clinical, WEIGHTS
        for name, ours, theirs in [
            ("forward", lambda given=given: jax.block_until_ready(value(*given)), forward),
            ("forward and backward", lambda given=given: jax.block_until_ready(both(*given)), backward),
        ]:
            ours(), theirs()
            times = 1e3 * np.array([(seconds(ours), seconds(theirs)) for _ in range(options.calls)])
            (least, least_bridged), (middle, bridged) = times.min(axis=0), np.median(times, axis=0)
            print(f"| {count} | {name} | {least:.3f} ({middle:.3f}) | {least_bridged:.3f} ({bridged:.3f}) ", end="")
            print(f"| {least_bridged - least:.3f} ({np.median(times[:, 1] - times[:, 0]):.3f}) |", flush=True)


if __name__ == "__main__":
    main()
