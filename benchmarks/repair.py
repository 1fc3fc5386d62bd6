"""How many poses does the repair of poses mend a second, and how much nearer to the truth do they come?

    python benchmarks/repair.py JOINTS.npy

JOINTS.npy are true poses `[N, 21, 3]` in metres, camera frame: RHD's evaluation joints here. Limits are fitted to one
half of them, drawn at random, and the other half gets noise. Times are CPU seconds, which other work on the machine
disturbs least: two idle cores would take half of them.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from machine import machine

from bmc_jax import anatomy, feasible, limits, repair

MILLIMETRES = (2, 5, 10, 15)
BATCH = 1024


def error(poses, truth) -> float:
    """Mean over joints, mm."""
    return float(1e3 * np.linalg.norm(np.asarray(poses) - truth, axis=-1).mean())


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
    lengths = anatomy.bone_lengths(jnp.asarray(truth))
    clip = jax.jit(jax.vmap(lambda pose, allowed: feasible.clip(pose, allowed, None), (0, None)))
    print(machine() + "\n")
    print("| limits | noise, mm | error | clipped | repaired, 2D kept | gain | the same, bones known | gain |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, allowed in held.items():
        for kind in ("depth", "isotropic"):
            for deviation in MILLIMETRES:
                noise = generator.normal(0, deviation / 1000, truth.shape).astype(np.float32)
                if kind == "depth":
                    noise = noise[..., :1] * truth / truth[..., 2:]
                noisy = jnp.asarray(truth + noise)
                before = error(noisy, truth)
                found = error(repair.project_to_limits(noisy, allowed, "projection").joints, truth)
                known = repair.project_to_limits(noisy, allowed, "projection", bone_lengths=lengths).joints
                known, clipped = error(known, truth), error(clip(noisy, allowed), truth)
                gains = [f"{100 * (1 - value / before):.0f} %" for value in (found, known)]
                print(
                    f"| {name} | {deviation}, {kind} | {before:.2f} | {clipped:.2f} | {found:.2f} | {gains[0]} ", end=""
                )
                print(f"| {known:.2f} | {gains[1]} |", flush=True)
    print(f"\n| keep | poses/s of 2 cores, batch {BATCH} | converged |\n|---|---|---|")
    noisy = np.resize(truth, (BATCH, 21, 3)) + generator.normal(0, 0.01, (BATCH, 21, 3))
    noisy = jnp.asarray(noisy, jnp.float32)
    for keep in repair.KEEP:
        call = lambda keep=keep: jax.block_until_ready(repair.project_to_limits(noisy, held["clinical"], keep))  # noqa: E731
        found, taken = call(), []
        for _ in range(5):
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
        rate = 2 * BATCH / min(taken)
        print(f"| {keep or 'nothing'} | {rate:,.0f} | {100 * np.mean(found.converged):.0f} % |", flush=True)


if __name__ == "__main__":
    main()
