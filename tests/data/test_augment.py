"""Augmentation against float64 numpy and scipy: labels follow the picture, parts do what they say, hands survive."""

import dataclasses
import functools
import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image
from support import paths
from support.examples import examples

from bmc_jax.config import Augmentation
from bmc_jax.data import augment
from bmc_jax.data.augment import appearance, central, green_screen
from bmc_jax.training import parallel

SIZE = 24
COUNT = 8  # of all batches that are augmented, so that the same options compile once
OFF = Augmentation(*(0.0,) * 10)
GEOMETRY = dataclasses.replace(OFF, rotation=180.0, scale=0.4, translation=0.2)
REAL = paths.SHARED / "real_weak"


@functools.cache
def jitted(size, *strengths):
    options = Augmentation(*strengths)
    return jax.jit(functools.partial(augment.augment, options=options, size=size))


def run(key, batch, options, size=SIZE, **keywords):
    """`augment` compiled once for each of the options."""
    strengths = [getattr(options, field.name) for field in dataclasses.fields(options)]
    return jitted(size, *strengths)(jax.random.key(key), batch, **keywords)


# The parts have the channels first, these tests last.


@functools.partial(jax.jit, static_argnames="size")
def warp(image, affine, *, size):
    return jnp.moveaxis(augment.warp(image, affine, size=size), 0, -1)


@jax.jit
def replace_green(key, image):
    return jnp.moveaxis(green_screen.replace_green(key, jnp.moveaxis(image, -1, 0)), 0, -1)


@functools.partial(jax.jit, static_argnames="size")
def background(key, *, size):
    return jnp.moveaxis(green_screen.background(key, size=size), 0, -1)


def each(part, image, *, count, **strengths):
    """The part with `count` keys on the same image, float64."""
    keys = jax.random.split(jax.random.key(0), count)
    planes = jax.jit(jax.vmap(functools.partial(part, **strengths), (0, None)))(keys, jnp.moveaxis(image, -1, 0))
    return np.moveaxis(np.float64(planes), 1, -1)


def rows(batch, index):
    return jax.tree.map(lambda leaf: leaf[np.asarray(index)], batch)


def assert_equal(first, second):
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)


def grey_levels(seed=0, shape=(20, 28)):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 255, (*shape, 3)), jnp.float32)


@pytest.mark.parametrize("room", [augment, appearance, green_screen])
def test_key_is_first_and_settings_are_keyword_only(room):
    functions = [f for name, f in vars(room).items() if inspect.isfunction(f) and f.__module__ == room.__name__]
    data = {"key", "image", "batch", "affine", "options", "size", "cells", "roughness"}
    assert functions
    for function in (f for f in functions if not f.__name__.startswith("_")):
        parameters = inspect.signature(function).parameters
        by_place = [name for name, one in parameters.items() if one.kind is not one.KEYWORD_ONLY]
        assert "key" not in by_place[1:], function.__name__
        assert set(by_place) <= data, function.__name__


def test_central_crops_the_middle_with_its_labels():
    batch = examples(3)
    middle = central(batch, SIZE)
    np.testing.assert_array_equal(middle.image, batch.image[:, 4:28, 4:28])
    np.testing.assert_array_equal(middle.joints_2d, batch.joints_2d - 4)
    expected = batch.intrinsics - np.array([[0, 0, 4], [0, 0, 4], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(middle.intrinsics, expected)
    np.testing.assert_array_equal(middle.joints_3d, batch.joints_3d)


@pytest.mark.parametrize("strengths", [OFF, GEOMETRY])
@pytest.mark.parametrize("size", [23, 34])
def test_crop_without_a_middle_place_is_refused(strengths, size):
    batch = examples(2)
    with pytest.raises(ValueError, match=rf"crop's {size} pixels .* got 32x32"):
        central(batch, size)
    with pytest.raises(ValueError, match=rf"crop's {size} pixels .* got 32x32"):
        augment.augment(jax.random.key(0), batch, strengths, size)


def test_zero_strengths_equal_central_exactly():
    batch = examples(COUNT)
    assert_equal(run(3, batch, OFF), central(batch, SIZE))


def test_identity_resamples_to_the_same_pixels():
    draw = functools.partial(augment.draw_affine, rotation=0.0, scale=0.0, translation=0.0, stored=32, size=SIZE)
    image = jnp.asarray(examples(1).image[0])
    np.testing.assert_array_equal(warp(image, jax.jit(draw)(jax.random.key(0)), size=SIZE), image[4:28, 4:28])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rotation", -1.0),
        ("scale", float("nan")),
        ("noise", float("inf")),
        ("contrast", 1.5),
        ("hue", 0.6),
        ("erasing", 1.1),
        ("erasing_area", (0.2, 0.1)),
        ("erasing_area", (0.1, 1.1)),
    ],
)
def test_strength_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"augmentation\.{field}: expected .*, got "):
        augment.augment(jax.random.key(0), examples(1), dataclasses.replace(OFF, **{field: value}), SIZE)


