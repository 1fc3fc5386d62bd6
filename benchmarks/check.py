"""Speed of checking poses: joint angles alone, and all quantities compared with their limits.

    python benchmarks/check.py [--seconds 5] [--cores 2]

The angles are timed on existing arrays of several sizes, with a wait for each call, and then as a stream of calls
without a wait for each, as in `limits.measure`, so that all cores work in parallel. Each rate comes with the CPU time
per pose, which other processes disturb least: the number of cores divided by this time is an upper bound of the rate on
an idle machine.
"""

import argparse
import os
import time

BATCHES = (256, 1024, 4096, 16384)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per line (default: 5)")
    parser.add_argument("--cores", type=int, default=2, help="number of cores, if the system supports it (default: 2)")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # Before JAX starts its threads, one per core.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])

    import jax
    import jax.numpy as jnp
    import numpy as np
    from machine import machine

    from bmc_jax import anatomy, limits
    from bmc_jax.synthesis import skeleton

    angles = jax.jit(anatomy.joint_angles)
    clinical = limits.load("clinical")
    hands = skeleton.clinical_poses(max(BATCHES), 0)
    print(f"{machine()}, on {options.cores} cores\n")
    print("| what | poses a call | best, M poses/s | median | CPU time a pose, ns |\n|---|---|---|---|---|")

    def line(name: str, count: int, call) -> None:
        call()
        times, cpu = [], []
        until = time.perf_counter() + options.seconds
        while time.perf_counter() < until:
            used, start = time.process_time(), time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
        best, median = count / min(times) / 1e6, count / float(np.median(times)) / 1e6
        print(f"| {name} | {count} | {best:.2f} | {median:.2f} | {1e9 * min(cpu) / count:.0f} |", flush=True)

    for count in BATCHES:
        joints = jnp.asarray(hands[:count])
        line("joint_angles", count, lambda joints=joints: jax.block_until_ready(angles(joints)))
    stream = [jnp.asarray(hands[:4096])] * 16
    line("joint_angles, 16 calls in a stream of", 16 * 4096, lambda: jax.block_until_ready([angles(x) for x in stream]))
    line("limits.measure, from and to the host", len(hands), lambda: limits.measure(hands))
    line("limits.summarize", len(hands), lambda: limits.summarize(hands, clinical))


if __name__ == "__main__":
    main()
