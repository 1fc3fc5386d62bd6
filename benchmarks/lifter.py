"""Accuracy of the lifter by noise and focal length, calibration of its uncertainty, and its speed.

    python benchmarks/lifter.py --rhd rhd_eval_joints.npy --real real_weak

The people of rendered hands are not in its training data. `--rhd` are true poses `[N, 21, 3]` in metres, seen by random
cameras, with left hands mirrored. `--real` is a folder with MediaPipe's landmarks of photographs, `mediapipe.npz`, and
`annotations.json`; every tenth image is used, and the reference is the average of MediaPipe's two depths. Errors are
mean joint errors after Procrustes alignment, mm, of hands at their true size or, in photographs, at the size of an
adult's hand.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from machine import machine

from bmc_jax import anatomy, camera, metrics, synthesis
from bmc_jax.core import validation
from bmc_jax.metrics import alignment
from bmc_jax.models import lifter
from bmc_jax.synthesis import landmarks
from bmc_jax.training.lifter import DOMAIN

NOISE = (0.0, 0.01, 0.02, 0.04)
FOCAL = (0.75, 1.0, 1.5, 2.2, 4.0)
ASSUMED = (1.0, 1.2, 1.5, 2.0)
REAL_FOCAL = 492.5 / 224
"""Median focal length of the photographs' cameras, image widths."""
BATCH = 1024


def observed(poses: np.ndarray, seed: int = 0, **options) -> landmarks.Landmarks:
    """Returns landmarks of poses seen by random cameras, which are the same for each noise and focal length."""
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), len(poses))
    return jax.vmap(lambda key, pose: landmarks.observe(key, pose, **options))(keys, jnp.asarray(poses))


def assume(rays: jax.Array, factor) -> jax.Array:
    """Returns the rays with `factor` times the true focal length."""
    return rays.at[..., :2].divide(jnp.asarray(factor)[..., None, None] if jnp.ndim(factor) else factor)


def aligned(joints, truth) -> np.ndarray:
    """Returns the error of each joint, mm."""
    return 1e3 * metrics.joint_errors(metrics.procrustes(np.asarray(joints), truth), np.asarray(truth))


def lifted(weights, rays) -> np.ndarray:
    mean = jax.jit(lifter.relative_depth)(weights, rays).mean
    return np.asarray(rays * (1 + mean)[..., None])


def mean_pose(poses: np.ndarray) -> np.ndarray:
    """Returns the mean of poses that are aligned to it, after two rounds that begin with the first pose."""
    mean = poses[0]
    for _ in range(2):
        mean = alignment.procrustes(poses, np.broadcast_to(mean, poses.shape)).mean(axis=0)
    return mean


def row(name: str, *values) -> None:
    print(
        f"| {name} | " + " | ".join(value if isinstance(value, str) else f"{value:.2f}" for value in values) + " |",
        flush=True,
    )


def head(*names: str) -> None:
    print("\n| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|", flush=True)


