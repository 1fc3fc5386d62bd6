"""How long do the biomechanical losses take, value and gradient, against plain PyTorch on the same machine?

    taskset --cpu-list 0 python benchmarks/losses.py [--plot benchmarks/losses.png]

Needs the extra `bench`. The losses, the readable functions that they are tested against, and PyTorch without
compilation run in float32 on one core, in turn, in one process. Times are CPU times, the shortest of many calls, which
other work on the machine disturbs least; medians are printed beside. The hulls are fitted
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

BATCHES = (1, 64, 256, 1024, 4096)
CALLS = 30
WEIGHTS = losses.LossWeights(bone_length=1.0, palm=0.3, joint_angle=0.3)


def poses(count: int) -> np.ndarray:
    """Noisy synthetic hands `[count, 21, 3]` in scale units."""
    joints = skeleton.clinical_poses(count, seed=1)
    joints = joints / np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1)[:, None, None]
    return (joints + np.random.default_rng(0).normal(scale=0.1, size=joints.shape)).astype(np.float32)


def readable(joints, fitted):
    """The losses by the functions of `anatomy` and `hull`, differentiated by JAX."""
    terms = losses.excess(joints, fitted).terms
    return sum(getattr(WEIGHTS, name) * term for name, term in terms.items())


def jax_loss(function, fitted):
    return jax.jit(jax.value_and_grad(lambda joints: jnp.mean(function(joints, fitted))))


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
    start = time.process_time()
    jax.block_until_ready(call(argument))
    return time.process_time() - start


def measure(calls, joints: np.ndarray) -> tuple[np.ndarray, float]:
    """Seconds (shortest, median) x (ours, readable, PyTorch), and seconds of our first call, which compiles."""
    arguments = jnp.asarray(joints), jnp.asarray(joints), torch.tensor(joints)
    first = seconds(calls[0], arguments[0])
    (value, gradient), *others = (call(argument) for call, argument in zip(calls, arguments, strict=True))
    for other in others:
        np.testing.assert_allclose(value, other[0], rtol=1e-4)
        np.testing.assert_allclose(gradient, other[1], atol=1e-4 * float(jnp.abs(gradient).max()))
    times = [[seconds(call, one) for call, one in zip(calls, arguments, strict=True)] for _ in range(CALLS)]
    return np.stack([np.min(times, axis=0), np.median(times, axis=0)]), first


def plot(path: str, times: np.ndarray) -> None:
    """The shortest times `[batches, 3]`."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.loglog(BATCHES, times[:, 0] * 1e3, "o-", label="bmc_jax")
    axes.loglog(BATCHES, times[:, 1] * 1e3, "^-", label="the readable functions")
    axes.loglog(BATCHES, times[:, 2] * 1e3, "s-", label="PyTorch, eager")
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
    torch.set_num_threads(1)
    calls = (
        jax_loss(lambda joints, fitted: losses.biomechanical(joints, fitted, WEIGHTS), fitted),
        jax_loss(readable, fitted),
        torch_loss(fitted),
    )
    print(f"jax {jax.__version__} on {jax.devices()[0].platform}, torch {torch.__version__}, CPU time of one core\n")
    for name, call in (("losses", calls[0]), ("readable functions", calls[1])):
        for platform in ("cuda", "tpu"):
            text = jax.export.export(call, platforms=[platform])(poses(256)).mlir_module()
            print(f"operations of the {name} lowered for {platform}: {text.count(' = ')}")
    print("\n| poses | losses, ms (median) | readable functions | PyTorch, eager | PyTorch / losses | first call, s |")
    print("|---|---|---|---|---|---|")
    shortest = []
    for count in BATCHES:
        times, first = measure(calls, poses(count))
        shortest.append(times[0])
        cells = " | ".join(f"{low:.3f} ({median:.3f})" for low, median in (times * 1e3).T)
        (own, _, their), (own_median, _, their_median) = times
        ratio = f"{their / own:.1f} ({their_median / own_median:.1f})"
        print(f"| {count} | {cells} | {ratio} | {first:.1f} |", flush=True)
    if options.plot:
        plot(options.plot, np.stack(shortest))


if __name__ == "__main__":
    main()
