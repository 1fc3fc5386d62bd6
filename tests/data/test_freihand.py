"""FreiHAND: rows and their labels, the versions of an image in one split, and errors that name file and row."""

import io
import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from support import paths
from support.freihand_files import K, images, poses, rows, tree, write

from bmc_jax.core import validation as screening
from bmc_jax.data import record
from bmc_jax.data.readers import freihand

MINI = paths.SHARED / "freihand_mini"


def mini(name):
    if not MINI.is_dir():
        pytest.skip("no FreiHAND sample on this machine")
    return json.loads((MINI / f"training_{name}.json").read_text())


def test_real_samples_equal_an_independent_reading():
    intrinsics, xyz, scale = np.array(mini("K")), np.array(mini("xyz")), mini("scale")
    found = freihand.splits(MINI, partial=True, validation=0.0)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 5}
    for number, row in enumerate(found["train"]):
        stored = record.record(freihand.annotation(row))
        assert (stored["id"], stored["hand"], stored["source"]) == (f"training/{number:08d}", "right", "freihand")
        np.testing.assert_allclose(stored["joints_3d"], xyz[number], rtol=1e-6)
        assert stored["scale"] == pytest.approx(scale[number], rel=1e-6)
        left, top = np.round(intrinsics[number, :2, 2] - stored["intrinsics"][:2, 2]).astype(int)
        expected = xyz[number] @ intrinsics[number].T
        expected = expected[:, :2] / expected[:, 2:] - [left, top]
        np.testing.assert_allclose(stored["joints_2d"], expected, atol=1e-3)
        image = np.array(Image.open(MINI / f"training/rgb/{number:08d}.jpg")).astype(int)
        cut = np.array(Image.open(io.BytesIO(stored["image"])))
        height, width = cut.shape[:2]
        assert np.abs(image[top : top + height, left : left + width] - cut).mean() < 3
        assert record.reprojection_error(stored) < 0.1


def test_real_samples_have_the_bones_of_right_hands():
    mini("xyz")
    for row in freihand.splits(MINI, partial=True, validation=0.0)["train"]:
        joints = freihand.annotation(row).joints_3d
        fingers = joints[1:].reshape(5, 4, 3)
        bones = np.linalg.norm(np.diff(fingers, axis=1), axis=-1)
        assert ((bones > 0.01) & (bones < 0.07)).all()
        assert 0.02 < row.scale < 0.05
        reach = bones.sum(axis=1) + np.linalg.norm(fingers[:, 0] - joints[0], axis=-1)
        assert reach.argmax() == 2  # the middle finger
        assert reach[1:].argmin() == 3  # the little one
        assert (bones[1:, 0] > bones[1:, 2]).all()  # proximal phalanges are longer than distal ones
        path = np.linalg.norm(np.diff(fingers, axis=1), axis=-1).sum()
        shuffled = joints[1:][np.random.default_rng(0).permutation(20)].reshape(5, 4, 3)
        assert path < 0.6 * np.linalg.norm(np.diff(shuffled, axis=1), axis=-1).sum()
        assert screening.thumb_side(joints[None])[0] > screening.UNDECIDED


def test_official_counts_are_exact_and_no_hand_is_in_two_splits(tmp_path, monkeypatch):
    def there(folder, count, partial):
        assert count == (130_240 if "training" in str(folder) else 3_960)
        return set(range(count))

    monkeypatch.setattr(freihand, "_images", there)
    one = {name: json.dumps(content[0]) for name, content in rows(1).items()}
    for split, count in (("training", 32_560), ("evaluation", 3_960)):
        (tmp_path / split / "rgb").mkdir(parents=True)
        for name, text in one.items():
            (tmp_path / f"{split}_{name}.json").write_text("[" + ",".join([text] * count) + "]")
    found = freihand.splits(tmp_path)
    counts = {split: len(rows) for split, rows in found.items()}
    assert counts == {"train": 4 * 29_304, "validation": 4 * 3_256, "test": 3_960}
    train, held_out = ({row.number for row in found[split]} for split in ("train", "validation"))
    assert len(train) == 29_304
    assert len(held_out) == 3_256
    assert not train & held_out
    assert len({row.id for rows in found.values() for row in rows}) == 130_240 + 3_960
    for split in ("train", "validation", "test"):
        assert [row.image for row in found[split]] == sorted(row.image for row in found[split])


