"""Speed of prediction with the paper's network relative to PyTorch on the same device, and start time of an export.

    python benchmarks/inference.py [--batches 1 64 1024] [--dtypes float32 bfloat16] [--compile] [--one-core]

Needs the extras `bench`, `export` and `onnx`; with a GPU, a PyTorch that supports it. The network is ResNet-50 at
128x128 with the same random weights in both libraries, whose predicted pixels are compared first. Ours is the whole
prediction: network, refiner, lifting; images are already on the device. PyTorch's is the network up to its head (see
`inference_torch`), eager, channels last, on a GPU under autocast for bfloat16. "Exported" is `load.py` of an exported
folder, from numpy to numpy, with angles and plausibility. All take turns in one process; the shortest of several rounds
is printed.

With --one-core, each has one thread on one core, and CPU seconds are measured, which other processes disturb least. A
batch of 1 is repeated until a round takes half a second.
"""

import argparse
import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Leave memory to PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import inference_torch
import jax
import jax.numpy as jnp
import numpy as np
import torch
from machine import machine

from bmc_jax import limits, step
from bmc_jax.config import Config
from bmc_jax.core.types import Batch
from bmc_jax.inference import export
from bmc_jax.inference.export import onnx_program, program
from bmc_jax.training import checkpoint, config_io, forward, parallel, weights_file

#: Smallest duration of a round, seconds.
ROUND = 0.5
#: Program of a new process that loads the folder.
FRESH = """
import time; start = time.perf_counter()
import jax, json, numpy as np, pathlib, runpy, sys
imported = time.perf_counter()
predict = runpy.run_path(sys.argv[1] + "/load.py")["load"](pathlib.Path(sys.argv[1]))
loaded = time.perf_counter()
given = dict(np.load(sys.argv[2]))
predict(**given); first = time.perf_counter()
print(json.dumps([imported - start, loaded - imported, first - loaded]))
"""


