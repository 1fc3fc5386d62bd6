"""Scaling of training over processes and accelerators.

    python benchmarks/scaling.py [--processes 1 2 4] [--plot docs/images/scaling.png]
    python benchmarks/scaling.py --launcher "srun --ntasks={processes}"      # under Slurm

Three parts:

1. Measured: 1, 2 and 4 processes with one device and one thread each, which exchange gradients and statistics through
   Gloo. "Weak" has a constant number of images per process, "strong" a constant number per step. Host time is the time
   of a call of a program that has as many arrays in its state as the paper's network and computes nothing.
2. Counted: the collectives of the paper's step, ResNet-50 at 128x128, compiled for 8 devices, and their bytes.
3. Modelled: 8, 64 and 256 accelerators, from the counts of part 2, the operations of the network and the speeds of
   accelerators and links in `Cluster`. Collectives run one after the other without overlap, a pessimistic assumption.
   The model contains no measurement of an accelerator.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

WEAK, STRONG = 16, 32
"""Images per step of each process, and of all processes."""
STEPS = 12
ACCELERATORS = (8, 16, 32, 64, 128, 256)
PAPER = 75_000 * 70
"""Images of the paper's run: 75,000 for 70 epochs."""


@dataclass(frozen=True)
class Cluster:
    """Assumptions on nodes of 8 NVIDIA H100 with 400 Gb/s of network each."""

    peak: float = 989e12
    """bfloat16 operations per second of one accelerator, from its data sheet."""
    utilization: float = 0.08
    """Share of the peak that the network reaches; an assumption that is usual for ResNet-50."""
    node: int = 8
    inside: float = 450e9
    """Bytes per second in each direction between the accelerators of a node (NVLink 4)."""
    between: float = 50e9
    """Bytes per second in each direction from an accelerator to other nodes (400 Gb/s)."""
    start: float = 15e-6
    """Seconds for the launch of a collective; an assumption."""
    hop_inside: float = 2e-6
    hop_between: float = 8e-6
    """Seconds of latency per hop; a tree has two hops per doubling; assumptions."""

    def exchange(self, size: float, count: int) -> float:
        """Returns the seconds of an all-reduce of some bytes over some accelerators."""
        nodes = math.ceil(count / self.node)
        local = min(count, self.node)
        hops = 2 * math.log2(local) * self.hop_inside + 2 * math.log2(nodes) * self.hop_between
        moved = 2 * size * (local - 1) / local / self.inside + 2 * size * (nodes - 1) / nodes / self.between
        return self.start + hops + moved


def small_config(batch: int, mapping: str) -> Any:
    """Returns the network of part 1: small enough for a CPU, but slower than its communication."""
    from bmc_jax.config import Config

    options = Config()
    options.data.image_size, options.data.batch_size, options.data.augment = 64, batch, False
    options.network.depth, options.network.width = 10, 16
    options.training.mapping = mapping
    return options


