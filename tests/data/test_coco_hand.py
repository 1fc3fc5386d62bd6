"""COCO keypoint files: 2D labels, optional 3D joints, sides, splits, and errors that name the annotation."""

import contextlib
import json
import warnings

import numpy as np
import pytest
from support import annotations, hands

from bmc_jax.core import hand
from bmc_jax.data.readers import coco_hand, joint_order
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


def test_3d_joints_are_read_in_metres(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    truth = json.loads((folder / "annotations.json").read_text())["annotations"]
    for found, one in zip(read(folder), truth, strict=True):
        np.testing.assert_allclose(found.joints_3d, one["joints_3d"])
        assert reprojection_error(record(found)) < 0.01


def test_some_3d_joints_may_be_missing(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    joints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["joints_3d"]
    change(folder, joints_3d=[None, *joints[1:]])
    found = record(read(folder)[0])
    assert found["joints_3d_valid"].tolist() == [False, *[True] * 20]


def test_side_option_applies_to_annotations_without_a_side(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    change(folder, 0, hand_side=None)
    assert [one.left for one in read(folder, side="right")] == [False, False]
    change(folder, 1, hand_side=None)
    assert [one.left for one in read(folder, side="left")] == [True, True]
    with pytest.raises(ValueError, match=r"annotation 0 .*hand_side: expected 'right' or 'left', got None.*--side"):
        read(folder)


@pytest.mark.parametrize("field", ["hand_side", "hand_type", "handedness"])
@pytest.mark.parametrize("value", ["left", "Left"])
def test_side_is_read_from_known_fields(tmp_path, field, value):
    folder = annotations.coco(tmp_path, 2, hand_side=None)
    change(folder, 0, **{field: value})
    change(folder, 1, **{field: "right"})
    assert [one.left for one in read(folder)] == [True, False]


@pytest.mark.parametrize("name", ["left_hand", "LeftHand", "left hand", "hand_left", "lefthand", "left hands"])
def test_side_is_read_from_the_category(tmp_path, name):
    folder = annotations.coco(tmp_path, 1, hand_side=None)
    content = json.loads((folder / "annotations.json").read_text())
    content["categories"][0]["name"] = name
    (folder / "annotations.json").write_text(json.dumps(content))
    assert [one.left for one in read(folder)] == [True]
    with pytest.raises(ValueError, match=r"annotation 0 .*expected one side, got category 'left' and --side 'right'"):
        read(folder, side="right")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *[(name, "") for name in ("hand", "Hand", "hands", "human hand", "person_hand", "hand-keypoints")],
        *[(name, "left") for name in ("left_hand", "LeftHand", "hand_left", "hand (left)", "lhand", "Left Hand")],
        *[(name, "right") for name in ("right_hand", "hand_r", "right-hand")],
        *[
            (name, None)
            for name in (
                "person",
                "handbag",
                "hand bag",
                "handle",
                "left",
                "forehand",
                "0",
                "",
                "left right hand",
                None,
                7,
            )
        ],
    ],
)
def test_category_is_a_hand_by_its_name(name, side):
    assert coco_hand.category_side(name) == side


@pytest.mark.parametrize(
    ("fields", "side", "message"),
    [
        (
            {"hand_side": "right", "hand_type": "left"},
            "",
            "expected one side, got hand_side 'right' and hand_type 'left'",
        ),
        ({"hand_type": "left"}, "right", "got hand_type 'left' and --side 'right'; .* leave --side out"),
        ({"hand_type": "interacting"}, "right", "hand_type: expected 'right' or 'left', got 'interacting'"),
        ({"handedness": ["Left", 0.9]}, "", "handedness: expected 'right' or 'left', got "),
    ],
)
def test_contradicting_and_unknown_sides_are_refused(tmp_path, fields, side, message):
    folder = annotations.coco(tmp_path, 1, **({"hand_side": None} | fields))
    with pytest.raises(ValueError, match=rf"annotation 0 \(0.jpg\): .*{message}"):
        read(folder, side=side)


def test_folder_may_contain_one_file_per_split(tmp_path):
    annotations.coco(tmp_path, 3)
    (tmp_path / "annotations.json").rename(tmp_path / "train.json")
    annotations.coco(tmp_path, 2)
    (tmp_path / "annotations.json").rename(tmp_path / "test.json")
    assert {split: len(rows) for split, rows in coco_hand.splits(tmp_path).items()} == {"train": 3, "test": 2}


def test_missing_k_warns_and_uses_the_stated_focal_length(tmp_path):
    folder = annotations.coco(tmp_path, 2, joints_3d=False, k=False)
    with pytest.warns(
        UserWarning, match=r"2 images have no 'K', such as 0.jpg; .* assumed to be 0.8 x the longer image side"
    ):
        found = read(folder, focal=0.8)[0]
    np.testing.assert_allclose(found.intrinsics, [[160, 0, 99.5], [0, 160, 79.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints_3d": [[0, 0, 1]] * 20}, r"joints_3d: expected 21 times .* got the shape \[20, 3\]"),
        ({"joints_3d": [[0, 0]] * 21}, r"joints_3d: expected 21 times .* got the shape \[21, 2\]"),
        ({"joints_3d": "joints"}, "joints_3d: expected an array of numbers, got joints"),
        ({"joints_3d": [[0, 0, "1"]] * 21}, "joints_3d: expected an array of numbers"),
        ({"joints_3d": [[0, 0, float("nan")], *[None] * 20]}, "joints_3d: expected finite numbers, .*; write null"),
        ({"bbox": [1, 2, 3]}, r"bbox: expected x, y, width, height, got \[1, 2, 3\]"),
        ({"bbox": ["a", 2, 3, 4]}, "bbox: expected an array of numbers"),
        ({"bbox": [60, 40, -5, 90]}, "bbox: expected a positive width and height"),
        ({"bbox": [60, 40, 0, 0]}, "bbox: expected a positive width and height"),
        ({"bbox": [60, 40, float("nan"), 50]}, "bbox: expected a positive width and height"),
        ({"bbox": [60, 40, 1e30, 1e30]}, "which extends far beyond the image of 200x160 pixels"),
        ({"bbox": [40, 20, 170, 240]}, "not two corners, got .* extends far beyond the image of 200x160 pixels"),
        ({"bbox": [0, 0, 9, 9]}, "with 21 of 21 labelled keypoints far outside of it"),
        ({"bbox": [0.2, 0.3, 0.5, 0.5]}, "with 21 of 21 labelled keypoints far outside of it"),
        (
            {"keypoints": [0.25, 0.5, 2] * 21, "bbox": [0, 0, 9, 9]},
            "expected pixels, got 0.25 to 0.5, which are shares",
        ),
        ({"keypoints": [-1000, 50, 2] * 21}, "image of 200x160 pixels, got 21 of 21 labelled ones outside"),
        ({"keypoints": [1e30, 50, 2] * 21}, "image of 200x160 pixels, got 21 of 21 labelled ones outside"),
        ({"keypoints": [float("nan"), 1, 2] * 21}, "expected finite labelled keypoints, .*; give it the visibility 0"),
        ({"keypoints": ["12", 1, 2] * 21}, "keypoints: expected an array of numbers"),
        ({"keypoints": [[1, 2, 2]] * 20 + [[1, 2]]}, "keypoints: expected an array of numbers"),
        ({"keypoints": [10**400, 1, 2] * 21}, "keypoints: expected an array of numbers"),
        ({"keypoints": {"wrist": [1, 2, 2]}}, "keypoints: expected an array of numbers"),
    ],
)
def test_bad_annotation_is_named(tmp_path, changes, message):
    folder = annotations.coco(tmp_path, 2)
    change(folder, 1, **changes)
    with pytest.raises(ValueError, match=rf"annotations.json: annotation 1 \(1.jpg\).*{message}"):
        read(folder)


def test_keypoints_at_the_origin_and_outside_of_the_image_become_unlabelled_and_are_reported(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    keypoints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["keypoints"]
    keypoints[3:5], keypoints[6:8], keypoints[9:11] = [0, 0], [-30, 40], [90, 1e30]
    change(folder, keypoints=keypoints)
    found = read(folder)[0]
    assert found.visibility.tolist() == [2, 0, 0, 0, *[2] * 17]
    assert found.left_out == ("keypoints at (0, 0)", "keypoints outside of their image")
    left, top, right, bottom = record(found)["box"]
    assert max(right - left, bottom - top) < 200


def test_crowds_are_skipped(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    change(folder, 0, iscrowd=1)
    change(folder, 1, iscrowd=0)
    first, second = coco_hand.splits(folder)["train"]
    with pytest.raises(SkipRow, match="iscrowd is set"):
        coco_hand.annotation(first)
    assert coco_hand.annotation(second).left_out == ()


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_repeated_id_is_refused(tmp_path, name):
    file = annotations.coco(tmp_path, 2) / "annotations.json"
    content = json.loads(file.read_text())
    content[name].append(content[name][0])
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name}: expected unique ids, got . more than once"):
        coco_hand.splits(tmp_path)


HOSTILE = [None, True, -1, 0, 1e308, 10**400, float("nan"), "", "text", "a\0b", [], [[]], {}, [None] * 63, ["x"] * 4]


@pytest.mark.parametrize(
    "field",
    ["images", "annotations", "categories"]
    + [f"images.{name}" for name in ("id", "file_name", "width", "height", "K")]
    + [f"categories.{name}" for name in ("id", "name", "keypoints")]
    + [f"annotations.{name}" for name in ("id", "image_id", "category_id", "keypoints", "bbox", "joints_3d")]
    + [f"annotations.{name}" for name in ("hand_side", "hand_type", "handedness", "iscrowd")],
)
def test_field_of_any_type_is_read_or_raises_value_error(tmp_path, field):
    file = annotations.coco(tmp_path, 1) / "annotations.json"
    content = json.loads(file.read_text())
    name, _, inner = field.partition(".")
    for value in HOSTILE:
        changed = content | {name: [content[name][0] | {inner: value}] if inner else [value]}
        file.write_text(json.dumps(changed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of images without K
            with contextlib.suppress(ValueError, FileNotFoundError, SkipRow):  # and nothing else
                for row in coco_hand.splits(tmp_path)["train"]:
                    record(coco_hand.annotation(row))


@pytest.mark.parametrize(
    "changes", [{"width": None}, {"height": -160}, {"width": 200.5}, {"height": "160"}, {"width": 10**400}]
)
def test_invalid_image_size_is_refused(tmp_path, changes):
    file = annotations.coco(tmp_path, 1) / "annotations.json"
    content = json.loads(file.read_text())
    content["images"][0] |= changes
    file.write_text(json.dumps(content))
    with pytest.raises(
        ValueError,
        match=r"annotation 0 \(0.jpg\): expected the image's width and height in pixels, got .{,40} and .{,40};",
    ):
        read(tmp_path)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff\xfe\x00", b'{"images": [1' + b"0" * 5000 + b"]}", b""])
def test_file_of_other_content_than_json_is_named(tmp_path, text):
    (tmp_path / "annotations.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"annotations.json: expected JSON"):
        coco_hand.splits(tmp_path)


def move(folder, file_name, place):
    """Move the image of a file of one, and name it otherwise."""
    content = json.loads((folder / "annotations.json").read_text())
    content["images"][0]["file_name"] = file_name
    (folder / "annotations.json").write_text(json.dumps(content))
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / "images/0.jpg").rename(folder / place)
    return folder


@pytest.mark.parametrize(
    ("file_name", "place", "options"),
    [
        ("images/0.jpg", "images/0.jpg", {}),
        ("images\\0.jpg", "images/0.jpg", {}),
        ("./0.jpg", "images/0.jpg", {}),
        ("first/second/0.jpg", "images/first/second/0.jpg", {}),
        ("first/0.jpg", "first/0.jpg", {}),
        ("0.jpg", "0.jpg", {}),
        ("a..b/0..jpg", "images/a..b/0..jpg", {}),
        ("first/0.jpg", "elsewhere/first/0.jpg", {"images": "elsewhere"}),
        ("elsewhere/0.jpg", "elsewhere/0.jpg", {"images": "elsewhere"}),
    ],
)
def test_image_is_found_below_the_folder_of_the_images(tmp_path, monkeypatch, file_name, place, options):
    monkeypatch.chdir(tmp_path)
    folder = move(annotations.coco(tmp_path, 1), file_name, place)
    (found,) = read(folder, **options)
    assert found.image.samefile(tmp_path / place)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_image_outside_of_the_folder_is_refused(tmp_path, absolute, separator):
    outside = str(tmp_path / "outside.jpg") if absolute else "../../outside.jpg"
    folder = move(annotations.coco(tmp_path / "inside", 1), outside.replace("/", separator), "../outside.jpg")
    with pytest.raises(
        ValueError, match=r"annotation 0 .*file_name: expected a path below the folder of the images, got"
    ):
        read(folder)


@pytest.mark.parametrize("file_name", ["C:\\images\\0.jpg", "c:/0.jpg", "first/../0.jpg", "first/..\\0.jpg"])
def test_paths_of_drives_and_upwards_are_refused(tmp_path, file_name):
    with pytest.raises(ValueError, match="expected a path below the folder of the images"):
        read(move(annotations.coco(tmp_path, 1), file_name, "images/0.jpg"))


def test_missing_image_and_missing_folder_are_named_with_the_option(tmp_path):
    folder = move(annotations.coco(tmp_path, 1), "other.jpg", "images/0.jpg")
    with pytest.raises(
        FileNotFoundError,
        match=r"annotation 0 .*expected an image .*images/other.jpg or .*other.jpg, .*; give its folder as --im",
    ):
        read(folder)
    with pytest.raises(FileNotFoundError, match="--images: expected the folder of the images, got nowhere"):
        read(folder, images="nowhere")


def test_millimetres_are_refused(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    joints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["joints_3d"]
    change(folder, joints_3d=(np.array(joints) * 1000).tolist())
    with pytest.raises(ValueError, match="divide millimetres by 1000"):
        record(read(folder)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"split": "eval"},
        {"side": "both"},
        {"order": "alphabetical"},
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
def test_invalid_visibility_is_refused_with_place_and_remedy(tmp_path, value):
    folder = annotations.coco(tmp_path, 1)
    scored(folder, [2] * 4 + [value] + [2] * 16)
    with pytest.raises(
        ValueError,
        match=rf"annotation 0 .*keypoint 4 \(keypoints\[14\]\): .*, got {value:g}; .*--visibility-threshold T",
    ):
        read(folder)


def test_visibility_may_be_a_float_that_is_an_integer(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    scored(folder, [0.0, 1.0, 2.0] * 7)
    assert read(folder)[0].visibility.tolist() == [0, 1, 2] * 7


def test_scores_at_or_above_the_threshold_are_labels(tmp_path):
    folder = annotations.coco(tmp_path, 2)
    scored(folder, [0.29, 0.3, 1.01] * 7)
    scored(folder, [0.0] * 21, number=1)
    first, second = coco_hand.splits(folder, visibility_threshold=0.3)["train"]
    assert coco_hand.annotation(first).visibility.tolist() == [0, 2, 2] * 7
    with pytest.raises(SkipRow, match="no keypoint is labelled"):
        coco_hand.annotation(second)


MMPOSE_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
MMPOSE = ["wrist"] + [f"{finger}{number}" for finger in MMPOSE_FINGERS for number in (1, 2, 3, 4)]
RHD_NAMES = ["wrist"] + [f"{finger}{number}" for finger in MMPOSE_FINGERS for number in (4, 3, 2, 1)]


def reordered(folder, order, *, names=None, joints_3d=True, keypoints=True):
    """Put the labels of a file into another order; with the keypoint names of the category."""
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    indices = np.argsort(order)
    for one in content["annotations"]:
        if keypoints:
            one["keypoints"] = np.reshape(one["keypoints"], (21, 3))[indices].ravel().tolist()
        if joints_3d:
            one["joints_3d"] = np.array(one["joints_3d"])[indices].tolist()
    if names:
        content["categories"][0]["keypoints"] = names
    file.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("order", ["rhd", "mano", "interhand", "paper"])
@pytest.mark.parametrize("labels", [{}, {"keypoints": False}])
def test_labels_in_another_order_are_refused_with_the_remedy(tmp_path, order, labels):
    folder = reordered(annotations.coco(tmp_path, 3), hand.TO_FREIHAND[order], **labels)
    what = "joints_3d" if labels else "keypoints"
    with pytest.raises(
        ValueError, match=rf"expected {what} in FreiHAND order, .*; give --order {order} to `bmc data build`"
    ):
        coco_hand.splits(folder)


@pytest.mark.parametrize("order", ["rhd", "mano", "ho3d", "interhand", "paper", "mediapipe"])
def test_stated_order_is_followed_for_2d_and_3d_labels(tmp_path, order):
    truth = read(annotations.coco(tmp_path, 2))
    found = read(reordered(tmp_path, hand.TO_FREIHAND[order]), order=order)
    for one, other in zip(found, truth, strict=True):
        np.testing.assert_array_equal(one.joints_2d, other.joints_2d)
        np.testing.assert_array_equal(one.joints_3d, other.joints_3d)


def test_names_of_the_category_state_the_order_and_the_option_overrides_them(tmp_path):
    truth = read(annotations.coco(tmp_path, 2))
    folder = reordered(tmp_path, hand.TO_FREIHAND["rhd"], names=RHD_NAMES)
    np.testing.assert_array_equal(read(folder)[1].joints_2d, truth[1].joints_2d)
    np.testing.assert_array_equal(read(folder)[1].joints_3d, truth[1].joints_3d)
    reordered(tmp_path, np.argsort(hand.TO_FREIHAND["rhd"]))
    with pytest.raises(
        ValueError, match=r"in the order of its category's keypoint names, got another order: .*; give --order freihand"
    ):
        read(folder)
    np.testing.assert_array_equal(read(folder, order="freihand")[1].joints_2d, truth[1].joints_2d)


def test_stated_order_contradicted_by_the_joints_warns(tmp_path):
    with pytest.warns(UserWarning, match=r"expected keypoints in the order rhd, .* which --order states"):
        coco_hand.splits(annotations.coco(tmp_path, 3, joints_3d=False), order="rhd")


def test_joints_in_random_order_are_refused(tmp_path):
    shuffled = np.random.default_rng(1).permutation(21)
    folder = reordered(annotations.coco(tmp_path, 6), shuffled)
    with pytest.raises(ValueError, match=r"joints connected by a bone are .* times as far apart as any two joints"):
        coco_hand.splits(folder)


@pytest.mark.parametrize("poses", [hands.adults, hands.real])
@pytest.mark.parametrize("axes", [2, 3])
def test_any_five_hands_in_freihand_order_pass_the_check(tmp_path, poses, axes):
    joints = poses(200)
    if axes == 2:
        joints = joints[..., :2] / joints[..., 2:]
    for first in range(0, 200, 5):
        assert joint_order.contradiction(joints[first : first + 5], np.arange(21)) == ("", "")


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (MMPOSE, "freihand"),
        (RHD_NAMES, "rhd"),
        (hand.JOINTS, "freihand"),
        (
            ["WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP"]
            + [f"{f}_{n}" for f in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY") for n in hand.LEVELS],
            "mediapipe",
        ),
        (["left_hand_root"] + [f"left_{name}" for name in MMPOSE[1:]], "coco-wholebody"),
        ([f"r_{f}{n}" for f in hand.FINGERS for n in (4, 3, 2, 1)] + ["r_wrist"], "interhand"),
        (
            ["right_wrist"]
            + [f"right_{f}{n}" for f in ("index", "middle", "pinky", "ring", "thumb") for n in (1, 2, 3)]
            + [f"right_{f}" for f in ("thumb", "index", "middle", "ring", "pinky")],
            "mano",
        ),
    ],
)
def test_order_is_read_from_known_keypoint_names(names, order):
    assert joint_order.by_names(names).tolist() == hand.TO_FREIHAND[order].tolist()


@pytest.mark.parametrize(
    "names", [MMPOSE[:20], ["nose", *MMPOSE[1:]], [*MMPOSE[:20], MMPOSE[19]], [None] * 21, ["elbow"] * 21]
)
def test_other_keypoint_names_state_no_order(names):
    assert joint_order.by_names(names) is None


@pytest.mark.parametrize(("poses", "most"), [(hands.adults, 0.0), (hands.real, 0.025)])
def test_three_hands_in_freihand_order_with_hidden_joints_are_rarely_refused(poses, most):
    random = np.random.default_rng(0)
    joints = poses(300)[..., :2] / poses(300)[..., 2:]
    joints[random.random((300, 21)).argsort(axis=1) < 6] = np.nan
    sets = [random.choice(300, 3, replace=False) for _ in range(400)]
    refused = [joint_order.contradiction(joints[one], np.arange(21)) != ("", "") for one in sets]
    assert np.mean(refused) <= most


@pytest.mark.parametrize("order", ["rhd", "mano", "interhand", "paper"])
def test_ten_hands_in_another_order_are_found(order):
    random = np.random.default_rng(0)
    joints = hands.real(300)[..., :2] / hands.real(300)[..., 2:]
    joints = joints[:, np.argsort(hand.TO_FREIHAND[order])]
    sets = [random.choice(300, 10, replace=False) for _ in range(100)]
    assert np.mean([joint_order.contradiction(joints[one], np.arange(21))[1] == order for one in sets]) > 0.9


def test_few_or_coincident_joints_are_no_evidence_of_an_order(tmp_path):
    hidden = np.where(np.arange(21)[:, None] < 10, hands.adults(4), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert joint_order.contradiction(hidden, hand.TO_FREIHAND["rhd"]) == ("", "")
        assert joint_order.contradiction(np.ones((6, 21, 2)), hand.TO_FREIHAND["rhd"]) == ("", "")


def test_keypoint_outside_the_image_does_not_contradict_the_order(tmp_path):
    folder = annotations.coco(tmp_path, 1, joints_3d=False)
    keypoints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["keypoints"]
    change(folder, keypoints=[2000, 30, *keypoints[2:]])
    (found,) = read(folder)
    assert found.visibility.tolist() == [0, *[2] * 20]


@pytest.mark.parametrize("missing", [[None, None, 0], [None, None, None], [float("nan"), float("nan"), 0]])
def test_null_keypoint_is_unlabelled_if_its_visibility_says_so(tmp_path, missing):
    folder = annotations.coco(tmp_path, 1)
    keypoints = json.loads((folder / "annotations.json").read_text())["annotations"][0]["keypoints"]
    change(folder, keypoints=[*keypoints[:3], *missing, *keypoints[6:]])
    if missing[2] is None:
        with pytest.raises(ValueError, match=r"visibility of keypoint 1 \(keypoints\[5\]\): expected 0 .*, got nan"):
            read(folder)
    else:
        (found,) = read(folder)
        assert found.visibility.tolist() == [2, 0, *[2] * 19]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"keypoints": []}, "it has no keypoints"),
        ({"keypoints": None, "bbox": [50, 40, 80, 90]}, "it has no keypoints"),
        ({"keypoints": [0] * 63, "num_keypoints": 0, "hand_side": None}, "no keypoint is labelled"),
        ({"iscrowd": 1, "hand_side": None}, "iscrowd is set"),
        ({"keypoints": [90, 70, 2, *[0] * 60]}, "one labelled keypoint and no bbox"),
    ],
)
def test_annotation_without_a_pose_is_skipped_despite_other_faults(tmp_path, fields, reason):
    folder = annotations.coco(tmp_path, 1)
    change(folder, joints_3d=None, **fields)
    (row,) = coco_hand.splits(folder)["train"]
    with pytest.raises(SkipRow, match=reason):
        coco_hand.annotation(row)


def test_one_labelled_keypoint_in_a_box_is_read(tmp_path):
    folder = annotations.coco(tmp_path, 1)
    change(folder, joints_3d=None, keypoints=[90, 70, 2, *[0] * 60], bbox=[50, 40, 80, 90])
    (found,) = read(folder)
    assert record(found)["visibility"].tolist() == [2, *[0] * 20]


@pytest.mark.parametrize("category", ["1", 2, None])
def test_category_that_the_file_does_not_list_is_named(tmp_path, category):
    folder = annotations.coco(tmp_path, 1)
    change(folder, category_id=category)
    with pytest.raises(ValueError, match=f"expected the category_id of a listed category, got {category!r}; give it"):
        read(folder)
