"""The one reader of image files: of any mode and orientation, as 8-bit RGB, with the focal length from their EXIF data.

`bmc predict`, `bmc data build` and `bmc evaluate --data` read images with it. Formats are those of `FORMATS`, modes:

    8 bits: grey, palette, RGB, CMYK, YCbCr, LAB   converted by Pillow; transparent pixels become black
    16 bits: grey, RGB                             scaled to 8 bits by 255 / 65535, whatever the file's largest value
    32 bits: integer grey                          as 16 bits, and refused where a value does not fit
    floating point                                 refused, because its range is not stated in the file
"""

import functools
import importlib
import importlib.util
import math
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".avif", ".heic", ".heif", ".jxl"),
)
"""Suffixes of the files that are read from a folder. Those without a decoder are named when they are read."""
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's formats that are decoded, by the content of a file. Others may start programs, such as EPS."""
SMALLEST = 16
"""Pixels of the shorter side, below which no hand can be recognized."""
LARGEST = 178_956_970
"""Pixels of an image, above which it is not decoded: it would need more than half a gigabyte."""
DECODING_ERRORS = (OSError, SyntaxError)
"""Raised by Pillow for a damaged image; SyntaxError for a PNG."""
FILM_DIAGONAL = math.hypot(36.0, 24.0)
"""Millimetres. The 35 mm equivalent of a focal length relates the sensor's diagonal to that of a 36 x 24 mm film."""

_TO_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""From the upright image to the stored one, by EXIF orientation."""
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""Formats that need a decoder that may be absent, by the brand in the first bytes of their container."""


@dataclass(frozen=True)
class Picture:
    """An RGB image."""

    image: Image.Image
    """RGB, upright, or as stored where the labels are for the stored pixels, see `read`."""
    focal: float | None = None
    """Focal length in pixels from EXIF's 35 mm equivalent, valid for an image that was not cropped; None if absent."""
    plain_jpeg: bool = False
    """Whether the file is a colour JPEG without an EXIF orientation, which every program decodes to these pixels."""


def read(file: Path, labelled: tuple[int, int] | None = None) -> Picture:
    """Reads an image file, upright by its EXIF orientation. Of several frames the first is taken.

    Args:
      file: the image.
      labelled: (width, height) that the labels of the image are for, None without labels. Some tools for labels apply
        the EXIF orientation and some do not, which this size decides: the image is returned upright if `labelled` is
        the upright size, and as it is stored if it is the stored one.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, its value and a remedy, if it is no regular file, no image, damaged, of a mode that
        cannot be converted, smaller than `SMALLEST` pixels or larger than `LARGEST`, or of another size than
        `labelled`; also if it has an EXIF orientation and the same size with and without it, so that `labelled` does
        not decide which pixels are meant.
    """
    require_regular(file, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large images and damaged metadata
            with Image.open(file, formats=_formats()) as opened:
                if math.prod(opened.size) > LARGEST:
                    raise Image.DecompressionBombError(f"{opened.width}x{opened.height} pixels, the limit is {LARGEST}")
                orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
                plain = (opened.format, opened.mode, orientation) == ("JPEG", "RGB", 1)
                opened.load()
                focal = _focal(opened)
                upright = ImageOps.exif_transpose(opened) if orientation in _TO_STORED else opened
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no image {file}") from error
    except UnidentifiedImageError as error:
        raise ValueError(_unidentified(file)) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file} is too large: {error}; make it smaller") from error
    except MemoryError as error:
        raise ValueError(f"{file} needs more memory than there is; make it smaller") from error
    except Exception as error:  # Pillow's decoders raise errors of a dozen types for damaged files
        if isinstance(error, OSError) and error.errno:
            raise ValueError(f"{file} cannot be read: {error.strerror}; see to it that it can") from error
        raise ValueError(f"{file} is damaged or cut off ({error}); take the original image") from error
    if min(upright.size) < SMALLEST:
        raise ValueError(f"{file} is of {_by(upright.size)} pixels; below {SMALLEST} no hand can be made out")
    image = _rgb(file, upright)
    if labelled is not None and _labelled_as_stored(file, upright.size, orientation, labelled):
        image = image.transpose(_TO_STORED[orientation])
    return Picture(image, focal, plain)


