"""A hand in a picture: where it is, by which camera it is seen, the square that the network is shown of it, and the way
back from the answer to the picture.

Pixels are the upright picture's, the centre of the first at (0, 0). The network knows right hands: of a left one it is
shown the mirror image, and its answer is mirrored back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bmc_jax.config import Config
from bmc_jax.core import hand
from bmc_jax.core.types import Batch, Prediction
from bmc_jax.data import crop
from bmc_jax.data.images import Picture
from bmc_jax.data.readers import coco_hand
from bmc_jax.training import forward

WHOLE = "the middle square of the image"
EXIF = "focal length of the image's EXIF, principal point in the middle"
DEFAULT = f"assumed: focal length {coco_hand.DEFAULT_FOCAL:g} x the longer image side, principal point in the middle"


@dataclass(frozen=True)
class Ask:
    """A hand that is asked about, before its image is opened."""

    file: Path
    left: bool = False
    """Whether it is a left hand."""
    box: tuple[float | int, float | int, float | int, float | int] | None = None
    """(left, top, right, bottom) of the hand, pixels; None to show the network the middle square of the image."""
    box_from: str = WHOLE
    intrinsics: np.ndarray | None = None
    """K `[3, 3]`, pixels; None to take it from the image's EXIF or a default."""
    intrinsics_from: str = ""
    size: tuple[int, int] | None = None
    """(width, height) that box and K are for, if it is known."""


@dataclass(frozen=True)
class View:
    """What the network is shown of a hand."""

    ask: Ask
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


def view(ask: Ask, picture: Picture, config: Config, *, passes: int = 1) -> View:
    """The square around the hand, cut as training cuts it, for so many passes.

    Raises ValueError, naming file and value, for a box that has no size or lies outside of the picture, for K that is
    no camera's, and for a picture of another size than they are for.
    """
    size = picture.image.size
    if ask.size not in (None, size):
        raise ValueError(f"{ask.file} is of {size[0]}x{size[1]} pixels, and its box or K is for {_by(ask.size)}")
    box, side = _box(ask, size, config.data.margin)
    intrinsics, intrinsics_from = _camera(ask, picture)
    stored = forward.stored_size(config, passes)
    zoom = config.data.image_size / side
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    to_square = np.diag([zoom, zoom, 1.0])
    to_square[:2, 2] = (stored - 1) / 2 - zoom * middle
    image = crop.square(picture.image, middle, stored / zoom, stored)
    if ask.left:
        image = image[:, ::-1]
        # Column u becomes stored - 1 - u.
        to_square = np.array([[-1.0, 0, stored - 1], [0, 1, 0], [0, 0, 1]]) @ to_square
    return View(ask, image, to_square, size, box, intrinsics, intrinsics_from)


def batch(views: Sequence[View]) -> Batch:
    """The views as the network takes them: host numpy `[count, ...]`, without labels."""
    count = len(views)
    unknown = np.zeros((count, hand.NUM_JOINTS), bool)
    cameras = [one.to_square @ one.intrinsics @ _mirror(one) for one in views]
    return Batch(
        image=np.stack([one.image for one in views]),
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


def answers(views: Sequence[View], prediction: Prediction, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """What the network said of the views, for the hands as they are: pixels of the pictures `[count, 21, 2]`, and
    joints `[count, 21, 3]` in scale units and the camera's frame.

    Raises FloatingPointError, naming the file, for an answer that is not finite.
    """
    pixels, joints = [], []
    for i, one in enumerate(views):
        beside = (one.image.shape[0] - config.data.image_size) / 2
        back = np.linalg.inv(one.to_square)
        square = np.asarray(prediction.joints_2d[i], np.float64) + beside
        pixels.append(square @ back[:2, :2].T + back[:2, 2])
        joints.append(np.asarray(prediction.joints_3d[i], np.float64) @ _mirror(one))
        if not (np.isfinite(pixels[-1]).all() and np.isfinite(joints[-1]).all()):
            raise FloatingPointError(f"{one.ask.file}: the network's answer is not finite; its training diverged")
    return np.stack(pixels), np.stack(joints)


def _mirror(one: View) -> np.ndarray:
    return np.diag([-1.0 if one.ask.left else 1.0, 1.0, 1.0])


def _box(ask: Ask, size: tuple[int, int], margin: float) -> tuple[tuple[float, float, float, float], float]:
    """The box, and the side of the square around its middle that the network is shown."""
    width, height = size
    if ask.box is None:
        side = min(size)
        left, top = (width - side) / 2 - 0.5, (height - side) / 2 - 0.5
        return (left, top, left + side, top + side), float(side)
    left, top, right, bottom = map(float, ask.box)
    where = f"{ask.file}: the hand's box is {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, bottom)"
    if not np.isfinite(ask.box).all() or not (right > left and bottom > top):
        raise ValueError(f"{where}, which has no size")
    if right <= 0 or bottom <= 0 or left >= width - 1 or top >= height - 1:
        raise ValueError(f"{where}, outside of its {_by(size)} pixels")
    return (left, top, right, bottom), margin * max(right - left, bottom - top)


def _camera(ask: Ask, picture: Picture) -> tuple[np.ndarray, str]:
    width, height = picture.image.size
    if ask.intrinsics is None:
        focal = picture.focal or coco_hand.DEFAULT_FOCAL * max(width, height)
        k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        return k, EXIF if picture.focal else DEFAULT
    k = np.array(ask.intrinsics, np.float64)
    regular = k.shape == (3, 3) and np.isfinite(k).all() and np.array_equal(k[2], [0, 0, 1])
    if not regular or k[0, 0] <= 0 or k[1, 1] <= 0:
        raise ValueError(
            f"{ask.file}: K is {k.tolist()}; it must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels with positive "
            "focal lengths"
        )
    return k, ask.intrinsics_from


def _by(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
