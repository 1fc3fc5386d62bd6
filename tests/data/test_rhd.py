"""RHD: the chosen hand, FreiHAND order, exact mirroring, and errors that name the entry."""

import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image
from support import paths
from support.rhd_files import LEFT, ORDER, RIGHT, entry, tree

from bmc_jax.core import validation
from bmc_jax.data import record
from bmc_jax.data.readers import annotation, rhd

MINI = paths.SHARED / "rhd_mini"
#: From RHD's tip-first order to FreiHAND's, written out.


def read(folder, **options):
    """Annotations of the training rows."""
    return [rhd.annotation(row) for row in rhd.splits(folder, partial=True, **options)["train"]]


def mini():
    if not MINI.is_dir():
        pytest.skip("no RHD sample on this machine")
    raw = pickle.loads((MINI / "training/anno_training.pickle").read_bytes(), encoding="latin1")
    rows = rhd.splits(MINI, partial=True)["train"]
    assert len(rows) == len(raw) == 3
    return [(raw[number], rhd.annotation(row)) for number, row in enumerate(rows)]


def chain(joints):
    """Length of each finger from the wrist along its joints, in the order that they come."""
    fingers = joints[1:].reshape(5, 4, 3)
    path = np.concatenate([np.broadcast_to(joints[0], (5, 1, 3)), fingers], axis=1)
    return np.linalg.norm(np.diff(path, axis=1), axis=-1).sum(axis=1)


def test_real_samples_equal_an_independent_reading():
    for (raw, made), side in zip(mini(), ["left", "left", "right"], strict=True):
        rows = LEFT if side == "left" else RIGHT
        stored = record.record(made)
        assert stored["hand"] == side
        xyz = raw["xyz"][rows][ORDER] * ([-1, 1, 1] if side == "left" else [1, 1, 1])
        np.testing.assert_allclose(stored["joints_3d"], xyz, atol=1e-6)

        image = np.array(Image.open(made.image))
        cut = np.array(Image.open(io.BytesIO(stored["image"]))).astype(int)
        height, width = cut.shape[:2]
        top = round(raw["K"][1, 2] - stored["intrinsics"][1, 2])
        if side == "left":
            left = round(raw["K"][0, 2] - (width - 1 - stored["intrinsics"][0, 2]))
            u = width - 1 - (raw["uv_vis"][rows][ORDER, 0] - left)
            expected = image[top : top + height, left : left + width][:, ::-1]
        else:
            left = round(raw["K"][0, 2] - stored["intrinsics"][0, 2])
            u = raw["uv_vis"][rows][ORDER, 0] - left
            expected = image[top : top + height, left : left + width]
        np.testing.assert_allclose(stored["joints_2d"][:, 0], u, atol=1e-3)
        np.testing.assert_allclose(stored["joints_2d"][:, 1], raw["uv_vis"][rows][ORDER, 1] - top, atol=1e-3)
        assert np.abs(cut - expected).mean() < 3
        assert stored["visibility"].tolist() == [2] * 21


def test_real_samples_reproject_and_have_the_bones_of_right_hands():
    for _, made in mini():
        stored = record.record(made)
        assert record.reprojection_error(stored) < 0.1
        joints = stored["joints_3d"].astype(float)
        fingers = joints[1:].reshape(5, 4, 3)
        bones = np.linalg.norm(np.diff(fingers, axis=1), axis=-1)
        assert ((bones > 0.01) & (bones < 0.07)).all()
        assert 0.02 < stored["scale"] < 0.05
        assert stored["scale"] == pytest.approx(np.linalg.norm(joints[10] - joints[9]), abs=1e-6)
        assert np.argmax(bones.sum(axis=1)[1:]) == 1  # the middle finger
        assert (bones[1:, 0] > bones[1:, 2]).all()  # proximal phalanges are longer than distal ones
        # As RHD stores it, tip first, a finger's path from the wrist would go to its tip and back.
        assert chain(joints).sum() < 0.9 * chain(joints[ORDER]).sum()
        assert validation.thumb_side(joints[None])[0] > validation.UNDECIDED


def test_hand_with_more_visible_joints_is_chosen(tmp_path):
    entries = {0: entry(left_seen=12, right_seen=9), 1: entry(left_seen=9, right_seen=12), 2: entry()}
    assert [made.left for made in read(tree(tmp_path, entries))] == [True, False, False]


def test_hand_of_larger_area_is_chosen(tmp_path):
    mask = np.ones((320, 320), np.uint8)  # a person
    mask[:10, :10], mask[20:30, :5] = 17, 18
    folder = tree(tmp_path, {0: entry(left_seen=9)}, mask=mask)
    assert [made.left for made in read(folder, hand="mask")] == [True]
    mask[40:50, :10], mask[50:60, :10] = 33, 34
    tree(tmp_path, {0: entry(left_seen=9)}, mask=mask)
    assert [made.left for made in read(folder, hand="mask")] == [False]


