"""Dexter+Object: tips in the colour camera's frame, invisible tips, and the pairing of frames and labels."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image
from support.dexter_object_files import FRAMES, SEQUENCES, TIPS, line, pixels, tips, tree

from bmc_jax.data.readers import dexter_object
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.data.record import record, reprojection_error

#: thumb, index, middle, ring, little tips in FreiHAND's order.


def test_frames_are_ordered_by_sequence_and_name(tmp_path):
    splits = dexter_object.splits(tree(tmp_path))
    expected = [f"{name}/image_{7 * frame:05d}" for name in SEQUENCES for frame in range(FRAMES)]
    assert list(splits) == ["test"]
    assert [row.id for row in splits["test"]] == expected


def test_order_of_frames_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    expected = dexter_object.splits(tree(tmp_path))["test"]
    listed = pathlib.Path.iterdir
    monkeypatch.setattr(pathlib.Path, "iterdir", lambda folder: sorted(listed(folder), reverse=True))
    assert [row.image for row in dexter_object.splits(tmp_path)["test"]] == [row.image for row in expected]


def test_known_tips_are_recovered(tmp_path):
    for seed, row in enumerate(dexter_object.splits(tree(tmp_path))["test"]):
        found = dexter_object.annotation(row)
        np.testing.assert_allclose(found.joints_3d[TIPS], tips(seed), atol=1e-12)
        assert np.isnan(np.delete(found.joints_3d, TIPS, axis=0)).all()
        np.testing.assert_array_equal(found.intrinsics, [[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]])


def test_invisible_tips_are_unknown(tmp_path):
    row = dexter_object.splits(tree(tmp_path, unseen=(1, 4)))["test"][2]
    found = dexter_object.annotation(row)
    np.testing.assert_allclose(found.joints_3d[[4, 12, 16]], tips(2)[[0, 2, 3]], atol=1e-12)
    assert np.isnan(found.joints_3d[[8, 20]]).all()


@pytest.mark.parametrize(("unseen", "kept"), [((0, 1, 2), True), ((0, 1, 2, 3), False), (range(5), False)])
def test_frame_with_fewer_than_two_tips_is_skipped_with_the_reason(tmp_path, unseen, kept):
    row = dexter_object.splits(tree(tmp_path, unseen=unseen))["test"][0]
    if kept:
        assert np.isfinite(dexter_object.annotation(row).joints_3d).all(axis=-1).sum() == 2
    else:
        with pytest.raises(SkipRow, match="fewer than 2 annotated fingertips"):
            dexter_object.annotation(row)


def test_box_is_a_hand_wide_at_the_tips_depth(tmp_path):
    row = dexter_object.splits(tree(tmp_path))["test"][0]
    left, top, right, bottom = dexter_object.annotation(row).box
    middle = tips(0).mean(axis=0)
    np.testing.assert_allclose([(left + right) / 2, (top + bottom) / 2], pixels(middle[None])[0])
    np.testing.assert_allclose(right - left, 587.45209 * 0.18 / middle[2])
    np.testing.assert_allclose(bottom - top, 600.67456 * 0.18 / middle[2])


def test_box_of_tips_that_pinch_has_a_size(tmp_path):
    row = dexter_object.splits(tree(tmp_path))["test"][0]
    left, _, right, _ = dexter_object.annotation(row._replace(tips=row.tips[[0] * 5])).box
    assert right - left > 100


@pytest.mark.parametrize("left", [True, False])
def test_label_of_the_record_is_at_its_pixel(tmp_path, left):
    row = dexter_object.splits(tree(tmp_path), left=left)["test"][0]
    kept = record(dexter_object.annotation(row))
    at = kept["joints_2d"][4]
    weight = np.asarray(Image.open(io.BytesIO(kept["image"]))).astype(float)[..., 0]
    v, u = np.indices(weight.shape)
    weight *= np.hypot(u - at[0], v - at[1]) < 12
    np.testing.assert_allclose(at, [(u * weight).sum() / weight.sum(), (v * weight).sum() / weight.sum()], atol=0.2)
    assert reprojection_error(kept) < 1e-3
    assert kept["hand"] == ("left" if left else "right")
    assert np.flatnonzero(kept["joints_3d_valid"]).tolist() == TIPS
    np.testing.assert_allclose(kept["joints_3d"][TIPS], tips(0) * [-1 if left else 1, 1, 1], atol=1e-6)
    assert (kept["id"], kept["source"], kept["scale"]) == ("Grasp1/image_00000", "dexter_object", 0)


def test_missing_sequence_is_named_or_left_out(tmp_path):
    there = ("Grasp1", "Occlusion", "Rigid", "Rotate")
    tree(tmp_path, sequences=there)
    with pytest.raises(
        FileNotFoundError, match=r"data: expected the sequences .*, got no folder Grasp2, Pinch; .*--partial"
    ):
        dexter_object.splits(tmp_path)
    rows = dexter_object.splits(tmp_path, partial=True)["test"]
    assert [row.id.split("/")[0] for row in rows] == [name for name in there for _ in range(FRAMES)]
    with pytest.raises(FileNotFoundError, match="name the dataset's folder"):
        dexter_object.splits(tmp_path / "data", partial=True)


@pytest.mark.parametrize("lost", ["color", "annotations/Pinch3D.txt"])
def test_missing_part_of_a_sequence_is_named(tmp_path, lost):
    (tree(tmp_path) / "data/Pinch" / lost).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"expected .*Pinch/{lost}, got no such"):
        dexter_object.splits(tmp_path)


def test_other_number_of_images_than_of_lines_is_refused(tmp_path):
    (tree(tmp_path) / "data/Rigid/color/image_00007.png").unlink()
    with pytest.raises(ValueError, match=r"Rigid/color: expected 3 images, one per line of .*Rigid3D.txt, got 2"):
        dexter_object.splits(tmp_path)


def test_foreign_files_do_not_shift_images(tmp_path):
    expected = dexter_object.splits(tree(tmp_path))["test"]
    for name in ("._image_00000.png", "Thumbs.db", "notes.txt"):
        (tmp_path / "data/Grasp1/color" / name).write_bytes(b"")
    found = dexter_object.splits(tmp_path)["test"]
    assert [row.image for row in found] == [row.image for row in expected]


@pytest.mark.parametrize(
    "text",
    [
        "1, 2, 3; 1, 2, 3; 1, 2, 3; 1, 2, 3",
        "1, 2; 1, 2; 1, 2; 1, 2; 1, 2",
        "1, 2, 3; 1, 2, 3; 1, 2; 1, 2, 3; 1, 2, 3",
        "1, 2, 3; 1, 2, 3; 1, 2, x; 1, 2, 3; 1, 2, 3",
        "1, 2, 3; 1, 2, 3; 1, 2, nan; 1, 2, 3; 1, 2, 3",
        "",
    ],
)
def test_line_that_is_not_five_points_is_named(tmp_path, text):
    file = tree(tmp_path) / "data/Grasp2/annotations/Grasp23D.txt"
    file.write_text("\n".join([line(tips(0)), text, line(tips(1))]))
    with pytest.raises(ValueError, match=r"Grasp23D.txt: line 2 \(image_00007.png\): expected five points"):
        dexter_object.splits(tmp_path)


@pytest.mark.parametrize(
    ("factor", "message"),
    [(0.001, "line 1 .*thumb TIP: expected a depth .* behind the camera"), (1000, "divide millimetres by 1000")],
)
def test_tips_of_another_unit_are_named(tmp_path, factor, message):
    row = dexter_object.splits(tree(tmp_path))["test"][0]
    with pytest.raises(ValueError, match=message):
        record(dexter_object.annotation(row._replace(tips=row.tips * factor)))


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"image_00000.png: expected 640x480 pixels, the size in the labels, got 320x240"
    ):
        record(dexter_object.annotation(dexter_object.splits(tree(tmp_path, size=(320, 240)))["test"][0]))
