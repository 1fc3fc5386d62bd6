"""Speed of the input relative to training: decoding, waiting, and memory over many steps.

    python benchmarks/input.py [--config configs/mine.py] [--images 512] [--train-steps 50] [--steps 1000] [--fresh]

(a) Resident memory while --steps batches are streamed, and its slope. It runs first, because the other parts fill
memory.
(b) Images per second from a built dataset to crops, on one thread, on one thread per core, and per second of CPU time,
which does not depend on other processes: photograph-like JPEGs of 640x480 and 224x224 pixels with 2D labels, and the
photographs of `../shared/data/real_weak` if they exist.
(c) For each value of data.cache: the time of a training step on the batches of the input, compared with that of a step
on one batch that is repeated, and the share of time that the loop waits for batches. Network, batch size and
augmentation are those of --config, by default small ones that a CPU can train; the images are those of (b), and with
--fresh also those of `synthetic`, whose step on one batch includes rendering if it is part of the step. On a CPU,
decoding, rendering and training use the same cores, so a step can take longer without waiting.
(d) Pillow compared with simplejpeg, if it is installed, in turn in one process, CPU time, shortest (median): from the
bytes of a JPEG to all pixels, and to the training crop of 192 pixels.
"""

import argparse
import dataclasses
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from machine import machine
from PIL import Image

from bmc_jax import limits, step
from bmc_jax.config import Config, Data, Limits, Network, Optimizer, Source
from bmc_jax.data import crop, input_pipeline, sources
from bmc_jax.data.build import builder
from bmc_jax.training import config_io, feed, parallel

REAL = Path(__file__).parents[2] / "shared/data/real_weak"
SHAPES = {"640x480": (640, 480), "224x224": (224, 224)}


def small() -> Config:
    """Returns a network that a CPU trains with some hundred images per second."""
    return Config(
        data=Data(batch_size=32, image_size=64),
        network=Network(depth=10, width=16, patch=8),
        optimizer=Optimizer(name="adamw", rate=1e-3),
    )