def test_both_hands_are_separate_examples(tmp_path):
    folder = tree(tmp_path, {0: entry(), 1: entry(left=False)})
    made = read(folder, hand="both")
    assert [one.id for one in made] == ["training/00000-left", "training/00000-right", "training/00001-right"]
    assert [one.left for one in made] == [True, False, False]


@pytest.mark.parametrize("choice", rhd.CHOICES)
def test_hand_that_is_not_annotated_is_never_chosen(tmp_path, choice):
    folder = tree(tmp_path, {0: entry(right=False, left_seen=5), 1: entry(left=False, right_seen=5)})
    assert [made.left for made in read(folder, hand=choice)] == [True, False]


def test_hands_with_too_few_visible_joints_are_skipped(tmp_path):
    folder = tree(tmp_path, {0: entry(left_seen=4, right_seen=3)})
    with pytest.raises(annotation.SkipRow, match="fewer than 5 visible joints"):
        read(folder)
    assert read(folder, minimum_visible=4)[0].left
    with pytest.raises(annotation.SkipRow, match="no hand is annotated"):
        read(tree(tmp_path, {0: entry(left=False, right=False)}))


def test_occluded_joints_keep_their_labels(tmp_path):
    both = entry(left=False, right_seen=8)
    made = read(tree(tmp_path, {0: both}))[0]
    stored = record.record(made)
    seen = np.arange(21)[ORDER] < 8
    assert stored["visibility"].tolist() == [2 if one else 1 for one in seen]
    assert stored["joints_3d_valid"].all()
    np.testing.assert_allclose(made.joints_2d, both["uv_vis"][RIGHT][ORDER, :2])


@pytest.mark.parametrize("joint", [0, 7, 20])
def test_mirrored_label_is_at_its_pixel(tmp_path, joint):
    both = entry(right=False)
    at = both["uv_vis"][joint, :2]
    u, v = np.meshgrid(np.arange(320), np.arange(320))
    dot = 255 * np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / 18)
    made = read(tree(tmp_path, {0: both}, image=dot.astype(np.uint8)[..., None].repeat(3, axis=-1)))[0]
    stored = record.record(made)
    image = np.array(Image.open(io.BytesIO(stored["image"])))[..., 0].astype(float)
    image[image < 8] = 0  # what JPEG leaves of black
    v, u = np.indices(image.shape)
    centroid = np.array([(u * image).sum(), (v * image).sum()]) / image.sum()
    np.testing.assert_allclose(stored["joints_2d"][ORDER.index(joint)], centroid, atol=0.1)
    assert record.reprojection_error(stored) < 1e-3
    np.testing.assert_allclose(stored["joints_3d"], both["xyz"][LEFT][ORDER] * [-1, 1, 1], rtol=1e-6)


def test_official_counts_are_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(rhd, "_images", lambda folder: set(range(41_258 if "training" in str(folder) else 2_728)))
    one = entry()
    for split, count in (("training", 41_258), ("evaluation", 2_728)):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"anno_{split}.pickle").write_bytes(pickle.dumps(dict.fromkeys(range(count), one), 2))
    found = rhd.splits(tmp_path)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 41_258, "test": 2_728}
    assert [row.number for row in found["test"]] == list(range(2_728))
    assert len({row.id for rows in found.values() for row in rows}) == 41_258 + 2_728
    monkeypatch.setattr(rhd, "SPLITS", {"test": "evaluation"})
    assert len({row.id for row in rhd.splits(tmp_path, hand="both")["test"]}) == 2 * 2_728


def test_folder_and_its_parent_are_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(rhd, "COUNTS", {"training": 2, "evaluation": 1})
    folder = tmp_path / "RHD_published_v2"
    tree(folder, {0: entry(), 1: entry()})
    tree(folder, {0: entry()}, split="evaluation")
    for source in (folder, tmp_path):
        found = rhd.splits(source)
        assert {split: [row.id for row in rows] for split, rows in found.items()} == {
            "train": ["training/00000", "training/00001"],
            "test": ["evaluation/00000"],
        }