def worker(processes: int, process: int, port: int) -> None:
    """Measures the part of one process; the first process prints the result as JSON."""
    import jax
    from examples import examples

    from bmc_jax import limits, step
    from bmc_jax.config import Config
    from bmc_jax.data.cache import Resident
    from bmc_jax.runtime import distributed
    from bmc_jax.training import feed, parallel

    given = {"coordinator": f"localhost:{port}", "processes": processes, "process": process}
    distributed.initialize(argparse.Namespace(distributed=False, **(given if processes > 1 else dict.fromkeys(given))))

    def times(take: Any, count: int) -> dict[str, float]:
        """Returns the median milliseconds of a call: wall time, and CPU time of this process."""
        take()
        found = []
        for _ in range(count):
            distributed.barrier()
            start = time.perf_counter(), time.process_time()
            take()
            found.append([time.perf_counter() - start[0], time.process_time() - start[1]])
        wall, cpu = np.median(found, axis=0) * 1e3
        return {"wall": float(wall), "cpu": float(cpu)}

    def training(batch: int, mapping: str) -> Any:
        options = small_config(batch, mapping)
        state, bounds = parallel.replicate((jax.device_get(step.create(options)), limits.load("clinical")), mapping)
        rows = jax.tree.map(lambda leaf: leaf[None], examples(batch // processes, options.data.image_size))
        inputs = feed.Inputs(batch=parallel.place(rows, 0, mapping))
        run = feed.train_program(options)

        def take() -> None:
            nonlocal state
            state, metrics = run(state, inputs, bounds, Resident(None, None))
            jax.block_until_ready((state, metrics))

        return take

    def host(mapping: str) -> Any:
        leaves = jax.tree.leaves(jax.eval_shape(functools.partial(step.create, Config())))
        state = parallel.replicate([np.zeros(1, np.float32) for _ in leaves], mapping)
        rows = parallel.place(np.zeros((1, 1), np.float32), 0, mapping)

        def add(state: Any, row: Any) -> Any:
            return [leaf + 1 for leaf in state]

        run = parallel.parallelize(add, (None, 0), None, donate=True, mapping=mapping)

        def take() -> None:
            nonlocal state
            state = jax.block_until_ready(run(state, rows))

        return take

    found = {
        "weak": times(training(WEAK * processes, "pmap"), STEPS),
        "weak, shard_map": times(training(WEAK * processes, "shard_map"), STEPS),
        "strong": times(training(STRONG, "pmap"), STEPS),
        "host, pmap": times(host("pmap"), 40),
        "host, shard_map": times(host("shard_map"), 40),
    }
    if process == 0:
        print("RESULT " + json.dumps(found), flush=True)


def measured(processes: int, launcher: str | None) -> dict[str, dict[str, float]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--worker", str(processes), port]
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    if launcher:
        prefix = shlex.split(launcher.format(processes=processes))
        started = [subprocess.Popen([*prefix, *command], env=environment, stdout=subprocess.PIPE, text=True)]
    else:
        started = [
            subprocess.Popen([*command, str(index)], env=environment, stdout=subprocess.PIPE, text=True)
            for index in range(processes)
        ]
    text = "".join([process.communicate()[0] for process in started])
    if any(process.returncode for process in started):
        raise SystemExit(f"{processes} processes failed; their messages are above")
    return json.loads(re.findall(r"^(?:0: )?RESULT (.*)$", text, re.M)[0])


def collectives(batch_norm: int) -> list[int]:
    """Returns the bytes of each all-reduce of the paper's step, compiled for the 8 devices of this process."""
    import jax
    from examples import examples

    from bmc_jax import limits, step
    from bmc_jax.config import Config
    from bmc_jax.data import input_pipeline
    from bmc_jax.data.cache import Resident
    from bmc_jax.training import feed

    options = Config()
    options.data.batch_size, options.data.augment, options.network.batch_norm = jax.device_count(), False, batch_norm
    state = jax.eval_shape(functools.partial(step.create, options))
    batch = input_pipeline.shard(examples(options.data.batch_size, options.data.image_size))
    arguments = (state, feed.Inputs(batch=batch), limits.load("clinical"), Resident(None, None))
    text = feed.train_program(options).lower(*arguments).compile().as_text()
    sizes = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}
    found = []
    for shapes in re.findall(r"= (.*?) all-reduce(?:-start)?\(", text):
        parts = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        found.append(sum(sizes[kind] * math.prod(map(int, filter(None, shape.split(",")))) for kind, shape in parts))
    return found


def counted() -> dict[str, list[int]]:
    """Returns `collectives` with BatchNorm over all devices and over single devices, from a process with 8 devices."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    found = {}
    for name, batch_norm in (("all devices", 0), ("each device", 1)):
        command = [sys.executable, __file__, "--collectives", str(batch_norm)]
        text = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        found[name] = json.loads(text.splitlines()[-1])
    return found


def modelled(sizes: list[int], batch: int, flops: float, count: int, cluster: Cluster) -> tuple[float, float]:
    """Returns the seconds of a step, and the share in which accelerators compute."""
    compute = batch * flops / (cluster.peak * cluster.utilization)
    together = sum(cluster.exchange(size, count) for size in sizes)
    return compute + together, compute / (compute + together)


def plot(path: str, curves: dict[str, list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for (name, shares), style in zip(curves.items(), ("o-", "s-", "o--", "s--"), strict=True):
        axes.plot(ACCELERATORS, np.array(shares) * 100, style, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ACCELERATORS, [str(count) for count in ACCELERATORS])
    axes.set_ylim(0, 100)
    axes.set_xlabel("accelerators (modelled)")
    axes.set_ylabel("share of the step that is computation, %")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--processes",
        type=int,
        nargs="*",
        default=[1, 2, 4],
        help="numbers of processes to measure; none to skip part 1",
    )
    parser.add_argument("--launcher", help="command that starts the processes, with {processes} for their number")
    parser.add_argument("--plot", metavar="PATH", help="save the curves of the model as a picture")
    parser.add_argument("--worker", nargs="+", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--collectives", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        processes, port, process = [*options.worker, rank][:3]
        return worker(processes, process, port)
    if options.collectives is not None:
        return print(json.dumps(collectives(options.collectives)))

    from machine import machine

    from bmc_jax.config import Config
    from bmc_jax.training import flops

    print(machine())
    print(f"\n## Measured: {WEAK} images a process (weak), {STRONG} in all (strong)")
    print("\nMilliseconds a step of wall time, in brackets of one process's CPU time; median.\n")
    heads = ["weak", "weak, shard_map", "strong", "host, pmap", "host, shard_map"]
    print("| processes | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(heads)) + "|")
    for processes in options.processes:
        found = measured(processes, options.launcher)
        cells = (f"{found[head]['wall']:.1f} ({found[head]['cpu']:.1f})" for head in heads)
        print(f"| {processes} | " + " | ".join(cells) + " |", flush=True)

    print("\n## Counted: collectives of a step of the paper's network\n")
    print("| BatchNorm over | collectives | MB in all | largest, MB | median of the others, bytes |")
    print("|---" * 5 + "|")
    counts = counted()
    for name, sizes in counts.items():
        largest = max(sizes)
        others = sorted(sizes)[:-1] or [0]
        cells = [name, f"{len(sizes)}", f"{sum(sizes) / 1e6:.2f}", f"{largest / 1e6:.2f}", f"{np.median(others):.0f}"]
        print("| " + " | ".join(cells) + " |")

    cluster, work = Cluster(), flops.training_flops(Config())
    print(f"\n## Modelled: {dataclasses.asdict(cluster)}; {work / 1e9:.1f} GFLOP an image\n")
    heads = ["step, ms", "computing", "images/s", "the paper's run, s"]
    print("| BatchNorm over | images an accelerator | accelerators | " + " | ".join(heads) + " |\n" + "|---" * 7 + "|")
    curves: dict[str, list[float]] = {}
    for batch in (32, 128):
        for name, sizes in counts.items():
            for count in ACCELERATORS:
                seconds, share = modelled(sizes, batch, work, count, cluster)
                curves.setdefault(f"{batch} images each, BatchNorm over {name}", []).append(share)
                rate = batch * count / seconds
                cells = [name, batch, count, f"{seconds * 1e3:.2f}", f"{share:.0%}", f"{rate:,.0f}"]
                if count in (8, 64, 256):
                    print("| " + " | ".join(map(str, cells)) + f" | {PAPER / rate:.0f} |")
    if options.plot:
        plot(options.plot, curves)


if __name__ == "__main__":
    main()
