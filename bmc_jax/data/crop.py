"""Crops around the hands of records, with matching K and 2D joints.

The image is resampled once, with a filter if it is reduced. The middle of a crop with surroundings equals the crop
without them, up to rounding.
"""

import io
import math
from typing import Any

import numpy as np
from PIL import Image

BICUBIC_REACH = 2
"""Half the support of a bicubic filter, pixels, if the image is not reduced."""
LARGEST_SURROUNDINGS = 2**26
"""Maximum pixels of an image with its black surroundings. A larger image is first reduced by an integer factor."""


def crop(record: dict[str, Any], *, size: int, margin: float, stored: int | None = None) -> dict[str, np.ndarray]:
    """Returns the fields of a `types.Batch` that a record determines, for one example.

    Pixels beyond the record's image are black. Unknown labels are masked; an unknown scale is 0.

    Args:
      record: see `record.features`.
      size: side of the central square, pixels.
      margin: side of the central square relative to the longer side of the record's box, at whose centre it is.
      stored: side of `image`, pixels, with an equal border on each side of the central square; by default `size`.

    Raises:
      OSError: if the image cannot be decoded completely.
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
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; at the crop's resolution or more, no detail is lost.
        wanted = [max(1, int(length * pixels / side)) for length in opened.size]
        _, extent = opened.draft("RGB", (wanted[0], wanted[1])) or ("", (0, 0, width, 0))
        image = opened.convert("RGB")
    shrunk = extent[2] / width
    return square(image, (middle + 0.5) * shrunk - 0.5, side * shrunk, pixels)


def square(image: Image.Image, middle: np.ndarray, side: float, pixels: int) -> np.ndarray:
    """Resamples the square of `side` pixels of an RGB image around its pixel `middle` to uint8 `[pixels, pixels, 3]`,
    with a filter if it is reduced, and black beyond the image."""
    # In Pillow's coordinates, used from here on, the origin is the corner of the first pixel, not its centre.
    low, high = middle + 0.5 - side / 2, middle + 0.5 + side / 2
    reach = BICUBIC_REACH * max(1.0, side / pixels)
    outer_low, outer_high = np.floor(low - reach), np.ceil(high + reach)
    if outer_low.min() < 0 or (outer_high > image.size).any():
        # The filter ignores pixels beyond the image. Black pixels there count the same for any surroundings.
        shrink = math.ceil(math.sqrt(np.prod(outer_high - outer_low) / LARGEST_SURROUNDINGS))
        if shrink > 1:
            return square(image.reduce(shrink), (middle + 0.5) / shrink - 0.5, side / shrink, pixels)
        image = image.crop((*outer_low.astype(int).tolist(), *outer_high.astype(int).tolist()))
        low, high = low - outer_low, high - outer_low
    box = (*low.tolist(), *high.tolist())
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.BICUBIC, box=box))