def changed(**changes):
    """An entry of a right hand with other arrays."""
    return entry(left=False) | changes


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([1, 2], r"anno_training\.pickle: expected a dict"),
        ({"a": entry()}, r"anno_training\.pickle: expected a dict"),
        ({0: 3}, "entry 0: uv_vis: expected numbers .*, got NoneType"),
        ({0: {"uv_vis": np.zeros((42, 3))}}, "entry 0: xyz: .* got NoneType"),
        ({0: entry(), 1: changed(xyz=np.zeros((21, 3)))}, r"entry 1: xyz: .* \[42, 3\], got float64 \[21, 3\]"),
        ({0: changed(uv_vis=np.zeros((42, 3), object))}, r"entry 0: uv_vis: .* got object \[42, 3\]"),
        ({0: changed(K=np.zeros((3, 4)))}, r"entry 0: K: .* got float64 \[3, 4\]"),
        ({7: entry()}, "expected images of the 1 entries .*, got none"),
        ({}, "expected images of the 0 entries .*, got none"),
    ],
)
def test_entries_of_another_form_are_named(tmp_path, entries, message):
    tree(tmp_path, {0: entry(), 1: entry()})
    (tmp_path / "training/anno_training.pickle").write_bytes(pickle.dumps(entries, 2))
    with pytest.raises(ValueError, match=message):
        rhd.splits(tmp_path, partial=True)


def with_joint(name, joint, value):
    array = entry(left=False)[name].copy()
    array[joint] = value
    return changed(**{name: array})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (with_joint("xyz", 30, np.nan), r"entry 0, right hand: keypoint 9: .* got .*nan.* damaged"),
        (with_joint("uv_vis", 21, np.inf), r"entry 0, right hand: keypoint 0: .* got .*inf"),
        (changed(xyz=entry(left=False)["xyz"] * 1000), r"entry 0, right hand: wrist: expected a depth .* millimetres"),
        (changed(xyz=entry(left=False)["xyz"] * [1, 1, -1]), "behind the camera"),
        (changed(K=np.diag([-300.0, 300, 1])), "K: expected .* positive focal"),
        (changed(K=np.zeros((3, 3))), "K: expected"),
        (
            changed(K=np.array([[300.0, 0, 20], [0, 300, 40], [0, 0, 1]])),
            "project onto the 2D joints, got a mean distance of .* px",
        ),
        (
            changed(xyz=entry(left=False)["xyz"] * [-1, 1, 1]),
            "project onto the 2D joints, got a mean distance of .* px",
        ),
    ],
)
def test_implausible_labels_are_named(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        record.record(read(tree(tmp_path, {0: bad}))[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hand": "larger"}, "hand: expected one of visible, mask, both, got 'larger'"),
        ({"minimum_visible": 22}, "minimum_visible: .* got 22"),
        ({"minimum_visible": -1}, "minimum_visible: .* got -1"),
    ],
)
def test_unknown_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        rhd.splits(tree(tmp_path, {0: entry()}), partial=True, **options)


def test_incomplete_tree_is_named(tmp_path, monkeypatch):
    tree(tmp_path, {0: entry(), 1: entry(), 2: entry()})
    with pytest.raises(ValueError, match=r"expected 41,258 .*, got 3 annotations and 3 images.*--partial"):
        rhd.splits(tmp_path)
    monkeypatch.setattr(rhd, "COUNTS", {"training": 3})
    (tmp_path / "training/color/00001.png").unlink()
    with pytest.raises(ValueError, match=r"3 annotations and 2 images; the first missing one is 00001\.png"):
        rhd.splits(tmp_path)
    assert [row.number for row in rhd.splits(tmp_path, partial=True)["train"]] == [0, 2]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder training or evaluation of RHD, got neither"):
        rhd.splits(tmp_path)
    (tmp_path / "training").mkdir()
    with pytest.raises(FileNotFoundError, match=r"anno_training\.pickle"):
        rhd.splits(tmp_path)
    tree(tmp_path, {0: entry()})
    with pytest.raises(FileNotFoundError, match=r"entry 0: expected the mask .*00000\.png, .*--hand visible"):
        read(tmp_path, hand="mask")
    (tmp_path / "training/mask/00000.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with pytest.raises(ValueError, match=r"mask .*00000\.png: expected an image, got a damaged"):
        read(tmp_path, hand="mask")
    tree(tmp_path, {0: entry()}, mask=np.zeros((320, 320, 3), np.uint8))
    with pytest.raises(ValueError, match="expected one channel of part numbers, got 3"):
        read(tmp_path, hand="mask")
    os.rename(tmp_path / "training/color", tmp_path / "training/colour")
    with pytest.raises(FileNotFoundError, match=r"expected the folder .*color"):
        rhd.splits(tmp_path)


def test_malicious_annotations_are_refused(tmp_path):
    tree(tmp_path, {0: entry()})
    marker = tmp_path / "ran"
    (tmp_path / "training/anno_training.pickle").write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(
        ValueError, match=r"anno_training\.pickle: expected a pickle of plain data, got a call of os\.system"
    ):
        rhd.splits(tmp_path, partial=True)
    assert not marker.exists()


def test_rows_can_be_pickled(tmp_path):
    row = rhd.splits(tree(tmp_path, {0: entry()}), partial=True)["train"][0]
    copy = pickle.loads(pickle.dumps((rhd.annotation, row)))
    np.testing.assert_array_equal(copy[0](copy[1]).joints_3d, rhd.annotation(row).joints_3d)
