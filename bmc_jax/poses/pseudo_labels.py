"""Pseudo-labels of depth: MediaPipe's landmarks, lifted and repaired, as 3D joints of annotated photographs.

The labels are estimates of a teacher. A network that is trained on them also learns the teacher's errors, and an error
relative to them is a distance from the teacher.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bmc_jax.core import hand
from bmc_jax.core.types import Limits
from bmc_jax.data.readers import array_files, coco_hand
from bmc_jax.data.readers.annotation import project
from bmc_jax.poses import lifting
from bmc_jax.runtime import files
from bmc_jax.synthesis import skeleton

#: Arrays of a file of landmarks, and their shapes after the number of hands.
ARRAYS = {"image": (hand.NUM_JOINTS, 3), "world": (hand.NUM_JOINTS, 3), "ids": ()}
#: (period, first) of each held-out split: image number r is in the split if r % period == first.
HELD_OUT = {"test": (10, 9), "validation": (20, 8)}
LARGEST_DISTANCE = 0.1
"""Largest mean distance of the landmarks from the keypoints, relative to the hand's longer side."""
ADULT_LENGTH = 1e-3 * float(skeleton.BONES.sum())
"""Mean total length of the 20 bones of an adult's hand, metres."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Landmarks of a detector in some images, one hand per image."""

    ids: np.ndarray
    """`[N]`, ids of the images in the annotations."""
    image: Float[np.ndarray, "hand 21 3"]
    """u, v, and depth relative to the wrist, pixels, larger away from the camera; NaN if no hand was found."""
    world: Float[np.ndarray, "hand 21 3"]
    """3D joints in any unit, relative to any point, with the camera's axes."""


def read(path: str | os.PathLike) -> Teacher:
    """Reads landmarks of right hands in FreiHAND order from an .npz with the arrays of `Teacher`.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if an array is missing or has another shape. The message names file, array and shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of landmarks, got no file {path}; check the path")
    arrays = array_files.archive(path)
    for name, shape in ARRAYS.items():
        found = np.shape(arrays[name]) if name in arrays else None
        if found is None or len(found) == 0 or found[1:] != shape or found[0] != len(arrays["ids"]):
            listed = ", ".join(["N", *map(str, shape)])
            raise ValueError(
                f"{path}: expected an array {name!r} [{listed}], got {'none' if found is None else list(found)}; write "
                "image (u, v, z in pixels), world and ids, one row per image"
            )
    return Teacher(arrays["ids"], arrays["image"].astype(np.float64), arrays["world"].astype(np.float64))


def lift(teacher: Teacher, K: Float[np.ndarray, "hand 3 3"], limits: Limits) -> Float[np.ndarray, "hand 21 3"]:
    """Returns the lifted and repaired hands in the camera frame, metres; NaN if there is no hand.

    The landmarks do not determine the size of a hand, so each hand has the mean total bone length of adults.
    """
    landmarks = lifting.Landmarks(*map(jnp.asarray, (teacher.image[..., :2], teacher.image[..., 2], teacher.world)))
    joints = np.asarray(lifting.lift_hands(landmarks, K, limits).joints, np.float64)
    bones = joints[:, hand.FINGER_JOINTS] - joints[:, hand.PARENTS[hand.FINGER_JOINTS]]
    length = np.linalg.norm(bones, axis=-1).sum(axis=(1, 2))
    return joints * (ADULT_LENGTH / length)[:, None, None]


def write(
    annotations: str | os.PathLike, landmarks: str | os.PathLike, out: str | os.PathLike, limits: Limits
) -> dict[str, dict[str, int]]:
    """Adds the lifted hands to the annotations of a COCO file as `joints_3d`, and writes its splits.

    Every tenth image is written to `test.json` in the folder `out`, every twentieth to `validation.json`, and the
    others to `train.json`. The keypoints do not change. Hands without landmarks, and hands whose landmarks are more
    than `LARGEST_DISTANCE` from the keypoints, have no `joints_3d`.

    Args:
      annotations: COCO file with right hands, one per image, and K of each image.
      landmarks: .npz file, see `read`.
      out: folder of the new files.
      limits: limits of the repair.

    Returns:
      Numbers of "images", "hands" and "lifted" hands by split.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if a file cannot be read, an image has no K, or an image has several hands.
    """
    annotations, out = Path(annotations), Path(out)
    content, teacher = coco_hand.load(annotations), read(landmarks)
    hands = _by_image(content, annotations)
    images = {image["id"]: image for image in content["images"]}
    rows = [row for row, number in enumerate(teacher.ids.tolist()) if number in hands]
    without = next((number for number in teacher.ids[rows].tolist() if not images[number].get("K")), None)
    if without is not None:
        raise ValueError(f'{annotations}: expected K of image {without}, got none; add "K" to the images')
    if not rows:
        raise ValueError(f"{landmarks}: expected ids of images in {annotations}, got other ids; write these ids")
    chosen = Teacher(teacher.ids[rows], teacher.image[rows], teacher.world[rows])
    K = np.array([images[number]["K"] for number in chosen.ids.tolist()], np.float64)
    for number, joints, k in zip(chosen.ids.tolist(), lift(chosen, K, limits), K, strict=True):
        if np.isfinite(joints).all() and _agrees(joints, hands[number], k):
            hands[number]["joints_3d"] = np.round(joints, 6).tolist()
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split in ("train", *reversed(HELD_OUT)):
        kept = [image for row, image in enumerate(content["images"]) if _split(row) == split]
        numbers = {image["id"] for image in kept}
        part = [one for one in content["annotations"] if one["image_id"] in numbers]
        files.write_text(out / f"{split}.json", json.dumps(content | {"images": kept, "annotations": part}))
        lifted = sum("joints_3d" in one for one in part)
        counts[split] = {"images": len(kept), "hands": len(part), "lifted": lifted}
    return counts


def _by_image(content: dict[str, Any], where: Path) -> dict[Any, dict[str, Any]]:
    """Returns the annotation of each image by the image's id."""
    hands: dict[Any, dict[str, Any]] = {}
    for one in content["annotations"]:
        if one.get("image_id") in hands:
            raise ValueError(
                f"{where}: expected one hand per image, got several in image {one.get('image_id')}; remove all but one"
            )
        hands[one.get("image_id")] = one
    known = {image.get("id") for image in content["images"]}
    return {number: one for number, one in hands.items() if number in known}


def _split(row: int) -> str:
    return next((name for name, (period, first) in HELD_OUT.items() if row % period == first), "train")


def _agrees(joints: np.ndarray, annotation: dict[str, Any], K: np.ndarray) -> bool:
    """Returns whether joints project near the labelled keypoints."""
    keypoints = np.array(annotation["keypoints"], np.float64).reshape(hand.NUM_JOINTS, 3)
    labelled = keypoints[:, 2] > 0
    if not labelled.any():
        return False
    pixels = keypoints[labelled, :2]
    distance = np.linalg.norm(project(joints[labelled], K) - pixels, axis=-1).mean()
    return bool(distance <= LARGEST_DISTANCE * np.ptp(pixels, axis=0).max())
