"""Speed of value and gradient of the biomechanical losses, relative to the readable functions, PyTorch and C++.

    python benchmarks/losses.py [--plot benchmarks/losses.png] [--seconds 1]

Needs the extra `bench`. All run on the CPU in float32 with one thread, in turn, in one process. Times are CPU times of
the process, the shortest of many calls, which other processes disturb least; medians are in parentheses. The hulls are
fitted to synthetic poses, and the timed poses are these hands with noise, so that some angles are inside their hulls
and some outside, as in training.

"before" are the readable functions, differentiated by JAX: the derivative of `losses.excess`. PyTorch is measured eager
and compiled by `torch.compile`. The limit is `losses_limit.cpp`, compiled by g++ for this CPU. Without a compiler, or
if a compilation fails, a line states this. At the end, the operations of the losses' program for a GPU are counted.
"""

import argparse
import collections
import ctypes
import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax
import jax.numpy as jnp
import losses_torch
import matplotlib
import numpy as np
import torch
from machine import machine

from bmc_jax import hull, limits, losses
from bmc_jax.synthesis import skeleton

BATCHES = (1, 16, 64, 256, 1024, 4096)
WEIGHTS = losses.LossWeights(bone_length=1.0, palm=0.3, joint_angle=0.3)
NAMES = ("before", "bmc_jax", "PyTorch", "torch.compile", "C++")


def poses(count: int) -> np.ndarray:
    """Returns noisy synthetic hands `[count, 21, 3]` in scale units."""
    joints = skeleton.clinical_poses(count, seed=1)
    joints = joints / np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1)[:, None, None]
    return (joints + np.random.default_rng(0).normal(scale=0.1, size=joints.shape)).astype(np.float32)


def fast(joints, fitted):
    return losses.biomechanical(joints, fitted, WEIGHTS)


def readable(joints, fitted):
    terms = losses.excess(joints, fitted).terms
    return sum(getattr(WEIGHTS, name) * term for name, term in terms.items())


def derived(loss) -> Callable[..., Any]:
    return jax.jit(jax.vmap(jax.value_and_grad(loss), (0, None)))


def jax_loss(loss, fitted, joints: np.ndarray) -> tuple[Callable[[], Any], float]:
    """Returns a compiled call, and the CPU time of its compilation."""
    array, start = jnp.asarray(joints), time.process_time()
    compiled = derived(loss).lower(array, fitted).compile()
    return lambda: jax.block_until_ready(compiled(array, fitted)), time.process_time() - start


def torch_loss(fitted, *, compiled: bool) -> Callable[..., Any]:
    tensors = {name: torch.tensor(np.asarray(getattr(fitted, name))) for name in ("bone_length", "curvature", "spread")}
    polygons = np.asarray(fitted.hull, np.float64).reshape(15, -1, 2)
    ragged = [torch.tensor(hull.exact(polygon), dtype=torch.float32) for polygon in polygons]
    tensors["hulls"] = torch.tensor(polygons, dtype=torch.float32) if compiled else ragged
    loss = functools.partial(losses_torch.biomechanical, limits=tensors, weights=WEIGHTS)
    loss = torch.compile(loss, dynamic=False, fullgraph=True) if compiled else loss

    def call(tensor):
        tensor = tensor.detach().requires_grad_()
        value = loss(tensor)
        value.sum().backward()
        return value.detach(), tensor.grad

    return call


def limit(fitted) -> Callable[..., Any] | None:
    """Returns the C++ program, or None without a compiler."""
    if not shutil.which("g++"):
        return None
    library = Path(tempfile.mkdtemp()) / "limit.so"
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-Wno-psabi", "-o", str(library)]
    subprocess.run(["g++", *flags, str(Path(__file__).with_name("losses_limit.cpp"))], check=True)
    program = ctypes.CDLL(str(library)).value_and_gradient
    bounds = [
        np.ascontiguousarray(getattr(fitted, name), np.float32) for name in ("bone_length", "curvature", "spread")
    ]
    polygons = np.ascontiguousarray(fitted.hull, np.float32)
    weights = np.array([WEIGHTS.bone_length, WEIGHTS.palm, WEIGHTS.joint_angle], np.float32)

    def call(joints: np.ndarray):
        value, gradient = np.empty(len(joints), np.float32), np.empty_like(joints)
        given = [
            array.ctypes.data_as(ctypes.c_void_p) for array in (joints, *bounds, polygons, weights, value, gradient)
        ]
        program(given[0], len(joints), *given[1:5], polygons.shape[2], *given[5:])
        return value, gradient

    return call


