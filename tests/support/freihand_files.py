"""FreiHAND's files on disk."""

import json

import numpy as np
from PIL import Image

from support import hands

K = [[480.0, 0.0, 112.0], [0.0, 481.0, 112.0], [0.0, 0.0, 1.0]]


def poses(count):
    """Right hands `[count, 21, 3]` in metres, in front of the camera."""
    joints = hands.sampled(20)[0][np.arange(count) % 20] * 0.03
    return joints - joints.mean(axis=1, keepdims=True) + [0.01, -0.02, 0.7]


def rows(count, joints=None):
    """Lists of annotations, under their files' names."""
    joints = poses(count) if joints is None else joints
    scale = np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1)
    return {"K": [K] * count, "xyz": joints.tolist(), "scale": scale.tolist()}


def write(folder, split, lists):
    for name, content in lists.items():
        (folder / f"{split}_{name}.json").write_text(json.dumps(content))


def images(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", (224, 224), (number, 90, 30)).save(folder / f"{number:08d}.jpg")


def tree(folder, unique=4, versions=4, evaluation=0, joints=False):
    """A made FreiHAND; returns its folder. `joints` puts those of the evaluation there too."""
    if unique:
        images(folder / "training/rgb", range(unique * versions))
        write(folder, "training", rows(unique))
    if evaluation:
        images(folder / "evaluation/rgb", range(evaluation))
        lists = rows(evaluation)
        write(folder, "evaluation", lists if joints else {name: lists[name] for name in ("K", "scale")})
    return folder
