"""Accuracy of repaired poses, distance of repaired poses from the given ones, and speed of repair.

    python benchmarks/repair.py JOINTS.npy [--photographs FOLDER] [--only presets]

JOINTS.npy are true poses `[N, 21, 3]` in metres, camera frame; RHD's evaluation joints in the published results. Limits
are fitted to a random half of them, and noise is added to the other half. Sequences interpolate the angles from one of
these poses to the next in 15 frames. Times are CPU seconds, which other processes disturb least: two idle cores would
need half of them.

With `presets`, it measures only the errors with each preset, on landmarks with noise like that of MediaPipe, from
JOINTS.npy and from rendered test people, and on photographs; and with limits of other percentiles, margins and counts
of these people. FOLDER has MediaPipe's landmarks in `mediapipe.npz` (`image` `[N, 21, 3]` in pixels, `world` in metres,
`ids`) and K of each picture in `annotations.json`.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.interpolate
import scipy.spatial.transform
from machine import machine

from bmc_jax import anatomy, camera, kinematics, limits, metrics, repair, synthesis
from bmc_jax.core import hand, validation
from bmc_jax.core.types import Limits
from bmc_jax.limits.presets.people import people
from bmc_jax.poses import feasible, smoothing
from bmc_jax.synthesis.landmark_noise import mediapipe_like

MILLIMETRES = (2, 5, 10, 15)
BATCH = repair.CHUNK
#: Frames from pose to pose, and period of the smoothing in frames.
BETWEEN, PERIOD = 15, 8
#: Number of poses of people for the limits that are compared with the preset, which has 40,000.
VARIANT_COUNT = 8192


def error(poses, truth) -> float:
    """Returns the mean error over joints, mm."""
    return float(1e3 * np.linalg.norm(np.asarray(poses) - truth, axis=-1).mean())


def with_noise(truth, kind: str, millimetres: float, generator) -> np.ndarray:
    noise = generator.normal(0, millimetres / 1000, truth.shape).astype(np.float32)
    return truth + (noise if kind == "any way" else noise[..., 2:] * truth / truth[..., 2:])


@jax.jit
def clipped(poses, allowed):
    """Returns a simple baseline: all lengths and angles are clipped, and the mean of the joints is kept."""

    def one(pose):
        posture, scale = kinematics.angles_from_pose(pose), anatomy.scale(pose)
        posture = feasible.clip(posture._replace(bone_lengths=posture.bone_lengths / scale), allowed)
        made = kinematics.pose_from_angles(posture.bone_lengths * scale, posture.palm, posture.angles)
        made = kinematics.place(made, kinematics.hand_frame(pose), pose[0])
        return made + jnp.mean(pose - made, axis=0)

    return jax.vmap(one)(poses)


def sequence(poses: np.ndarray) -> np.ndarray:
    """Returns a hand that moves from pose to pose: bone lengths of the first, interpolated angles and positions."""
    posture = jax.device_get(jax.jit(kinematics.angles_from_pose)(poses))
    frames = jax.device_get(jax.jit(kinematics.hand_frame)(poses))
    keys, times = np.arange(len(poses)), np.arange((len(poses) - 1) * BETWEEN) / BETWEEN
    turns = scipy.spatial.transform.Slerp(keys, scipy.spatial.transform.Rotation.from_matrix(frames))(times).as_matrix()
    between = scipy.interpolate.make_interp_spline
    angles, spread, fold, wrist = (
        between(keys, x, 1)(times).astype(np.float32)
        for x in (np.unwrap(posture.angles, axis=0), posture.palm.spread, posture.palm.fold, poses[:, 0])
    )
    lengths = np.broadcast_to(posture.bone_lengths[0], (len(times), 5, 4))
    made = kinematics.pose_from_angles(lengths, kinematics.Palm(spread, fold), angles)
    return np.asarray(kinematics.place(made, turns.astype(np.float32), wrist))


def single(truth, held, generator) -> None:
    print("| limits | noise, mm | error, mm | clipped | repaired, 2D kept | gain | repaired freely | gain |", end="")
    print(" 2D and known bones kept | gain |\n|---|---|---|---|---|---|---|---|---|---|", flush=True)
    lengths = anatomy.bone_lengths(jnp.asarray(truth))
    for name, allowed in held.items():
        for kind in ("depth", "any way"):
            for deviation in MILLIMETRES:
                noisy = jnp.asarray(with_noise(truth, kind, deviation, generator))
                before = error(noisy, truth)
                found = [
                    repair.project_to_limits(noisy, allowed, "projection"),
                    repair.project_to_limits(noisy, allowed),
                    repair.project_to_limits(noisy, allowed, "projection", bone_lengths=lengths),
                ]
                errors = [error(one.joints, truth) for one in found]
                print(
                    f"| {name} | {deviation}, {kind} | {before:.2f} | {error(clipped(noisy, allowed), truth):.2f} ",
                    end="",
                )
                print(*(f"| {value:.2f} | {100 * (1 - value / before):.0f} % " for value in errors), "|", flush=True)


def moving(truth, allowed, generator) -> None:
    print(f"\n| a sequence, noise, mm | error, mm | smoothed (period {PERIOD}) | repaired | smoothed and repaired |")
    print("|---|---|---|---|---|", flush=True)
    for kind, keep in (("depth", "projection"), ("any way", "")):
        for deviation in MILLIMETRES:
            noisy = with_noise(truth, kind, deviation, generator)
            smooth = smoothing.smooth(noisy, PERIOD)
            values = [
                smooth,
                repair.repair_poses(noisy, allowed, keep=keep).joints,
                repair.repair_poses(noisy, allowed, keep=keep, smooth=PERIOD).joints,
            ]
            errors = " | ".join(f"{error(value, truth):.2f}" for value in values)
            print(f"| {deviation}, {kind} | {error(noisy, truth):.2f} | {errors} |", flush=True)


def aligned(poses, truth) -> np.ndarray:
    """Returns the mean error of each pose after Procrustes alignment, mm."""
    poses, truth = np.asarray(poses, np.float64), np.asarray(truth, np.float64)
    return 1e3 * np.linalg.norm(metrics.align("procrustes", poses, truth) - truth, axis=-1).mean(axis=-1)


def adult(poses) -> np.ndarray:
    """Scales poses about the camera to the bones of a mean adult, 0.842 m in total."""
    lengths = np.asarray(anatomy.bone_lengths(jnp.asarray(poses))).sum(axis=(1, 2))
    return np.asarray(poses, np.float32) * np.float32(0.842 / lengths)[:, None, None]


def on_rays(pixels, z, intrinsics) -> np.ndarray:
    relative = 1 + z / intrinsics[:, 0, 0, None]
    rays = camera.rays(jnp.asarray(pixels, jnp.float32), jnp.asarray(intrinsics, jnp.float32))
    return adult(rays * jnp.asarray(relative, jnp.float32)[..., None])


def photographs(folder: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns MediaPipe's image landmarks with z, on their rays, and its world landmarks, of random photographs."""
    found = np.load(Path(folder) / "mediapipe.npz")
    images = {
        image["id"]: image["K"] for image in json.loads((Path(folder) / "annotations.json").read_text())["images"]
    }
    rows = np.flatnonzero(np.isfinite(found["image"]).all(axis=(1, 2)))
    rows = np.random.default_rng(0).permutation(rows)[:count]
    intrinsics = np.array([images[number] for number in found["ids"][rows].tolist()])
    return on_rays(found["image"][rows, :, :2], found["image"][rows, :, 2], intrinsics), adult(found["world"][rows])


