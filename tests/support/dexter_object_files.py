"""Dexter+Object's files on disk."""

import io

import numpy as np
from PIL import Image

from support import reference

SEQUENCES = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")


TIPS = [4, 8, 12, 16, 20]


FRAMES = 3


def tips(seed):
    """Fingertips `[5, 3]` of a hand, metres, in the colour camera's frame."""
    joints, _ = reference.sample_hand(np.random.default_rng(seed), (0.0, 1.2), (-0.3, 0.3))
    return 0.033 * joints[TIPS] + seed * np.array([0.002, -0.001, 0.003])


def as_stored(points):
    """Metres in the colour camera's frame to the file's: the extrinsics undone, x and y negated, millimetres."""
    to_colour = np.array(
        [
            [0.9999, 0.0034, 0.0161, 19.0473],
            [-0.0033, 1.0000, -0.0079, -1.8514],
            [-0.0162, 0.0079, 0.9998, -4.7501],
            [0, 0, 0, 1],
        ]
    )
    homogeneous = np.concatenate([1000 * points, np.ones((len(points), 1))], axis=-1)
    depth_camera = np.linalg.solve(to_colour, homogeneous.T).T[:, :3]
    return depth_camera * [-1, -1, 1]


def pixels(points):
    return np.stack(
        [587.45209 * points[:, 0] / points[:, 2] + 325, 600.67456 * points[:, 1] / points[:, 2] + 249], axis=-1
    )


def line(points, unseen=()):
    """A line of an annotation file, with two points of the object after the tips."""
    stored = as_stored(points)
    stored[list(unseen), 2] = 32001
    fields = [", ".join(repr(float(number)) for number in point) for point in stored]
    return "; ".join([*fields, "1.0, 2.0, 3.0", "0, 0, 32001"]) + ";"


def tree(folder, *, unseen=(), sequences=SEQUENCES, size=(640, 480)):
    """Three frames a sequence, the first of all with a soft dot at the thumb's tip. `unseen` are missing everywhere."""
    black = io.BytesIO()
    Image.new("RGB", size).save(black, "PNG")
    for number, name in enumerate(sequences):
        for part in ("color", "annotations"):
            (folder / "data" / name / part).mkdir(parents=True)
        lines = []
        for frame in range(FRAMES):
            (folder / "data" / name / "color" / f"image_{7 * frame:05d}.png").write_bytes(black.getvalue())
            lines.append(line(tips(FRAMES * number + frame), unseen))
        (folder / "data" / name / "annotations" / f"{name}3D.txt").write_text("\n".join(lines) + "\n")
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    at = pixels(tips(0))[0]
    dot = 255 * np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / 18)
    image = Image.fromarray(dot.astype(np.uint8)[..., None].repeat(3, -1))
    image.save(folder / "data" / sequences[0] / "color/image_00000.png")
    return folder