def test_versions_of_an_image_share_its_row(tmp_path, monkeypatch):
    monkeypatch.setitem(freihand.COUNTS, "training", 4)
    xyz = json.loads((tree(tmp_path) / "training_xyz.json").read_text())
    found = freihand.splits(tmp_path, versions=("auto", "hom"), validation=0.0)["train"]
    assert [row.id for row in found] == [f"training/{number:08d}" for number in (4, 5, 6, 7, 12, 13, 14, 15)]
    for row in found:
        number = int(row.id[-8:]) % 4
        assert row.number == number
        np.testing.assert_array_equal(freihand.annotation(row).joints_3d, xyz[number])
        assert freihand.annotation(row).image.name == f"{row.id[-8:]}.jpg"


def test_validation_rows_are_the_same_for_every_choice_of_versions_and_nested(tmp_path):
    tree(tmp_path, unique=20)

    def held_out(**options):
        found = freihand.splits(tmp_path, partial=True, **options)
        validation = {row.number for row in found.get("validation", [])}
        assert {row.number for row in found["train"]} == set(range(20)) - validation
        return validation

    assert held_out() == held_out(versions=("sample",)) == held_out(versions=("gs", "auto"))
    assert held_out() == {2, 7}  # the documented rule: of sha256("bmc_jax freihand 0 N") the two smallest
    assert held_out() < held_out(validation=0.3)
    assert len(held_out(validation=0.3)) == 6
    assert held_out(validation=0.0) == set()


def test_partial_tree_has_the_rows_with_an_image(tmp_path):
    tree(tmp_path, unique=3, versions=1, evaluation=2)
    (tmp_path / "training/rgb/00000001.jpg").unlink()
    (tmp_path / "evaluation/rgb/00000000.jpg").unlink()
    found = freihand.splits(tmp_path, partial=True, validation=0.0)
    assert {split: [row.id for row in rows] for split, rows in found.items()} == {
        "train": ["training/00000000", "training/00000002"],
        "test": ["evaluation/00000001"],
    }


def test_evaluation_has_no_joints_unless_they_are_published(tmp_path):
    row = freihand.splits(tree(tmp_path, unique=0, evaluation=2), partial=True)["test"][1]
    stored = record.record(freihand.annotation(row))
    assert not stored["joints_3d_valid"].any()
    assert not stored["visibility"].any()
    assert stored["scale"] == pytest.approx(rows(2)["scale"][1])


def test_published_joints_are_found_in_either_root(tmp_path):
    expected = rows(2)
    separate = tmp_path / "separate"
    tree(separate / "FreiHAND_pub_v2", evaluation=2)
    tree(separate / "FreiHAND_pub_v2_eval", unique=0, evaluation=2, joints=True)
    nested = tree(tmp_path / "nested", evaluation=2)
    tree(nested / "FreiHAND_pub_v2_eval", unique=0, evaluation=2, joints=True)
    one = tree(tmp_path / "one", evaluation=2, joints=True)
    only = separate / "FreiHAND_pub_v2_eval"
    for source in (separate, separate / "FreiHAND_pub_v2", nested, one, only):
        found = freihand.splits(source, partial=True)
        assert ("train" in found) == (source != only)
        for number, row in enumerate(found["test"]):
            np.testing.assert_array_equal(freihand.annotation(row).joints_3d, expected["xyz"][number])
    assert "test" not in freihand.splits(tree(tmp_path / "no evaluation"), partial=True)


def test_box_of_the_evaluation_does_not_depend_on_its_joints(tmp_path):
    found = freihand.splits(tree(tmp_path, evaluation=3, joints=True), partial=True)["test"]
    assert len({freihand.annotation(row).box for row in found}) == 1
    left, top, right, bottom = freihand.annotation(found[0]).box
    assert (left + right, top + bottom) == (223, 223)
    assert right - left == bottom - top == freihand.EVALUATION_BOX
    stored = [record.record(freihand.annotation(row)) for row in found]
    for one in stored[1:]:
        np.testing.assert_array_equal(one["box"], stored[0]["box"])
        np.testing.assert_array_equal(one["intrinsics"], stored[0]["intrinsics"])


