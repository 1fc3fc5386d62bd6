"""A network in memory: the numbers of `bmc predict` from arrays, without writing files."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from PIL import Image
from support import examples, spotter

import bmc_jax
from bmc_jax import config, limits, poses
from bmc_jax.core.choices import LIFT_LIMITS
from bmc_jax.inference import model, predict
from bmc_jax.poses import lifting
from bmc_jax.training import forward

SIZE, SPOT = (120, 90), (70.0, 52.0)
BOXES = np.array([[50.0, 30.0, 94.0, 66.0], [20.0, 10.0, 80.0, 80.0], [60.0, 40.0, 85.0, 70.0]])
K = np.array([[130.0, 0.0, 55.0], [0.0, 131.0, 47.0], [0.0, 0.0, 1.0]])


def noise(seed, width=120, height=90):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return spotter.run(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def loaded(run):
    return bmc_jax.load(run)


@pytest.fixture
def spotting(monkeypatch):
    """A model whose network finds the spot in each image."""
    monkeypatch.setattr(forward, "in_batches", lambda run, state, batch, *_, **__: spotter.answer(batch))
    return model.Model(spotter.trained())


def same(one, other):
    for name, array in vars(one).items():
        np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)


def test_arrays_are_those_that_predict_writes(run, loaded, tmp_path):
    Image.fromarray(noise(0)).save(tmp_path / "photo.png")
    left, top, right, bottom = BOXES[0]
    predict.predict(
        run,
        [tmp_path / "photo.png"],
        tmp_path / "out",
        box=(left, top, right - left, bottom - top),
        left=True,
        intrinsics=(130.0, 131.0, 55.0, 47.0),
        scale=0.04,
        formats=("npz",),
    )
    hands = loaded(noise(0), BOXES[:1], intrinsics=K, left=True, scale=0.04)
    with np.load(tmp_path / "out" / "joints.npz") as written:
        shared = set(vars(hands)) - {"image", "left"}
        assert shared <= set(written.files)
        for name in shared:
            np.testing.assert_array_equal(getattr(hands, name), written[name], err_msg=name)
    assert (hands.image.tolist(), hands.left.tolist(), len(hands)) == ([0], [True], 1)


def test_hands_are_where_they_are_in_each_image(spotting):
    spots = [(70.0, 52.0), (30.0, 40.0)]
    images = [np.asarray(spotter.picture(SIZE, spot)) for spot in spots]
    around = [np.array([[u - 20, v - 20, u + 20, v + 20], [u - 25, v - 15, u + 15, v + 25]]) for u, v in spots]
    hands = spotting(images, [around[0], around[1][0]], left=[False, True, True])
    assert hands.image.tolist() == [0, 0, 1]
    np.testing.assert_allclose(hands.joints_2d[:, 8], [spots[0], spots[0], spots[1]], atol=0.35)
    np.testing.assert_array_equal(hands.box, [*around[0], around[1][0]])
    # The stand-in network predicts the same hand in each crop; a left hand is its mirror image.
    np.testing.assert_allclose(hands.joints_3d_scale[1], hands.joints_3d_scale[0] * [-1, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(spotting(images[0]).joints_2d, spotting(images[:1], None).joints_2d)


def test_batch_of_images_is_their_list(loaded):
    images = np.stack([noise(seed) for seed in range(3)])
    same(
        loaded(images, BOXES, intrinsics=K),
        loaded(list(images), [BOXES[:1], BOXES[1:2], BOXES[2:]], intrinsics=[K] * 3),
    )


def test_joints_project_to_their_pixels_by_the_k_that_is_given_or_assumed(loaded):
    for intrinsics in (None, K):
        hands = loaded(noise(1), BOXES, left=[True, False, False], intrinsics=intrinsics)
        seen = np.einsum("nij,nkj->nki", hands.intrinsics, hands.joints_3d)
        np.testing.assert_allclose(seen[..., :2] / seen[..., 2:], hands.joints_2d, atol=0.05)
    np.testing.assert_array_equal(hands.intrinsics, [K] * 3)


def test_network_is_compiled_once_for_numbers_of_hands_that_are_padded_to_the_same(run, monkeypatch):
    shapes, eval_step = [], model.step.eval_step

    def counting(state, batch, *, config):
        shapes.append(batch.image.shape[0])
        return eval_step(state, batch, config=config)

    monkeypatch.setattr(model.step, "eval_step", counting)
    fresh = bmc_jax.load(run)
    many = np.tile(BOXES, (7, 1))
    for count in (5, 8, 7, 21, 16):
        hands = fresh(noise(2), many[:count])
        np.testing.assert_allclose(hands.joints_2d, np.tile(hands.joints_2d[:3], (7, 1, 1))[:count], atol=1e-3)
    # Four devices; five to eight hands are one batch of eight, and more are several of `data.batch_size`, eight.
    assert shapes == [2]


def test_threads_get_what_one_gets(loaded):
    images = [noise(seed) for seed in range(12)]
    counts = [1 + seed % 3 for seed in range(12)]
    one_by_one = [loaded(image, BOXES[:count]) for image, count in zip(images, counts, strict=True)]
    with ThreadPoolExecutor(6) as pool:
        at_once = pool.map(lambda image, count: loaded(image, BOXES[:count]), images, counts)
        for one, other in zip(one_by_one, at_once, strict=True):
            same(one, other)


def test_nothing_is_written_or_printed(run, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    bmc_jax.load(run)(noise(3), BOXES)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_no_boxes_are_no_hands_with_the_same_arrays(loaded):
    some, none = loaded(noise(0), BOXES), loaded([noise(0), noise(1)], [np.zeros((0, 4)), []])
    assert len(none) == 0
    for name, array in vars(some).items():
        empty = getattr(none, name)
        assert (empty.shape, empty.dtype) == ((0, *array.shape[1:]), array.dtype), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((noise(0) / 255,), r"images: expected RGB, uint8 \[height, width, 3\], got float64 \[90, 120, 3\]; convert"),
        ((noise(0)[..., 0],), r"images: expected RGB, .* got uint8 \[90, 120\]"),
        (([noise(0), noise(0)[..., :1]],), r"images\[1\]: expected RGB, .* got uint8 \[90, 120, 1\]"),
        (([],), "images: expected one or more images, got none"),
        ((noise(0, 12, 90),), "images: expected at least 16 pixels along each side"),
        ((noise(0), BOXES[:, :3]), r"boxes of images: expected numbers \[n, 4\], got float64 \[3, 3\]; give left, top"),
        ((noise(0), "all"), "boxes: expected numbers, got 'all'"),
        (([noise(0)] * 2, BOXES), "boxes: expected an entry for each of the 2 images, got 3 entries; give the boxes"),
        (([noise(0)] * 2, 5), "boxes: expected an entry for each of the 2 images, got 5"),
        ((noise(0), BOXES / 120), "images: the hand's box is .* below 4 pixels; give it in pixels"),
        ((noise(0), [[94.0, 30, 50, 66]]), "images: the hand's box is 94, 30, 50, 66 .* which has no size"),
        ((noise(0), [[np.nan, 30, 50, 66]]), "which has no size"),
        (([noise(0)] * 2, [BOXES, BOXES + 500]), r"images\[1\]: the hand's box is 550, 530, .* outside the 120x90"),
    ],
)
def test_argument_that_is_wrong_is_named_with_its_remedy(loaded, arguments, said):
    with pytest.raises(ValueError, match=said):
        loaded(*arguments)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"intrinsics": K[:2]},
            r"intrinsics: expected K \[3, 3\], or \[1, 3, 3\] .* got float64 \[2, 3\]; give \[\[fx",
        ),
        ({"intrinsics": -K}, r"images: K \(intrinsics\): .* positive focal lengths"),
        ({"left": "right"}, "left: expected a boolean, or one for each of the 3 hands, got 'right'"),
        ({"left": [True, False]}, "left: expected a boolean, or one for each of the 3 hands"),
        ({"scale": 40.0}, "scale: expected .* got 40 m"),
    ],
)
def test_option_that_is_wrong_is_named_with_its_remedy(loaded, options, said):
    with pytest.raises(ValueError, match=said):
        loaded(noise(0), BOXES, **options)


def test_network_that_takes_points_is_refused_for_images():
    points = dataclasses.replace(examples.tiny_config(), network=config.Network(input="points"), name="points")
    trained = dataclasses.replace(spotter.trained(), config=points)
    with pytest.raises(ValueError, match=r"runs/spotter: expected network.input 'image', got 'points'; load a run"):
        model.Model(trained)(noise(0))


def test_missing_run_is_named():
    with pytest.raises(FileNotFoundError, match="no_such_run"):
        bmc_jax.load("no_such_run")


def test_import_does_not_load_what_load_needs():
    program = "import sys, bmc_jax; assert 'load' in dir(bmc_jax); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_predictions_do_not_depend_on_the_other_hands(loaded):
    together = loaded(noise(4), BOXES)
    for i in range(3):
        alone = loaded(noise(4), BOXES[i : i + 1])
        jax.tree.map(
            lambda one, row: np.testing.assert_allclose(one[0], row[i], atol=1e-3),  # noqa: B023, used at once
            (alone.joints_2d, alone.joints_3d),
            (together.joints_2d, together.joints_3d),
        )


def seen_hands(count, seed=0):
    """Poses in front of a camera, their pixels, and K of images of 640 x 480 pixels."""
    k = np.array([[700.0, 0.0, 310.0], [0.0, 710.0, 250.0], [0.0, 0.0, 1.0]])
    joints = examples.examples(count, seed=seed).joints_3d.astype(np.float64)
    pixels = joints @ k.T
    return joints, pixels[..., :2] / pixels[..., 2:], k


def test_lifted_hands_are_those_of_lifting_on_their_rays(loaded):
    _, pixels, k = seen_hands(3)
    hands = loaded.lift(poses.Landmarks(pixels), (640, 480), intrinsics=k)
    wanted = lifting.lift_hands(poses.Landmarks(pixels), np.stack([k] * 3), limits.load(LIFT_LIMITS))
    np.testing.assert_allclose(hands.joints_3d_scale, wanted.joints, atol=1e-5)
    np.testing.assert_array_equal(hands.joints_2d, pixels)
    seen = np.einsum("ij,nkj->nki", k, hands.joints_3d)
    np.testing.assert_allclose(seen[..., :2] / seen[..., 2:], pixels, atol=0.05)
    assert hands.image.tolist() == [0, 1, 2]


def test_lifted_left_hand_is_the_mirror_image_of_the_right_one(loaded):
    joints, pixels, k = seen_hands(2)
    depth = 700 * (joints[..., 2] / joints[:, :1, 2] - 1)
    right = loaded.lift(poses.Landmarks(pixels, depth), (640, 480), intrinsics=k)
    mirrored, other = pixels * [-1, 1] + [639, 0], k.copy()
    other[0, 2] = 639 - k[0, 2]
    left = loaded.lift(poses.Landmarks(mirrored, depth), (640, 480), intrinsics=other, left=True)
    np.testing.assert_allclose(left.joints_3d, right.joints_3d * [-1, 1, 1], atol=1e-4)
    np.testing.assert_allclose(left.angles, right.angles, atol=2e-3)


def test_no_landmarks_are_no_hands(loaded):
    assert len(loaded.lift(poses.Landmarks(np.zeros((0, 21, 2))), (640, 480))) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"landmarks": np.zeros((2, 21, 2))}, r"landmarks: expected bmc_jax.poses.Landmarks\(.*\), got ndarray; give"),
        (
            {"landmarks": poses.Landmarks(np.zeros((21, 2)))},
            r"landmarks.pixels: expected numbers \[n, 21, 2\], got .*21",
        ),
        (
            {"landmarks": poses.Landmarks(np.zeros((2, 21, 2)), np.zeros((2, 20)))},
            r"landmarks.z: expected numbers \[2, 21\], got float64 \[2, 20\]; give a row for each hand",
        ),
        ({"size": 640}, r"size: expected \(width, height\) in pixels, got 640; give the size of the image"),
        ({"intrinsics": np.zeros((3, 3))}, r"landmarks\[0\]: K \(intrinsics\): expected \[\[fx"),
        ({"left": [True]}, r"left: expected a boolean, or one for each of the 2 hands"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_argument_of_lift_is_named_with_its_remedy(loaded, change, said):
    given = {"landmarks": poses.Landmarks(seen_hands(2)[1]), "size": (640, 480)}
    with pytest.raises(ValueError, match=said):
        loaded.lift(**given | change)
