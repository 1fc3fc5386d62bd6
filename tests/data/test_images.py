"""Image files of every mode and orientation, and errors that name the file."""

import importlib.util
import math
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

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


def test_transparent_value_of_16_bit_grey_is_black(tmp_path):
    deep = np.full((HEIGHT, WIDTH), 40_000, np.uint16)
    deep[:5] = 300
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=40_000)
    got = read(tmp_path / "deep.png")[..., 0]
    assert (got[:5] == 1).all()
    assert (got[5:] == 0).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((HEIGHT, WIDTH), 0.5, np.float32), r"got floating-point values, whose range is not stated"),
        (np.full((HEIGHT, WIDTH), 70_000, np.int32), r"grey values from 0 to 65535, got 70000 to 70000"),
        (np.full((HEIGHT, WIDTH), -1, np.int32), r"got -1 to -1"),
    ],
)
def test_values_of_unknown_range_are_refused(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=rf"deep.tif: expected .*{message}.*; save it"):
        images.read(tmp_path / "deep.tif")


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    assert (read(tmp_path / "cmyk.tif") == [255, 0, 0]).all()


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


def turned(file, orientation, size=(WIDTH, HEIGHT)):
    """A file whose stored pixels are of `size`, with an EXIF orientation; returns them."""
    stored = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(file, exif=exif)
    return stored


@pytest.mark.parametrize("suffix", ["png", "tif"])  # Pillow turns a TIFF by itself
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(stored.swapaxes(0, 1), 2)),
        (8, lambda stored: np.rot90(stored)),
    ],
)
def test_size_of_the_labels_determines_the_orientation(tmp_path, orientation, upright, suffix):
    file = tmp_path / f"phone.{suffix}"
    stored = turned(file, orientation)
    np.testing.assert_array_equal(np.asarray(images.read(file, (HEIGHT, WIDTH)).image), upright(stored))
    np.testing.assert_array_equal(np.asarray(images.read(file, (WIDTH, HEIGHT)).image), stored)
    with pytest.raises(
        ValueError, match=rf"phone.{suffix}: expected 64x48 pixels, .*got 30x40 upright and 40x30 as stored"
    ):
        images.read(file, (64, 48))


@pytest.mark.parametrize(("orientation", "size"), [(2, (40, 30)), (3, (40, 30)), (4, (40, 30)), (6, (40, 40))])
def test_orientation_not_determined_by_the_size_is_refused(tmp_path, orientation, size):
    turned(tmp_path / "phone.png", orientation, size)
    with pytest.raises(ValueError, match=rf"EXIF orientation {orientation}, got 40x.* for both, .* -auto-ori"):
        images.read(tmp_path / "phone.png", size)
    assert images.read(tmp_path / "phone.png").image.size == size


def test_size_of_the_labels_is_that_of_the_image(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png", (WIDTH, HEIGHT)).image.size == (WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=r"a.png: expected 30x40 pixels, the size in the labels, got 40x30; use"):
        images.read(tmp_path / "a.png", (HEIGHT, WIDTH))


def test_plain_jpeg_is_a_colour_one_without_orientation(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "plain.jpg")
    Image.fromarray(colours()[..., 0]).save(tmp_path / "grey.jpg")
    Image.fromarray(colours()).save(tmp_path / "other.png")
    turned(tmp_path / "turned.jpg", 6)
    names = ("plain.jpg", "grey.jpg", "other.png", "turned.jpg")
    assert [images.read(tmp_path / name).plain_jpeg for name in names] == [True, False, False, False]


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


@pytest.mark.parametrize("pillows", [None, 500])
def test_too_large_image_is_refused_before_decoding(tmp_path, monkeypatch, pillows):
    file = tmp_path / "bomb.png"
    Image.new("1", (WIDTH, HEIGHT)).save(file)
    content = bytearray(file.read_bytes()[:60])  # nothing to decode
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)  # another library may have removed the bound
    with pytest.raises(
        ValueError, match=r"bomb.png: expected an image of up to .* pixels, got .*0 pixels.*; reduce it"
    ):
        images.read(file)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_truncated_image_is_named(tmp_path, suffix):
    file = tmp_path / f"half.{suffix}"
    Image.fromarray(colours()).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        ValueError, match=rf"half.{suffix}: expected an image, got (a damaged file \(.*\); use|other content)"
    ):
        images.read(file)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_file_of_other_content_than_an_image_is_named(tmp_path, content):
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"text.jpg: expected an image, got (other content|a damaged file)"):
        images.read(tmp_path / "text.jpg")


def test_damage_anywhere_is_reported_with_the_file(tmp_path):
    generator = np.random.default_rng(0)
    contents = []
    for name, mode in (("a.jpg", "RGB"), ("b.png", "P"), ("c.tif", "RGB"), ("d.webp", "RGBA"), ("e.avif", "RGB")):
        file = tmp_path / name
        turned(tmp_path / "first.png", 6)
        with Image.open(tmp_path / "first.png") as first:
            first.convert(mode).save(file, exif=first.getexif())
        contents.append(file.read_bytes())
    refused = 0
    for number in range(300):
        damaged = bytearray(contents[number % len(contents)])
        places = generator.integers(0, min(len(damaged), 400), 4)
        damaged[:] = damaged[: generator.integers(1, len(damaged))] if number % 3 == 0 else damaged
        for place in places[places < len(damaged)]:
            damaged[place] = generator.choice([0, 127, 255])
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            images.read(tmp_path / "damaged")
        except ValueError as error:
            assert str(tmp_path / "damaged") in str(error)  # noqa: PT017, not every file is refused
            refused += 1
    assert 100 < refused < 300


def test_heic_without_a_decoder_is_named_by_its_content(tmp_path):
    if importlib.util.find_spec("pillow_heif"):
        pytest.skip("the decoder is installed")
    (tmp_path / "photo.jpg").write_bytes(struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(100))
    with pytest.raises(ValueError, match=r"photo.jpg: expected a decoder of HEIC images, got none; .*bmc-jax\[heic\]"):
        images.read(tmp_path / "photo.jpg")


def test_avif_is_read(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    smooth = np.linspace(0, 255, HEIGHT * WIDTH * 3).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
    Image.fromarray(smooth).save(tmp_path / "a.avif", quality=100)
    assert np.abs(read(tmp_path / "a.avif") - smooth.astype(int)).max() < 6


def test_formats_that_start_programs_are_not_decoded(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a.jpg: expected an image, got other content, .*EPS"):
        images.read(tmp_path / "a.jpg")


def test_irregular_file_is_refused_before_opening(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
        for file in (tmp_path / "pipe.jpg", tmp_path / "socket.jpg", Path(os.devnull)):
            with pytest.raises(
                ValueError, match=rf"{file.name}: expected a regular file, got a FIFO, a device or a socket; save"
            ):
                images.read(file)
    with pytest.raises(ValueError, match="expected a file of one image, got a folder"):
        images.read(tmp_path)


def test_tiny_image_is_named(tmp_path):
    Image.new("RGB", (200, 15)).save(tmp_path / "tiny.png")
    with pytest.raises(ValueError, match=r"tiny.png: expected sides of 16 pixels or more, got 200x15"):
        images.read(tmp_path / "tiny.png")


def test_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the image .*gone.png, got no such file"):
        images.read(tmp_path / "gone.png")
