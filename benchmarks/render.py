"""Speed of rendering synthetic hands to uint8 arrays on the host.

    python benchmarks/render.py [--images 256] [--size 128]
    python benchmarks/render.py --every-ray [--size 128]

With --every-ray, it measures the CPU time per image for `real_like` and `any_view`, in turn with the same stages for
all rays, including rays that miss the hand. Pictures that differ are listed.

Otherwise, for each domain, it prints the seconds to the first chunk (compilation), the images per second after it, and
this rate relative to the slowest domain. On a CPU it also prints the time of each stage, the best of several runs; on
an accelerator `render` runs one fused program without stages. Other processes slow down the measurements: the load is
printed.
"""

import argparse
import collections
import functools
import time

import jax
import numpy as np
from machine import machine

from bmc_jax import synthesis
from bmc_jax.synthesis import renderer, rng

RUNS = 5


def rate(domain: str, images: int, size: int) -> tuple[float, float]:
    """Returns the seconds to the first chunk, and the images per second after it, the best of `RUNS`."""
    start = time.perf_counter()
    synthesis.render(0, domain, "train", [0], size)
    first = time.perf_counter() - start
    times = []
    for run in range(RUNS):
        start = time.perf_counter()
        synthesis.render(0, domain, "train", run * images + np.arange(images), size)
        times.append(time.perf_counter() - start)
    return first, images / min(times)


def stages(domain: synthesis.Domain, size: int) -> dict[str, float]:
    """Returns the milliseconds per image of each stage, with a wait for each stage, the best of `RUNS`."""
    best: dict[str, float] = {}
    for run in range(RUNS):
        times: dict[str, float] = collections.defaultdict(float)

        def timed(stage, *arrays, times=times, **settings):
            start = time.perf_counter()
            result = jax.block_until_ready(renderer.staged(stage, *arrays, **settings))
            times[stage.__name__] += 1e3 * (time.perf_counter() - start) / renderer.CPU_CHUNK
            return result

        indices = run * renderer.CPU_CHUNK + np.arange(renderer.CPU_CHUNK)
        keys = jax.vmap(lambda index: synthesis.example_key(0, domain, "train", index))(indices)
        persons = jax.vmap(lambda index: synthesis.person_key(0, domain, "train", index))(indices)
        renderer.render_fields(timed, keys, persons, domain, size)
        best = {name: min(best.get(name, np.inf), taken) for name, taken in times.items()}
    return best


def every_ray(stage, *arrays, trace=None, **settings):
    """Runs a stage like `renderer.staged`, but the stages of the hand for all rays."""
    run = functools.partial(renderer.staged, stage) if trace is None else functools.partial(trace, renderer.staged)
    return run(*arrays, **settings)


def compare(name: str, size: int) -> None:
    """Prints CPU milliseconds per image, shortest and median, of both ways in turn."""
    domain, times = synthesis.DOMAINS[name], collections.defaultdict(list)
    key = rng.split_key(0, domain, "train")
    for turn in range(-1, RUNS):
        rows = np.arange(renderer.CPU_CHUNK, dtype=np.int32) + renderer.CPU_CHUNK * max(turn, 0)
        keys = rng.example_and_person_keys(key, domain.subjects, rows)
        images = []
        for way, run in (("every ray", every_ray), ("hits only", renderer.staged)):
            start = time.process_time()
            images.append(np.asarray(renderer.render_fields(run, *keys, domain, size)["image"]))
            if turn >= 0:  # the first turn compiles
                times[way].append(1e3 * (time.process_time() - start) / len(rows))
        if not np.array_equal(*images):
            print(f"{name}: pictures {rows[0]} to {rows[-1]} differ")
    for function, word in ((min, "shortest"), (np.median, "median")):
        whole, hits = (function(times[way]) for way in ("every ray", "hits only"))
        print(f"{name:<18}{word:<10}{whole:>12.2f}{hits:>12.2f}{whole / hits:>8.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--every-ray", action="store_true")
    options = parser.parse_args()

    print(machine())
    if options.every_ray:
        print(f"{'CPU ms an image':<22}{'every ray':>12}{'hits only':>12}{'ratio':>8}")
        for name in ("real_like", "any_view"):
            compare(name, options.size)
        return
    rates = {name: rate(name, options.images, options.size) for name in synthesis.DOMAINS}
    slowest = min(per_second for _, per_second in rates.values())
    print(f"{'domain':<18} {'first chunk, s':>15} {'images/s':>10} {'ratio':>7}")
    for name, (first, per_second) in rates.items():
        print(f"{name:<18} {first:>15.1f} {per_second:>10.1f} {per_second / slowest:>7.2f}")

    if jax.default_backend() == "cpu":
        tables = {name: stages(domain, options.size) for name, domain in synthesis.DOMAINS.items()}
        names = dict.fromkeys(stage for table in tables.values() for stage in table)
        print(f"\n{'ms an image':<16}" + "".join(f"{name:>18}" for name in tables))
        for stage in names:
            print(f"{stage.strip('_'):<16}" + "".join(f"{table.get(stage, 0):>18.3f}" for table in tables.values()))
        print(f"{'all':<16}" + "".join(f"{sum(table.values()):>18.3f}" for table in tables.values()))


if __name__ == "__main__":
    main()
