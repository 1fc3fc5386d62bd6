"""How much nearer to the truth does repair bring poses, how near to the given ones does it stay, and how fast is it?

    python benchmarks/repair.py JOINTS.npy

JOINTS.npy are true poses `[N, 21, 3]` in metres, camera frame: RHD's evaluation joints here. Limits are fitted to one
half of them, drawn at random, and the other half gets noise. Sequences go from one of these poses to the next in 15
frames, by angles. Times are CPU seconds, which other work on the machine disturbs least: two idle cores would take half
of them.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import scipy.interpolate
import scipy.spatial.transform
from machine import machine

from bmc_jax import anatomy, kinematics, limits, repair
from bmc_jax.poses import feasible, smoothing

MILLIMETRES = (2, 5, 10, 15)
BATCH = 1024
#: Frames from pose to pose, and the period below which motion is smoothed away.
BETWEEN, PERIOD = 15, 8


def error(poses, truth) -> float:
    """Mean over joints, mm."""
    return float(1e3 * np.linalg.norm(np.asarray(poses) - truth, axis=-1).mean())


def with_noise(truth, kind: str, millimetres: float, generator) -> np.ndarray:
    noise = generator.normal(0, millimetres / 1000, truth.shape).astype(np.float32)
    return truth + (noise if kind == "any way" else noise[..., 2:] * truth / truth[..., 2:])


@jax.jit
def clipped(poses, allowed):
    """What is simplest: every length and angle clipped, the hand put where its joints' mean was."""

    def one(pose):
        posture, scale = kinematics.angles_from_pose(pose), anatomy.scale(pose)
        posture = feasible.clip(posture._replace(bone_lengths=posture.bone_lengths / scale), allowed)
        made = kinematics.pose_from_angles(posture.bone_lengths * scale, posture.palm, posture.angles)
        made = kinematics.place(made, kinematics.hand_frame(pose), pose[0])
        return made + jnp.mean(pose - made, axis=0)

    return jax.vmap(one)(poses)


def sequence(poses: np.ndarray) -> np.ndarray:
    """One person's hand on its way from pose to pose: lengths of the first, angles and place in between."""
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
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    poses = generator.permutation(np.load(options.joints).astype(np.float32))
    half = len(poses) // 2
    held = {"other half": limits.fit(poses[:half], source="one half"), "clinical": limits.load("clinical")}
    truth = poses[half : half + options.count]
    print(machine() + "\n")
    single(truth, held, generator)
    near = truth[(truth[..., 2].min(axis=1) > 0.3) & (truth[..., 2].max(axis=1) < 0.9)]
    moving(sequence(near[:40]), held["other half"], generator)
    speed(truth, held, generator)


if __name__ == "__main__":
    main()
