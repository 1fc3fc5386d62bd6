"""A record of a built dataset -> the square around its hand that training sees, with K and 2D joints to match.

numpy and Pillow only. The image is sampled once, filtered where it shrinks. A crop with more of the surroundings has
the same pixels in its middle as one without them, to a rounding.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

#: Pixels from which a bicubic filter takes something, on either side, if the image does not shrink.
BICUBIC_REACH = 2


def crop(record: dict[str, Any], *, size: int, margin: float, stored: int | None = None) -> dict[str, np.ndarray]:
    """The fields of a `types.Batch` that a record fills, for one example.

    The central `size` x `size` pixels show the square of `margin` times the longer side of the record's box, around its
    middle; `image` has `stored` x `stored` (by default `size`), the same number more on every side. What lies beyond
    the record's image is black. Labels that are unknown are masked, the scale is 0 where it is.

    Raises OSError if the image cannot be decoded to its end.
    """
    stored = size if stored is None else stored
    low, high = record["box"].astype(np.float64).reshape(2, 2)
    middle, zoom = (low + high) / 2, size / (margin * (high - low).max())
    # A crop's middle is at (stored - 1) / 2, as pixel centres are at integers.
    to_crop = np.array([[zoom, 0, 0], [0, zoom, 0], [0, 0, 1]])
    to_crop[:2, 2] = (stored - 1) / 2 - zoom * middle
    visible = record["visibility"] > 0
    joints_2d = record["joints_2d"].astype(np.float64) * zoom + to_crop[:2, 2]
    return {
        "image": _pixels(record["image"], middle, stored / zoom, stored),
        "intrinsics": (to_crop @ record["intrinsics"].astype(np.float64)).astype(np.float32),
        "joints_2d": np.where(visible[:, None], joints_2d, 0).astype(np.float32),
        "joints_2d_valid": visible,
        "joints_3d": record["joints_3d"],
        "joints_3d_valid": record["joints_3d_valid"],
        "scale": np.asarray(record["scale"], np.float32),
    }


def _pixels(encoded: bytes, middle: np.ndarray, side: float, pixels: int) -> np.ndarray:
    """The square of `side` image pixels at `middle`, uint8 `[pixels, pixels, 3]`."""
    with Image.open(io.BytesIO(encoded)) as opened:
        width = opened.width
        # A JPEG can be decoded at a half, a quarter or an eighth: no smaller than the crop, so nothing is lost.
        wanted = [max(1, int(length * pixels / side)) for length in opened.size]
        _, extent = opened.draft("RGB", (wanted[0], wanted[1])) or ("", (0, 0, width, 0))
        image = opened.convert("RGB")
    shrunk = extent[2] / width
    return square(image, (middle + 0.5) * shrunk - 0.5, side * shrunk, pixels)


def square(image: Image.Image, middle: np.ndarray, side: float, pixels: int) -> np.ndarray:
    """The square of `side` pixels of an RGB image at its pixel `middle`, uint8 `[pixels, pixels, 3]`; filtered where it
    shrinks, black beyond the image."""
    # From here on as Pillow counts: from the corner of the first pixel, half a pixel before its centre.
    low, high = middle + 0.5 - side / 2, middle + 0.5 + side / 2
    reach = BICUBIC_REACH * max(1.0, side / pixels)
    outer_low, outer_high = np.floor(low - reach).astype(int), np.ceil(high + reach).astype(int)
    if outer_low.min() < 0 or (outer_high > image.size).any():
        # The filter would leave out what lies beyond the image: as black it is the same for any surroundings.
        image = image.crop((*outer_low.tolist(), *outer_high.tolist()))
        low, high = low - outer_low, high - outer_low
    box = (*low.tolist(), *high.tolist())
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.BICUBIC, box=box))
