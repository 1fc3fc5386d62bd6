"""Speed of the augmentation on one core, of each of its parts, and relative to another commit.

    taskset --cpu-list 0 python benchmarks/augment.py [--size 128] [--stored 192] [--batch 64] [--against COMMIT]
    python benchmarks/augment.py --plot docs/images/augment.jpg

Random images are on the device. The whole and its parts take turns in one process; the shortest run is printed, with
the median in parentheses. Times are CPU times, which other processes disturb little, or wall-clock times on an
accelerator. A part processes the images as the whole does, one at a time on a CPU. With `--against`, the augmentation
of another commit takes turns with this one, on the same images and keys. With `--plot`, it draws rendered hands
instead, unchanged and augmented.
"""

import argparse
import dataclasses
import functools
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from machine import machine
from matplotlib.figure import Figure

from bmc_jax import synthesis
from bmc_jax.config import Augmentation
from bmc_jax.core.types import Batch
from bmc_jax.data.augment import appearance, augment, central, draw_affine, warp
from bmc_jax.data.augment.green_screen import replace_green
from bmc_jax.synthesis import domains
from bmc_jax.visualization import draw

RUNS = 15
#: Of the picture.
HANDS, CHANGES = (2, 6, 10), 6


def noise_images(count: int, stored: int) -> Batch:
    """Returns images with random pixels. The labels do not affect the time."""
    image = np.random.default_rng(0).integers(0, 256, (count, stored, stored, 3), np.uint8)
    joints = np.zeros((count, 21), bool)
    return jax.device_put(
        Batch(
            image=image,
            intrinsics=np.broadcast_to(np.eye(3, dtype=np.float32), (count, 3, 3)),
            joints_2d=np.zeros((count, 21, 2), np.float32),
            joints_2d_valid=joints,
            joints_3d=np.zeros((count, 21, 3), np.float32),
            joints_3d_valid=joints,
            scale=np.ones(count, np.float32),
            source=np.zeros(count, np.int32),
            index=np.arange(count, dtype=np.int32),
            present=np.ones(count, bool),
        )
    )


def wholes(package: ModuleType, options: Augmentation, size: int) -> dict[str, Callable]:
    """Returns augmentation without green screens, with a quarter of them, and with green screens alone."""

    def marked(green):
        return lambda key, batch: package.augment(key, batch, options, size, green_screen=green(batch))

    return {
        "augment": lambda key, batch: package.augment(key, batch, options, size),
        "augment, a quarter green screens": marked(lambda batch: batch.index % 4 == 0),
        "augment, all green screens": marked(lambda batch: batch.index >= 0),
    }


def parts(options: Augmentation, stored: int, size: int) -> dict[str, Callable]:
    """Returns each part as a function of a batch of planes `[b, 3, size, size]`, except for `warp` and `central`."""

    def each(part, **settings):
        one = functools.partial(part, **settings)
        if jax.default_backend() == "cpu":
            return lambda key, batch, planes: jax.lax.map(lambda pair: one(*pair), (split(key, planes), planes))
        return lambda key, batch, planes: jax.vmap(one)(split(key, planes), planes)

    def split(key, planes):
        return jax.random.split(key, len(planes))

    def moved(key, image):
        strengths = {name: getattr(options, name) for name in ("rotation", "scale", "translation")}
        return warp(image, draw_affine(key, **strengths, stored=stored, size=size), size=size)

    light = {name: getattr(options, name) for name in ("brightness", "contrast", "saturation", "hue")}
    return {
        "central": lambda key, batch, planes: central(batch, size),
        "warp": lambda key, batch, planes: each(moved)(key, batch, batch.image),
        "replace_green": each(replace_green),
        "colour": each(appearance.colour, **light),
        "blur": each(appearance.blur, deviation=options.blur),
        "noise": each(appearance.noise, deviation=options.noise),
        "erase": each(appearance.erase, probability=options.erasing, area=options.erasing_area),
    }


