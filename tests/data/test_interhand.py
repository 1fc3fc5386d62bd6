"""InterHand2.6M: both hands of an image in the frame of its camera, valid joints, and errors that name their place."""

import contextlib
import json

import numpy as np
import pytest
import scipy.spatial.transform
from PIL import Image
from support.annotations import HEIGHT, WIDTH, open_hand, project

from bmc_jax import cli
from bmc_jax.core import validation
from bmc_jax.data import store
from bmc_jax.data.readers import interhand
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.data.record import record

FOCAL, CENTRE = [260.0, 255.0], [97.0, 82.0]
K = np.array([[FOCAL[0], 0, CENTRE[0]], [0, FOCAL[1], CENTRE[1]], [0, 0, 1]])
ROTATION = scipy.spatial.transform.Rotation.from_euler("xyz", [0.3, -0.8, 0.2]).as_matrix()
POSITION = np.array([120.0, -340.0, 55.0])
TIP_TO_BASE = [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
"""InterHand2.6M's order of a hand: thumb to little finger, each from its tip, and the wrist."""


def camera_hands():
    """The right and the left hand in the camera's frame, metres, FreiHAND order."""
    return open_hand(0.7, (-0.07, 0.0)), open_hand(0.8, (-0.08, 0.01)) * [-1, 1, 1]


def files(*, hand_type="interacting", inside=(), annotated=()):
    """The three files of a split with one image; joints in `inside` and `annotated` are marked as not valid."""
    joints = np.concatenate([one[TIP_TO_BASE] for one in camera_hands()])
    world = (joints * 1000) @ ROTATION + POSITION  # the inverse of R (x - position)
    world[list(annotated)] = 1.0
    flags = [[[int(joint not in marked)] for joint in range(42)] for marked in (inside, annotated)]
    image = {
        "id": 8, "file_name": "Capture3/0390_dh/cam400026/image69148.jpg", "width": WIDTH, "height": HEIGHT,
        "capture": 3, "subject": 3, "seq_name": "0390_dh", "camera": "400026", "frame_idx": 69148,
    }  # fmt: skip
    one = {"id": 5, "image_id": 8, "bbox": [0, 0, 9, 9], "joint_valid": flags[0], "hand_type": hand_type}
    view = {"campos": POSITION.tolist(), "camrot": ROTATION.tolist(), "focal": FOCAL, "princpt": CENTRE}
    return {
        "data": {"images": [image], "annotations": [one | {"hand_type_valid": 1}]},
        "camera": {"3": {name: {"400026": value} for name, value in view.items()}},
        "joint_3d": {"3": {"69148": {"world_coord": world.tolist(), "joint_valid": flags[1], "hand_type": hand_type}}},
    }


def tree(folder, content=None, *, split="test", place="annotations/{split}"):
    annotations = folder / place.format(split=split)
    annotations.mkdir(parents=True, exist_ok=True)
    for name, value in (content or files()).items():
        (annotations / f"InterHand2.6M_{split}_{name}.json").write_text(json.dumps(value))
    image = folder / f"images/{split}/Capture3/0390_dh/cam400026/image69148.jpg"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(image)
    return folder


def test_both_hands_of_an_image_are_examples_in_metres_of_its_camera(tmp_path):
    rows = interhand.splits(tree(tmp_path))["test"]
    assert [row.id for row in rows] == ["test/5-right", "test/5-left"]
    for row, truth, left in zip(rows, camera_hands(), (False, True), strict=True):
        found = interhand.annotation(row)
        np.testing.assert_allclose(found.joints_3d, truth, atol=1e-6)
        np.testing.assert_array_equal(found.intrinsics, K)
        assert found.left is left
        stored = record(found)
        assert (stored["hand"], stored["source"]) == ("left" if left else "right", "interhand")
        assert validation.thumb_side(stored["joints_3d"][None].astype(float))[0] > validation.UNDECIDED
        box, points = stored["box"], stored["joints_2d"]
        np.testing.assert_allclose(box, [*points.min(axis=0), *points.max(axis=0)], atol=1e-3)  # of this hand alone


@pytest.mark.parametrize("hand_type", ["right", "left"])
def test_single_hand_is_one_example(tmp_path, hand_type):
    (row,) = interhand.splits(tree(tmp_path, files(hand_type=hand_type)))["test"]
    right, left = camera_hands()
    truth = left if hand_type == "left" else right
    np.testing.assert_allclose(interhand.annotation(row).joints_3d, truth, atol=1e-6)


def test_unannotated_joints_and_joints_outside_the_image_are_unknown(tmp_path):
    # The right hand's thumb tip and wrist, and the left hand's index tip.
    right, left = map(record, map(interhand.annotation, interhand.splits(
        tree(tmp_path, files(inside=[0], annotated=[20, 25])))["test"]))  # fmt: skip
    assert np.flatnonzero(~right["joints_3d_valid"]).tolist() == [0, 4]
    assert np.flatnonzero(~left["joints_3d_valid"]).tolist() == [8]
    assert right["visibility"].tolist() == [0, 2, 2, 2, 0, *[2] * 16]
    assert not right["joints_3d"][[0, 4]].any()


def test_hand_with_too_few_valid_joints_is_skipped(tmp_path):
    folder = tree(tmp_path, files(annotated=range(25, 42)))
    right, left = interhand.splits(folder)["test"]
    interhand.annotation(right)
    with pytest.raises(SkipRow, match="fewer than 5 valid joints"):
        interhand.annotation(left)
    assert np.isfinite(interhand.annotation(interhand.splits(folder, minimum_valid=4)["test"][1]).joints_3d).sum() == 12


@pytest.mark.parametrize("place", ["annotations/{split}", "annotations/all", "annotations/machine_annot", ""])
def test_annotations_of_every_version_are_found(tmp_path, place):
    for split in ("train", "val", "test"):
        tree(tmp_path, split=split, place=place)
    found = interhand.splits(tmp_path)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2, "validation": 2, "test": 2}
    for split, rows in found.items():
        folder = {"validation": "val"}.get(split, split)
        assert interhand.annotation(rows[0]).image.is_relative_to(tmp_path / "images" / folder)


