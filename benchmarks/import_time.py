"""How long does it take to import the losses, in a new process, and what share of that is JAX?

    python benchmarks/import_time.py [--runs 10]

Each import has a process of its own, whose files are in the system's cache from the run before the first. Seconds of
wall clock and of CPU time within Python, without the interpreter's own start; the shortest run and the median.
"""

import argparse
import subprocess
import sys

import numpy as np

ROOMS = ("jax", "bmc_jax.losses", "bmc_jax.limits", "bmc_jax.torch_bridge")
TIMED = "import time; wall, cpu = time.perf_counter(), time.process_time(); import {}; "
TIMED += "print(time.perf_counter() - wall, time.process_time() - cpu)"


def seconds(room: str) -> list[float]:
    run = subprocess.run([sys.executable, "-c", TIMED.format(room)], capture_output=True, text=True, check=True)
    return [float(number) for number in run.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="of each (default: 10)")
    options = parser.parse_args()
    print("| import | s, shortest (median) | CPU s |\n|---|---|---|")
    for room in ROOMS:
        seconds(room)
        wall, cpu = zip(*[seconds(room) for _ in range(options.runs)], strict=True)
        print(
            f"| `{room}` | {min(wall):.2f} ({np.median(wall):.2f}) | {min(cpu):.2f} ({np.median(cpu):.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