def presets(joints, folder: str | None, count: int) -> None:
    """Prints the errors with each preset on landmarks like those of MediaPipe."""
    joints = joints[validation.thumb_side(joints) > -validation.UNDECIDED][:count]
    people = synthesis.poses(0, "any_view", "test", np.arange(count))
    sets = {}
    for name, truth in (("JOINTS.npy", adult(joints)), ("rendered test people", adult(people))):
        intrinsics = np.broadcast_to(np.array([[500, 0, 80], [0, 500, 80], [0, 0, 1]], np.float32), (count, 3, 3))
        pixels, z, world = jax.jit(mediapipe_like)(jax.random.key(1), jnp.asarray(truth), jnp.asarray(intrinsics))
        sets[name] = truth, on_rays(pixels, np.asarray(z), intrinsics), adult(world)
    held = {"none": None} | {name: limits.load(name) for name in limits.PRESETS} | variants()
    real = photographs(folder, count) if folder else None
    each = [f"{name}, {what}" for name in sets for what in ("exact", "on rays", "world freely")]
    head = ["limits", *each, *["photographs, on rays to world"] * bool(folder)]
    print("|", " | ".join(head), "|")
    print("|---" * len(head) + "|", flush=True)
    for name, allowed in held.items():

        def mend(poses, keep="projection", allowed=allowed):
            return poses if allowed is None else repair.project_to_limits(jnp.asarray(poses), allowed, keep).joints

        cells = [
            [aligned(mend(truth), truth), aligned(mend(noisy), truth), aligned(mend(world, ""), truth)]
            for truth, noisy, world in sets.values()
        ]
        numbers = [f"{value.mean():.2f}" for row in cells for value in row]
        if real is not None:
            numbers.append(f"{aligned(mend(real[0]), real[1]).mean():.2f}")
        print(f"| {name} |", " | ".join(numbers), "|", flush=True)
    if real is not None:
        noise({"photographs": real, "here": sets["rendered test people"][1:]})