def test_missing_image_stops_or_is_skipped_and_may_be_in_another_folder(tmp_path):
    folder = tree(tmp_path / "here")
    (folder / "images").rename(tmp_path / "pictures")
    with pytest.raises(
        FileNotFoundError, match=r"annotation 5, right hand .*expected an image .*image69148.jpg .*--images"
    ):
        interhand.annotation(interhand.splits(folder)["test"][0])
    with pytest.raises(SkipRow, match="its image is missing"):
        interhand.annotation(interhand.splits(folder, partial=True)["test"][0])
    row = interhand.splits(folder, images=str(tmp_path / "pictures"))["test"][0]
    assert interhand.annotation(row).image.is_file()


def changed(name, path, value):
    """The files with one field changed; `path` are the keys to it."""
    content = files()
    inner = content[name]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            changed("data", ["images"], []),
            "test_data.json: expected a data file of InterHand2.6M, got a file without 8",
        ),
        (changed("data", ["annotations"], None), "test_data.json: expected a data file of InterHand2.6M"),
        (changed("data", ["annotations", 0, "hand_type"], "both"), "annotation 5: hand_type: expected .* got 'both'"),
        (
            changed("data", ["annotations", 0, "joint_valid"], [[1]] * 21),
            r"annotation 5: joint_valid: expected numbers .*, got \[21, 1\]",
        ),
        (
            changed("data", ["annotations", 0, "joint_valid"], "all"),
            "annotation 5: joint_valid: expected numbers .*, got all",
        ),
        (
            changed("data", ["images", 0, "file_name"], "../../x.jpg"),
            "annotation 5, right hand .*path below the folder",
        ),
        (
            changed("data", ["images", 0, "camera"], "9"),
            "annotation 5: expected camera 9 of capture 3 in .*camera.json",
        ),
        (
            changed("camera", ["3", "camrot", "400026"], [[1, 0], [0, 1]]),
            "camrot of the camera: expected numbers .3, 3., got",
        ),
        (changed("camera", ["3", "focal", "400026"], ["a", 1]), "focal of the camera: expected numbers .2., got"),
        (
            changed("joint_3d", ["3"], {}),
            "joint_3d.json: frame 69148 of capture 3: .* no entry '69148'; fetch the file",
        ),
        (
            changed("joint_3d", ["3", "69148", "world_coord"], [[0, 0, 1]] * 20),
            r"world_coord: expected numbers .*, got \[20, 3\]",
        ),
        (changed("joint_3d", ["3", "69148", "world_coord"], [[0, 0, 1e39]] * 42), "expected finite valid joints"),
    ],
)
def test_file_of_another_form_is_refused_with_its_place(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        _ = [interhand.annotation(row) for row in interhand.splits(tree(tmp_path, content))["test"]]


HOSTILE = [None, True, -1, 1e308, 10**400, float("nan"), "text", "a\0b", [], [[1, 2]], {}, ["x"] * 4]


@pytest.mark.parametrize(
    ("name", "path"),
    [("data", [group, 0, field]) for group, field in [
        ("images", "id"), ("images", "file_name"), ("images", "width"), ("images", "capture"), ("images", "camera"),
        ("images", "frame_idx"), ("annotations", "id"), ("annotations", "image_id"), ("annotations", "joint_valid"),
        ("annotations", "hand_type"),
    ]]
    + [("data", ["images"]), ("data", ["annotations"]), ("data", ["annotations", 0]), ("camera", ["3"])]
    + [("camera", ["3", field, "400026"]) for field in ("campos", "camrot", "focal", "princpt")]
    + [("joint_3d", ["3"]), ("joint_3d", ["3", "69148"])]
    + [("joint_3d", ["3", "69148", field]) for field in ("world_coord", "joint_valid")],
)  # fmt: skip
def test_field_of_any_type_is_read_or_raises_value_error(tmp_path, name, path):
    for value in HOSTILE:
        folder = tree(tmp_path, changed(name, path, value))
        with contextlib.suppress(ValueError, FileNotFoundError, SkipRow):  # and nothing else
            for row in interhand.splits(folder)["test"]:
                record(interhand.annotation(row))


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected annotations/train/InterHand2.6M_train_data.json, .* got none"
    ):
        interhand.splits(tmp_path)
    file = tree(tmp_path) / "annotations/test/InterHand2.6M_test_camera.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"InterHand2.6M_test_camera.json: expected JSON, got a damaged file"):
        interhand.splits(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected .*InterHand2.6M_test_camera.json, got no such file"):
        interhand.splits(tmp_path)
    for options in ({"minimum_valid": 0}, {"minimum_valid": 22}):
        with pytest.raises(ValueError, match="minimum_valid"):
            interhand.splits(tmp_path, **options)


def test_dataset_is_built(tmp_path, capsys):
    command = ["data", "build", "interhand", "--source", str(tree(tmp_path)), "--out", str(tmp_path), "--workers", "1"]
    assert cli.main(command) == 0
    assert "test: 2 hands, 2 with all 3D joints, 0 with some, 0 with none; 1 left hands" in capsys.readouterr().out
    for one, truth in zip(store.records(store.find("interhand", tmp_path), "test"), camera_hands(), strict=True):
        mirror = [-1, 1, 1] if one["hand"] else [1, 1, 1]
        np.testing.assert_allclose(one["joints_3d"], truth * mirror, atol=1e-6)
        np.testing.assert_allclose(
            project(one["joints_3d"].astype(float), one["intrinsics"]), one["joints_2d"], atol=1e-3
        )
