"""COCO-WholeBody: both hands of a person, what counts as a label, bodies of 133 keypoints, and places of files."""

import contextlib
import json

import numpy as np
import pytest
from PIL import Image
from support.annotations import HEIGHT, WIDTH, open_hand, project

from bmc_jax import cli
from bmc_jax.core import hand
from bmc_jax.data import store
from bmc_jax.data.readers import coco_hand, coco_wholebody
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.data.record import record

pytestmark = pytest.mark.filterwarnings("ignore:.*images? ha(s|ve) no 'K'")


def points(side):
    """Pixels of a hand that is at the left or at the right of the image, `[21, 2]`."""
    return project(open_hand(1.0, (0.12 if side == "left" else -0.12, 0.0)) * ([-1, 1, 1] if side == "left" else 1))


def person(**changes):
    """A person as in the annotation files, with a valid hand on each side, visible by floats."""
    fields = {"id": 442619, "image_id": 785, "category_id": 1, "iscrowd": 0, "keypoints": [0, 0, 0] * 17}
    for side in ("left", "right"):
        found = points(side)
        score = np.linspace(0.02, 1.0, 21)
        low, high = found.min(axis=0), found.max(axis=0)
        fields |= {
            f"{side}hand_valid": True,
            f"{side}hand_kpts": np.column_stack([found, score]).ravel().tolist(),
            f"{side}hand_box": [*low.tolist(), *(high - low).tolist()],
        }
    return fields | changes


def tree(folder, *people, name="annotations/coco_wholebody_val_v1.0.json", image="val2017/000000000785.jpg"):
    content = {
        "images": [{"id": 785, "file_name": "000000000785.jpg", "width": WIDTH, "height": HEIGHT}],
        "annotations": list(people) or [person()],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"] * 17}],
    }
    for file in (name, image):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / image)
    return folder


def read(folder, split="validation", **options):
    return [coco_wholebody.annotation(row) for row in coco_wholebody.splits(folder, **options)[split]]


def test_both_hands_of_a_person_are_examples(tmp_path):
    right, left = read(tree(tmp_path))
    assert (right.id, right.left, left.id, left.left) == ("442619-right", False, "442619-left", True)
    for found, side in ((right, "right"), (left, "left")):
        np.testing.assert_allclose(found.joints_2d, points(side))
        assert (found.visibility == 2).all()
        assert found.source == "coco_wholebody"
        stored = record(found)
        assert stored["hand"] == side
        assert not stored["joints_3d_valid"].any()
        np.testing.assert_allclose(found.box, [*points(side).min(axis=0), *points(side).max(axis=0)])


def test_invalid_hands_are_left_out(tmp_path):
    nothing = {"lefthand_valid": False, "lefthand_kpts": [0.0] * 63, "lefthand_box": [0.0] * 4}
    crowd = {"id": 9, "righthand_valid": False} | nothing
    assert [one.id for one in read(tree(tmp_path, person(**nothing), person(**crowd)))] == ["442619-right"]


@pytest.mark.parametrize("value", ["false", 2, [True]])
def test_validity_of_another_type_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"annotation 442619: lefthand_valid: expected true or false, got"):
        coco_wholebody.splits(tree(tmp_path, person(lefthand_valid=value)))


def test_hands_of_crowds_are_skipped(tmp_path):
    for row in coco_wholebody.splits(tree(tmp_path, person(iscrowd=1)))["validation"]:
        with pytest.raises(SkipRow, match="iscrowd is set"):
            coco_wholebody.annotation(row)


def test_keypoints_above_zero_or_the_threshold_are_labels(tmp_path):
    folder = tree(tmp_path)
    assert all((one.visibility > 0).all() for one in read(folder))
    expected = np.linspace(0.02, 1.0, 21) >= 0.5
    assert all(((one.visibility > 0) == expected).all() for one in read(folder, visibility_threshold=0.5))
    zero = person()
    zero["righthand_kpts"][3 * 4 : 3 * 4 + 3] = [0, 0, 0]
    assert np.flatnonzero(read(tree(tmp_path, zero))[0].visibility == 0).tolist() == [4]


@pytest.mark.parametrize("nested", [False, True])
def test_whole_bodies_of_133_keypoints_have_scores_and_need_a_threshold(tmp_path, nested):
    body = np.zeros((133, 3))
    body[91:112, :2], body[112:133, :2] = points("left"), points("right")
    body[91:, 2] = 0.7
    estimated = {"id": 1, "image_id": 785, "category_id": 1}
    folder = tree(tmp_path, estimated | {"keypoints": body.tolist() if nested else body.ravel().tolist()})
    with pytest.raises(ValueError, match=r"annotation 1 .*keypoint 0 .*got 0.7; .*--visibility-threshold"):
        read(folder)
    right, left = read(folder, visibility_threshold=0.3)
    np.testing.assert_allclose(right.joints_2d, points("right"))
    np.testing.assert_allclose(left.joints_2d, points("left"))


