"""Memory use over a long run.

    python benchmarks/memory.py [--steps 10000]

Trains a tiny network with `bmc train`, including metrics, TensorBoard, checkpoints, evaluations and pictures. Prints
the median of the resident memory of the process for each tenth of the steps, and the slope over the second half, when
compiled functions, fonts and similar data are already loaded.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CONFIG = """
from bmc_jax.config import Config, Data, Limits, Network, Source, Training

def get_config(steps):
    sources = Source("mannequin", labels="3d", count=64), Source("real_like", labels="2d", count=64)
    return Config(
        name="memory",
        data=Data(train=sources, image_size=32, batch_size=8),
        network=Network(depth=10, width=4, patch=8),
        limits=Limits(source="clinical"),
        training=Training(
            epochs=int(steps) * 8 / 128, log_every=10, save_every=500, evaluate_every=500, evaluate_count=64,
            picture_every=1000,
        ),
    )
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        config, workdir = Path(folder) / "memory.py", Path(folder) / "run"
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "bmc_jax", "train", f"--config={config}:{steps}", f"--workdir={workdir}"]
        with (Path(folder) / "log").open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as run:
            samples = measure(run, workdir, steps)
            if run.returncode:
                log.seek(0)
                sys.exit(log.read())
    at, used = np.array([sample for sample in samples if sample[0] > steps // 2]).T
    print(f"slope over the second half: {1000 * np.polyfit(at, used, 1)[0]:+.2f} MB in 1,000 steps")


def measure(run: subprocess.Popen, workdir: Path, steps: int) -> list[tuple[int, float]]:
    """Returns (steps done, megabytes), sampled a few times per second until the run ends."""
    samples, tenth = [], 1
    print(f"{'steps':>16}{'resident':>12}")
    while run.poll() is None:
        time.sleep(0.25)
        done, memory = last_step(workdir), resident_megabytes(run.pid)
        if done and memory:
            samples.append((done, memory))
        if done >= tenth * steps // 10:
            first = (tenth - 1) * steps // 10
            median = np.median([memory for at, memory in samples if at >= first])
            print(f"{first:>7,} -{done:>7,}{median:>9.1f} MB", flush=True)
            tenth += 1
    return samples


def last_step(workdir: Path) -> int:
    try:
        lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    whole = [line for line in lines if line.endswith("\n")]
    return int(whole[-1].split(",")[0].removeprefix('{"step": ')) if whole else 0


def resident_megabytes(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