def test_first_version_is_refused(tmp_path):
    lists = rows(4)
    lists["K"] = [[[480.0, 0.0, 112.0 + 60 * (i > 0)], [0.0, 480.0, -31.0], [0.0, 0.0, 1.0]] for i in range(4)]
    write(tree(tmp_path / "tree"), "training", lists)
    with pytest.raises(
        ValueError, match=r"training_K\.json: expected FreiHAND v2, got v1.*4 of 4 .*row 0 is \[112\.0, -31\.0\]"
    ):
        freihand.splits(tmp_path / "tree", partial=True)
    named = tree(tmp_path / "FreiHAND_pub_v1", unique=0, evaluation=2)
    with pytest.raises(ValueError, match=r"evaluation_K\.json: .*got v1.*name of its folder.*pub_v2\.zip"):
        freihand.splits(named, partial=True)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("K", 16, r"training_K\.json: expected 4 rows, one per unique image .*got 16; .*--partial"),
        ("xyz", 2, r"training_xyz\.json: expected 4 rows, .*got 2"),
        ("scale", 0, r"training_scale\.json: expected 4 rows, .*got 0"),
    ],
)
def test_list_of_another_length_is_named(tmp_path, monkeypatch, name, count, message):
    monkeypatch.setitem(freihand.COUNTS, "training", 4)
    write(tree(tmp_path), "training", {name: (rows(4)[name] * 4)[:count]})
    with pytest.raises(ValueError, match=message):
        freihand.splits(tmp_path)


def test_lists_of_partial_trees_must_agree(tmp_path):
    write(tree(tmp_path), "training", {"xyz": rows(3)["xyz"]})
    with pytest.raises(ValueError, match=r"training_xyz\.json: expected 4 rows, .*got 3"):
        freihand.splits(tmp_path, partial=True)


def test_official_tree_of_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training_K\.json: expected 32,560 rows.*32,560 in training.*3,960.*got 4"):
        freihand.splits(tree(tmp_path / "training"))
    write(tree(tmp_path / "test", unique=0, evaluation=1), "evaluation", {"K": [K] * 1980})
    with pytest.raises(ValueError, match=r"evaluation_K\.json: expected 3,960 rows.*got 1,980"):
        freihand.splits(tmp_path / "test")


def test_images_of_another_number_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(freihand.COUNTS, "training", 4)
    folder = tree(tmp_path) / "training/rgb"
    (folder / "00000009.jpg").unlink()
    with pytest.raises(ValueError, match=r"rgb: expected 16 images, got 15, .* 00000009\.jpg.*--partial"):
        freihand.splits(tmp_path)
    images(folder, [9, 16, 17])
    for partial in (False, True):
        with pytest.raises(ValueError, match=r"expected 16 images, .*got 2 more, such as 00000016\.jpg"):
            freihand.splits(tmp_path, partial=partial)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ValueError, match=r"expected images from 00000000\.jpg to 00000015\.jpg, got none"):
        freihand.splits(tmp_path, partial=True)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("xyz", [[0.0, 0.0, 0.5]] * 20, r"training_xyz\.json: row 2: expected the shape \[21, 3\], got \[20, 3\]"),
        ("xyz", [[0.0, 0.0, 0.5]] * 20 + [[0.0, 0.5]], r"training_xyz\.json: row 2: .* got lists of unequal lengths"),
        ("xyz", [["a", 0.0, 0.5]] * 21, r"training_xyz\.json: expected numbers, got other values"),
        ("K", [[1.0, 0.0], [0.0, 1.0]], r"training_K\.json: row 2: expected the shape \[3, 3\], got \[2, 2\]"),
        ("scale", [0.03], r"training_scale\.json: row 2: expected the shape \[\], got \[1\]"),
    ],
)
def test_rows_of_another_form_are_named(tmp_path, name, row, message):
    lists = rows(4)
    lists[name][2] = row
    write(tree(tmp_path), "training", lists)
    with pytest.raises(ValueError, match=message):
        freihand.splits(tmp_path, partial=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("xyz", lambda xyz: np.where(np.arange(21)[:, None] == 7, np.nan, xyz), r"index DIP: .* got \[nan, nan, nan\]"),
        ("xyz", lambda xyz: xyz * 1000, "expected the row's scale 0.03 .*, got 30; .* not in metres"),
        ("xyz", lambda xyz: xyz[::-1], "expected the row's scale"),
        ("scale", lambda scale: scale * 1.05, "expected the row's scale 0.0315"),
        ("scale", lambda scale: scale * np.nan, "expected the row's scale nan"),
        ("K", lambda k: k * [[-1], [1], [1]], "K: expected .* positive focal lengths"),
        ("K", lambda k: k * 0, "K: expected"),
        ("K", lambda k: k * np.nan, "K: expected"),
        ("xyz", lambda xyz: xyz * [1, -1, -1], "behind the camera"),
    ],
)
def test_implausible_labels_are_named_by_row(tmp_path, name, change, message):
    lists = rows(4)
    lists[name][2] = change(np.array(lists[name][2])).tolist()
    write(tree(tmp_path), "training", lists)
    found = freihand.splits(tmp_path, partial=True, validation=0.0)["train"]
    record.record(freihand.annotation(found[1]))
    with pytest.raises(ValueError, match=rf"training_xyz\.json: row 2: .*{message}"):
        record.record(freihand.annotation(found[2]))