def test_key_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="key of kind threefry2x32, got rbg"):
        augment.augment(jax.random.key(0, impl="rbg"), examples(1), OFF, SIZE)


@pytest.mark.parametrize("options", [Augmentation(), GEOMETRY, dataclasses.replace(OFF, scale=1.0)])
def test_projected_joints_stay_the_2d_joints(options):
    batch = examples(COUNT)
    moved = run(1, batch, options)
    k, joints = np.float64(moved.intrinsics), np.float64(moved.joints_3d)
    homogeneous = np.einsum("bij,bpj->bpi", k, joints)
    assert np.abs(homogeneous[..., :2] / homogeneous[..., 2:] - moved.joints_2d).max() < 0.01
    for name in ("joints_3d", "joints_3d_valid", "joints_2d_valid", "scale", "source", "index", "present"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(batch, name))


def test_movement_is_a_similarity_within_the_strengths():
    batch, options = examples(200), dataclasses.replace(OFF, rotation=30.0, scale=0.25, translation=0.1)
    moved = run(2, batch, options)
    before = np.float64(batch.joints_2d - 15.5) @ [1, 1j]
    after = np.float64(moved.joints_2d - 11.5) @ [1, 1j]
    columns = np.stack([before, np.ones_like(before)], axis=-1)
    solved = np.stack([np.linalg.lstsq(*pair, rcond=None)[0] for pair in zip(columns, after, strict=True)])
    np.testing.assert_allclose(columns @ solved[..., None], after[..., None], atol=1e-3)
    angle, zoom = np.degrees(np.angle(solved[:, 0])), np.abs(solved[:, 0])
    shift = -solved[:, 1] / solved[:, 0]
    for value, low, high in (
        (angle, -30, 30),
        (np.log(zoom), -np.log(1.25), np.log(1.25)),
        (shift.real, -0.1 * SIZE, 0.1 * SIZE),
        (shift.imag, -0.1 * SIZE, 0.1 * SIZE),
    ):
        assert low - 1e-3 <= value.min() < low + 0.1 * (high - low)
        assert high + 1e-3 >= value.max() > high - 0.1 * (high - low)


def test_warp_is_scipys_bilinear_with_black_beyond():
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)
    for seed in range(6):
        generator = np.random.default_rng(seed)
        affine = np.eye(3)
        affine[:2] = np.c_[np.eye(2) + generator.normal(0, 0.6, (2, 2)), generator.uniform(-8, 8, 2)]
        # Rows and columns of scipy are y and x.
        back = np.linalg.inv(affine)[[1, 0, 2]][:, [1, 0, 2]]
        expected = [
            scipy.ndimage.affine_transform(
                np.float64(image[..., i]), back, output_shape=(20, 20), order=1, mode="grid-constant"
            )
            for i in range(3)
        ]
        warped = warp(jnp.asarray(image), jnp.asarray(affine, jnp.float32), size=20)
        np.testing.assert_allclose(warped, np.stack(expected, axis=-1), atol=0.05)


