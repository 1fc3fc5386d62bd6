"""Photographs: crops with matching labels and intrinsics, mirrored left hands, and errors that name the file."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import paths
from support.photograph_files import DOT, SIZE, WIDTH, K, tree

from bmc_jax import camera
from bmc_jax.data import photographs
from bmc_jax.data.readers import coco_hand

REAL = paths.SHARED / "real_weak/annotations.json"


def centroid(image):
    weight = image[..., 0].astype(float)
    v, u = np.indices(weight.shape)
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


def test_label_is_at_its_pixel(tmp_path):
    batch = photographs.read(tree(tmp_path), size=SIZE).batch
    assert batch.image.shape == (1, SIZE, SIZE, 3)
    np.testing.assert_allclose(batch.joints_2d[0, 8], centroid(batch.image[0]), atol=0.1)
    assert batch.joints_2d_valid.all()
    assert not batch.joints_3d_valid.any()


def test_box_fills_the_crop_except_for_the_margin(tmp_path):
    batch = photographs.read(tree(tmp_path), size=SIZE, margin=2.0).batch
    zoom = SIZE / (2.0 * 40)
    middle = np.array([62.5, 40.0])
    original = np.array(json.loads((tmp_path / "annotations.json").read_text())["annotations"][0]["keypoints"])
    expected = (original.reshape(21, 3)[:, :2] - middle) * zoom + (SIZE - 1) / 2
    np.testing.assert_allclose(batch.joints_2d[0], expected, atol=1e-4)


def test_rays_through_labels_are_those_of_the_photograph(tmp_path):
    batch = photographs.read(tree(tmp_path), size=SIZE).batch
    rays = camera.rays(jnp.asarray(batch.joints_2d), jnp.asarray(batch.intrinsics))
    before = camera.rays(jnp.asarray(DOT)[None, None], jnp.asarray(K)[None])
    np.testing.assert_allclose(rays[0, 8], before[0, 0], atol=1e-5)


@pytest.mark.parametrize("labelled_upright", [True, False])
def test_label_is_at_its_pixel_with_an_exif_orientation(tmp_path, labelled_upright):
    file, image = tree(tmp_path), tmp_path / "images/one.png"
    exif = Image.Exif()
    exif[0x0112] = 8
    with Image.open(image) as opened:
        stored = opened.transpose(Image.Transpose.ROTATE_270) if labelled_upright else opened.copy()
    stored.save(image, exif=exif)
    batch = photographs.read(file, size=SIZE).batch
    np.testing.assert_allclose(batch.joints_2d[0, 8], centroid(batch.image[0]), atol=0.1)


def test_left_hand_becomes_a_right_hand(tmp_path):
    right = photographs.read(tree(tmp_path), size=SIZE)
    left = photographs.read(tree(tmp_path, annotation={"hand_side": "left"}), size=SIZE)
    assert left.mirrored.all()
    assert not right.mirrored.any()
    np.testing.assert_allclose(left.batch.image[0], right.batch.image[0, :, ::-1].astype(int), atol=6)  # JPEG
    np.testing.assert_allclose(left.batch.joints_2d[0, 8], centroid(left.batch.image[0]), atol=0.1)
    rays = [camera.rays(jnp.asarray(one.batch.joints_2d), jnp.asarray(one.batch.intrinsics)) for one in (left, right)]
    np.testing.assert_allclose(rays[0], rays[1] * jnp.array([-1.0, 1.0, 1.0])[None, None], atol=1e-5)


def test_crop_beyond_the_photograph_is_black(tmp_path):
    batch = photographs.read(tree(tmp_path, annotation={"bbox": [60, 0, 39, 79]}), size=SIZE, margin=1.5).batch
    assert batch.image[0, :, -8:].max() == 0
    np.testing.assert_allclose(batch.joints_2d[0, 8], centroid(batch.image[0]), atol=0.2)


def test_unlabelled_keypoints_are_masked(tmp_path):
    keypoints = np.full((21, 3), 2.0)
    keypoints[:, :2] = np.linspace(20, 60, 42).reshape(21, 2)
    keypoints[4] = [1e6, float(2**20), 0]
    file = tree(tmp_path, annotation={"keypoints": keypoints.reshape(-1).tolist()})
    batch = photographs.read(file, size=SIZE).batch
    assert batch.joints_2d_valid.sum() == 20
    assert not batch.joints_2d_valid[0, 4]
    assert (batch.joints_2d[0, 4] == 0).all()


def test_photograph_without_intrinsics_warns_and_uses_the_default(tmp_path):
    file = tree(tmp_path)
    content = json.loads(file.read_text())
    del content["images"][0]["K"]
    file.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"1 image has no 'K', such as one.png; their focal length"):
        batch = photographs.read(file, size=SIZE, margin=2.0).batch
    assert batch.intrinsics[0, 0, 0] == pytest.approx(coco_hand.DEFAULT_FOCAL * WIDTH * SIZE / 80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"annotation": {"keypoints": [1.0, 2.0, 2.0] * 17}},
            r"annotation 7 \(one.png\): keypoints: expected 21 .* got 17",
        ),
        ({"annotation": {"category_id": 2}}, "annotation 7: expected a category of hands, got 'person'"),
        ({"annotation": {"hand_side": None}}, "hand_side: expected 'right' or 'left', got None"),
        ({"annotation": {"image_id": 5}}, "expected the image_id of a listed image, got 5"),
        ({"annotation": {"bbox": [4, 4, 0, 0]}}, r"expected a positive width and height, got \[4, 4, 0, 0\]"),
        (
            {"annotation": {"keypoints": [1.0, 2.0, 0.0] * 21}},
            r"expected a usable annotation, got none of 1: no keypoint is labelled \(1\)",
        ),
        ({"image": {"width": 90}}, "one.png: expected 90x80 pixels, the size in the labels, got 100x80"),
        ({"image": {"K": [[1.0, 0.0], [0.0, 1.0]]}}, "K: expected .*with positive focal lengths"),
    ],
)
def test_bad_annotation_is_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        photographs.read(tree(tmp_path, **change), size=SIZE)


def test_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"annotation 7 \(one.png\): expected an image .*one.png"):
        photographs.read(tree(tmp_path, saved=False), size=SIZE)


def test_truncated_image_is_named(tmp_path):
    file = tree(tmp_path)
    image = tmp_path / "images/one.png"
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"one.png: expected an image, got a damaged file"):
        photographs.read(file, size=SIZE)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}'])
def test_file_that_is_not_coco_is_named(tmp_path, text):
    file = tmp_path / "annotations.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"annotations.json: expected (JSON|a COCO keypoint file)"):
        photographs.read(file, size=SIZE)


def test_number_beyond_the_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected numbers of annotations from 0 to 0, got 4"):
        photographs.read(tree(tmp_path), size=SIZE, indices=[0, 4])


def test_labels_by_another_model_are_recognised(tmp_path):
    info = {"description": "keypoints predicted by a detector"}
    assert photographs.read(tree(tmp_path, info=info), size=SIZE).labels_predicted
    assert not photographs.read(tree(tmp_path), size=SIZE).labels_predicted
    for strange in ("", ["predicted"], 7):
        assert not photographs.read(tree(tmp_path, info=strange), size=SIZE).labels_predicted


def test_annotations_without_a_label_are_left_out_with_a_warning(tmp_path):
    file = tree(tmp_path)
    content = json.loads(file.read_text())
    crowd = content["annotations"][0] | {"id": 8, "iscrowd": 1}
    content["annotations"] = [crowd, *content["annotations"]]
    file.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"1 of 2 annotations left out: iscrowd is set: a group, not one hand \(1\)"):
        found = photographs.read(file, size=SIZE)
    assert found.batch.index.tolist() == [1]
    assert (len(found.files), len(found.mirrored)) == (1, 1)


def test_crops_of_real_photographs_contain_the_hands():
    if not REAL.exists():
        pytest.skip("no shared data beside this checkout")
    numbers = photographs.spread(REAL, 12)
    assert numbers[0] == 0
    assert numbers[-1] == 5999
    found = photographs.read(REAL, size=128, indices=numbers)
    assert found.labels_predicted
    assert ((found.batch.joints_2d > 0) & (found.batch.joints_2d < 127)).all()
    assert (np.ptp(found.batch.joints_2d, axis=1).max(axis=-1) > 80).all()
    assert (found.batch.image.std(axis=(1, 2, 3)) > 10).all()