def test_coco_hand_names_the_reader_of_whole_bodies(tmp_path):
    folder = tree(tmp_path)
    content = json.loads((folder / "annotations/coco_wholebody_val_v1.0.json").read_text())
    (folder / "own.json").write_text(json.dumps(content))
    (row,) = coco_hand.splits(folder / "own.json")["train"]
    with pytest.raises(
        ValueError, match=r"expected a category of hands, got 'person'; .*bmc data build coco_wholebody"
    ):
        coco_hand.annotation(row)
    content["categories"][0]["name"] = "hand"
    content["annotations"][0]["hand_side"] = "right"
    (folder / "own.json").write_text(json.dumps(content))
    (row,) = coco_hand.splits(folder / "own.json")["train"]
    with pytest.raises(ValueError, match=r"keypoints: expected 21 .* got 17; .*bmc data build coco_wholebody"):
        coco_hand.annotation(row)


def test_tiny_hands_are_skipped(tmp_path):
    small = person()
    found = np.reshape(small["righthand_kpts"], (21, 3))
    found[:, :2] = 50 + 0.02 * found[:, :2]
    small |= {"righthand_kpts": found.ravel().tolist(), "righthand_box": [49.0, 49.0, 3.0, 3.0]}
    right, left = coco_wholebody.splits(tree(tmp_path, small))["validation"]
    with pytest.raises(SkipRow, match="its box is smaller than 4 pixels"):
        coco_wholebody.annotation(right)
    assert coco_wholebody.annotation(left).left


@pytest.mark.parametrize("side", ["right", "left"])
def test_another_order_is_read_only_if_stated(tmp_path, side):
    people = []
    for number in range(4):
        one = person(id=number)
        one[f"{side}hand_kpts"] = np.reshape(one[f"{side}hand_kpts"], (21, 3))[hand.TO_FREIHAND["rhd"]].ravel().tolist()
        people.append(one | {f"{'left' if side == 'right' else 'right'}hand_valid": False})
    folder = tree(tmp_path, *people)
    with pytest.raises(ValueError, match=r"expected keypoints in FreiHAND order, .* give --order rhd"):
        coco_wholebody.splits(folder)
    np.testing.assert_allclose(read(folder, order="rhd")[0].joints_2d, points(side))


@pytest.mark.parametrize("image", ["val2017", "images/val2017", "images", "."])
def test_images_are_found_in_usual_folders(tmp_path, image):
    folder = tree(tmp_path, image=f"{image}/000000000785.jpg")
    assert read(folder)[0].image.samefile(tmp_path / image / "000000000785.jpg")


def test_images_are_found_in_the_given_folder(tmp_path):
    folder = tree(tmp_path, image="elsewhere/val2017/000000000785.jpg")
    with pytest.raises(FileNotFoundError, match=r"annotation 442619 .*expected an image .*--images"):
        read(folder)
    assert read(folder, images=str(tmp_path / "elsewhere"))[0].image.is_file()


def test_files_and_splits(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected coco_wholebody_train_v1.0.json or"):
        coco_wholebody.splits(tmp_path)
    tree(tmp_path, name="coco_wholebody_train_v1.0.json", image="train2017/000000000785.jpg")
    assert list(coco_wholebody.splits(tree(tmp_path))) == ["train", "validation"]
    file = tmp_path / "coco_wholebody_train_v1.0.json"
    assert list(coco_wholebody.splits(file, split="test")) == ["test"]
    file.write_text("[]")
    with pytest.raises(ValueError, match="got a list, the form of COCO's results"):
        coco_wholebody.splits(file)
    with pytest.raises(FileNotFoundError, match="--images: expected the folder of the images, got nowhere"):
        coco_wholebody.splits(tmp_path / "annotations/coco_wholebody_val_v1.0.json", images="nowhere")


@pytest.mark.parametrize("field", ["righthand_kpts", "righthand_box", "righthand_valid", "keypoints", "id", "image_id"])
def test_field_of_any_type_is_read_or_raises_value_error(tmp_path, field):
    for value in [None, True, -1, 1e308, 10**400, float("nan"), "text", [], [[1, 2]], {}, ["x"] * 4, [[1, 2]] * 133]:
        folder = tree(tmp_path, person(**{field: value}))
        with contextlib.suppress(ValueError, SkipRow):  # and nothing else
            for row in coco_wholebody.splits(folder)["validation"]:
                record(coco_wholebody.annotation(row))


@pytest.mark.parametrize("options", [{"split": "eval"}, {"focal": 0.0}, {"visibility_threshold": -1.0}])
def test_unknown_option_is_refused(tmp_path, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        coco_wholebody.splits(tree(tmp_path), **options)


def test_dataset_is_built(tmp_path, capsys):
    command = ["data", "build", "coco_wholebody", "--source", str(tree(tmp_path)), "--out", str(tmp_path)]
    assert cli.main([*command, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "validation: 2 hands, 0 with all 3D joints, 0 with some, 2 with none; 1 left hands" in out
    assert "2D labels: 42 of 42 joints" in out
    assert len(store.records(store.find("coco_wholebody", tmp_path), "validation")) == 2
