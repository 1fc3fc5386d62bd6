"""Annotations of made hands: a soft dot painted at every joint of an open right hand seen by a camera."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bmc_jax import hand
from bmc_jax.data.readers.annotation import Annotation

WIDTH, HEIGHT = 200, 160
K = np.array([[260.0, 0.5, 97.0], [0.0, 255.0, 82.0], [0.0, 0.0, 1.0]])


def open_hand(depth=0.6, shift=(0.0, 0.0)):
    """Joints `[21, 3]` of a right hand, fingers up, its back towards the camera: metres, FreiHAND order."""
    joints = [[0.0, 0.07, depth]]
    for finger, angle in enumerate(np.radians([-50, -18, 0, 15, 32])):
        for level in range(4):
            reach = (0.04, 0.07, 0.095, 0.115)[level] if finger == 0 else (0.09, 0.12, 0.145, 0.165)[level]
            # The thumb lies before the palm, which faces away.
            farther = 0.02 if finger == 0 else 0.002 * level
            joints.append([np.sin(angle) * reach, 0.07 - np.cos(angle) * reach, depth + farther])
    return np.array(joints) + np.array([*shift, 0.0])


def project(joints, intrinsics=K):
    pixels = joints @ np.asarray(intrinsics).T
    return pixels[:, :2] / pixels[:, 2:]


def picture(points, width=WIDTH, height=HEIGHT):
    """A dark image with one soft dot a point, each of another brightness."""
    v, u = np.mgrid[:height, :width]
    image = np.full((height, width), 10.0)
    for x, y in points:
        image = np.maximum(image, 240 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8))
    return np.repeat(image.astype(np.uint8)[..., None], 3, axis=-1)


def annotation(**changes):
    """A right hand with everything labelled, its image in memory."""
    joints = open_hand()
    values = {
        "where": "made.json: row 3",
        "source": "made",
        "id": "3",
        "image": picture([project(joints)[8]]),
        "intrinsics": K,
        "joints_3d": joints,
        "joints_2d": project(joints),
    }
    return Annotation(**(values | changes))


def centroid(image, background=12):
    """(u, v) of an image's brightness above its background."""
    weight = np.maximum(np.asarray(image, float)[..., 0] - background, 0)
    v, u = np.indices(weight.shape)
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


def coco(folder: Path, count=6, *, joints_3d=True, k=True, seed=0, **annotation_changes):
    """A COCO file with images of `count` open hands that differ, 3D joints and K if wanted; returns the folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(count):
        joints = open_hand(0.5 + 0.3 * generator.random(), generator.uniform(-0.05, 0.05, 2))
        points = project(joints)
        Image.fromarray(picture(points)).save(folder / f"images/{number}.jpg", quality=95)
        image = {"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT}
        one = {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "keypoints": np.concatenate([points, np.full((hand.NUM_JOINTS, 1), 2)], axis=-1).reshape(-1).tolist(),
            "hand_side": "right",
        }
        images.append(image | ({"K": K.tolist()} if k else {}))
        annotations.append(one | ({"joints_3d": joints.tolist()} if joints_3d else {}) | annotation_changes)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder
