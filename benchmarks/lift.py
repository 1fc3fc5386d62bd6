"""Accuracy of lifted hands by source of landmarks, limits and focal length, and speed of lifting.

    python benchmarks/lift.py
    python benchmarks/lift.py --rendered 256                       # MediaPipe's landmarks of rendered pictures
    python benchmarks/lift.py --labelled freihand:FreiHAND_pub_v2  # and of a dataset's photographs with 3D labels

Landmarks are those of rendered people with noise like that of MediaPipe, see `bmc_jax.synthesis.landmark_noise`. These
people are not among those to whom the limits were fitted or on whom the lifting network was trained. Focal lengths are
from those of telephones to those of telephoto lenses, and hands fill a third to two thirds of the image. Errors are
mean joint errors after Procrustes alignment, mm, of hands at their true size.
"""

import argparse
import importlib
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from machine import machine
from PIL import Image

from bmc_jax import limits, metrics, synthesis
from bmc_jax.data import images as pictures
from bmc_jax.inference.lift.detector import HandDetector
from bmc_jax.poses import lifting
from bmc_jax.poses.lifting import Landmarks
from bmc_jax.synthesis import landmark_noise

WIDTH = 1000
#: True and assumed focal lengths, image widths.
FOCAL = (0.75, 1.0, 1.5, 2.2, 4.0)
ASSUMED = (1.0, 1.2, 1.5, 2.0, 3.0)
PRESETS = ("clinical", "functional", "people")
#: Share of the image that a hand fills.
FILLED = (0.33, 0.67)


