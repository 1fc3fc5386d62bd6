"""COCO keypoint files: 2D labels, optional 3D joints, sides, splits, and errors that name the annotation."""

import json

import numpy as np
import pytest
from support import annotations

from bmc_jax.data.readers import coco_hand
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.data.record import record, reprojection_error


def change(folder, number=0, **changes):
    """Change an annotation of the file."""
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][number] |= changes
    file.write_text(json.dumps(content))


def read(folder, **options):
    return [coco_hand.annotation(row) for row in coco_hand.splits(folder, **options)["train"]]


def test_own_3d_joints_come_through_in_metres(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    truth = json.loads((folder / "annotations.json").read_text())["annotations"]
    for found, one in zip(read(folder), truth, strict=True):
        np.testing.assert_allclose(found.joints_3d, one["joints_3d"])
        assert reprojection_error(record(found)) < 0.01


def test_some_3d_joints_are_enough(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    joints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["joints_3d"]
    change(folder, joints_3d=[None, *joints[1:]])
    found = record(read(folder)[0])
    assert found["joints_3d_valid"].tolist() == [False, *[True] * 20]


def test_side_by_option_for_those_that_do_not_say(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    change(folder, 0, hand_side=None)
    assert [one.left for one in read(folder, side="left")] == [True, False]
    with pytest.raises(ValueError, match=r"annotation 0 .*has the hand_side None.*--side"):
        read(folder)


def test_a_folder_may_hold_a_file_a_split(tmp_path):
    annotations.coco(tmp_path, 3)
    (tmp_path / "annotations.json").rename(tmp_path / "train.json")
    annotations.coco(tmp_path, 2)
    (tmp_path / "annotations.json").rename(tmp_path / "test.json")
    assert {split: len(rows) for split, rows in coco_hand.splits(tmp_path).items()} == {"train": 3, "test": 2}


def test_missing_k_is_said_and_stands_for_a_stated_focal_length(tmp_path):
    folder = annotations.coco(tmp_path, 2, joints_3d=False, k=False)
    with pytest.warns(
        UserWarning, match="2 images have no 'K', 0.jpg first; .* taken to be 0.8 x the longer image side"
    ):
        found = read(folder, focal=0.8)[0]
    np.testing.assert_allclose(found.intrinsics, [[160, 0, 99.5], [0, 160, 79.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints_3d": [[0, 0, 1]] * 20}, "joints_3d must be 21 times"),
        ({"joints_3d": [[0, 0]] * 21}, "joints_3d must be 21 times"),
        ({"joints_3d": [[0, 0, float("nan")], *[None] * 20]}, "joints_3d has a number that is not finite; write null"),
        ({"bbox": [1, 2, 3]}, r"bbox is \[1, 2, 3\]; it must be x, y, width, height"),
        ({"bbox": ["a", 2, 3, 4]}, "it must be x, y, width, height"),
        ({"keypoints": [float("nan"), 1, 2] * 21}, "a labelled keypoint that is not finite; give it the visibility 0"),
        ({"keypoints": ["12", 1, 2] * 21}, "keypoints is .*, which is not an array of numbers"),
        ({"keypoints": [[1, 2, 2]] * 20 + [[1, 2]]}, "keypoints is .*, which is not an array of numbers"),
        ({"keypoints": [10**400, 1, 2] * 21}, "keypoints is .*, which is not an array of numbers"),
        ({"keypoints": {"wrist": [1, 2, 2]}}, "keypoints is .*, which is not an array of numbers"),
    ],
)
def test_bad_annotation_is_named(tmp_path, changes, message):
    folder = annotations.coco(tmp_path, 2)
    change(folder, 1, **changes)
    with pytest.raises(ValueError, match=rf"annotations.json: annotation 1 \(1.jpg\).*{message}"):
        read(folder)


def test_millimetres_are_refused(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    joints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["joints_3d"]
    change(folder, joints_3d=(np.array(joints) * 1000).tolist())
    with pytest.raises(ValueError, match="metres are expected: millimetres must be divided by 1000"):
        record(read(folder)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"split": "eval"},
        {"side": "both"},
        {"focal": 0.0},
        {"visibility_threshold": 0.0},
        {"visibility_threshold": float("nan")},
    ],
)
def test_unknown_option_is_refused(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        coco_hand.splits(annotations.coco(tmp_path, 1), **options)


def scored(folder, scores, number=0):
    """Change the visibility of the keypoints of an annotation."""
    keypoints = json.loads((folder / "annotations.json").read_text())["annotations"][number]["keypoints"]
    keypoints[2::3] = scores
    change(folder, number, keypoints=keypoints)


@pytest.mark.parametrize("value", [0.73, 3, -1, 255, float("nan")])
def test_visibility_that_is_none_is_refused_with_its_place_and_the_remedy(tmp_path, value):
    folder = annotations.coco(tmp_path, 1)
    scored(folder, [2] * 4 + [value] + [2] * 16)
    with pytest.raises(
        ValueError,
        match=rf"annotation 0 .*visibility of keypoint 4 \(keypoints\[14\]\) is {value:g}; .*--visibility-threshold T",
    ):
        read(folder)


def test_visibility_may_be_a_float_that_is_an_integer(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    scored(folder, [0.0, 1.0, 2.0] * 7)
    assert read(folder)[0].visibility.tolist() == [0, 1, 2] * 7


def test_scores_of_the_threshold_or_more_are_labels(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    scored(folder, [0.29, 0.3, 1.01] * 7)
    scored(folder, [0.0] * 21, number=1)
    first, second = coco_hand.splits(folder, visibility_threshold=0.3)["train"]
    assert coco_hand.annotation(first).visibility.tolist() == [0, 2, 2] * 7
    with pytest.raises(SkipRow, match="no keypoint is labelled"):
        coco_hand.annotation(second)
