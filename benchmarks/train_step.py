"""How fast is a training step of the paper's network, against PyTorch on the same device?

    python benchmarks/train_step.py [--batches 64 256 1024] [--dtypes float32 bfloat16] [--compile]

Needs the extra `bench`; with a GPU, a PyTorch that knows it. ResNet-50 at 128x128, images (noise) and labels already on
the device, no augmentation, one device. Both libraries are measured in turn in one process, the shortest of some rounds
counts. Ours is the whole step: network, refiner, lifting, every loss, clipping, SGD. PyTorch's is the network with a
head and a mean absolute error (see `train_step_torch`), channels last, on a GPU under autocast for bfloat16 and with
TensorFloat-32 as JAX has it.

"Without ResNet" is the same step of ours with some pixels in place of the ResNet's features, so head, refiner, lifting,
all losses and their part of the optimizer, as a separate program: an upper bound on what lifting and biomechanical
losses take of the whole.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from unittest import mock

# Leaves memory to PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import train_step_torch
from machine import machine

from bmc_jax import camera, limits, step
from bmc_jax.config import Config
from bmc_jax.core.types import Batch
from bmc_jax.data.cache import Resident
from bmc_jax.models import pose_network
from bmc_jax.synthesis import skeleton
from bmc_jax.training import feed, flops, parallel

#: Images of the paper's run, as the issue of its speed is put: 75,000 for 70 epochs.
PAPER = 75_000 * 70


class Pixels(nn.Module):
    """In place of the ResNet."""

    depth: int
    width: int
    patch: int
    pool: str
    dtype: type
    axis_name: str | None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        self.variable("batch_stats", "none", lambda: jnp.zeros(()))
        return image[:, ::16, ::16].reshape(len(image), -1)


@contextlib.contextmanager
def without_resnet() -> Iterator[None]:
    with mock.patch.object(pose_network, "ResNet", Pixels):
        yield


def examples(count: int, size: int) -> Batch:
    """Noise with the labels of synthetic hands, half a metre away, one half of them in 2D only."""
    generator = np.random.default_rng(0)
    joints = skeleton.clinical_poses(count, seed=0)
    joints = (joints - joints[:, :1] + np.array([0.0, 0.0, 0.5])).astype(np.float32)
    middle = (size - 1) / 2
    intrinsics = np.array([[2.0 * size, 0, middle], [0, 2.0 * size, middle], [0, 0, 1]], np.float32)
    intrinsics = np.broadcast_to(intrinsics, (count, 3, 3)).copy()
    everywhere = np.ones((count, 21), bool)
    return Batch(
        image=generator.integers(0, 256, (count, size, size, 3), np.uint8),
        intrinsics=intrinsics,
        joints_2d=np.asarray(camera.project(jnp.asarray(joints), jnp.asarray(intrinsics))),
        joints_2d_valid=everywhere,
        joints_3d=joints,
        joints_3d_valid=everywhere & (np.arange(count) < count / 2)[:, None],
        scale=np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1),
        source=np.zeros(count, np.int32),
        index=np.arange(count, dtype=np.int32),
        present=np.ones(count, bool),
    )


def ours(options: Config, batch: Batch) -> tuple[Callable, Callable, float]:
    """(a function that takes one step, one that waits for the device, seconds of the first step)."""
    start = time.perf_counter()
    state, hand_limits = parallel.replicate((jax.device_get(step.create(options)), limits.load("clinical")))
    inputs = feed.Inputs(batch=jax.device_put(jax.tree.map(lambda leaf: leaf[None], batch), jax.devices()[0]))
    run = feed.train_program(options)
    metrics = {}

    def take() -> None:
        nonlocal state, metrics
        state, metrics = run(state, inputs, hand_limits, Resident(None, None))

    def wait() -> None:
        jax.block_until_ready((state, metrics))

    take()
    wait()
    if not np.isfinite(float(metrics["loss"])):
        raise FloatingPointError(f"the loss is {metrics['loss']}")
    return take, wait, time.perf_counter() - start


def shortest(runs: dict[str, tuple[Callable, Callable]], steps: int, rounds: int) -> dict[str, float]:
    """Seconds of a step of each, in the shortest of some rounds in which all have their turn."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (take, wait) in runs.items():
            start = time.perf_counter()
            for _ in range(steps):
                take()
            wait()
            times[name].append((time.perf_counter() - start) / steps)
    return {name: min(found) for name, found in times.items()}


def main() -> None:
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32] if on_cpu else [64, 128, 256, 512, 1024])
    parser.add_argument("--dtypes", nargs="+", default=["float32"] if on_cpu else ["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true", default=not on_cpu, help="PyTorch with torch.compile, too")
    parser.add_argument("--steps", type=int, default=1 if on_cpu else 20, help="in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of the device at its peak, for the MFU")
    choices = parser.parse_args()
    if jax.local_device_count() > 1:
        parser.error("this measures one device: hide the others, as by CUDA_VISIBLE_DEVICES=0")
    if not on_cpu and not torch.cuda.is_available():
        parser.error("JAX is on an accelerator, but PyTorch is not: install a PyTorch that knows it")

    print(f"{machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| dtype | batch | bmc_jax ms | images/s | MFU | PyTorch images/s | ratio | torch.compile images/s | ratio |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    notes, best = [], 0.0
    for dtype in choices.dtypes:
        for size in choices.batches:
            options = Config()
            options.data.batch_size, options.data.augment, options.network.dtype = size, False, dtype
            batch = examples(size, options.data.image_size)
            *run, first = ours(options, batch)
            runs = {"ours": tuple(run)}
            with without_resnet():
                *run, _ = ours(options, batch)
            runs["without"] = tuple(run)
            labels = (batch.joints_2d / size).reshape(size, -1)
            labels = np.concatenate([labels, batch.joints_3d[..., 2]], axis=-1).astype(np.float32)
            for name, compiled in [("eager", False)] + [("compiled", True)] * choices.compile:
                run = train_step_torch.train_step(batch.image, labels, dtype=dtype, compiled=compiled)
                run[0]()
                run[1]()
                runs[name] = run
            times = shortest(runs, choices.steps, choices.rounds)
            rate = {name: size / found for name, found in times.items()}
            options.training.peak_tflops = choices.peak_tflops
            peak = flops.peak_images_per_second(options)
            cells = [dtype, f"{size}", f"{times['ours'] * 1e3:.1f}", f"{rate['ours']:.1f}"]
            cells += [f"{rate['ours'] / peak:.1%}" if peak else "-"]
            for name in ("eager", "compiled"):
                cells += [f"{rate[name]:.1f}", f"{rate['ours'] / rate[name]:.2f}"] if name in rate else ["-", "-"]
            print(f"| {' | '.join(cells)} |", flush=True)
            share = times["without"] / times["ours"]
            notes.append(
                f"{dtype}, batch {size}: without ResNet {times['without'] * 1e3:.2f} ms, at most {share:.1%} of the "
                f"step; first step {first:.0f} s, compilation included"
            )
            best = max(best, rate["ours"])
    print("\n" + "\n".join(notes))
    print(f"{PAPER:,} images, 70 epochs of 75,000, at {best:,.1f} images/s: {PAPER / best / 3600:.2f} h")


if __name__ == "__main__":
    main()
