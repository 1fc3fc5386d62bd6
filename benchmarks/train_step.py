"""Speed of a training step of the paper's network, relative to PyTorch on the same device.

    taskset --cpu-list 0 python benchmarks/train_step.py
    python benchmarks/train_step.py [--batches 64 256 1024] [--dtypes float32 bfloat16] [--compile]

Needs the extra `bench`; with a GPU, a PyTorch that supports it. The network is ResNet-50 at 128x128; images (noise) and
labels are already on the device; there is no augmentation and one device. All are measured in turn in one process; the
shortest of several rounds is printed, with the median in parentheses. On a CPU, times are CPU times, which other
processes disturb less; on one core, threads do not wait for each other. Ours is the whole step: network, refiner,
lifting, all losses, clipping, SGD. PyTorch's is the network with a head and a mean absolute error (see
`train_step_torch`), channels last, on a GPU under autocast for bfloat16 and with TensorFloat-32 as in JAX.

"XLA's" is our step with XLA's 1x1 convolutions and windowed maximum, which are used on accelerators and not on CPUs
(see `models.backbone`).

"Without ResNet" is our step with some pixels in place of the ResNet's features: head, refiner, lifting, all losses and
their part of the optimizer, as a separate program: an upper bound of the time of lifting and biomechanical losses.
"""

import argparse
import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

# Leave memory to PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
import train_step_torch
from examples import examples
from machine import machine

from bmc_jax import limits, step
from bmc_jax.config import Config
from bmc_jax.core.types import Batch
from bmc_jax.data.cache import Resident
from bmc_jax.models import backbone, pose_network
from bmc_jax.training import feed, flops, parallel

#: Number of images of a run: 75,000 for 70 epochs.
PAPER = 75_000 * 70


class Pixels(nn.Module):
    """Replacement of the ResNet."""

    depth: int
    width: int
    patch: int
    pool: str
    dtype: type
    devices: object

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        self.variable("batch_stats", "none", lambda: jnp.zeros(()))
        return image[:, ::16, ::16].reshape(len(image), -1)


@contextlib.contextmanager
def with_xlas() -> Iterator[None]:
    windows = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
    with (
        mock.patch.object(backbone, "pointwise", jax.lax.conv_general_dilated),
        mock.patch.object(backbone, "maximum", windows),
    ):
        yield


@contextlib.contextmanager
def without_resnet() -> Iterator[None]:
    with mock.patch.object(pose_network, "ResNet", Pixels):
        yield


def ours(options: Config, batch: Batch) -> tuple[Callable, Callable, float]:
    """Returns a function that takes one step, one that waits for the device, and the seconds of the first step."""
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
        raise FloatingPointError(f"expected a finite loss, got {metrics['loss']}")
    return take, wait, time.perf_counter() - start


def timed(runs: dict[str, tuple[Callable, Callable]], steps: int, rounds: int) -> dict[str, np.ndarray]:
    """Returns the seconds per step of each function, shortest and median of several rounds with all functions."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (take, wait) in runs.items():
            start = clock()
            for _ in range(steps):
                take()
            wait()
            times[name].append((clock() - start) / steps)
    return {name: np.array([min(found), np.median(found)]) for name, found in times.items()}


def main() -> None:
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32] if on_cpu else [64, 128, 256, 512, 1024])
    parser.add_argument("--dtypes", nargs="+", default=["float32"] if on_cpu else ["float32", "bfloat16"])
    parser.add_argument(
        "--compile", action="store_true", default=not on_cpu, help="also measure PyTorch with torch.compile"
    )
    parser.add_argument("--steps", type=int, default=1 if on_cpu else 20, help="steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="peak of the device, for the MFU")
    choices = parser.parse_args()
    if jax.local_device_count() > 1:
        parser.error("expected one device, got several; hide the others, for example with CUDA_VISIBLE_DEVICES=0")
    if not on_cpu and not torch.cuda.is_available():
        parser.error("JAX uses an accelerator, but PyTorch does not; install a PyTorch that supports it")

    if on_cpu:
        torch.set_num_threads(1)
    print(f"{machine()}; torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| dtype | batch | step of | ms | images/s | MFU | speed relative to PyTorch |")
    print("|---|---|---|---|---|---|---|", flush=True)
    notes, best = [], 0.0
    for dtype in choices.dtypes:
        for size in choices.batches:
            options = Config()
            options.data.batch_size, options.data.augment, options.network.dtype = size, False, dtype
            batch = examples(size, options.data.image_size)
            *run, first = ours(options, batch)
            runs: dict[str, Any] = {"bmc_jax": tuple(run)}
            if on_cpu:
                with with_xlas():
                    *run, _ = ours(options, batch)
                runs["bmc_jax, XLA's"] = tuple(run)
            with without_resnet():
                *run, _ = ours(options, batch)
            runs["without ResNet"] = tuple(run)
            labels = (batch.joints_2d / size).reshape(size, -1)
            labels = np.concatenate([labels, batch.joints_3d[..., 2]], axis=-1).astype(np.float32)
            for name, compiled in [("PyTorch", False)] + [("torch.compile", True)] * choices.compile:
                run = train_step_torch.train_step(batch.image, labels, dtype=dtype, compiled=compiled)
                run[0]()
                run[1]()
                runs[name] = run
            times = timed(runs, choices.steps, choices.rounds)
            options.training.peak_tflops = choices.peak_tflops
            peak = flops.peak_images_per_second(options)
            for name, found in times.items():
                rate, ratio = size / found[0], times["PyTorch"] / found
                mfu = f"{rate / peak:.1%}" if peak and name == "bmc_jax" else "-"
                milliseconds = f"{found[0] * 1e3:.1f} ({found[1] * 1e3:.1f})"
                cells = [dtype, f"{size}", name, milliseconds, f"{rate:.1f}", mfu, f"{ratio[0]:.2f} ({ratio[1]:.2f})"]
                print(f"| {' | '.join(cells)} |", flush=True)
            share = times["without ResNet"][0] / times["bmc_jax"][0]
            notes.append(
                f"{dtype}, batch {size}: all but the ResNet at most {share:.1%} of the step; first step {first:.0f} s, "
                "compilation included"
            )
            best = max(best, size / times["bmc_jax"][0])
    print("\n" + "\n".join(notes))
    print(f"{PAPER:,} images, 70 epochs of 75,000, at {best:,.1f} images/s: {PAPER / best / 3600:.2f} h")


if __name__ == "__main__":
    main()
