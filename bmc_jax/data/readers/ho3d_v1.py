"""HO-3D v1, used in the paper: Task 3 of the HANDS'19 challenge.

    SOURCE/training_images/    SOURCE/training_joint_annotation.txt   image name and 63 numbers per line, tabs
    SOURCE/test_images/        SOURCE/test_palm_annotation.txt        image name and 3 numbers per line, spaces

Joints are in millimetres in OpenGL's camera frame (x right, y up, z backward), in the order of the BigHand2.2M dataset.
Frame, unit, order and K are those of the challenge's toolbox. Only the palm point of test images is published.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bmc_jax.core import hand
from bmc_jax.data.readers.annotation import DEPTH_RANGE, Annotation, DatasetInfo, project

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="10,500 video frames of a right hand with an object, 21 joints in 3D; 6,600 unlabelled test frames",
    needs="Task3: training_images/, training_joint_annotation.txt, test_images/, test_palm_annotation.txt",
    licence="academic research, not commercial, no redistribution",
    address="https://sites.google.com/view/hands2019/challenge",
)
OPTIONS = {
    "palm_is_wrist": "take the palm point of test images as the wrist, as in later versions (not documented)",
    "partial": "accept one missing split",
}

BIGHAND = np.array([0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20])
"""Index in BigHand's order of each joint in FreiHAND order. BigHand's order is wrist, five MCP from the thumb on, then
PIP, DIP and TIP of each finger."""
TO_CAMERA = np.array([1, -1, -1]) / 1000
"""Factors from OpenGL's camera frame in millimetres to this package's in metres."""
INTRINSICS = np.array([[617.343, 0, 312.42], [0, 617.343, 241.42], [0, 0, 1]])
IMAGE_SIZE = (640, 480)
BOX_SIDE = 0.25
"""Side of the square around the palm point that serves as the box of a test hand, metres, since no box is published. A
crop of 1.5 times this square around the wrist contains 98 % of 2,728 hands of RHD completely. The hand fills less of
its crop than in training."""


class Row(NamedTuple):
    """An image with its annotation."""

    where: str
    id: str
    image: Path
    points: np.ndarray
    """`[21, 3]`, or `[1, 3]` for a test image, unchanged from the file."""
    palm_is_wrist: bool


def splits(source: Path, *, palm_is_wrist: bool = True, partial: bool = False) -> dict[str, list[Row]]:
    """Returns the images of "train" and "test" in the order of their files.

    Raises:
      FileNotFoundError: naming a missing file, folder or image.
      ValueError: naming file and line, for another number of fields.
    """
    parts = {
        "train": (source / "training_joint_annotation.txt", source / "training_images", hand.NUM_JOINTS),
        "test": (source / "test_palm_annotation.txt", source / "test_images", 1),
    }
    missing = [split for split, (file, _, _) in parts.items() if not file.is_file()]
    if missing and (not partial or len(missing) == len(parts)):
        raise FileNotFoundError(
            f"expected {parts[missing[0]][0]}, got no such file; name the folder Task3 of the challenge"
            + ("" if len(missing) == len(parts) else ", or leave it out by --partial")
        )
    return {split: _rows(*part, palm_is_wrist) for split, part in parts.items() if split not in missing}


def annotation(row: Row) -> Annotation:
    """Returns the right hand of an image; for a test image, its box and, with `palm_is_wrist`, its wrist.

    Raises:
      ValueError: for a palm point outside `DEPTH_RANGE`.
    """
    points = row.points * TO_CAMERA
    joints, box = np.full((hand.NUM_JOINTS, 3), np.nan), None
    if len(points) == hand.NUM_JOINTS:
        joints = points[BIGHAND]
    else:
        box = _box(points[0], row.where)
        if row.palm_is_wrist:
            joints[hand.WRIST] = points[0]
    return Annotation(
        where=row.where,
        source="ho3d_v1",
        id=row.id,
        image=row.image,
        image_size=IMAGE_SIZE,
        intrinsics=INTRINSICS,
        joints_3d=joints,
        box=box,
    )


def _box(palm: Float[np.ndarray, "3"], where: str) -> tuple[float, float, float, float]:
    if not DEPTH_RANGE[0] <= palm[2] <= DEPTH_RANGE[1]:
        raise ValueError(
            f"{where}: palm: expected a depth in {DEPTH_RANGE} m, got {palm[2]:.4g}; give z in millimetres, negative "
            "in front of the camera"
        )
    u, v = project(palm, INTRINSICS)
    reach = INTRINSICS[0, 0] * BOX_SIDE / 2 / palm[2]
    return float(u - reach), float(v - reach), float(u + reach), float(v + reach)


def _rows(file: Path, folder: Path, points: int, palm_is_wrist: bool) -> list[Row]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"expected the folder {folder} with the images of {file.name}, got no such folder; unpack it"
        )
    present = {image.name for image in folder.iterdir()}
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").rstrip().splitlines(), start=1):
        where = f"{file}: line {number}"
        name, *fields = line.split() or [""]
        try:
            values = np.array([float(field) for field in fields])
        except ValueError as error:
            raise ValueError(f"{where}: expected numbers ({error}); fetch the file again") from error
        if values.size != 3 * points or not np.isfinite(values).all():
            raise ValueError(
                f"{where}: expected {3 * points + 1} fields, an image's name and finite numbers, got "
                f"{values.size + 1}; fetch the file again"
            )
        if name not in present:
            raise FileNotFoundError(
                f"{where}: expected the image {folder / name}, got no such file; unpack the images again"
            )
        rows.append(Row(f"{where} ({name})", name, folder / name, values.reshape(points, 3), palm_is_wrist))
    return rows
