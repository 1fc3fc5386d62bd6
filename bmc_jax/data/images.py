"""Reader of image files of any mode and orientation, as 8-bit RGB, with the focal length from their EXIF data.

`bmc predict`, `bmc data build` and `bmc evaluate --data` read images with it. It reads `FORMATS` and these modes:

    8 bits: grey, palette, RGB, CMYK, YCbCr, LAB   converted by Pillow; transparent pixels become black
    16 bits: grey, RGB                             scaled to 8 bits by 255 / 65535, for any largest value of the file
    32 bits: integer grey                          as 16 bits, and refused if a value does not fit
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
"""Suffixes of the files that are read from a folder. Files without a decoder raise an error when they are read."""
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's formats that are decoded, by the content of a file. Others, such as EPS, may start programs."""
SMALLEST = 16
"""Minimum pixels of the shorter side; no hand can be recognized in smaller images."""
LARGEST = 178_956_970
"""Maximum pixels of an image; decoding a larger one would need more than half a gigabyte."""
DECODING_ERRORS = (OSError, SyntaxError)
"""Errors that Pillow raises for a damaged image; SyntaxError for a PNG."""
FILM_DIAGONAL = math.hypot(36.0, 24.0)
"""Diagonal of a 36 x 24 mm film, mm, to which the 35 mm equivalent of a focal length relates the sensor's diagonal."""

_TO_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""Transposition of the upright image to the stored one, by EXIF orientation."""
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""Formats whose decoder may be missing, by the brand in the first bytes of their container."""


@dataclass(frozen=True)
class Picture:
    """An RGB image."""

    image: Image.Image
    """RGB, upright, or as stored if the labels are for the stored pixels (see `read`)."""
    focal: float | None = None
    """Focal length in pixels from EXIF's 35 mm equivalent, valid for an image that was not cropped; None if absent."""
    plain_jpeg: bool = False
    """Whether the file is a colour JPEG without an EXIF orientation, which all programs decode to the same pixels."""


def read(file: Path, labelled: tuple[int, int] | None = None) -> Picture:
    """Reads an image file, upright by its EXIF orientation, or the first frame of a file with several.

    Args:
      file: the image.
      labelled: (width, height) to which the labels of the image refer; None without labels. Only some annotation tools
        apply the EXIF orientation. The image is returned upright if `labelled` is the upright size, and as stored if
        it is the stored size.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: naming the file, its value and a remedy, if it is not a regular file, not an image, damaged, of a mode
        that cannot be converted, smaller than `SMALLEST` pixels or larger than `LARGEST`, or of another size than
        `labelled`; also if it has an EXIF orientation and the same size with and without it, so that `labelled` does
        not determine to which pixels the labels refer.
    """
    require_regular(file, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large images and damaged metadata
            with Image.open(file, formats=_formats()) as opened:
                if math.prod(opened.size) > LARGEST:
                    raise Image.DecompressionBombError(f"{opened.width}x{opened.height} pixels")
                orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
                plain = (opened.format, opened.mode, orientation) == ("JPEG", "RGB", 1)
                opened.load()
                focal = _focal(opened)
                upright = ImageOps.exif_transpose(opened) if orientation in _TO_STORED else opened
    except FileNotFoundError as error:
        raise FileNotFoundError(f"expected the image {file}, got no such file; correct the path") from error
    except UnidentifiedImageError as error:
        raise ValueError(_unidentified(file)) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{file}: expected an image of up to {LARGEST:,} pixels, got {error}; reduce it") from error
    except MemoryError as error:
        raise ValueError(f"{file}: expected an image that fits into memory, got a larger one; reduce it") from error
    except Exception as error:  # Pillow's decoders raise errors of a dozen types for damaged files
        if isinstance(error, OSError) and error.errno:
            raise ValueError(f"{file}: expected a readable file, got {error.strerror!r}; make it readable") from error
        raise ValueError(f"{file}: expected an image, got a damaged file ({error}); use the original image") from error
    if min(upright.size) < SMALLEST:
        raise ValueError(
            f"{file}: expected sides of {SMALLEST} pixels or more, got {_by(upright.size)}; use a larger image"
        )
    image = _rgb(file, upright)
    if labelled is not None and _labelled_as_stored(file, upright.size, orientation, labelled):
        image = image.transpose(_TO_STORED[orientation])
    return Picture(image, focal, plain)


def require_regular(file: Path, kind: str) -> None:
    """Raises an error if a file is not regular, since opening a FIFO waits for its writer and a device may never end.

    Args:
      file: the file, which is not opened.
      kind: expected kind, "image" or "video".

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if it is a folder, a FIFO, a device or a socket.
    """
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(f"expected the {kind} {file}, got no such file; correct the path") from error
    if stat.S_ISDIR(mode):
        raise ValueError(f"{file}: expected a file of one {kind}, got a folder; name a file")
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{file}: expected a regular file, got a FIFO, a device or a socket; save the {kind} in a regular file"
        )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that this installation can read, including HEIF if pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unidentified(file: Path) -> str:
    """Returns a message that states why Pillow does not recognize a file."""
    with file.open("rb") as stream:
        start = stream.read(12)
    if not start:
        return f"{file}: expected an image, got a damaged file (it is empty); use the original image"
    brand = _BRANDS.get(start[8:]) if start[4:8] == b"ftyp" else None
    if brand == "HEIC" and "HEIF" not in _formats():
        return f"{file}: expected a decoder of HEIC images, got none; pip install 'bmc-jax[heic]', or save it as JPEG"
    if brand == "AVIF" and not features.check("avif"):
        return (
            f"{file}: expected a Pillow that decodes AVIF images, got one that does not; install another version, or "
            "save the image as JPEG"
        )
    return (
        f"{file}: expected an image, got other content, a damaged file, or a format or mode that cannot be read, such "
        "as camera raw, JPEG XL, EPS, and TIFF with floating-point or 32-bit colours; save it as JPEG, or as PNG with "
        "8 bits per channel"
    )


def _labelled_as_stored(file: Path, upright: tuple[int, int], orientation: int, labelled: tuple[int, int]) -> bool:
    """Returns whether labels for the size `labelled` refer to the stored pixels, not to the upright ones."""
    if orientation not in _TO_STORED:
        if labelled != upright:
            raise ValueError(
                f"{file}: expected {_by(labelled)} pixels, the size in the labels, got {_by(upright)}; use the "
                "original image"
            )
        return False
    width, height = upright
    stored = upright if orientation < 5 else (height, width)
    if labelled not in (upright, stored):
        raise ValueError(
            f"{file}: expected {_by(labelled)} pixels, the size in the labels, got {_by(upright)} upright and "
            f"{_by(stored)} as stored (EXIF orientation {orientation}); use the original image"
        )
    if upright == stored:
        raise ValueError(
            f"{file}: expected sizes that differ with and without the EXIF orientation {orientation}, got "
            f"{_by(stored)} pixels for both, so it is unknown to which pixels the labels refer; run `mogrify "
            "-auto-orient` on it if they refer to the upright image, or `exiftool -Orientation=` if they refer to the "
            "stored pixels"
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
            f"{file}: expected integer values, got floating-point values, whose range is not stated; save it with 8 or "
            "16 bits per channel"
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
    """Converts integer grey values of 16 bits, which Pillow would clip at 255."""
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(
            f"{file}: expected grey values from 0 to 65535, got {grey.min()} to {grey.max()}; save it with 8 or 16 "
            "bits per channel"
        )
    eight = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 is 255 * 257
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        eight[grey == transparent] = 0
    return Image.fromarray(eight).convert("RGB")


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