def test_image_fades_to_black_within_a_pixel_of_its_edge():
    image, size = np.full((16, 16, 3), 200, np.uint8), 16
    for shift, expected in ((15.5, 100.0), (16.0, 0.0), (1e9, 0.0)):
        for sign in (-1, 1):
            affine = np.eye(3, dtype=np.float32)
            affine[0, 2] = sign * shift
            columns = np.asarray(warp(jnp.asarray(image), jnp.asarray(affine), size=size))[:, ::sign]
            np.testing.assert_array_equal(columns[:, -1], expected)
            np.testing.assert_array_equal(columns[:, :-1], 0.0)


def test_painted_dot_is_found_at_its_label():
    stored, size, joint = 96, 64, 9
    generator = np.random.default_rng(0)
    places = generator.uniform(44, 52, (COUNT, 1, 2)).astype(np.float32)
    batch = examples(COUNT)
    y, x = np.mgrid[:stored, :stored]
    distance = (x - places[..., :1]) ** 2 + (y - places[..., 1:]) ** 2
    dots = np.round(255 * np.exp(-distance / (2 * 3.0**2))).astype(np.uint8)
    batch = dataclasses.replace(
        batch,
        image=np.repeat(dots[..., None], 3, axis=-1),
        joints_2d=np.broadcast_to(places, batch.joints_2d.shape).copy(),
    )
    moved = run(5, batch, dataclasses.replace(GEOMETRY, translation=0.1), size)
    weight = np.float64(moved.image[..., 0])
    weight = np.where(weight > 8, weight, 0)
    v, u = np.mgrid[:size, :size]
    found = np.stack([(weight * u).sum((1, 2)), (weight * v).sum((1, 2))], axis=-1) / weight.sum((1, 2))[:, None]
    assert np.abs(found - moved.joints_2d[:, joint]).max() < 0.1


def test_augmentation_of_an_example_does_not_depend_on_its_place():
    batch = examples(COUNT)
    whole = run(7, batch, Augmentation())
    order = [4, 0, 5, 2, 7, 1, 3, 3]
    assert_equal(run(7, rows(batch, order), Augmentation()), rows(whole, order))


def test_augmentation_depends_on_key_source_and_index():
    batch = rows(examples(1), [0] * COUNT)
    batch = dataclasses.replace(batch, index=np.arange(COUNT) % 4, source=np.arange(COUNT) // 4)
    made = np.concatenate([run(key, batch, GEOMETRY).intrinsics for key in (0, 1)])
    assert len(np.unique(made.round(3), axis=0)) == len(made) == 2 * COUNT


def test_disabled_part_does_not_change_the_others():
    batch, labels = examples(COUNT), {"image": 0}
    whole, geometry_alone = (
        run(0, batch, options)
        for options in (Augmentation(), dataclasses.replace(OFF, rotation=45.0, scale=0.25, translation=0.1))
    )
    assert_equal(dataclasses.replace(whole, **labels), dataclasses.replace(geometry_alone, **labels))


def test_four_devices_equal_one():
    batch = examples(COUNT)

    def change(batch):
        return augment.augment(jax.random.key(3), batch, Augmentation(), SIZE)

    split = jax.tree.map(lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:]), batch)
    on_four, on_one = parallel.parallelize(change, (0,), 0)(split), run(3, batch, Augmentation())
    assert on_one.image.dtype == jnp.uint8
    assert on_one.intrinsics.dtype == on_one.joints_2d.dtype == jnp.float32
    for field in dataclasses.fields(batch):
        ours, theirs = getattr(on_four, field.name), getattr(on_one, field.name)
        rounding = 1 if field.name == "image" else 1e-4
        np.testing.assert_allclose(np.float64(ours).reshape(theirs.shape), np.float64(theirs), atol=rounding)


def test_accelerators_equal_a_cpu(monkeypatch):
    batch, green = examples(COUNT), np.arange(COUNT) % 2 == 0
    on_cpu = run(3, batch, Augmentation(), green_screen=green)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    program = jax.jit(functools.partial(augment.augment, options=Augmentation(), size=SIZE))
    elsewhere = program(jax.random.key(3), batch, green_screen=green)
    np.testing.assert_allclose(np.float64(elsewhere.image), np.float64(on_cpu.image), atol=1)


