"""HO-3D v1: joint order, frame and unit of the challenge's text files, and joints that stay unknown."""

import io

import numpy as np
import pytest
from PIL import Image
from support import reference

from bmc_jax.core import validation
from bmc_jax.data.readers import ho3d_v1
from bmc_jax.data.record import record, reprojection_error

#: The challenge's order by name, the five MCP joints first, and ours.
THEIRS = ["W", *(finger + "MCP" for finger in "TIMRP")]
THEIRS += [finger + level for finger in "TIMRP" for level in ("PIP", "DIP", "TIP")]
OURS = ["W", *(finger + level for finger in "TIMRP" for level in ("MCP", "PIP", "DIP", "TIP"))]
TRAIN = ("image_C00000001.png", "image_C00000000.png")
TEST = ("image_C00000007.png",)


def pose(seed):
    """A right hand's joints `[21, 3]`, FreiHAND order, metres, half a metre in front of the camera."""
    joints, _ = reference.sample_hand(np.random.default_rng(seed), (0.0, 1.2), (-0.3, 0.3))
    return 0.033 * joints + seed * np.array([0.002, -0.001, 0.003])


def as_stored(joints):
    """The 63 numbers: OpenGL's frame, millimetres, the challenge's order."""
    x, y, z = 1000 * joints.T
    return np.stack([x, -y, -z], axis=-1)[[OURS.index(name) for name in THEIRS]].reshape(-1)


def pixels(joints):
    return np.stack(
        [617.343 * joints[:, 0] / joints[:, 2] + 312.42, 617.343 * joints[:, 1] / joints[:, 2] + 241.42], axis=-1
    )


def tree(folder, *, tail="\t", size=(640, 480)):
    """Two frames to train on, with a soft dot at the index finger's tip, and one to test on."""
    for part in ("training_images", "test_images"):
        (folder / part).mkdir()
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    lines = []
    for seed, name in enumerate(TRAIN):
        at = pixels(pose(seed))[8]
        dot = 255 * np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / 18)
        Image.fromarray(dot.astype(np.uint8)[..., None].repeat(3, -1)).save(folder / "training_images" / name)
        lines.append("\t".join([name, *(repr(float(number)) for number in as_stored(pose(seed)))]) + tail)
    (folder / "training_joint_annotation.txt").write_text("\n".join(lines) + "\n")
    Image.new("RGB", size).save(folder / "test_images" / TEST[0])
    palm = " ".join(str(float(number)) for number in as_stored(pose(5))[:3])
    (folder / "test_palm_annotation.txt").write_text(f"{TEST[0]} {palm}\n")
    return folder


def change(folder, old, new, file="training_joint_annotation.txt"):
    content = (folder / file).read_text()
    assert old in content
    (folder / file).write_text(content.replace(old, new, 1))


@pytest.mark.parametrize("tail", ["", "\t"])
def test_known_pose_is_recovered_in_the_order_of_the_file(tmp_path, tail):
    splits = ho3d_v1.splits(tree(tmp_path, tail=tail))
    assert tuple(row.id for row in splits["train"]) == TRAIN
    assert tuple(row.id for row in splits["test"]) == TEST
    for seed, row in enumerate(splits["train"]):
        found = ho3d_v1.annotation(row)
        np.testing.assert_allclose(found.joints_3d, pose(seed), atol=1e-12)
        assert validation.thumb_side(found.joints_3d[None])[0] > validation.UNDECIDED
        assert not found.left


def test_label_of_the_record_is_at_its_pixel(tmp_path):
    kept = record(ho3d_v1.annotation(ho3d_v1.splits(tree(tmp_path))["train"][0]))
    weight = np.asarray(Image.open(io.BytesIO(kept["image"]))).astype(float)[..., 0]
    v, u = np.indices(weight.shape)
    weight *= np.hypot(u - kept["joints_2d"][8, 0], v - kept["joints_2d"][8, 1]) < 12
    dot = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(kept["joints_2d"][8], dot, atol=0.2)
    assert reprojection_error(kept) < 1e-3
    assert (kept["hand"], kept["id"], kept["source"]) == ("right", TRAIN[0], "ho3d_v1")