def at_commit(commit: str, folder: str) -> ModuleType:
    """Returns the augmentation of another commit, imported as a package with another name."""
    here = "bmc_jax/data/augment/"
    listed = subprocess.run(["git", "ls-tree", "--name-only", commit, here], capture_output=True, text=True, check=True)
    package = Path(folder, "augment_before")
    package.mkdir()
    for path in listed.stdout.split():
        shown = subprocess.run(["git", "show", f"{commit}:{path}"], capture_output=True, text=True, check=True).stdout
        renamed = shown.replace(here.strip("/").replace("/", "."), package.name)
        (package / Path(path).name).write_text(renamed, encoding="utf-8")
    sys.path.insert(0, folder)
    return importlib.import_module(package.name)


def measure(calls: dict[str, Callable]) -> dict[str, tuple[float, float, float]]:
    """Returns the seconds of each call: the first, which compiles, and the shortest and median of the others."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + RUNS):
        for name, call in calls.items():
            start = clock()
            jax.block_until_ready(call())
            times[name].append(clock() - start)
    return {name: (all_of[0], min(all_of[1:]), statistics.median(all_of[1:])) for name, all_of in times.items()}


def plot(path: str, stored: int, size: int) -> None:
    """Draws rendered hands in rows: unchanged, and augmented in several ways, with their labels."""
    domain = domains.widen(domains.get("real_like"), stored / size)
    hands = synthesis.render(0, domain, "test", HANDS, stored)
    options = dataclasses.replace(Augmentation(), erasing=0.35)
    change = jax.jit(lambda key: augment(key, hands, options, size))
    columns = [central(hands, size), *(change(jax.random.key(step)) for step in range(CHANGES))]
    names = ["as it is", *(f"step {step + 1}" for step in range(CHANGES))]
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(1.5 * len(columns), 1.5 * len(HANDS) + 0.25), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
        grid = figure.subplots(len(HANDS), len(columns), squeeze=False)
        for column, name, axes in zip(columns, names, grid.T, strict=True):
            axes[0].set_title(name)
            for row in range(len(HANDS)):
                draw.photograph(axes[row], np.asarray(column.image[row]))
                draw.skeleton(axes[row], np.asarray(column.joints_2d[row]))
    draw.save(figure, path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--stored", type=int, default=192)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--against", metavar="COMMIT", help="compare with the augmentation of this commit")
    parser.add_argument("--plot", metavar="PATH", help="draw augmented hands into this file instead")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot, options.stored, options.size)
        return

    print(f"{machine()}; {options.batch} images, {options.stored} -> {options.size} pixels")
    strengths, key, batch = Augmentation(), jax.random.key(0), noise_images(options.batch, options.stored)
    planes = jnp.moveaxis(jnp.asarray(central(batch, options.size).image, jnp.float32), -1, 1)
    now = wholes(sys.modules["bmc_jax.data.augment"], strengths, options.size)
    calls = {name: functools.partial(jax.jit(whole), key, batch) for name, whole in now.items()}
    for name, part in parts(strengths, options.stored, options.size).items():
        calls[name] = functools.partial(jax.jit(part), key, batch, planes)
    if options.against:
        with tempfile.TemporaryDirectory() as folder:
            before = wholes(at_commit(options.against, folder), strengths, options.size)
        calls |= {f"before: {name}": functools.partial(jax.jit(whole), key, batch) for name, whole in before.items()}
    taken = measure(calls)
    print(f"{'':<42}{'us an image':>18}{'images/s':>12}{'first call, s':>16}")
    for name, (first, shortest, median) in taken.items():
        shown = f"{1e6 * shortest / options.batch:.1f} ({1e6 * median / options.batch:.1f})"
        print(f"{name:<42}{shown:>18}{options.batch / shortest:>12,.0f}{first:>16.1f}")
    for name in now if options.against else ():
        new, old = taken[name], taken[f"before: {name}"]
        ours, theirs = (np.int16(calls[one]().image) for one in (name, f"before: {name}"))
        print(
            f"{name}: {old[1] / new[1]:.2f} (median {old[2] / new[2]:.2f}) times as fast as {options.against}; grey "
            f"levels differ by at most {np.abs(ours - theirs).max()}, {1e6 * (ours != theirs).mean():.0f} in a million"
        )


if __name__ == "__main__":
    main()