def test_each_colour_strength_preserves_the_other_properties():
    image = grey_levels()
    grey = np.array([0.299, 0.587, 0.114])

    def changed(**strengths):
        strengths = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0) | strengths
        return each(appearance.colour, image, count=40, **strengths)

    original = np.float64(image)
    lit = changed(brightness=0.3) / original
    np.testing.assert_allclose(lit, lit[:, :1, :1, :1] * np.ones_like(lit), rtol=1e-4)
    assert 0.7 <= lit.min() < 0.75
    assert 1.25 < lit.max() <= 1.3 + 1e-4
    flat = changed(contrast=0.5)
    np.testing.assert_allclose((flat @ grey).mean(axis=(1, 2)), (original @ grey).mean(), rtol=1e-4)
    ratio = flat.std(axis=(1, 2, 3)) / original.std()
    assert ratio.min() < 0.6 < 1.4 < ratio.max()
    for strengths in ({"saturation": 1.0}, {"hue": 0.5}):
        tinted = changed(**strengths)
        np.testing.assert_allclose(tinted @ grey, np.broadcast_to(original @ grey, tinted.shape[:-1]), atol=1e-2)
        assert np.abs(tinted - original).max() > 50
    # A picture of one grey has no contrast and no colour to change.
    plain = each(
        appearance.colour, jnp.full((4, 4, 3), 100.0), count=40, brightness=0.2, contrast=1.0, saturation=1.0, hue=0.5
    )
    assert 80 <= plain.min() < 85 < 115 < plain.max() <= 120.01
    np.testing.assert_allclose(plain, plain[:, :1, :1, :1] * np.ones_like(plain), rtol=1e-5)


def test_hue_of_a_third_turn_maps_red_to_green_and_blue():
    red = jnp.zeros((1, 1, 3)).at[..., 0].set(200.0)
    turned = each(appearance.colour, red, count=300, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.5)
    strongest = np.argmax(turned[:, 0, 0], axis=-1)
    np.testing.assert_allclose(np.bincount(strongest, minlength=3) / 300, 1 / 3, atol=0.1)


def test_blur_is_scipys_gaussian():
    dot, image = jnp.zeros((31, 31, 3)).at[15, 15].set(255.0), grey_levels(shape=(31, 31))
    dots, blurred = (each(appearance.blur, picture, count=8, deviation=2.0) for picture in (dot, image))
    for spot, picture in zip(dots[..., 0] / 255, blurred, strict=True):
        assert spot.sum() == pytest.approx(1, abs=1e-4)
        deviation = np.sqrt(0.5 / np.log(spot[15, 15] / spot[15, 16]))
        assert deviation < 2
        expected = scipy.ndimage.gaussian_filter(np.float64(image), (deviation, deviation, 0), mode="nearest", radius=6)
        np.testing.assert_allclose(picture, expected, atol=0.01)


def test_noise_is_independent_for_each_pixel_and_channel():
    noise = each(appearance.noise, jnp.zeros((64, 64, 3)), count=40, deviation=8.0)
    deviation = noise.std(axis=(1, 2, 3))
    assert deviation.min() < 1
    assert 7 < deviation.max() < 8.1
    unit = noise / deviation[:, None, None, None]
    assert np.abs(unit.mean(axis=(1, 2))).max() < 0.1
    assert np.abs(np.corrcoef(unit.reshape(-1, 3).T) - np.eye(3)).max() < 0.02
    assert abs((unit[:, 1:] * unit[:, :-1]).mean()) < 0.01
    assert abs((unit[:, :, 1:] * unit[:, :, :-1]).mean()) < 0.01


