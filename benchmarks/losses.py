"""How long do the biomechanical losses take, value and gradient, against plain PyTorch on the same machine?

    python benchmarks/losses.py [--plot benchmarks/losses.png]

Needs the extra `bench`. Both run on the CPU in float32 and are measured in turn, in one process. The times are the
shortest of many calls, which other work on the machine disturbs least; medians are printed beside. The hulls are fitted
to synthetic poses, and the poses that are timed are those hands with noise, so that some angles are inside their hulls
and some are not, as in training.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import losses_torch
import matplotlib
import numpy as np
import torch

from bmc_jax import hull, limits, losses
from bmc_jax.synthesis import skeleton

BATCHES = (1, 16, 64, 256, 1024, 4096)
WEIGHTS = losses.LossWeights(bone_length=1.0, palm=0.3, joint_angle=0.3)


def poses(count: int) -> np.ndarray:
    """Noisy synthetic hands `[count, 21, 3]` in scale units."""
    joints = skeleton.clinical_poses(count, seed=1)
    joints = joints / np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1)[:, None, None]
    return (joints + np.random.default_rng(0).normal(scale=0.1, size=joints.shape)).astype(np.float32)


def jax_loss(fitted):
    @jax.jit
    @jax.value_and_grad
    def value_and_gradient(joints):
        return jnp.mean(losses.biomechanical(joints, fitted, WEIGHTS))

    return lambda joints: jax.block_until_ready(value_and_gradient(joints))


def torch_loss(fitted):
    tensors = {name: torch.tensor(np.asarray(getattr(fitted, name))) for name in ("bone_length", "curvature", "spread")}
    polygons = np.asarray(fitted.hull, np.float64).reshape(15, -1, 2)
    tensors["hulls"] = [torch.tensor(hull.exact(polygon), dtype=torch.float32) for polygon in polygons]

    def value_and_gradient(joints):
        joints = joints.detach().requires_grad_()
        value = losses_torch.biomechanical(joints, tensors, WEIGHTS).mean()
        value.backward()
        return value.detach(), joints.grad

    return value_and_gradient


def seconds(call, argument) -> float:
    start = time.perf_counter()
    call(argument)
    return time.perf_counter() - start


def measure(ours, theirs, joints: np.ndarray) -> tuple[np.ndarray, float]:
    """Seconds (shortest, median) x (ours, theirs), and seconds of our first call, which compiles."""
    array, tensor = jnp.asarray(joints), torch.tensor(joints)
    first = seconds(ours, array)
    (value, gradient), (their_value, their_gradient) = ours(array), theirs(tensor)
    np.testing.assert_allclose(value, their_value, rtol=1e-4)
    np.testing.assert_allclose(gradient, their_gradient, atol=1e-4 * float(jnp.abs(gradient).max()))
    times = [(seconds(ours, array), seconds(theirs, tensor)) for _ in range(50)]
    return np.stack([np.min(times, axis=0), np.median(times, axis=0)]), first


def plot(path: str, times: np.ndarray) -> None:
    """The shortest times `[batches, 2]`."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.loglog(BATCHES, times[:, 0] * 1e3, "o-", label="bmc_jax")
    axes.loglog(BATCHES, times[:, 1] * 1e3, "s-", label="PyTorch, eager")
    axes.set_xlabel("poses in a batch")
    axes.set_ylabel("value and gradient, ms")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="PATH", help="save the curve of both as a picture")
    options = parser.parse_args()
    fitted = limits.fit(skeleton.clinical_poses(20_000, seed=0), source="synthetic hands")
    ours, theirs = jax_loss(fitted), torch_loss(fitted)
    print(f"jax {jax.__version__} on {jax.devices()[0].platform}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads\n")
    print("| poses | bmc_jax ms (median) | PyTorch ms (median) | ratio (of medians) | first call s |")
    print("|---|---|---|---|---|")
    shortest = []
    for count in BATCHES:
        times, first = measure(ours, theirs, poses(count))
        shortest.append(times[0])
        (own, their), (own_median, their_median) = times * 1e3
        print(f"| {count} | {own:.3f} ({own_median:.3f}) | {their:.2f} ({their_median:.2f}) ", end="")
        print(f"| {their / own:.1f} ({their_median / own_median:.1f}) | {first:.1f} |", flush=True)
    if options.plot:
        plot(options.plot, np.stack(shortest))


if __name__ == "__main__":
    main()