def variants() -> dict[str, Limits]:
    """Returns limits of the people of the preset `people`, with other percentiles, margins and counts."""
    fewer = {
        f"{low:g} to {high:g}": people(VARIANT_COUNT, percentiles=(low, high))
        for low, high in ((0.0, 100.0), (1.0, 99.0), (5.0, 95.0))
    }
    widened = limits.widen(fewer["1 to 99"], degrees=5.0)
    found = fewer | {"1 to 99, angles wider by 5°": widened}
    return {f"{VARIANT_COUNT:,} poses, {name}": one for name, one in found.items()}


def noise(sets) -> None:
    """Prints statistics of the noise and of photographs."""
    clinical = limits.load("clinical")
    for name, (rays, world) in sets.items():
        print(f"{name}: 2.5D to world {aligned(rays, world).mean():.1f} mm", end="")
        for poses in (rays, world):
            lengths = np.asarray(anatomy.bone_lengths(jnp.asarray(poses)))
            spread = np.log(lengths / lengths.sum(axis=(1, 2), keepdims=True)).std(axis=0).mean(axis=0)
            beyond = np.asarray(limits.excess(anatomy.normalize(jnp.asarray(poses))[0], clinical).angles)
            print(f"; deviation of log lengths {np.round(spread, 2)}, angles outside clinical", end=" ")
            print(f"{100 * (beyond > 0).mean():.0f} % by {np.degrees(beyond[beyond > 0].mean()):.0f} degrees", end="")
        print()


def compilation(allowed) -> None:
    """Prints the CPU seconds of compilation, and the size of the program."""
    print("\n| keep | poses | lines of the lowered program | seconds of CPU to lower and compile |\n|---|---|---|---|")
    for keep in repair.KEEP[:2]:
        for shape in ((repair.CHUNK,), (), (4,), (2, 3)):
            start = time.process_time()
            call = jax.jit(lambda joints, keep=keep: repair.project_to_limits(joints, allowed, keep))
            lowered = call.lower(jax.ShapeDtypeStruct((*shape, hand.NUM_JOINTS, 3), jnp.float32))
            lowered.compile()
            taken = time.process_time() - start
            print(
                f"| {keep or 'nothing'} | {list(shape)} | {lowered.as_text().count(chr(10))} | {taken:.1f} |",
                flush=True,
            )


def speed(truth, held, generator) -> None:
    print(f"\n| keep | steps | moved, mm | within limits | poses/s of 2 cores, batch {BATCH} |\n|---|---|---|---|---|")
    noisy = jnp.asarray(with_noise(np.resize(truth, (BATCH, 21, 3)), "any way", 10, generator))
    in_depth = jnp.asarray(with_noise(np.resize(truth, (BATCH, 21, 3)), "depth", 10, generator))
    for keep in repair.KEEP:
        for steps in (2, 4, 8, 16):
            poses = in_depth if keep == "projection" else noisy

            def call(poses=poses, keep=keep, steps=steps):
                return jax.block_until_ready(repair.project_to_limits(poses, held["clinical"], keep, steps=steps))

            found, taken = call(), []
            for _ in range(5):
                start = time.process_time()
                call()
                taken.append(time.process_time() - start)
            moved, within = 1000 * np.mean(found.moved), 100 * np.mean(found.converged)
            rate = 2 * BATCH / min(taken)
            print(f"| {keep or 'nothing'} | {steps} | {moved:.2f} | {within:.0f} % | {rate:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("joints", metavar="JOINTS.npy")
    parser.add_argument("--count", type=int, default=512, help="poses of the other half (default: 512)")
    parser.add_argument("--photographs", metavar="FOLDER", help="with mediapipe.npz and annotations.json")
    parser.add_argument("--only", choices=("presets", "compilation", "speed"), help="one part (default: all)")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    poses = generator.permutation(np.load(options.joints).astype(np.float32))
    half = len(poses) // 2
    held = {"other half": limits.fit(poses[:half], source="one half"), "clinical": limits.load("clinical")}
    truth = poses[half : half + options.count]
    print(machine() + "\n")
    if options.only in (None, "presets"):
        presets(poses, options.photographs, options.count)
    if options.only in (None, "compilation"):
        compilation(held["clinical"])
    if options.only is None:
        single(truth, held, generator)
        near = truth[(truth[..., 2].min(axis=1) > 0.3) & (truth[..., 2].max(axis=1) < 0.9)]
        moving(sequence(near[:40]), held["other half"], generator)
    if options.only in (None, "speed"):
        speed(truth, held, generator)


if __name__ == "__main__":
    main()
