"""Pseudo-labels of depth: lifted landmarks as 3D joints of annotations, and the images that are held out."""

import json

import numpy as np
import pytest

from bmc_jax import limits, metrics
from bmc_jax.core import hand
from bmc_jax.poses import pseudo_labels
from bmc_jax.synthesis import skeleton

COUNT = 40
K = np.array([[400.0, 0, 79.5], [0, 400.0, 79.5], [0, 0, 1]])


@pytest.fixture(scope="module")
def true_hands():
    joints = skeleton.clinical_poses(COUNT, seed=0).astype(np.float64)
    return joints - joints.mean(axis=1, keepdims=True) + np.array([0.0, 0.0, 0.6])


@pytest.fixture
def folder(tmp_path, true_hands):
    """Annotations of rendered people, and their landmarks: no hand in image 0, the pixels of another in image 1."""
    pixels = true_hands @ K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    depth = K[0, 0] * (true_hands[..., 2:] / true_hands[:, :1, 2:] - 1)
    image = np.concatenate([pixels, depth], axis=-1)
    image[0], image[1] = np.nan, image[2]
    ids = np.arange(COUNT)
    # In another order than the annotations, as a detector may write them.
    np.savez(tmp_path / "landmarks.npz", image=image[::-1], world=true_hands[::-1] - 0.6, ids=ids[::-1])
    visible = np.full((COUNT, 21, 1), 2.0)
    keypoints = np.concatenate([pixels, visible], axis=-1).reshape(COUNT, -1)
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 160, "K": K.tolist()} for i in range(COUNT)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "hand_side": "right", "keypoints": keypoints[i].tolist()}
            for i in range(COUNT)
        ],
        "categories": [{"id": 1, "name": "hand"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


def write(folder):
    allowed = limits.load("clinical")
    return pseudo_labels.write(folder / "annotations.json", folder / "landmarks.npz", folder / "out", allowed)


def annotations(folder, split):
    return json.loads((folder / "out" / f"{split}.json").read_text())["annotations"]


def test_exact_landmarks_become_hands_near_the_true_ones_on_their_rays(folder, true_hands):
    write(folder)
    found = [one for split in ("train", "validation", "test") for one in annotations(folder, split)]
    lifted = {one["image_id"]: np.array(one["joints_3d"]) for one in found if "joints_3d" in one}
    rows = sorted(lifted)
    joints, truth = np.array([lifted[row] for row in rows]), true_hands[rows]
    flat = truth / truth[..., 2:]
    error, without_depth = (
        metrics.joint_errors(metrics.procrustes(hands, truth), truth).mean() for hands in (joints, flat)
    )
    assert error < 0.5 * without_depth
    pixels, expected = joints @ K.T, truth @ K.T
    np.testing.assert_allclose(pixels[..., :2] / pixels[..., 2:], expected[..., :2] / expected[..., 2:], atol=0.02)
    # The size of an adult's hand, whatever the person's.
    bones = joints[:, 1:] - joints[:, hand.PARENTS[1:]]
    np.testing.assert_allclose(np.linalg.norm(bones, axis=-1).sum(axis=1), 1e-3 * skeleton.BONES.sum(), rtol=1e-4)


def test_hands_without_landmarks_or_with_those_of_another_hand_have_no_3d_labels(folder):
    write(folder)
    found = {one["image_id"]: one for split in ("train", "test") for one in annotations(folder, split)}
    assert [row for row in sorted(found) if "joints_3d" not in found[row]] == [0, 1]
    before = json.loads((folder / "annotations.json").read_text())["annotations"]
    assert all(found[row]["keypoints"] == before[row]["keypoints"] for row in found)


def test_images_are_held_out_by_their_place_in_the_list(folder):
    counts = write(folder)
    assert {split: count["images"] for split, count in counts.items()} == {"train": 34, "validation": 2, "test": 4}
    assert [one["image_id"] for one in annotations(folder, "test")] == [9, 19, 29, 39]
    assert [one["image_id"] for one in annotations(folder, "validation")] == [8, 28]


def changed(folder, change):
    content = json.loads((folder / "annotations.json").read_text())
    change(content)
    (folder / "annotations.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["images"][5].pop("K"), "image 5 has no K"),
        (lambda content: content["annotations"][7].update(image_id=6), "image 6 has several hands"),
        (
            lambda content: [one.update(image_id=one["image_id"] + 100) for one in content["annotations"]],
            "none of its ids",
        ),
    ],
)
def test_annotations_that_cannot_be_labelled_are_refused_before_anything_is_written(folder, change, message):
    changed(folder, change)
    with pytest.raises(ValueError, match=message):
        write(folder)
    assert not (folder / "out").exists()


def test_a_file_that_holds_no_landmarks_is_refused_by_array_and_shape(folder):
    np.savez(folder / "landmarks.npz", image=np.zeros((3, 21, 2)), world=np.zeros((3, 21, 3)), ids=np.arange(3))
    with pytest.raises(ValueError, match=r"expected an array 'image' \[N, 21, 3\], got \[3, 21, 2\]"):
        write(folder)
    with pytest.raises(FileNotFoundError, match="expected a file of landmarks, got no file"):
        pseudo_labels.read(folder / "absent.npz")
