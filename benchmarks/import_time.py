"""Time to import the losses in a new process, and the share of JAX in it.

    python benchmarks/import_time.py [--runs 10]

Each import runs in its own process, after a run that is not counted and fills the system's cache of files. Seconds of
wall clock and of CPU time within Python, without the start of the interpreter; the shortest run and the median.
"""

import argparse
import subprocess
import sys

import numpy as np

IMPORTS = ("import jax", "from bmc_jax import losses", "from bmc_jax import limits", "from bmc_jax import torch_bridge")
TIMED = "import time; wall, cpu = time.perf_counter(), time.process_time(); {}; "
TIMED += "print(time.perf_counter() - wall, time.process_time() - cpu)"


def seconds(statement: str) -> list[float]:
    run = subprocess.run([sys.executable, "-c", TIMED.format(statement)], capture_output=True, text=True, check=True)
    return [float(number) for number in run.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="number of runs of each (default: 10)")
    options = parser.parse_args()
    print("| import | s, shortest (median) | CPU s |\n|---|---|---|")
    for statement in IMPORTS:
        seconds(statement)
        wall, cpu = zip(*[seconds(statement) for _ in range(options.runs)], strict=True)
        print(
            f"| `{statement}` | {min(wall):.2f} ({np.median(wall):.2f}) | {min(cpu):.2f} ({np.median(cpu):.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
