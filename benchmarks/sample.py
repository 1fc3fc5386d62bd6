"""How many feasible poses a second are drawn within each preset, and which share of the drawn hands is feasible?

    python benchmarks/sample.py [--count 20000]

Drawing is compiled before. Beside the rate is the CPU time a pose takes, which other work on the machine disturbs less.
"""

import argparse
import time

import jax
from machine import machine

from bmc_jax import limits
from bmc_jax.poses import sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="poses a preset (default: 20000)")
    options = parser.parse_args()
    print(f"{machine()}\n")
    print("| preset | feasible | poses/s | CPU time a pose, µs |\n|---|---|---|---|")
    for name in limits.PRESETS:
        held, key = limits.load(name), jax.random.key(0)
        sampling.sample(key, held, 1)
        used, start = time.process_time(), time.perf_counter()
        sample = sampling.sample(key, held, options.count)
        rate = sample.kept / (time.perf_counter() - start)
        cpu = 1e6 * (time.process_time() - used) / sample.kept
        print(f"| `{name}` | {100 * sample.acceptance:.1f} % | {rate:,.0f} | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
