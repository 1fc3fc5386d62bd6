"""Records of built datasets: the surroundings of a hand, cut out of its image as a right hand, with all its labels."""

import io
import math
from typing import Any

import numpy as np
from PIL import Image

from bmc_jax.core import hand
from bmc_jax.core.choices import SIDES
from bmc_jax.data import images
from bmc_jax.data.readers.annotation import Annotation, check, project

WINDOW = 2.5
"""Side of the stored window relative to the longer side of the hand's box; augmentation moves the crop within it."""
LARGEST = 320
"""Maximum pixels of the window's longer side; larger windows are reduced. A crop of 1.5 times the box then has 192."""
QUALITY = 95
"""JPEG quality, without chroma subsampling. The mean change of a photograph is below one grey level."""


def features() -> Any:
    """Returns the TFDS features of a record.

    `image` is a JPEG of any size. `joints_2d [21, 2]`, `box` (left, top, right, bottom) and `intrinsics [3, 3]` are in
    its pixels; `joints_3d [21, 3]` and `scale` in metres. Joints and scale are 0 where unknown. `visibility` is COCO's:
    0 unlabelled, 1 occluded, 2 visible. All are of a right hand; `hand` is the side before mirroring. `source` and `id`
    identify it.
    """
    import tensorflow_datasets as tfds

    joints = hand.NUM_JOINTS
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "intrinsics": tfds.features.Tensor(shape=(3, 3), dtype=np.float32),
            "joints_2d": tfds.features.Tensor(shape=(joints, 2), dtype=np.float32),
            "visibility": tfds.features.Tensor(shape=(joints,), dtype=np.uint8),
            "joints_3d": tfds.features.Tensor(shape=(joints, 3), dtype=np.float32),
            "joints_3d_valid": tfds.features.Tensor(shape=(joints,), dtype=np.bool_),
            "scale": tfds.features.Scalar(dtype=np.float32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "hand": tfds.features.ClassLabel(names=SIDES),
            "source": tfds.features.Text(),
            "id": tfds.features.Text(),
        }
    )


def record(annotation: Annotation) -> dict[str, Any]:
    """Converts an annotation to a record (see `features`).

    Raises:
      FileNotFoundError: if the image does not exist.
      ValueError: naming file, row, value and remedy, if the image is damaged or `annotation.check` refuses the labels.
    """
    checked = check(annotation)
    encoded, to_window, width = _cut(annotation, checked.box)
    intrinsics = to_window @ checked.intrinsics
    joints_2d, joints_3d = checked.joints_2d @ to_window[:2, :2].T + to_window[:2, 2], checked.joints_3d
    corners = np.reshape(checked.box, (2, 2)) @ to_window[:2, :2].T + to_window[:2, 2]
    if annotation.left:
        # Column u becomes width - 1 - u, as in `camera.mirror_intrinsics`, which would start JAX.
        joints_3d = hand.mirror(joints_3d)
        joints_2d[:, 0] = width - 1 - joints_2d[:, 0]
        corners[:, 0] = width - 1 - corners[::-1, 0]
        intrinsics[0, 2] = width - 1 - intrinsics[0, 2]
        intrinsics[0, 1] *= -1
        intrinsics[1, 0] *= -1
    return {
        "image": encoded,
        "intrinsics": intrinsics.astype(np.float32),
        "joints_2d": np.where(checked.visibility[:, None] > 0, joints_2d, 0).astype(np.float32),
        "visibility": checked.visibility,
        "joints_3d": np.where(checked.joints_3d_valid[:, None], joints_3d, 0).astype(np.float32),
        "joints_3d_valid": checked.joints_3d_valid,
        "scale": np.float32(checked.scale),
        "box": corners.reshape(4).astype(np.float32),
        "hand": SIDES[annotation.left],
        "source": annotation.source,
        "id": annotation.id,
    }


def reprojection_error(record: dict[str, Any]) -> float:
    """Returns the mean distance between the record's 2D joints and its projected 3D joints, in pixels of its image,
    over the joints that have both; NaN if none has."""
    both = (record["visibility"] > 0) & record["joints_3d_valid"]
    if not both.any():
        return math.nan
    projected = project(record["joints_3d"][both].astype(np.float64), record["intrinsics"])
    return float(np.linalg.norm(projected - record["joints_2d"][both], axis=-1).mean())


def _cut(annotation: Annotation, box: tuple[float, float, float, float]) -> tuple[bytes, np.ndarray, int]:
    """Returns the JPEG of the hand's surroundings, mirrored for a left hand, the 3x3 map from the image's pixels to the
    window's before mirroring, and the window's width."""
    image, original = _open(annotation)
    low, high = np.array(box[:2]) + 0.5, np.array(box[2:]) + 0.5  # Pillow's origin is the first pixel's corner
    middle, reach = (low + high) / 2, WINDOW * (high - low).max() / 2
    left, top = np.floor(np.maximum(middle - reach, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(middle + reach, image.size)).astype(int)
    if left >= right or top >= bottom:
        raise ValueError(
            f"{annotation.where}: expected the hand's box inside its image of {image.width}x{image.height} pixels, got "
            f"{np.round(box, 1).tolist()}; correct the box or the image"
        )
    window = (int(left), int(top), int(right), int(bottom))
    width, height = right - left, bottom - top
    shrink = min(1.0, LARGEST / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    zoom = np.array(size) / (width, height)
    shift = (0.5 - np.array([left, top])) * zoom - 0.5
    to_window = np.array([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]], [0, 0, 1]])
    if original is not None and window == (0, 0, *image.size) and size == image.size and not annotation.left:
        return original, to_window, size[0]

    cut = image.resize(size, Image.Resampling.LANCZOS, box=window) if size != (width, height) else image.crop(window)
    if annotation.left:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    encoded = io.BytesIO()
    cut.save(encoded, "JPEG", quality=QUALITY, subsampling=0)
    return encoded.getvalue(), to_window, size[0]


def _open(annotation: Annotation) -> tuple[Image.Image, bytes | None]:
    """Returns the whole image, and the file's bytes if they are a colour JPEG, which can be stored unchanged."""
    if isinstance(annotation.image, np.ndarray):
        return Image.fromarray(annotation.image), None
    try:
        picture = images.read(annotation.image, annotation.image_size)
        return picture.image, annotation.image.read_bytes() if picture.plain_jpeg else None
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{annotation.where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{annotation.where}: {error}, or build with --faults skip") from error
