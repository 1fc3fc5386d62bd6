"""Square crop around a hand in a picture, the input of the network, and the map of the output back to the picture.

Pixels are those of the upright picture, with the centre of the first pixel at (0, 0). The network is trained on right
hands: the crop of a left hand and the output for it are mirrored.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bmc_jax.config import Config
from bmc_jax.core import hand
from bmc_jax.core.types import Batch, Prediction
from bmc_jax.data import crop
from bmc_jax.data.images import Picture
from bmc_jax.data.readers import coco_hand
from bmc_jax.inference.requests import Request
from bmc_jax.training import forward

SMALLEST_BOX = 4.0
"""Smallest length in pixels of the longer side of a hand's box. Boxes in shares of the image are smaller."""
LARGEST_BOX = 2.0
"""Largest longer side of a box relative to that of its picture: a hand may extend beyond the picture."""
LARGEST_K = 1e9
"""Upper bound of the absolute values in K, which is float32 in the network."""
EXIF = "focal length of the image's EXIF, principal point in the middle"
DEFAULT = f"assumed: focal length {coco_hand.DEFAULT_FOCAL:g} x the longer image side, principal point in the middle"


@dataclass(frozen=True)
class HandCrop:
    """A crop of a hand and its camera."""

    request: Request
    image: np.ndarray
    """uint8 `[stored, stored, 3]`, of a right hand."""
    to_square: np.ndarray
    """Affine map `[3, 3]` from the picture's pixels to the square's, mirroring included."""
    size: tuple[int, int]
    """(width, height) of the picture."""
    box: tuple[float, float, float, float]
    """(left, top, right, bottom), pixels."""
    intrinsics: np.ndarray
    """K of the picture, `[3, 3]`."""
    intrinsics_from: str


def cut(request: Request, picture: Picture, config: Config, *, passes: int = 1) -> HandCrop:
    """Returns the square crop around the hand, as in training, with the margin for `passes`.

    Args:
      request: the hand.
      picture: the upright picture.
      config: configuration of the network.
      passes: number of passes, see `training.forward`.

    Raises:
      ValueError: if the box has no size, is too small or too large for a hand or is outside the picture, if K is not a
        pinhole matrix, or if they refer to a picture of another size. The message names image, value and remedy.
    """
    size = picture.image.size
    if request.size not in (None, size):
        turned = ", the size before rotation; find boxes in the upright image" if request.size == size[::-1] else ""
        raise ValueError(
            f"{request.file}: expected a box and K for {_by(size)} pixels, got {_by(request.size)}{turned}"
        )
    box, side = _box(request, size, config.data.margin)
    intrinsics, intrinsics_from = _camera(request, picture)
    stored = forward.stored_size(config, passes)
    zoom = config.data.image_size / side
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    to_square = np.diag([zoom, zoom, 1.0])
    to_square[:2, 2] = (stored - 1) / 2 - zoom * middle
    image = crop.square(picture.image, middle, stored / zoom, stored)
    if request.left:
        image = image[:, ::-1]
        # Column u becomes stored - 1 - u.
        to_square = np.array([[-1.0, 0, stored - 1], [0, 1, 0], [0, 0, 1]]) @ to_square
    return HandCrop(request, image, to_square, size, box, intrinsics, intrinsics_from)


def batch(crops: Sequence[HandCrop]) -> Batch:
    """Returns the crops as a batch of host arrays `[count, ...]` without labels."""
    count = len(crops)
    unknown = np.zeros((count, hand.NUM_JOINTS), bool)
    cameras = [one.to_square @ one.intrinsics @ np.diag([-1.0 if one.request.left else 1.0, 1.0, 1.0]) for one in crops]
    return Batch(
        image=np.stack([one.image for one in crops]),
        intrinsics=np.stack(cameras).astype(np.float32),
        joints_2d=np.zeros((count, hand.NUM_JOINTS, 2), np.float32),
        joints_2d_valid=unknown,
        joints_3d=np.zeros((count, hand.NUM_JOINTS, 3), np.float32),
        joints_3d_valid=unknown,
        scale=np.zeros(count, np.float32),
        source=np.zeros(count, np.int32),
        index=np.arange(count, dtype=np.int32),
        present=np.ones(count, bool),
    )


