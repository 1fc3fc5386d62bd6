"""Image files of every mode and orientation, and errors that name the file."""

import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bmc_jax.data import images

WIDTH, HEIGHT = 40, 30


def colours(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def read(file):
    picture = images.read(file)
    assert picture.image.mode == "RGB"
    return np.asarray(picture.image)


def png_of_16_bits(file, values, kind):
    """A PNG of 16 bits a channel: Pillow writes those of grey alone. Kind 2 is RGB, 6 with alpha."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_grey_becomes_colour(tmp_path):
    grey = colours()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_range(tmp_path, suffix):
    deep = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(deep).save(tmp_path / f"deep.{suffix}")
    expected = np.round(deep / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(read(tmp_path / f"deep.{suffix}"), np.repeat(expected[..., None], 3, axis=-1))


@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_keeps_its_range(tmp_path, alpha):
    small = colours()
    deep = small.astype(np.uint16) * 257
    if alpha:
        deep = np.concatenate([deep, np.full((HEIGHT, WIDTH, 1), 65535, np.uint16)], axis=-1)
    png_of_16_bits(tmp_path / "deep.png", deep, 6 if alpha else 2)
    np.testing.assert_array_equal(read(tmp_path / "deep.png"), small)


def test_floating_point_grey_goes_from_0_to_1(tmp_path):
    grey = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    Image.fromarray(grey).save(tmp_path / "float.tif")
    assert np.abs(read(tmp_path / "float.tif")[..., 0] - 255.0 * grey).max() <= 0.51
    Image.fromarray(grey * 3).save(tmp_path / "bright.tif")
    with pytest.raises(ValueError, match=r"bright.tif has grey values from 0 to 3, where 0 to 1 are expected"):
        images.read(tmp_path / "bright.tif")


def test_transparent_is_black(tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:10], alpha[10:20] = 255, 128
    Image.fromarray(np.concatenate([colours(), alpha], axis=-1)).save(tmp_path / "alpha.png")
    got = read(tmp_path / "alpha.png")
    np.testing.assert_array_equal(got[:10], colours()[:10])
    assert np.abs(got[10:20] - colours()[10:20] * (128 / 255)).max() <= 1
    assert got[20:].max() == 0


def test_palette_keeps_its_colours_and_its_transparency(tmp_path):
    image = Image.fromarray(np.tile(np.arange(3, dtype=np.uint8), (HEIGHT, 14))[:, :WIDTH]).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 255, 255, 255])
    image.save(tmp_path / "palette.png", transparency=2)
    assert read(tmp_path / "palette.png")[0, :3].tolist() == [[10, 20, 30], [200, 100, 50], [0, 0, 0]]


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.swapaxes(0, 1)),
        (6, lambda upright: np.rot90(upright)),
        (7, lambda upright: np.rot90(upright.swapaxes(0, 1), 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_exif_turns_the_picture_upright(tmp_path, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored(colours()))).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "turned.png"), colours())


def test_focal_length_is_that_of_exif(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    Image.fromarray(colours()).save(tmp_path / "phone.jpg", exif=exif)
    # 26 mm before 36 x 24 mm film, diagonal to diagonal; the image is 40 x 30 pixels.
    assert images.read(tmp_path / "phone.jpg").focal == pytest.approx(26 * 50 / math.sqrt(36**2 + 24**2))
    exif.get_ifd(0x8769)[0xA405] = 0  # what cameras write that do not know
    Image.fromarray(colours()).save(tmp_path / "unknown.jpg", exif=exif)
    assert images.read(tmp_path / "unknown.jpg").focal is None


def test_fifty_megapixels_are_read(tmp_path):
    Image.new("1", (8192, 6144), 1).save(tmp_path / "large.png")
    picture = images.read(tmp_path / "large.png")
    assert picture.image.size == (8192, 6144)
    assert picture.image.getpixel((8191, 6143)) == (255, 255, 255)


def test_too_large_an_image_is_named(tmp_path, monkeypatch):
    Image.fromarray(colours()).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"bomb.png is too large: .*1200 pixels.*; make it smaller"):
        images.read(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # where Pillow only warns
    assert images.read(tmp_path / "bomb.png").image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_truncated_image_is_named(tmp_path, suffix):
    file = tmp_path / f"half.{suffix}"
    Image.fromarray(colours()).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"half.{suffix} is (damaged, or cannot be read to its end|not an image)"):
        images.read(file)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"text.jpg is (not an image|damaged)"):
        images.read(tmp_path / "text.jpg")


def test_tiny_image_is_named(tmp_path):
    Image.new("RGB", (200, 15)).save(tmp_path / "tiny.png")
    with pytest.raises(ValueError, match=r"tiny.png is of 200x15 pixels; below 16 no hand"):
        images.read(tmp_path / "tiny.png")


def test_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no image .*gone.png"):
        images.read(tmp_path / "gone.png")