def test_dataset_in_millimetres_is_named(tmp_path):
    write(tree(tmp_path), "training", rows(4, poses(4) * 1000))
    row = freihand.splits(tmp_path, partial=True)["train"][0]
    with pytest.raises(ValueError, match=r"training_xyz\.json: row \d: .* divide millimetres by 1000"):
        record.record(freihand.annotation(row))


def test_evaluation_scale_in_millimetres_is_named(tmp_path):
    tree(tmp_path, unique=0, evaluation=2)
    write(tmp_path, "evaluation", {"scale": [0.03, 30.0]})
    with pytest.raises(ValueError, match=r"evaluation_scale\.json: row 1: scale.* got 30;"):
        record.record(freihand.annotation(freihand.splits(tmp_path, partial=True)["test"][1]))


def test_joints_of_another_split_are_named(tmp_path):
    tree(tmp_path, evaluation=4)
    write(tmp_path, "evaluation", {"xyz": poses(4)[[1, 0, 3, 2]].tolist(), "scale": [0.03, 0.031, 0.032, 0.033]})
    with pytest.raises(ValueError, match=r"evaluation_xyz\.json: row 3: .* of two splits"):
        freihand.annotation(freihand.splits(tmp_path, partial=True)["test"][3])


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected training_K\.json or evaluation_K\.json of FreiHAND, got neither"
    ):
        freihand.splits(tmp_path)
    tree(tmp_path)
    (tmp_path / "training_scale.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected training_scale\.json, got no such file; unpack"):
        freihand.splits(tmp_path, partial=True)
    tree(tmp_path)
    (tmp_path / "training_xyz.json").write_text("[[[0.1, 0.2")
    with pytest.raises(ValueError, match=r"training_xyz\.json: expected JSON"):
        freihand.splits(tmp_path, partial=True)
    (tmp_path / "training_K.json").write_text("{}")
    with pytest.raises(ValueError, match=r"training_K\.json: expected .* rows, .*got 0"):
        freihand.splits(tmp_path, partial=True)
    shutil.rmtree(tmp_path / "training")
    with pytest.raises(FileNotFoundError, match="expected training/rgb, got no such file"):
        freihand.splits(tmp_path, partial=True)


def test_damaged_image_is_named(tmp_path):
    row = freihand.splits(tree(tmp_path), partial=True)["train"][0]
    file = pathlib.Path(row.image)
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(ValueError, match=rf"training_xyz\.json: row {row.number}: .*{file.name}: expected an image"):
        record.record(freihand.annotation(row))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"versions": ("gs", "green")}, r"versions: expected some of gs, hom, sample, auto, .*got gs, green"),
        ({"versions": ()}, "versions: .* got none"),
        ({"versions": ("gs", "gs")}, "each once"),
        ({"validation": 1.0}, "validation: .* got 1"),
        ({"validation": -0.1}, "validation: .* got -0.1"),
        ({"validation": float("nan")}, "validation: .* got nan"),
    ],
)
def test_unknown_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        freihand.splits(tree(tmp_path), partial=True, **options)


def test_rows_can_be_pickled(tmp_path):
    row = freihand.splits(tree(tmp_path), partial=True)["train"][3]
    copy = pickle.loads(pickle.dumps((freihand.annotation, row)))
    np.testing.assert_array_equal(copy[0](copy[1]).joints_3d, freihand.annotation(row).joints_3d)