def cameras(poses: np.ndarray, focal: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns poses in front of cameras with this focal length, at random places in the image, and K."""
    generator = np.random.default_rng(seed)
    count = len(poses)
    centred = poses - poses.mean(axis=1, keepdims=True)
    extent = np.ptp(centred[..., :2], axis=1).max(axis=1)
    depth = focal * extent / generator.uniform(*FILLED, count) - centred[..., 2].min(axis=1)
    beside = generator.uniform(-0.3, 0.3, (count, 2)) * depth[:, None] / focal
    place = np.concatenate([beside, depth[:, None]], axis=1)
    middle = (WIDTH - 1) / 2
    k = np.array([[focal * WIDTH, 0, middle], [0, focal * WIDTH, middle], [0, 0, 1]])
    return (centred + place[:, None]).astype(np.float32), np.broadcast_to(k, (count, 3, 3)).astype(np.float32)


def seen(poses: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray, Landmarks]:
    """Returns poses in front of cameras, K, and their noisy landmarks."""
    placed, k = cameras(poses, focal)
    found = jax.jit(landmark_noise.mediapipe_like)(jax.random.key(1), jnp.asarray(placed), jnp.asarray(k))
    return placed, k, Landmarks(*map(np.asarray, found))


def error(joints: np.ndarray, truth: np.ndarray) -> float:
    aligned = metrics.procrustes(np.asarray(joints, np.float64), truth.astype(np.float64))
    return 1e3 * float(metrics.joint_errors(aligned, truth.astype(np.float64)).mean())


def ways(found: Landmarks) -> dict[str, tuple[Landmarks, float]]:
    """Returns the landmarks of each way, and the share of the lifting network's depth."""
    return {
        "2D: the lifting network's depth": (Landmarks(found.pixels), 1.0),
        "2.5D: depth of z alone": (Landmarks(found.pixels, found.z), 0.0),
        "2.5D: network 2/3 (`bmc lift`)": (Landmarks(found.pixels, found.z), 2 / 3),
        "2.5D and world: mean of z and world": (found, 0.0),
        "2.5D and world: network 1/3": (found, 1 / 3),
        "2.5D and world: network 1/2": (found, 0.5),
        "2.5D and world: network 2/3 (`bmc lift`)": (found, 2 / 3),
    }


def lift(way: tuple[Landmarks, float], k: np.ndarray, allowed) -> lifting.Lifted:
    return lifting.lift_hands(way[0], k, allowed, network_share=way[1])


def by_source(poses: np.ndarray) -> None:
    print("\n| landmarks | not repaired | " + " | ".join(f"`{name}`" for name in PRESETS) + " | gain |")
    print("|---|---|" + "---|" * len(PRESETS) + "---|")
    scenes = [seen(poses, focal) for focal in FOCAL]
    allowed = [limits.load(name) for name in PRESETS]
    world = np.mean([error(found.world, truth) for truth, _, found in scenes])
    print(f"| world landmarks alone | {world:.2f} |" + " |" * (len(PRESETS) + 1))
    for name in ways(scenes[0][2]):
        rows = []
        for truth, k, found in scenes:
            lifted = [lift(ways(found)[name], k, one) for one in allowed]
            rows.append([error(lifted[0].estimate, truth), *(error(one.joints, truth) for one in lifted)])
        means = np.mean(rows, axis=0)
        cells = " | ".join(f"{value:.2f}" for value in means)
        print(f"| {name} | {cells} | {100 * (1 - means[-1] / means[0]):.0f} % |")


def by_focal_length(poses: np.ndarray) -> None:
    allowed = limits.load("people")
    for name in (
        "2D: the lifting network's depth",
        "2.5D: depth of z alone",
        "2.5D and world: network 2/3 (`bmc lift`)",
    ):
        print(
            f"\n{name}:\n\n| true focal length, widths | " + " | ".join(f"assumed {one:g}" for one in ASSUMED), end=""
        )
        print(" | known |\n|---|" + "---|" * (len(ASSUMED) + 1))
        for focal in FOCAL:
            truth, k, found = seen(poses, focal)
            cells = []
            for assumed in (*ASSUMED, focal):
                guess = k.copy()
                guess[:, 0, 0] = guess[:, 1, 1] = assumed * WIDTH
                lifted = lift(ways(found)[name], guess, allowed)
                cells.append(f"{error(lifted.joints, truth):.2f}")
            print(f"| {focal:g} | {' | '.join(cells)} |")


def feasible_focal_length(poses: np.ndarray, hands: int = 64) -> None:
    """Measures errors with the focal length with which the hands of a camera need the least repair."""
    allowed, grid = limits.load("people"), np.geomspace(0.7, 4, 8)
    chosen, errors = {focal: [] for focal in FOCAL}, {focal: [] for focal in FOCAL}
    for focal in FOCAL:
        truth, k, found = seen(poses, focal)
        for start in range(0, len(poses) - hands + 1, hands):
            part = slice(start, start + hands)
            tried = []
            for assumed in grid:
                guess = k[part].copy()
                guess[:, 0, 0] = guess[:, 1, 1] = assumed * WIDTH
                lifted = lifting.lift_hands(Landmarks(*(one[part] for one in found)), guess, allowed)
                moved = np.linalg.norm(lifted.joints - lifted.estimate, axis=-1).mean()
                tried.append((moved, assumed, error(lifted.joints, truth[part])))
            chosen[focal].append(min(tried)[1])
            errors[focal].append(min(tried)[2])
    print(
        f"\n| true focal length, widths | the most feasible for {hands} hands, median | error with it |\n|---|---|---|"
    )
    for focal in FOCAL:
        print(f"| {focal:g} | {np.median(chosen[focal]):.2f} | {np.mean(errors[focal]):.2f} |")


def rendered(count: int) -> None:
    """Measures MediaPipe's landmarks of rendered pictures."""
    made = synthesis.render(0, "any_view", "test", np.arange(count), size=256)
    images = [Image.fromarray(np.asarray(one)) for one in made.image]
    measured(list(zip(images, np.asarray(made.joints_3d), np.asarray(made.intrinsics), strict=True)))


def measured(given: list[tuple[Image.Image, np.ndarray, np.ndarray]]) -> None:
    """Finds the hands in pictures with known right hands and K, and prints the errors."""
    found, truth, k, pixels = [], [], [], []
    with HandDetector() as detect:
        for image, joints, intrinsics in given:
            right = [one for one in detect(image) if not one.left]
            if right:
                place = joints[:, :2] / joints[:, 2:] @ intrinsics[:2, :2].T + intrinsics[:2, 2]
                away = [np.linalg.norm(one.pixels - place, axis=-1).mean() for one in right]
                nearest = right[int(np.argmin(away))]
                found.append((nearest.pixels, nearest.z, nearest.world))
                truth.append(joints)
                k.append(intrinsics)
                pixels.append(min(away) / np.ptp(place, axis=0).max())
    landmarks, truth, k = Landmarks(*map(np.stack, zip(*found, strict=True))), np.stack(truth), np.stack(k)
    off = 100 * np.median(pixels)
    print(f"\nMediaPipe finds {len(truth)} of {len(given)} right hands, pixels off by {off:.1f} % of the box (median)")
    print("\n| landmarks | not repaired | " + " | ".join(f"`{name}`" for name in PRESETS) + " |")
    print(
        f"|---|---|{'---|' * len(PRESETS)}\n| world landmarks alone | {error(landmarks.world, truth):.2f} |"
        + " |" * len(PRESETS)
    )
    for name, way in ways(landmarks).items():
        lifted = [lift(way, k, limits.load(preset)) for preset in PRESETS]
        cells = [error(lifted[0].estimate, truth), *(error(one.joints, truth) for one in lifted)]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def labelled(reader: str, source: Path) -> None:
    """Measures MediaPipe's landmarks of a dataset's photographs with 3D labels."""
    module, found = importlib.import_module(f"bmc_jax.data.readers.{reader}"), []
    options = {"partial": True} if reader == "freihand" else {}  # also of a part of its files
    for rows in module.splits(source, **options).values():
        for row in rows:
            one = module.annotation(row)
            if one.joints_3d is not None and not one.left:
                found.append(
                    (pictures.read(Path(one.image)).image, np.asarray(one.joints_3d), np.asarray(one.intrinsics))
                )
    measured(found)


def speed(poses: np.ndarray) -> None:
    allowed = limits.load("people")
    _, k, found = seen(poses, 1.5)
    print("\n| landmarks | first call, s of CPU time | hands/s |\n|---|---|---|")
    for name, given in (("2D", Landmarks(found.pixels)), ("2.5D and world", found)):
        jax.clear_caches()
        start = time.process_time()
        lifting.lift_hands(Landmarks(*(None if one is None else one[:256] for one in given)), k[:256], allowed)
        first, times = time.process_time() - start, []
        for _ in range(3):
            start = time.perf_counter()
            lifting.lift_hands(given, k, allowed)
            times.append(time.perf_counter() - start)
        print(f"| {name} | {first:.1f} | {len(poses) / min(times):,.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1024, help="hands (default: 1024)")
    parser.add_argument("--rendered", type=int, metavar="N", help="use MediaPipe's landmarks of rendered pictures")
    parser.add_argument("--labelled", metavar="READER:PATH", help="use its landmarks of photographs with 3D labels")
    options = parser.parse_args()
    print(machine())
    if options.rendered:
        rendered(options.rendered)
    elif options.labelled:
        reader, _, path = options.labelled.partition(":")
        labelled(reader, Path(path))
    else:
        poses = synthesis.poses(0, "any_view", "test", np.arange(options.count))
        by_source(poses)
        by_focal_length(poses)
        feasible_focal_length(poses[:256])
        speed(poses)