@pytest.mark.parametrize("palm_is_wrist", [True, False])
def test_test_image_has_a_box_and_at_most_its_wrist(tmp_path, palm_is_wrist):
    splits = ho3d_v1.splits(tree(tmp_path), palm_is_wrist=palm_is_wrist)
    found, wrist = ho3d_v1.annotation(splits["test"][0]), pose(5)[0]
    assert np.isfinite(found.joints_3d).all(axis=-1).tolist() == [palm_is_wrist] + [False] * 20
    if palm_is_wrist:
        np.testing.assert_allclose(found.joints_3d[0], wrist, atol=1e-12)
    (u, v), half = pixels(wrist[None])[0], 617.343 * 0.125 / wrist[2]
    np.testing.assert_allclose(found.box, (u - half, v - half, u + half, v + half))
    kept = record(found)
    assert kept["joints_3d_valid"].sum() == (kept["visibility"] > 0).sum() == palm_is_wrist


@pytest.mark.parametrize("lost", ["training_joint_annotation.txt", "test_palm_annotation.txt"])
def test_missing_split_is_named_or_left_out(tmp_path, lost):
    (tree(tmp_path) / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected .*{lost}, got no such file; name the folder Task3"):
        ho3d_v1.splits(tmp_path)
    assert list(ho3d_v1.splits(tmp_path, partial=True)) == (["test"] if "training" in lost else ["train"])
    with pytest.raises(FileNotFoundError, match="name the folder Task3"):
        ho3d_v1.splits(tmp_path / "training_images", partial=True)


def test_missing_image_is_named(tmp_path):
    (tree(tmp_path) / "training_images" / TRAIN[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"annotation.txt: line 2: expected the image .*image_C00000000.png"):
        ho3d_v1.splits(tmp_path)
    (tmp_path / "training_images").rename(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"expected the folder .*training_images"):
        ho3d_v1.splits(tmp_path)


def test_truncated_line_is_named(tmp_path):
    file = tree(tmp_path) / "training_joint_annotation.txt"
    file.write_text(file.read_text().rstrip().rsplit("\t", 1)[0])
    with pytest.raises(ValueError, match=r"annotation.txt: line 2: expected 64 fields, .*, got 63"):
        ho3d_v1.splits(tmp_path)
    file.write_text(f"{TRAIN[0]}\t" + "\t".join(["1.0"] * 64))
    with pytest.raises(ValueError, match=r"line 1: expected 64 fields, .*, got 65"):
        ho3d_v1.splits(tmp_path)
    file.write_text("\n" + file.read_text())
    with pytest.raises(ValueError, match=r"line 1: expected 64 fields, .*, got 1"):
        ho3d_v1.splits(tmp_path)


@pytest.mark.parametrize(
    ("number", "message"), [("nan", "line 2: expected 64 fields, .*finite"), ("x", "line 2: expected numbers")]
)
def test_invalid_number_is_named(tmp_path, number, message):
    first = repr(float(as_stored(pose(1))[0]))
    change(tree(tmp_path), f"{TRAIN[1]}\t{first}", f"{TRAIN[1]}\t{number}")
    with pytest.raises(ValueError, match=message):
        ho3d_v1.splits(tmp_path)


def test_palm_of_other_than_three_numbers_is_refused(tmp_path):
    change(tree(tmp_path), f"{TEST[0]} ", f"{TEST[0]} 1.0 ", "test_palm_annotation.txt")
    with pytest.raises(ValueError, match=r"test_palm_annotation.txt: line 1: expected 4 fields, .*, got 5"):
        ho3d_v1.splits(tmp_path)


@pytest.mark.parametrize(
    ("factor", "message"),
    [(0.001, "line 1 .*wrist: expected a depth .* got 0.0004"), (-1, "wrist: .* got -0.4.*behind the camera")],
)
def test_joints_of_another_unit_or_frame_are_named(tmp_path, factor, message):
    row = ho3d_v1.splits(tree(tmp_path))["train"][0]
    with pytest.raises(ValueError, match=message):
        record(ho3d_v1.annotation(row._replace(points=row.points * factor)))


@pytest.mark.parametrize("factor", [0.001, -1])
@pytest.mark.parametrize("palm_is_wrist", [True, False])
def test_palm_of_another_unit_or_frame_is_named(tmp_path, factor, palm_is_wrist):
    row = ho3d_v1.splits(tree(tmp_path), palm_is_wrist=palm_is_wrist)["test"][0]
    with pytest.raises(ValueError, match=r"palm_annotation.txt: line 1 .*: palm: expected a depth in .* m, got"):
        ho3d_v1.annotation(row._replace(points=row.points * factor))


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"image_C00000001.png: expected 640x480 pixels, the size in the labels, got 320x240"
    ):
        record(ho3d_v1.annotation(ho3d_v1.splits(tree(tmp_path, size=(320, 240)))["train"][0]))
