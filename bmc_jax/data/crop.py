"""Crops around the hands of records, with K and 2D joints to match.

The image is resampled once, filtered where it shrinks. A crop with surroundings has the same pixels in its middle as
one without them, up to rounding.
"""

import io
import math
from typing import Any

import numpy as np
from PIL import Image

BICUBIC_REACH = 2
"""Half the support of a bicubic filter, pixels, where the image does not shrink."""
LARGEST_SURROUNDINGS = 2**26
"""Pixels of an image that is extended by black surroundings. A larger one is first shrunk by a whole factor."""


def crop(record: dict[str, Any], *, size: int, margin: float, stored: int | None = None) -> dict[str, np.ndarray]:
    """Returns the fields of a `types.Batch` that a record determines, for one example.

    The central `size` x `size` pixels show the square of `margin` times the longer side of the record's box, around its
    middle. `image` has `stored` x `stored` pixels (by default `size`), the border being equal on each side and black
    beyond the record's image. Unknown labels are masked; an unknown scale is 0.

    Raises:
      OSError: if the image cannot be decoded to its end.
    """
    stored = size if stored is None else stored
    low, high = record["box"].astype(np.float64).reshape(2, 2)
    middle, zoom = (low + high) / 2, size / (margin * (high - low).max())
    # The crop's middle is at (stored - 1) / 2, because pixel centres are at integers.
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
    """Decodes the square of `side` image pixels around `middle`, uint8 `[pixels, pixels, 3]`."""
    with Image.open(io.BytesIO(encoded)) as opened:
        width = opened.width
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; at least that of the crop, so that no detail is lost.
        wanted = [max(1, int(length * pixels / side)) for length in opened.size]
        _, extent = opened.draft("RGB", (wanted[0], wanted[1])) or ("", (0, 0, width, 0))
        image = opened.convert("RGB")
    shrunk = extent[2] / width
    return square(image, (middle + 0.5) * shrunk - 0.5, side * shrunk, pixels)


def square(image: Image.Image, middle: np.ndarray, side: float, pixels: int) -> np.ndarray:
    """Resamples the square of `side` pixels of an RGB image around its pixel `middle` to uint8 `[pixels, pixels, 3]`,
    filtered where it shrinks, black beyond the image."""
    # In Pillow's coordinates from here on: the origin is the corner of the first pixel, not its centre.
    low, high = middle + 0.5 - side / 2, middle + 0.5 + side / 2
    reach = BICUBIC_REACH * max(1.0, side / pixels)
    outer_low, outer_high = np.floor(low - reach), np.ceil(high + reach)
    if outer_low.min() < 0 or (outer_high > image.size).any():
        # The filter would ignore pixels beyond the image; as black pixels they count the same for any surroundings.
        shrink = math.ceil(math.sqrt(np.prod(outer_high - outer_low) / LARGEST_SURROUNDINGS))
        if shrink > 1:
            return square(image.reduce(shrink), (middle + 0.5) / shrink - 0.5, side / shrink, pixels)
        image = image.crop((*outer_low.astype(int).tolist(), *outer_high.astype(int).tolist()))
        low, high = low - outer_low, high - outer_low
    box = (*low.tolist(), *high.tolist())
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.BICUBIC, box=box))
