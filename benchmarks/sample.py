"""Speed of sampling feasible poses within each preset, and share of the drawn hands that are feasible.

    python benchmarks/sample.py [--count 20000]

Compilation is excluded. Each rate comes with the CPU time per pose, which other processes disturb less.
"""

import argparse
import time

import jax
from machine import machine

from bmc_jax import limits
from bmc_jax.poses import sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="poses per preset (default: 20000)")
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
