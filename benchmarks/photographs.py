"""Errors of networks on labelled photographs, compared with the mean pose and the landmarks of the teacher.

    python benchmarks/photographs.py labelled/test.json --landmarks mediapipe.npz --runs runs/photos/bmc runs/photos/2d

`labelled` is the output of `bmc data pseudo-labels` for these landmarks, so the 3D labels are estimates of a teacher.
All rows are measured on the same hands by the same code: 2D is the mean distance of the 21 joints from the keypoints
relative to the longer side of the hand's box; 3D is the mean distance from `joints_3d` after Procrustes alignment, with
the 95 % interval over the hands. The mean pose is that of the hands in `labelled/train.json`, in the camera frame with
the scale bone as unit, and after rotating the hands to each other. The second stage of a two-stage network is also
measured on the keypoints, which isolates the errors of depth.
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bmc_jax import metrics
from bmc_jax.core import hand
from bmc_jax.data import photographs
from bmc_jax.data.readers import coco_hand
from bmc_jax.metrics import evaluation
from bmc_jax.models import LiftingNetwork
from bmc_jax.poses import pseudo_labels
from bmc_jax.training import forward, step


def aligned(joints: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the errors `[hand, joint]` in millimetres after Procrustes alignment."""
    labels = labels.astype(np.float64)
    joints = np.broadcast_to(joints, labels.shape).astype(np.float64)
    return metrics.MILLIMETRES * metrics.joint_errors(metrics.procrustes(joints, labels), labels)


def mean_poses(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of the labelled hands in the camera frame, and of the hands rotated to each other."""
    labels = [one["joints_3d"] for one in coco_hand.load(file)["annotations"] if "joints_3d" in one]
    joints = np.array(labels)
    start, end = hand.SCALE_BONE
    joints = joints / np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)[:, None, None]
    seen = joints.mean(axis=0)
    turned = joints[0]
    for _ in range(5):
        turned = metrics.procrustes(joints, np.broadcast_to(turned, joints.shape)).mean(axis=0)
    return seen, turned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--landmarks", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", default=[])
    options = parser.parse_args()

    content, teacher = coco_hand.load(options.annotations), pseudo_labels.read(options.landmarks)
    of_image = {number: row for row, number in enumerate(teacher.ids.tolist())}
    images = {one["id"]: one for one in content["images"]}
    hands = content["annotations"]
    keypoints = np.array([one["keypoints"] for one in hands]).reshape(-1, hand.NUM_JOINTS, 3)[..., :2]
    side = np.ptp(keypoints, axis=1).max(axis=-1)
    lifted = np.array(["joints_3d" in one for one in hands])
    labels = np.array([one["joints_3d"] for one in hands if "joints_3d" in one])
    rows = np.array([of_image[one["image_id"]] for one in hands])
    K = np.array([images[one["image_id"]]["K"] for one in hands])

    def line(name: str, error_2d: np.ndarray | None, joints: np.ndarray) -> None:
        errors = aligned(joints, labels)
        low, high = metrics.bootstrap(errors, np.ones(errors.shape, bool))
        pixels = "-" if error_2d is None else f"{100 * np.mean(error_2d):.1f}"
        print(f"| {name} | {pixels} | {errors.mean():.2f} | {low:.2f} to {high:.2f} |", flush=True)

    print(f"{len(hands)} hands, {lifted.sum()} of them with 3D labels\n")
    print("| method | 2D, % of the box | 3D, Procrustes, mm | 95 % interval |\n|---|---|---|---|")
    seen, turned = mean_poses(options.annotations.with_name("train.json"))
    line("mean pose, as seen by the camera", None, seen)
    line("mean pose, turned to each other", None, turned)
    homogeneous = np.concatenate([keypoints, np.ones_like(keypoints[..., :1])], axis=-1)[lifted]
    rays = np.einsum("nij,nkj->nki", np.linalg.inv(K[lifted]), homogeneous)
    line("the keypoints, all at one depth", np.zeros(1), rays)
    image, world = teacher.image[rows], teacher.world[rows]
    error = np.linalg.norm(image[..., :2] - keypoints, axis=-1) / side[:, None]
    line("the teacher's world landmarks", error[np.isfinite(error).all(axis=1)], world[lifted])
    for folder in options.runs:
        trained = forward.load(folder)
        size = trained.config.data.image_size
        found = photographs.read(options.annotations, size=size, margin=trained.config.data.margin)
        prediction = forward.predict(trained.config, trained.saved, found.batch)
        distance = metrics.joint_errors(prediction.joints_2d, found.batch.joints_2d)
        per_box = distance * trained.config.data.margin / size
        name = f"{Path(folder).name}, step {int(trained.saved['step']):,}"
        complete = evaluation.fully_labelled(found.batch)
        line(name, per_box, prediction.joints_3d[complete])
        if trained.config.network.lift:
            second = LiftingNetwork(refine=trained.config.network.refine)
            weights = {"params": step.evaluated(trained.saved).params["lifting"]}
            points = jnp.asarray(found.batch.joints_2d), jnp.asarray(found.batch.intrinsics)
            from_points = jax.jit(functools.partial(second.apply, train=False))(weights, *points)
            line(f"{name}: second stage, on the keypoints", None, np.asarray(from_points.joints_3d)[complete])


if __name__ == "__main__":
    main()