def by_noise(weights, poses, mean, name: str) -> None:
    head(
        f"{name}, noise, % of the box",
        "lifted",
        "flat depth",
        "mean pose",
        "deviation predicted / found",
        "within 1, 2 deviations",
        "rank correlation",
        "the surest half",
    )
    for noise in NOISE:
        seen = observed(poses, noise=(noise, noise))
        found = jax.jit(lifter.relative_depth)(weights, seen.rays)
        truth = seen.joints[..., 2] / seen.joints[..., :1, 2] - 1
        joints = seen.rays * (1 + found.mean)[..., None]
        errors = aligned(joints, seen.joints)
        # In units of the total bone length of the lifted hand, because distances from the camera differ.
        unit = jnp.sum(anatomy.bone_lengths(joints), axis=(1, 2))[:, None]
        off, deviation = (
            np.asarray(jnp.abs(found.mean - truth) / unit)[:, 1:],
            np.asarray(found.deviation / unit)[:, 1:],
        )
        within = [f"{100 * np.mean(off < times * deviation):.0f} %" for times in (1, 2)]
        sure = np.argsort(deviation.mean(axis=1))[: len(poses) // 2]
        row(
            f"{100 * noise:g}",
            errors.mean(),
            aligned(seen.rays, seen.joints).mean(),
            aligned(np.broadcast_to(mean, poses.shape), seen.joints).mean(),
            f"{np.sqrt(np.mean(deviation**2) / np.mean(off**2)):.2f}",
            ", ".join(within),
            correlation(deviation.ravel(), off.ravel()),
            errors[sure].mean(),
        )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Returns Spearman's rank correlation."""
    return float(np.corrcoef(*(np.argsort(np.argsort(values)) for values in (first, second)))[0, 1])


def by_focal(weights, poses) -> None:
    head("true focal length, widths", *(f"assumed {value:g}" for value in ASSUMED), "known")
    for focal in FOCAL:
        seen = observed(poses, focal=(focal, focal), noise=(0.02, 0.02))
        errors = [
            aligned(lifted(weights, assume(seen.rays, value / focal)), seen.joints).mean()
            for value in (*ASSUMED, focal)
        ]
        row(f"{focal:g}", *errors)


def photographs(folder: Path, *, held_out: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rays of MediaPipe's landmarks in every tenth photograph, or in the others, and its 3D joints, metres,
    at the size of a mean adult's hand."""
    found = np.load(folder / "mediapipe.npz")
    intrinsics = {image["id"]: image["K"] for image in json.loads((folder / "annotations.json").read_text())["images"]}
    known = np.isfinite(found["image"]).all(axis=(1, 2)) & np.isfinite(found["world"]).all(axis=(1, 2))
    rows = known & ((found["ids"] % 10 == 9) == held_out)
    image, world, k = found["image"][rows], found["world"][rows], np.array([intrinsics[i] for i in found["ids"][rows]])
    rays = np.asarray(camera.rays(jnp.asarray(image[..., :2], jnp.float32), jnp.asarray(k, jnp.float32)))
    # The depth of the image landmarks, and of the world landmarks aligned to them.
    joints = rays * (1 + image[..., 2:] / k[:, :1, :1])
    joints = rays * 0.5 * (joints[..., 2:] + alignment.procrustes(world, joints)[..., 2:])
    adults = synthesis.poses(0, DOMAIN, "validation", np.arange(256))
    size = [np.sum(anatomy.bone_lengths(jnp.asarray(x, jnp.float32)), axis=(1, 2)) for x in (joints, adults)]
    return rays, joints * (np.mean(size[1]) / size[0])[:, None, None]


def real(weights, rays, joints, mean) -> None:
    head("photographs, focal length, widths", "lifted", "flat depth", "mean pose")
    for assumed in (*ASSUMED, REAL_FOCAL, 3.0):
        these = assume(jnp.asarray(rays), assumed / REAL_FOCAL)
        row(
            f"{assumed:.3g}",
            aligned(lifted(weights, these), joints).mean(),
            aligned(these, joints).mean(),
            aligned(np.broadcast_to(mean, joints.shape), joints).mean(),
        )


def speed(weights, poses) -> None:
    rays = observed(np.resize(poses, (BATCH, 21, 3))).rays
    call = jax.jit(lifter.relative_depth)
    jax.block_until_ready(call(weights, rays))
    taken = []
    for _ in range(10):
        start = time.process_time()
        jax.block_until_ready(call(weights, rays))
        taken.append(time.process_time() - start)
    print(f"\n{2 * BATCH / min(taken):,.0f} hands/s of 2 cores, batch {BATCH}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rhd", metavar="JOINTS.npy")
    parser.add_argument("--real", metavar="FOLDER", type=Path)
    parser.add_argument("--weights", metavar="FILE.npz", help="weights (default: those in the package)")
    parser.add_argument("--count", type=int, default=4096, help="rendered hands (default: 4096)")
    options = parser.parse_args()
    weights = lifter.load(options.weights) if options.weights else lifter.load()
    poses = synthesis.poses(0, DOMAIN, "test", np.arange(options.count))
    mean = mean_pose(synthesis.poses(0, DOMAIN, "train", np.arange(options.count)))
    print(machine())
    by_noise(weights, poses, mean, "rendered people")
    by_focal(weights, poses)
    if options.rhd:
        rhd = validation.screen(np.load(options.rhd).astype(np.float32), left="mirror").poses
        by_noise(weights, rhd, mean, "RHD")
    if options.real:
        real(weights, *photographs(options.real), mean)
    speed(weights, poses)


if __name__ == "__main__":
    main()