def require_regular(file: Path, kind: str) -> None:
    """Raises an error unless a file is regular: opening a FIFO waits for its writer, and a device may never end.

    Args:
      file: the file, which is not opened.
      kind: what it should be, "image" or "video".

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is a folder, a FIFO, a device or a socket.
    """
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no {kind} {file}") from error
    if stat.S_ISDIR(mode):
        raise ValueError(f"expected a file of one {kind}, got the folder {file}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{file} is a FIFO, a device or a socket; save the {kind} in a regular file")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that this installation has a reader of; HEIF through pillow-heif."""
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unidentified(file: Path) -> str:
    """Returns why Pillow does not recognize a file."""
    with file.open("rb") as stream:
        start = stream.read(12)
    if not start:
        return f"{file} is damaged or cut off (it is empty); take the original image"
    brand = _BRANDS.get(start[8:]) if start[4:8] == b"ftyp" else None
    if brand == "HEIC" and "HEIF" not in _formats():
        return f"{file} is a HEIC image, and its decoder is missing; pip install 'bmc-jax[heic]', or save it as JPEG"
    if brand == "AVIF" and not features.check("avif"):
        return f"{file} is an AVIF image, which this Pillow does not decode; install another, or save it as JPEG"
    return (
        f"{file} is not an image, damaged at its start, or of a format or mode that is not read, such as camera raw, "
        "JPEG XL, EPS, and TIFF with floating-point or 32-bit colours; save it as JPEG or as PNG of 8 bits a channel"
    )


def _labelled_as_stored(file: Path, upright: tuple[int, int], orientation: int, labelled: tuple[int, int]) -> bool:
    """Returns whether labels for an image of that size are for the stored pixels, not for the upright ones."""
    if orientation not in _TO_STORED:
        if labelled != upright:
            raise ValueError(
                f"{file} is of {_by(upright)} pixels, and its labels and K are for {_by(labelled)}; take the original "
                "image"
            )
        return False
    width, height = upright
    stored = upright if orientation < 5 else (height, width)
    if labelled not in (upright, stored):
        raise ValueError(
            f"{file} is of {_by(upright)} pixels upright and of {_by(stored)} as stored (EXIF orientation "
            f"{orientation}), and its labels and K are for {_by(labelled)}; take the original image"
        )
    if upright == stored:
        raise ValueError(
            f"{file} has the EXIF orientation {orientation} and {_by(stored)} pixels with and without it, so that it "
            "is unknown which its labels are for; run `mogrify -auto-orient` on it if they are for the upright image, "
            "`exiftool -Orientation=` if they are for the stored pixels"
        )
    return labelled == stored


def _focal(image: Image.Image) -> float | None:
    equivalent = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    if not isinstance(equivalent, int | float) or not 0 < equivalent < math.inf:
        return None
    return float(equivalent) * math.hypot(*image.size) / FILM_DIAGONAL


def _rgb(file: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError(
            f"{file} has floating-point values, whose range is not stated; save it with 8 or 16 bits a channel"
        )
    if image.mode.startswith("I"):
        return _of_16_bits(file, image)
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(image, mask=image)
        return black
    return image if image.mode == "RGB" else image.convert("RGB")


def _of_16_bits(file: Path, image: Image.Image) -> Image.Image:
    """Converts integer grey values of 16 bits, which Pillow itself would clip at 255."""
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(
            f"{file} has grey values from {grey.min()} to {grey.max()}, where 0 to 65535 are expected; save it with 8 "
            "or 16 bits a channel"
        )
    eight = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 is 255 * 257
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        eight[grey == transparent] = 0
    return Image.fromarray(eight).convert("RGB")


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