def measure(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, tuple[float, float]]:
    """Returns the CPU time in ms of each function, shortest and median, called in turn for some seconds or 15 times."""
    repeats, times = {}, {name: [] for name in calls}
    for name, call in calls.items():
        call()
        start = time.process_time()
        call()
        repeats[name] = max(1, int(2e-3 / max(time.process_time() - start, 1e-6)))
    start = time.process_time()
    for _ in range(100):
        for name, call in calls.items():
            before = time.process_time()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.process_time() - before) / repeats[name] * 1e3)
        if time.process_time() - start > seconds * len(calls) and len(times[name]) >= 15:
            break
    return {name: (min(each), float(np.median(each))) for name, each in times.items()}


def operations(loss, fitted) -> str:
    """Returns a count of the operations of value and gradient at 64 poses, lowered for a GPU."""
    shape = jax.ShapeDtypeStruct((64, 21, 3), jnp.float32)
    program = jax.export.export(derived(loss), platforms=["cuda"])(shape, fitted).mlir_module()
    counts = collections.Counter(re.findall(r"stablehlo\.(\w+)", program))
    others = {name: counts[name] for name in ("dot_general", "gather", "reduce", "while")}
    return f"{counts.total()} operations, of these {others}"


def plot(path: str, times: dict[int, dict[str, tuple[float, float]]]) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name in NAMES:
        points = [(count, each[name][0]) for count, each in times.items() if name in each]
        if points:
            axes.loglog(*zip(*points, strict=True), "o-", label=name)
    axes.set_xlabel("poses in a batch")
    axes.set_ylabel("value and gradient, ms of one core")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="PATH", help="save all curves as a picture")
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time for each number (default: 0.5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fitted = limits.fit(skeleton.clinical_poses(20_000, seed=0), source="synthetic hands")
    eager, compiled, cpp = torch_loss(fitted, compiled=False), torch_loss(fitted, compiled=True), limit(fitted)
    print(f"{machine()}, torch {torch.__version__}, one thread\n")
    if cpp is None:
        print("g++ is not installed; C++ is skipped.\n")
    heads = [f"{name} ms" for name in NAMES] + ["before / bmc_jax", "PyTorch", "torch.compile", "bmc_jax / C++"]
    print("| poses | " + " | ".join([*heads, "compilation, CPU s"]) + " |")
    print("|---" * (len(heads) + 2) + "|")
    table = {}
    for count in BATCHES:
        joints, tensor = poses(count), torch.tensor(poses(count))
        before, _ = jax_loss(readable, fitted, joints)
        ours, compilation = jax_loss(fast, fitted, joints)
        calls = {"before": before, "bmc_jax": ours, "PyTorch": functools.partial(eager, tensor)}
        if count in (64, 256, 4096):
            try:
                compiled(tensor)
                calls["torch.compile"] = functools.partial(compiled, tensor)
            except Exception as error:  # Inductor needs a C++ compiler, and not every version of it works everywhere.
                print(f"torch.compile failed: {error!r:.200}")
        if cpp is not None and count % 16 == 0:
            calls["C++"] = functools.partial(cpp, joints)
        value, gradient = map(np.asarray, ours())
        for name, call in calls.items():
            found = [np.asarray(part) for part in call()]
            np.testing.assert_allclose(found[0], value, rtol=1e-4, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(found[1], gradient, atol=1e-4 * np.abs(gradient).max(), err_msg=name)
        times = table[count] = measure(calls, options.seconds)

        def ratio(over: str, under: str, times=times) -> str:
            if over not in times or under not in times:
                return ""
            shortest, median = (a / b for a, b in zip(times[over], times[under], strict=True))
            return f"{shortest:.1f} ({median:.1f})"

        cells = [f"{times[name][0]:.3f} ({times[name][1]:.3f})" if name in times else "" for name in NAMES]
        cells += [ratio(name, "bmc_jax") for name in ("before", "PyTorch", "torch.compile")]
        cells += [ratio("bmc_jax", "C++"), f"{compilation:.1f}"]
        print(f"| {count} | " + " | ".join(cells) + " |", flush=True)
    for name, loss in (("before", readable), ("bmc_jax", fast)):
        print(f"\n{name}, program for a GPU: {operations(loss, fitted)}")
    if options.plot:
        plot(options.plot, table)


if __name__ == "__main__":
    main()
