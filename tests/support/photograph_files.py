"""A COCO file of photographs on disk."""

import json

import numpy as np
from PIL import Image

WIDTH, HEIGHT, SIZE = 100, 80, 64


K = [[120.0, 0.0, 48.0], [0.0, 125.0, 41.0], [0.0, 0.0, 1.0]]


DOT = np.array([70.0, 30.0], np.float32)


def tree(folder, *, image=None, annotation=None, info=None, saved=True):
    """A COCO file of one 100x80 photograph, black but for a soft white dot at joint 8; returns its path."""
    (folder / "images").mkdir(exist_ok=True)
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    dot = 255 * np.exp(-((u - DOT[0]) ** 2 + (v - DOT[1]) ** 2) / 18)
    if saved:
        Image.fromarray(dot.astype(np.uint8)[..., None].repeat(3, -1)).save(folder / "images/one.png")
    joints = np.random.default_rng(0).uniform([45, 20], [80, 60], (21, 2))
    joints[8] = DOT
    keypoints = np.concatenate([joints, np.full((21, 1), 2.0)], -1)
    one = {
        "id": 7,
        "image_id": 3,
        "category_id": 1,
        "bbox": [45, 20, 35, 40],
        "keypoints": keypoints.reshape(-1).tolist(),
        "hand_side": "right",
    }
    content = {
        "info": info or {},
        "images": [{"id": 3, "file_name": "one.png", "width": WIDTH, "height": HEIGHT, "K": K} | (image or {})],
        "annotations": [one | (annotation or {})],
        "categories": [{"id": 1, "name": "hand"}, {"id": 2, "name": "person"}],
    }
    file = folder / "annotations.json"
    file.write_text(json.dumps(content))
    return file
