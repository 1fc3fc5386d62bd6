"""Image files of any mode as upright 8-bit RGB, with the focal length from their EXIF data."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
"""Suffixes of the files that are read from a folder."""
SMALLEST = 16
"""Pixels of the shorter side, below which no hand can be recognized."""
DECODING_ERRORS = (OSError, SyntaxError)
"""Raised by Pillow for a damaged image; SyntaxError for a PNG."""
FILM_DIAGONAL = math.hypot(36.0, 24.0)
"""Millimetres. The 35 mm equivalent of a focal length relates the sensor's diagonal to that of a 36 x 24 mm film."""

_EXIF, _FOCAL_35MM = 0x8769, 0xA405


@dataclass(frozen=True)
class Picture:
    """An upright RGB image."""

    image: Image.Image
    """RGB, rotated by its EXIF orientation."""
    focal: float | None = None
    """Focal length in pixels from EXIF's 35 mm equivalent, valid for an image that was not cropped; None if absent."""


def read(file: Path) -> Picture:
    """Reads an image file of any mode.

    16 bits become 8, grey becomes colour, transparent pixels become black, and of several frames the first is taken.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, if it is no image, damaged, smaller than `SMALLEST` pixels, larger than Pillow
        decodes (179 million), or has grey values of unknown range.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                opened.load()
                focal = _focal(opened)
                picture = Picture(_rgb(file, ImageOps.exif_transpose(opened)), focal)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no image {file}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{file} is not an image, or of a format that Pillow does not read") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file} is too large: {error}; make it smaller") from error
    except DECODING_ERRORS as error:
        raise ValueError(f"{file} is damaged, or cannot be read to its end: {error}") from error
    if min(picture.image.size) < SMALLEST:
        width, height = picture.image.size
        raise ValueError(f"{file} is of {width}x{height} pixels; below {SMALLEST} no hand can be made out")
    return picture


def _focal(image: Image.Image) -> float | None:
    equivalent = image.getexif().get_ifd(_EXIF).get(_FOCAL_35MM)
    if not isinstance(equivalent, int | float) or not 0 < equivalent < math.inf:
        return None
    return float(equivalent) * math.hypot(*image.size) / FILM_DIAGONAL


def _rgb(file: Path, image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    if image.mode != "F" and not image.mode.startswith("I"):
        return image.convert("RGB")
    # Pillow's own conversion clips these at 255.
    white = 1.0 if image.mode == "F" else 65535.0
    grey = np.asarray(image).astype(np.float64)
    if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= white):
        raise ValueError(
            f"{file} has grey values from {grey.min():g} to {grey.max():g}, where 0 to {white:g} are expected; save it "
            "with 8 or 16 bits a channel"
        )
    return Image.fromarray(np.round(grey * (255 / white)).astype(np.uint8)).convert("RGB")
