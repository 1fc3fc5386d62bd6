"""Time from the command `bmc train` to the end of its first step, with an empty and a filled compilation cache.

    python benchmarks/start.py [--runs 2] [--config configs/quickstart.py] [--depth 50]

Each source has 64 images, so that rendering takes little time. Cold and warm starts take turns, each in a new process
and run folder; a cold start has a new cache, which the warm start after it uses. Prints wall-clock and CPU seconds of
the process, shortest and median. Runs on Linux only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHORT = ("data.train[0].count=64", "data.train[1].count=64", "training.epochs=0.001", "training.log_every=1")


def first_step(command: list[str], folder: Path, cache: Path) -> tuple[float, float]:
    """Returns the seconds of wall clock and of CPU time until the first step is logged."""
    variables = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, f"--workdir={folder}"],
        env=variables | {"XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        metrics = folder / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.02)
        if process.poll() is not None:
            raise RuntimeError(f"expected a first step, but training ended: {process.communicate()[1][-1000:]}")
        ticks = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        wall = time.perf_counter() - start
        process.kill()
        process.communicate()
    return wall, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2, help="number of runs of each (default: 2)")
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--depth", type=int, default=0, help="use a ResNet of the published width with so many layers")
    options = parser.parse_args()
    command = [sys.executable, "-m", "bmc_jax", "train", f"--config={options.config}"]
    command += [f"--config.{change}" for change in SHORT]
    if options.depth:
        network = {"depth": options.depth, "width": 64, "patch": 0, "pool": "mean"}
        command += [f"--config.network.{name}={value}" for name, value in network.items()]
    seconds: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as place:
            for name, found in seconds.items():
                found.append(first_step(command, Path(place) / name, Path(place) / "cache"))
    print("| start | s, shortest (median) | CPU s |\n|---|---|---|")
    for name, found in seconds.items():
        wall, cpu = np.array(found).T
        print(f"| {name} | {wall.min():.1f} ({np.median(wall):.1f}) | {cpu.min():.1f} ({np.median(cpu):.1f}) |")
    ratio = np.array(seconds["cold"]).min(axis=0) / np.array(seconds["warm"]).min(axis=0)
    print(f"\nA warm start is {ratio[0]:.1f} times as fast, {ratio[1]:.1f} times by CPU time.")


if __name__ == "__main__":
    main()
