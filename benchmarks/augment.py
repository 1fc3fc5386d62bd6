"""How many images a second does this machine augment, and which part takes how long?

    python benchmarks/augment.py [--size 128] [--stored 192] [--plot docs/images/augment.jpg]

Whole and parts are jitted over a batch of random images that lies on the device; the green screen is measured apart, as
most images have none. On a CPU the whole goes by small chunks and a part here by the batch, so the parts take longer
together. Rates are of the best of several runs; other work on the machine slows all of it down, so the load is printed.
With `--plot`, draws rendered hands instead: each as it is, then changed.
"""

import argparse
import dataclasses
import functools
import time

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

BATCHES = (64, 256)
RUNS = 7
#: Of the picture.
HANDS, CHANGES = (2, 6, 10), 6


def noise_images(count: int, stored: int) -> Batch:
    """Random pixels; the labels take no time, whatever they are."""
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


def measure(function, *arguments) -> tuple[float, float]:
    """Seconds of the first call, which compiles, and of the best of the others."""
    times = []
    for _ in range(1 + RUNS):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return times[0], min(times[1:])


def table(count: int, stored: int, size: int) -> dict[str, tuple[float, float]]:
    """Seconds (first call, best) of the whole and of each part, for one batch."""
    options, key = Augmentation(), jax.random.key(0)
    batch = noise_images(count, stored)
    keys, shown = jax.random.split(key, count), jnp.asarray(central(batch, size).image, jnp.float32)

    def moved(key, image):
        affine = draw_affine(
            key,
            rotation=options.rotation,
            scale=options.scale,
            translation=options.translation,
            stored=stored,
            size=size,
        )
        return warp(image, affine, size=size)

    light = {name: getattr(options, name) for name in ("brightness", "contrast", "saturation", "hue")}
    parts = {
        "warp": moved,
        "colour": functools.partial(appearance.colour, **light),
        "blur": functools.partial(appearance.blur, deviation=options.blur),
        "noise": functools.partial(appearance.noise, deviation=options.noise),
        "erase": functools.partial(appearance.erase, probability=options.erasing, area=options.erasing_area),
        "replace_green": replace_green,
    }
    rows = {
        "central": measure(jax.jit(functools.partial(central, size=size)), batch),
        "augment": measure(jax.jit(lambda key, batch: augment(key, batch, options, size)), key, batch),
        "augment, all green screens": measure(
            jax.jit(lambda key, batch, green: augment(key, batch, options, size, green_screen=green)),
            key,
            batch,
            jnp.ones(count, bool),
        ),
    }
    for name, part in parts.items():
        rows[name] = measure(jax.jit(jax.vmap(part)), keys, batch.image if name == "warp" else shown)
    return rows


def plot(path: str, stored: int, size: int) -> None:
    """Rendered hands in rows: as they are, and changed in several ways, with the labels that follow."""
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
    parser.add_argument("--plot", metavar="PATH", help="draw augmented hands into this file instead")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot, options.stored, options.size)
        return

    print(f"{machine()}; {options.stored} -> {options.size} pixels")
    tables = {count: table(count, options.stored, options.size) for count in BATCHES}
    print(f"{'':<28}" + "".join(f"{f'batch {count}, images/s':>22}" for count in BATCHES) + f"{'first call, s':>16}")
    for name in tables[BATCHES[0]]:
        rates = "".join(f"{count / tables[count][name][1]:>22,.0f}" for count in BATCHES)
        print(f"{name:<28}{rates}{tables[BATCHES[0]][name][0]:>16.1f}")


if __name__ == "__main__":
    main()
