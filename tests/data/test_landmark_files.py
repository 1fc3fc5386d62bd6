"""Files of landmarks in pictures, as MediaPipe, OpenPose, COCO's tools and people's own programs write them."""

import json
import pickle

import numpy as np
import pytest

from bmc_jax.core import hand
from bmc_jax.data.pose_files import landmarks

#: A right hand in a picture of 640 x 480 pixels: the wrist below, fingers up, the thumb on the left.
PIXELS = np.concatenate(
    [
        [[320.0, 400.0]],
        *(
            np.array([320.0 + 40 * (finger - 2), 300.0 - 20 * (finger in (1, 2, 3))])
            + np.array([[8.0 * (finger - 2), -35.0 * level] for level in range(4)])
            for finger in range(5)
        ),
    ]
)
SIZE = (640, 480)
DEPTH = np.concatenate([[0.0], np.tile([-4.0, -10.0, -14.0, -16.0], 5)])
WORLD = np.concatenate([PIXELS - PIXELS.mean(axis=0), DEPTH[:, None] - DEPTH.mean()], axis=1) / 2000


def points(values):
    return [dict(zip("xyz", row, strict=False)) for row in np.asarray(values).tolist()]


def shares():
    return np.concatenate([(PIXELS + 0.5) / SIZE, DEPTH[:, None] / SIZE[0]], axis=1)


def write(tmp_path, content, name="landmarks.json"):
    file = tmp_path / name
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


TASKS = {
    "handedness": [[{"category_name": "Left", "score": 0.9}], [{"category_name": "Right", "score": 0.9}]],
    "hand_landmarks": [points(shares()), points(shares())],
    "hand_world_landmarks": [points(WORLD), points(WORLD)],
}
SOLUTIONS = {
    "multi_handedness": [{"classification": [{"label": "Left"}]}, {"classification": [{"label": "Right"}]}],
    "multi_hand_landmarks": [{"landmark": points(shares())}, {"landmark": points(shares())}],
    "multi_hand_world_landmarks": [{"landmark": points(WORLD)}, {"landmark": points(WORLD)}],
}
JAVASCRIPT = {
    "handednesses": [[{"categoryName": "Left"}], [{"categoryName": "Right"}]],
    "landmarks": [points(shares()), points(shares())],
    "worldLandmarks": [points(WORLD), points(WORLD)],
}
HOLISTIC = {"left_hand_landmarks": points(shares()), "right_hand_landmarks": points(shares())}


@pytest.mark.parametrize(
    "frame", [TASKS, SOLUTIONS, JAVASCRIPT, HOLISTIC], ids=["tasks", "solutions", "js", "holistic"]
)
def test_results_of_mediapipe_are_read_with_sides_depth_and_world_landmarks(tmp_path, frame):
    found = landmarks.read(write(tmp_path, [frame, {}, frame]))
    assert [one.left for one in found.hands] == [True, False, True, False]
    assert [one.frame for one in found.hands] == [0, 0, 2, 2]
    assert found.frames == 3
    for one in found.hands:
        assert one.shares
        np.testing.assert_allclose(one.pixels, shares()[:, :2])
        np.testing.assert_allclose(one.z, shares()[:, 2])
        if frame is not HOLISTIC:
            np.testing.assert_allclose(one.world, WORLD)


def test_a_frame_may_state_its_image_size_and_camera(tmp_path):
    k = [[700.0, 0, 319.5], [0, 700.0, 239.5], [0, 0, 1]]
    about = {"image": "a.jpg", "width": 640, "height": 480, "K": k}
    (first, _) = landmarks.read(write(tmp_path, [TASKS | about])).hands
    assert (first.image, first.size) == ("a.jpg", SIZE)
    np.testing.assert_array_equal(first.intrinsics, k)


def test_keypoints_of_openpose_are_2d_and_those_without_confidence_are_missing(tmp_path):
    numbers = np.concatenate([PIXELS, np.ones((21, 1))], axis=1)
    cut = numbers.copy()
    cut[4, 2] = 0
    person = {"hand_left_keypoints_2d": numbers.ravel().tolist(), "hand_right_keypoints_2d": cut.ravel().tolist()}
    found = landmarks.read(write(tmp_path, {"version": 1.3, "people": [person]}))
    (one,) = found.hands
    assert one.left
    assert one.z is None
    np.testing.assert_allclose(one.pixels, PIXELS)
    assert "thumb TIP" in found.left_out[0][1]


def coco(annotation, category=None):
    image = {"id": 7, "file_name": "a.jpg", "width": 640, "height": 480}
    category = {"id": 1, "name": "hand"} | (category or {})
    return {
        "images": [image],
        "annotations": [{"id": 3, "image_id": 7, "category_id": 1, **annotation}],
        "categories": [category],
    }


def visible(pixels=PIXELS):
    return np.concatenate([pixels, np.full((21, 1), 2.0)], axis=1).ravel().tolist()


