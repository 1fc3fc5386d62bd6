"""Crops of records: matching image, K and labels, and surroundings that do not change the middle."""

import io

import numpy as np
import pytest
from PIL import Image
from support import annotations

from bmc_jax.data import crop
from bmc_jax.data.record import record


def encoded(picture, quality=97):
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()


def made(size, point, extent, *, dot=3.0):
    """A record of `size` = (width, height) pixels with a dot at joint 8, its box of that extent about it."""
    v, u = np.mgrid[: size[1], : size[0]]
    dots = 10 + 230 * np.exp(-((u - point[0]) ** 2 + (v - point[1]) ** 2) / (2 * dot**2))
    one = record(annotations.annotation())
    joints = np.repeat(np.array([point], np.float32), 21, axis=0) + 5
    joints[8] = point
    box = [point[0] - extent / 3, point[1] - extent / 5, point[0] + extent * 2 / 3, point[1] + extent / 5]
    picture = np.repeat(dots.astype(np.uint8)[..., None], 3, axis=-1)
    return one | {"image": encoded(picture), "joints_2d": joints, "box": np.array(box, np.float32)}


@pytest.mark.parametrize(
    ("size", "point", "extent", "pixels"),
    [
        ((200, 160), (90.3, 71.8), 90, 128),  # about as large as it is
        ((200, 160), (24.4, 20.9), 60, 128),  # beyond two borders
        ((160, 200), (150.2, 180.6), 80, 96),
        ((320, 320), (171.4, 148.3), 160, 32),  # decoded at a quarter
        ((321, 319), (140.6, 171.9), 150, 100),  # decoded at a half
        ((60, 50), (27.3, 22.2), 30, 128),  # enlarged
    ],
)
@pytest.mark.parametrize("around", [0, 24])
def test_label_is_on_its_dot_in_the_crop(size, point, extent, pixels, around):
    found = crop.crop(
        made(size, point, extent, dot=max(3.0, 2 * extent / pixels)), size=pixels, margin=1.5, stored=pixels + around
    )
    assert found["image"].shape == (pixels + around, pixels + around, 3)
    assert np.linalg.norm(annotations.centroid(found["image"], background=40) - found["joints_2d"][8]) < 0.2


@pytest.mark.parametrize("around", [0, 64])
def test_crop_preserves_rays_and_the_share_of_the_box(around):
    one = record(annotations.annotation())
    found = crop.crop(one, size=128, margin=1.5, stored=128 + around)
    for before, after in zip(one["joints_2d"], found["joints_2d"], strict=True):
        rays = [
            np.linalg.inv(part["intrinsics"].astype(np.float64)) @ [*pixel, 1]
            for part, pixel in ((one, before), (found, after))
        ]
        np.testing.assert_allclose(*rays, atol=1e-6)
    np.testing.assert_allclose(
        annotations.project(found["joints_3d"], found["intrinsics"]), found["joints_2d"], atol=0.01
    )
    low, high = found["joints_2d"].min(axis=0), found["joints_2d"].max(axis=0)
    assert (high - low).max() == pytest.approx(128 / 1.5, rel=1e-4)
    np.testing.assert_allclose((low + high) / 2, (127 + around) / 2, atol=0.01)


@pytest.mark.parametrize("extent", [40, 90, 160])
def test_surroundings_do_not_change_the_middle(extent):
    generator = np.random.default_rng(0)
    noise = np.asarray(Image.fromarray(generator.integers(0, 256, (40, 50, 3), np.uint8)).resize((200, 160)))
    one = made((200, 160), (90.3, 71.8), extent) | {"image": encoded(noise)}
    narrow = crop.crop(one, size=64, margin=1.5)
    wide = crop.crop(one, size=64, margin=1.5, stored=100)
    difference = np.abs(wide["image"][18:-18, 18:-18].astype(int) - narrow["image"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01
    np.testing.assert_allclose(wide["joints_2d"][8] - 18, narrow["joints_2d"][8], atol=1e-4)
    assert narrow["image"].std() > 20


def test_crop_is_black_beyond_the_image():
    one = made((200, 160), (20.0, 20.0), 60) | {"image": encoded(np.full((160, 200, 3), 200, np.uint8))}
    image = crop.crop(one, size=64, margin=1.5, stored=96)["image"]
    assert image[:20, :20].max() == 0
    assert image[-20:, -20:].min() > 190


def test_unknown_labels_are_masked_and_zero():
    one = record(annotations.annotation(joints_3d=None, visibility=np.array([2] * 20 + [0])))
    found = crop.crop(one, size=64, margin=1.5)
    assert found["joints_2d_valid"].tolist() == [True] * 20 + [False]
    assert not found["joints_2d"][20].any()
    assert not found["joints_3d_valid"].any()
    assert found["scale"] == 0


def test_a_truncated_image_is_an_error():
    one = record(annotations.annotation())
    with pytest.raises(OSError, match="truncated"):
        crop.crop(one | {"image": one["image"][: len(one["image"]) // 2]}, size=64, margin=1.5)


@pytest.mark.parametrize(("middle", "side"), [((150.0, 100.0), 420.0), ((20.0, 180.0), 150.0)])
def test_crop_with_large_surroundings_is_taken_from_a_smaller_image(monkeypatch, middle, side):
    v, u = np.mgrid[:200, :301]
    smooth = np.stack([u * 0.8, v, 255 - u * 0.8], axis=-1).astype(np.uint8)
    image, middle = Image.fromarray(smooth), np.array(middle)
    plain = crop.square(image, middle, side, 24)
    monkeypatch.setattr(crop, "LARGEST_SURROUNDINGS", 150 * 150)
    shrunk = crop.square(image, middle, side, 24)
    # Along its border the image's last pixels are averaged with each other, not with the black beyond.
    assert np.abs(shrunk.astype(int) - plain).mean() < 3
    inside = plain.min(axis=-1) > 40
    assert np.abs(shrunk.astype(int) - plain)[inside].max(initial=0) <= 12