def test_erasing_covers_one_rectangle_of_the_wanted_area():
    image = grey_levels(shape=(40, 40))
    erased = each(appearance.erase, image, count=300, probability=0.3, area=(0.05, 0.2))
    covered = (erased != np.float64(image)).any(axis=-1)
    happened = covered.any(axis=(1, 2))
    assert happened.mean() == pytest.approx(0.3, abs=0.08)
    share = covered[happened].mean(axis=(1, 2))
    assert 0.04 < share.min() < 0.08
    assert 0.16 < share.max() < 0.22
    for picture, where in zip(erased[happened], covered[happened], strict=True):
        assert (where == np.outer(where.any(axis=1), where.any(axis=0))).all()
        assert len(np.unique(picture[where], axis=0)) == 1


@pytest.mark.parametrize("screen", [(60, 150, 40), (95, 112, 85), (25, 55, 20)])
@pytest.mark.parametrize("skin", [(225, 185, 165), (150, 110, 90), (70, 50, 42), (130, 122, 95)])
def test_green_screen_is_replaced_and_a_disc_before_it_remains(screen, skin):
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(x - 30, y - 34)
    share = np.clip(20 - distance, 0, 1)[..., None]
    shade = 1 + 0.1 * (x - 32)[..., None] / 32
    picture = share * np.array(skin) + (1 - share) * np.array(screen) * shade + generator.normal(0, 1.5, (64, 64, 3))
    picture, keys = np.float32(picture), jax.random.split(jax.random.key(0), 2)
    made = [np.asarray(replace_green(key, picture)) for key in keys]
    backgrounds = [np.asarray(background(key, size=64)) for key in keys]
    inside, outside = distance < 17, distance > 21
    for replaced, behind in zip(made, backgrounds, strict=True):
        assert np.abs(replaced - picture)[inside].max() <= 2
        assert np.abs(replaced - behind)[outside].mean() < 1
        assert 0 <= replaced.min() <= replaced.max() <= 255
    assert np.abs(made[0] - made[1])[outside].mean() > 20


def test_green_light_on_the_foreground_is_removed():
    picture = np.zeros((16, 16, 3), np.float32)
    picture[:8], picture[8:] = (60, 150, 40), (100, 106, 96)
    replaced = np.asarray(replace_green(jax.random.key(0), picture))[10:]
    np.testing.assert_allclose(replaced, np.broadcast_to(np.float32([100, 100, 96]), replaced.shape), atol=1e-3)


def test_green_is_replaced_in_marked_examples_only():
    green, brown = np.full((32, 32, 3), [50, 140, 40], np.uint8), np.full((32, 32, 3), [140, 110, 100], np.uint8)
    brown = brown + np.random.default_rng(0).integers(0, 10, brown.shape, np.uint8)
    batch = dataclasses.replace(examples(COUNT), image=np.stack([green, green, brown, brown] * 2))
    made = run(0, batch, OFF, green_screen=np.arange(COUNT) % 2 == 0)
    same = (np.asarray(made.image) == central(batch, SIZE).image).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(same, [False, True, True, True] * 2)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real photographs of ../shared/data are not here")
def test_replacement_of_the_screen_preserves_real_hands():
    annotations = json.loads((REAL / "annotations.json").read_text())
    chosen = np.random.default_rng(0).choice(len(annotations["images"]), 100, replace=False)
    images = np.stack([np.asarray(Image.open(REAL / "images" / annotations["images"][i]["file_name"])) for i in chosen])
    points = np.stack([np.reshape(annotations["annotations"][i]["keypoints"], (21, 3))[:, :2] for i in chosen])
    before = jnp.asarray(images, jnp.float32)
    after = np.asarray(jax.vmap(replace_green)(jax.random.split(jax.random.key(0), 100), before))
    column, row = np.clip(np.round(points), 0, 159).astype(int).transpose(2, 0, 1)
    change = np.abs(after - images).max(axis=-1)
    at_joints = np.take_along_axis(change.reshape(100, -1), row * 160 + column, axis=1)
    # Some labels lie beside the hand, so not every joint of every hand can be asked for.
    assert (np.quantile(at_joints, 0.8, axis=1) <= 3).mean() >= 0.97
    border = np.concatenate([change[:, 0], change[:, -1], change[:, :, 0], change[:, :, -1]], axis=1)
    assert np.median(border.mean(axis=1)) > 10