def weights(options: Config) -> step.TrainState:
    """Returns random weights, with blocks that are not the identity as in an untrained network."""
    shapes = jax.eval_shape(functools.partial(step.create, options))
    generator = np.random.default_rng(0)

    def some(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        if name.endswith("['kernel']"):
            size = np.sqrt(1 / np.prod(leaf.shape[:-1]))
            return generator.normal(0, size, leaf.shape).astype(np.float32)
        one = name.endswith(("['scale']", "['var']"))
        return generator.uniform(0.5 * one, 0.2 + 0.8 * one, leaf.shape).astype(np.float32)

    trees = {"params": shapes.params, "batch_stats": shapes.batch_stats}
    return step.TrainState(jnp.zeros((), jnp.int32), **jax.tree_util.tree_map_with_path(some, trees), opt_state=None)


def images(count: int, size: int) -> Batch:
    given = program.probes(size)
    repeat = -(-count // len(given["image"]))
    image, intrinsics = (np.tile(given[key], (repeat, *[1] * (given[key].ndim - 1)))[:count] for key in ("image", "K"))
    none = np.zeros((count, 0))
    return Batch(image, intrinsics, *[none] * 7, present=np.ones(count, bool))


def exported(options: Config, state: step.TrainState, folder: Path) -> Path:
    """Exports a run with these weights, and returns the folder."""
    run = folder / options.network.dtype
    run.mkdir()
    config_io.write(options, run)
    limits.save(limits.load("clinical"), run / limits.FILE)
    checkpoint.save(run, state, keep=1)
    return export.export(run, folder / f"{options.network.dtype}_exported", onnx=True)


def shortest(runs: dict[str, tuple[Callable, Callable]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Returns the seconds per call of each function, in the shortest of several rounds with all functions."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (take, wait) in runs.items():
            calls, start = 0, clock()
            while not calls or clock() - start < ROUND:
                jax.block_until_ready(take())
                wait()
                calls += 1
            times[name].append((clock() - start) / calls)
    return {name: min(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1024])
    parser.add_argument("--dtypes", nargs="+", help="(default: float32, and bfloat16 on an accelerator)")
    parser.add_argument("--compile", action="store_true", help="also measure PyTorch with torch.compile")
    parser.add_argument("--one-core", action="store_true", help="measure CPU seconds of one thread, on a shared CPU")
    parser.add_argument("--rounds", type=int, default=3)
    choices = parser.parse_args()
    if choices.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
    on_cpu, clock = jax.default_backend() == "cpu", time.process_time if choices.one_core else time.perf_counter
    if jax.local_device_count() > 1:
        parser.error("expected one device, got several; hide the others, for example with CUDA_VISIBLE_DEVICES=0")
    if not on_cpu and not torch.cuda.is_available():
        parser.error("JAX uses an accelerator, but PyTorch does not; install a PyTorch that supports it")

    print(f"{machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print(
        "| dtype | batch | bmc_jax ms | images/s | exported ms | PyTorch ms | images/s | ratio | torch.compile ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    notes = []
    with tempfile.TemporaryDirectory() as place:
        for dtype in choices.dtypes or (["float32"] if on_cpu else ["float32", "bfloat16"]):
            options = Config()
            options.network.dtype = dtype
            state = weights(options)
            folder = exported(options, state, Path(place))
            notes.append(ready(folder, options))
            predict = runpy.run_path(os.fspath(folder / export.program.LOADER))["load"](folder)
            for size in choices.batches:
                batch = images(size, options.data.image_size)
                run, on_device = forward.program(options), parallel.replicate(state)
                placed = jax.device_put(jax.tree.map(lambda leaf: leaf[None], batch), jax.devices()[0])
                runs: dict[str, tuple[Callable, Callable]] = {
                    "ours": (functools.partial(run, on_device, placed), lambda: None),
                    "exported": (functools.partial(predict, batch.image, batch.intrinsics), lambda: None),
                }
                for name, compiled in [("eager", False)] + [("compiled", True)] * choices.compile:
                    runs[name] = inference_torch.predictor(state, batch.image, dtype=dtype, compiled=compiled)
                found = {name: take() for name, (take, _) in runs.items()}
                half = options.data.image_size / 2
                theirs = found["eager"].float().cpu().numpy().reshape(size, 21, 3)[..., :2] * half + half - 0.5
                apart = float(np.abs(np.asarray(found["ours"].joints_2d)[0] - theirs).max())
                times = shortest(runs, choices.rounds, clock)
                cells = [dtype, f"{size}", f"{times['ours'] * 1e3:.1f}", f"{size / times['ours']:.1f}"]
                cells += [f"{times['exported'] * 1e3:.1f}", f"{times['eager'] * 1e3:.1f}"]
                cells += [f"{size / times['eager']:.1f}"]
                ratios = [times[name] / times["ours"] if name in times else None for name in ("eager", "compiled")]
                cells += ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
                print(f"| {' | '.join(cells)} |", flush=True)
                notes.append(f"{dtype}, batch {size}: pixels differ from PyTorch's by at most {apart:.1g} px")
    print("\n" + "\n".join(notes))


def ready(folder: Path, options: Config) -> str:
    """Prints the size of an exported folder, and the time of a new process until its first result."""
    given = {name: rows[:1] for name, rows in program.probes(options.data.image_size).items()}
    np.savez(folder / "given.npz", **given)
    command = [sys.executable, "-I", "-c", FRESH, os.fspath(folder), os.fspath(folder / "given.npz")]
    times = [subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout for _ in range(3)]
    imported, loaded, first = np.min([json.loads(told) for told in times], axis=0)
    sizes = [
        (folder / name).stat().st_size / 1e6
        for name in (program.FILE, weights_file.FILE, export.BACKBONE, onnx_program.FILE)
    ]
    return (
        f"{options.network.dtype}: program {sizes[0]:.2f} MB, weights {sizes[1]:.1f} MB, backbone {sizes[2]:.1f} MB, "
        f"ONNX {sizes[3]:.1f} MB; "
        f"in a new process importing JAX takes {imported:.2f} s, loading {loaded:.2f} s, the first answer {first:.2f} s"
    )


if __name__ == "__main__":
    main()
