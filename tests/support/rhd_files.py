"""RHD's files on disk."""

import pickle

import numpy as np
from PIL import Image

from support import hands

ORDER = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]


K = np.array([[300.0, 0, 160], [0, 300, 160], [0, 0, 1]], np.float32)


LEFT, RIGHT = slice(0, 21), slice(21, 42)


def entry(left=True, right=True, left_seen=21, right_seen=21):
    """Both hands of an image, as RHD has them: the left one at its right. Hands without annotation are zero."""
    joints = hands.sampled(2)[0] * 0.03
    joints = joints - joints.mean(axis=1, keepdims=True)
    joints[0, :, 0] *= -1
    xyz = np.zeros((42, 3))
    xyz[LEFT], xyz[RIGHT] = joints[0][ORDER] + [0.08, 0.01, 0.6], joints[1][ORDER] + [-0.07, 0.02, 0.5]
    uv = xyz @ K.T
    uv = uv / uv[:, 2:]
    uv[LEFT, 2], uv[RIGHT, 2] = np.arange(21) < left_seen, np.arange(21) < right_seen
    for wanted, rows in ((left, LEFT), (right, RIGHT)):
        if not wanted:
            xyz[rows], uv[rows] = 0, 0
    return {"uv_vis": uv.astype(np.float32), "xyz": xyz.astype(np.float32), "K": K}


def tree(folder, entries, split="training", image=None, mask=None):
    """A made RHD with one image for each entry; returns the folder."""
    for kind in ("color", "mask"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    for number in entries:
        picture = np.zeros((320, 320, 3), np.uint8) if image is None else image
        Image.fromarray(picture).save(folder / split / f"color/{number:05d}.png")
        if mask is not None:
            Image.fromarray(mask).save(folder / split / f"mask/{number:05d}.png")
    (folder / split / f"anno_{split}.pickle").write_bytes(pickle.dumps(entries, 2))
    return folder