def to_pictures(crops: Sequence[HandCrop], prediction: Prediction, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Returns the predicted hands in the frames of their pictures.

    Returns:
      Pixels of the pictures `[count, 21, 2]`, and joints `[count, 21, 3]` in scale units and the camera frame.

    Raises:
      FloatingPointError: if a prediction is not finite.
    """
    pixels, joints = [], []
    for i, one in enumerate(crops):
        beside = (one.image.shape[0] - config.data.image_size) / 2
        back = np.linalg.inv(one.to_square)
        square = np.asarray(prediction.joints_2d[i], np.float64) + beside
        pixels.append(square @ back[:2, :2].T + back[:2, 2])
        joints.append(hand.mirror(np.asarray(prediction.joints_3d[i], np.float64), np.asarray(one.request.left)))
        if not (np.isfinite(pixels[-1]).all() and np.isfinite(joints[-1]).all()):
            raise FloatingPointError(f"{one.request.file}: the prediction is not finite; use an earlier checkpoint")
    return np.stack(pixels), np.stack(joints)


def _box(request: Request, size: tuple[int, int], margin: float) -> tuple[tuple[float, float, float, float], float]:
    """Returns the box, and the side of the square crop around its centre."""
    width, height = size
    if request.box is None:
        side = min(size)
        left, top = (width - side) / 2 - 0.5, (height - side) / 2 - 0.5
        return (left, top, left + side, top + side), float(side)
    left, top, right, bottom = map(float, request.box)
    where = (
        f"{request.file}: the hand's box is {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, bottom; "
        f"{request.box_from})"
    )
    if not np.isfinite(request.box).all() or not (right > left and bottom > top):
        raise ValueError(f"{where}, which has no size; give a box with left < right and top < bottom")
    longer = max(right - left, bottom - top)
    if longer < SMALLEST_BOX:
        raise ValueError(f"{where}, below {SMALLEST_BOX:g} pixels; give it in pixels of the image, not in shares of it")
    if longer > LARGEST_BOX * max(size):
        raise ValueError(f"{where}, over {LARGEST_BOX:g} times the {_by(size)} pixels of the image; give a hand's box")
    if right <= 0 or bottom <= 0 or left >= width - 1 or top >= height - 1:
        raise ValueError(f"{where}, outside the {_by(size)} pixels of the image; give a box in this image")
    return (left, top, right, bottom), margin * longer


def _camera(request: Request, picture: Picture) -> tuple[np.ndarray, str]:
    width, height = picture.image.size
    if request.intrinsics is None:
        focal = picture.focal or coco_hand.DEFAULT_FOCAL * max(width, height)
        k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        return k, EXIF if picture.focal else DEFAULT
    return pinhole(request.intrinsics, request.file, request.intrinsics_from), request.intrinsics_from


def pinhole(intrinsics: np.ndarray, where: os.PathLike, source: str) -> np.ndarray:
    """Returns K as float64.

    Args:
      intrinsics: K.
      where: name of its image, for the message.
      source: its origin, for the message.

    Raises:
      ValueError: unless K is `[[fx, s, cx], [0, fy, cy], [0, 0, 1]]` with positive focal lengths.
    """
    k = np.array(intrinsics, np.float64)
    regular = k.shape == (3, 3) and (np.abs(k) < LARGEST_K).all() and np.array_equal(k[2], [0, 0, 1])
    if not regular or k[0, 0] <= 0 or k[1, 1] <= 0:
        raise ValueError(
            f"{where}: K ({source}): expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels with positive focal "
            f"lengths and all numbers below {LARGEST_K:g}, got {k.tolist()}"
        )
    return k


def _by(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