def test_coco_keypoints_are_read_with_image_side_and_size(tmp_path):
    (one,) = landmarks.read(write(tmp_path, coco({"keypoints": visible(), "hand_side": "left"}))).hands
    assert (one.left, one.image, one.size, one.shares) == (True, "a.jpg", SIZE, False)
    np.testing.assert_allclose(one.pixels, PIXELS)


def test_coco_keypoints_follow_the_names_of_their_category(tmp_path):
    order = hand.TO_FREIHAND["rhd"]
    names = [""] * 21
    for joint, place in enumerate(order):
        names[place] = hand.JOINTS[joint]
    rows = np.empty_like(PIXELS)
    rows[order] = PIXELS
    content = coco({"keypoints": visible(rows), "hand_side": "right"}, {"keypoints": names})
    (one,) = landmarks.read(write(tmp_path, content)).hands
    np.testing.assert_allclose(one.pixels, PIXELS)


def test_both_hands_of_a_whole_body_are_read(tmp_path):
    body = {"lefthand_kpts": visible(), "righthand_kpts": visible(PIXELS[:, ::-1]), "keypoints": [0, 0, 0] * 17}
    found = landmarks.read(write(tmp_path, coco(body, {"name": "person"})))
    assert [one.left for one in found.hands] == [False, True] or [one.left for one in found.hands] == [True, False]


def arrays(**more):
    rows = np.concatenate([PIXELS, DEPTH[:, None]], axis=1)
    return {"image": np.stack([rows, np.full_like(rows, np.nan)]), "world": np.stack([WORLD, WORLD]), **more}


def test_arrays_are_read_by_name_without_hands_of_nan(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays(left=np.array([True, False]), ids=np.array([5, 6])))
    found = landmarks.read(tmp_path / "a.npz")
    (one,) = found.hands
    assert (one.left, one.id, one.shares) == (True, "5", False)
    np.testing.assert_allclose(one.z, DEPTH)
    np.testing.assert_allclose(one.world, WORLD)
    assert found.left_out == [("hand 1", "hand 1 has no landmarks")]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"pixels": PIXELS[None]}))
    assert landmarks.read(tmp_path / "a.pkl").hands[0].z is None


@pytest.mark.parametrize(
    ("third", "has_z"),
    [(None, False), (DEPTH, True), (np.full(21, 0.9), False), (np.full(21, 2.0), False)],
    ids=["2d", "depth", "scores", "visibility"],
)
def test_a_third_column_is_depth_or_confidence_by_its_values(tmp_path, third, has_z):
    rows = PIXELS if third is None else np.concatenate([PIXELS, third[:, None]], axis=1)
    np.save(tmp_path / "a.npy", rows[None])
    (one,) = landmarks.read(tmp_path / "a.npy").hands
    assert (one.z is not None) == has_z
    np.testing.assert_allclose(one.pixels, PIXELS)


def test_3d_joints_are_left_to_the_reader_of_poses(tmp_path):
    np.save(tmp_path / "a.npy", WORLD[None] + [0, 0, 0.5])
    np.savez(tmp_path / "b.npz", joints=WORLD[None])
    write(tmp_path, {"joints": WORLD[None].tolist()}, "c.json")
    assert [landmarks.read(tmp_path / name) for name in ("a.npy", "b.npz", "c.json")] == [None] * 3


def test_landmarks_in_another_order_are_reordered_if_stated_and_refused_if_not(tmp_path):
    order = hand.TO_FREIHAND["rhd"]
    rows = np.empty_like(PIXELS)
    rows[order] = PIXELS
    np.save(tmp_path / "a.npy", np.stack([rows] * 6))
    np.testing.assert_allclose(landmarks.read(tmp_path / "a.npy", order="rhd").hands[0].pixels, PIXELS)
    with pytest.raises(ValueError, match=r"expected landmarks in FreiHAND's or MediaPipe's order.*give --order rhd"):
        landmarks.read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no landmarks of hands"),
        ([{"hand_landmarks": [points(shares())[:20]]}], "frame 0"),
        ([TASKS | {"hand_world_landmarks": [points(WORLD)]}], "world landmarks of 2 hands, got those of 1"),
        ([TASKS | {"width": -1, "height": 2}], "width and height in pixels, got -1 and 2"),
        ([TASKS | {"K": [1, 2]}], "expected K"),
        ({"people": [{"hand_left_keypoints_2d": [1.0] * 60}]}, "expected 21 x 3 numbers"),
        ({"pixels": [[[1, 2]] * 21], "left": [1]}, "left"),
        ({"pixels": [[[1, 2]] * 20]}, r"\[1, 20, 2\]"),
        ({"pixels": [[[1, 2]] * 21, [[1]] * 21]}, "expected an array"),
    ],
)
def test_other_content_than_landmarks_is_refused_with_place_and_remedy(tmp_path, content, words):
    with pytest.raises(ValueError, match=words) as error:
        landmarks.read(write(tmp_path, content))
    assert "landmarks.json" in str(error.value)


def test_missing_file_and_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the file of landmarks"):
        landmarks.read(tmp_path / "a.npz")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(ValueError, match="json, jsonl, npz"):
        landmarks.read(tmp_path / "a.txt")