def photograph(generator: np.random.Generator, width: int, height: int) -> bytes:
    """Returns a JPEG with the spectrum of photographs, which has equal contrast in all octaves."""
    total = np.zeros((height, width, 3))
    for octave in range(1, 9):
        cells = generator.normal(0, 22, (max(height >> octave, 2), max(width >> octave, 2), 3))
        planes = [Image.fromarray(cells[..., i].astype(np.float32)).resize((width, height), 3) for i in range(3)]
        total += np.stack([np.asarray(plane) for plane in planes], axis=-1)
    out = io.BytesIO()
    Image.fromarray(np.clip(total + 120, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=92)
    return out.getvalue()


def make(root: Path, name: str, width: int, height: int, count: int) -> None:
    """Builds a dataset of `count` hands: 21 random points in a box of 0.45 of the image's height."""
    generator, folder = np.random.default_rng(0), root / f"{name}_source"
    (folder / "images").mkdir(parents=True)
    for number in range(min(count, 64)):
        (folder / f"images/{number}.jpg").write_bytes(photograph(generator, width, height))
    images, annotations = [], []
    for number in range(count):
        box = 0.45 * height
        points = generator.uniform(0, box, (21, 2)) + generator.uniform(0, [width - box, height - box])
        keypoints = np.concatenate([points, np.full((21, 1), 2)], axis=-1).ravel().round(2).tolist()
        k = [[1.2 * width, 0, (width - 1) / 2], [0, 1.2 * width, (height - 1) / 2], [0, 0, 1]]
        file = f"{number % 64}.jpg"
        images.append({"id": number, "file_name": file, "width": width, "height": height, "K": k})
        one = {"id": number, "image_id": number, "category_id": 1, "hand_side": "right", "keypoints": keypoints}
        annotations.append(one)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    builder.build("coco_hand", folder, root, name=name, workers=1, options={"order": "freihand"})


def on(options: Config, root: Path, name: str, fresh: int = 0, **changes: Any) -> Config:
    """Returns the configuration on one of the built datasets, or on fresh images of a domain, with limits that need no
    3D labels."""
    train_on = (Source(name, labels="2d", share=1.0, count=fresh, fresh=fresh > 0),)
    own = dataclasses.replace(options.data, train=train_on, test=(), directory=str(root), **changes)
    return sources.resolve(dataclasses.replace(options, data=own, limits=Limits(source="clinical")))


def decoding(options: Config, root: Path, names: list[str], seconds: float = 2.0) -> None:
    cores = os.cpu_count() or 1
    print(f"\n(b) {'decoded and cropped, images/s':<34}{'1 thread':>10}{f'{cores} threads':>12}{'a CPU second':>15}")
    for name in names:
        rates, images, busy = [], 0, time.process_time()
        for workers in (1, cores):
            (source,) = sources.training(on(options, root, name, workers=workers))
            source.load(np.arange(32))
            start, done = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                done += len(source.load(np.arange(done, done + 64) % len(source)).present)
            rates.append(done / (time.perf_counter() - start))
            images += done
        each = images / (time.process_time() - busy)
        print(f"    {name:<34}{rates[0]:>10.0f}{rates[1]:>12.0f}{each:>15.0f}")


def waiting(options: Config, root: Path, name: str, count: int, fresh: bool) -> None:
    state = jax.device_get(step.create(on(options, root, name)))
    size = options.data.batch_size
    title = f"{count} steps of {size} images"
    print(f"\n(c) {title:<22}{'ms a step':>10}{'one batch':>12}{'longer by':>12}{'waiting':>10}")
    settings = {mode: on(options, root, name, cache=mode) for mode in ("none", "host", "device")}
    if fresh:
        settings["fresh"] = on(options, root, "synthetic", fresh=size * (count + 5))
    for mode, given in settings.items():
        opened = sources.training(given)
        calls = feed.open_feed(given, opened, input_pipeline.rows(given)[: count + 5], 0)
        run = feed.train_program(given)
        replicated = parallel.replicate((state, limits.load("clinical")))
        first = calls.calls[0].inputs
        again = jax.device_put(first, train_sharding()) if first.batch is not None else first
        one, _, state_after = loop(run, *replicated, iter([again] * (count + 5)), calls.resident)
        stream = (call.inputs for call in calls)
        many, waited, _ = loop(run, state_after, replicated[1], stream, calls.resident)
        share = 100 * (many / one - 1)
        print(f"    {mode:<22}{many:>10.2f}{one:>12.2f}{share:>11.1f} %{100 * waited:>8.1f} %")


def decoders(files: dict[str, list[bytes]], pixels: int = 192, rounds: int = 15) -> None:
    try:
        import simplejpeg
    except ImportError:
        print("\n(d) skipped; pip install simplejpeg")
        return

    def record(encoded):
        with Image.open(io.BytesIO(encoded)) as opened:
            box = 0.45 * opened.height * np.array([-0.5, -0.5, 0.5, 0.5]) + np.tile(opened.size, 2) / 2
        none = {"joints_2d": np.zeros((21, 2)), "visibility": np.zeros(21), "joints_3d": 0, "joints_3d_valid": 0}
        return none | {"image": encoded, "box": box, "intrinsics": np.eye(3), "scale": 0}

    def by_pillow(one):
        return np.asarray(Image.open(io.BytesIO(one["image"])).convert("RGB"))

    def by_simplejpeg(one):
        return simplejpeg.decode_jpeg(one["image"], "RGB")

    def crop_by_pillow(one):
        return crop.crop(one, size=pixels * 2 // 3, margin=1.5, stored=pixels)["image"]

    def crop_by_simplejpeg(one):
        height, width, *_ = simplejpeg.decode_jpeg_header(one["image"])
        side, middle = 1.5**2 * (one["box"][3] - one["box"][1]), (one["box"][:2] + one["box"][2:]) / 2
        factor = max(fraction for fraction in (1, 2, 4, 8) if fraction == 1 or fraction <= side / pixels)
        least = {"min_height": -(-height // factor), "min_width": -(-width // factor)} if factor > 1 else {}
        image = Image.fromarray(simplejpeg.decode_jpeg(one["image"], "RGB", **least))
        shrunk = image.width / width
        return crop.square(image, (middle + 0.5) * shrunk - 0.5, side * shrunk, pixels)

    ways = {"all pixels": (by_pillow, by_simplejpeg), "crop": (crop_by_pillow, crop_by_simplejpeg)}
    print(f"\n(d) {'ms an image':<26}{'Pillow':>18}{'simplejpeg':>18}{'ratio':>8}{'grey levels differ by':>24}")
    for name, encoded in files.items():
        records = [record(one) for one in encoded]
        for way, pair in ways.items():
            times = np.zeros((rounds, 2))
            for turn in range(rounds):
                for i, decode in enumerate(pair):
                    start = time.process_time()
                    for one in records:
                        decode(one)
                    times[turn, i] = 1e3 * (time.process_time() - start) / len(records)
            far = max(np.abs(np.int16(pair[0](one)) - pair[1](one)).max() for one in records)
            shortest, median = times.min(axis=0), np.median(times, axis=0)
            shown = "".join(f"{f'{shortest[i]:.3f} ({median[i]:.3f})':>18}" for i in range(2))
            print(f"    {f'{name}, {way}':<26}{shown}{shortest[0] / shortest[1]:>8.2f}{far:>24}")


def train_sharding() -> Any:
    """Returns a feed of one batch that is already on the devices."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (parallel.AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(parallel.AXIS))


def loop(run: Any, state: Any, hand_limits: Any, batches: Any, resident: Any) -> tuple[float, float, Any]:
    """Returns milliseconds per step, the share of time waiting for batches, and the state, after five warm-up steps.

    As in `train`, the host reads the loss of each step one step later.
    """
    previous, start, waited, done = None, 0.0, 0.0, 0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        state, metrics = run(state, batch, hand_limits, resident)
        if previous is not None:
            float(previous["loss"])
        previous, done = metrics, done + 1
        if done == 5:
            float(metrics["loss"])
            start, waited = time.perf_counter(), 0.0
    jax.block_until_ready(state)
    total = time.perf_counter() - start
    return 1e3 * total / (done - 5), waited / total, state


def memory(options: Config, root: Path, name: str, steps: int) -> None:
    given = on(options, root, name, batch_size=8, image_size=64)
    opened = sources.training(given)
    stream = feed.calls_on_batches(opened, input_pipeline.rows(given)[:steps]).to_iter_dataset(input_pipeline.READING)
    print(f"\n(a) resident memory while {steps:,} batches of 8 are streamed")
    at, used, every = [], [], max(steps // 10, 1)
    for number, _ in enumerate(stream, start=1):
        if number % every == 0:
            at.append(number)
            used.append(resident_megabytes())
            print(f"    step {number:>8,}{used[-1]:>10.1f} MB", flush=True)
    slope = np.polyfit(at[1:], used[1:], 1)[0] * 1000
    print(f"    slope after the first tenth: {slope:+.3f} MB in 1,000 steps")


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="network, batch size, image size and augmentation of (c)")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--train-steps", type=int, default=50)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--fresh", action="store_true", help="also run (c) with fresh rendered images, a minute longer")
    arguments = parser.parse_args()
    options = config_io.load(arguments.config) if arguments.config else small()

    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        root, names = Path(folder), list(SHAPES)
        # Some settings of (c) compile the same program.
        jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
        for name, shape in SHAPES.items():
            make(root, name, *shape, arguments.images)
        if REAL.is_dir():
            builder.build("coco_hand", REAL, root, name="real_weak", workers=1)
            names.append("real_weak")
        if arguments.steps:
            memory(options, root, "224x224", arguments.steps)
        decoding(Config(), root, names)
        waiting(options, root, "224x224", arguments.train_steps, arguments.fresh)
    generator = np.random.default_rng(1)
    files = {f"{w}x{h}": [photograph(generator, w, h) for _ in range(4)] for w, h in (*SHAPES.values(), (1280, 960))}
    if REAL.is_dir():
        files["real_weak"] = [path.read_bytes() for path in sorted(REAL.glob("images/*.jpg"))[:8]]
    decoders(files)


if __name__ == "__main__":
    main()
