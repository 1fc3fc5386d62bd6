"""HO-3D: joint order and frame, the order of the evaluation, and errors that name file and line."""

import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image
from support import paths, reference

from bmc_jax.core import validation
from bmc_jax.data.readers import ho3d
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.data.record import record, reprojection_error

REAL = paths.SHARED / "ho3d_v3_mini"
#: Where each of MANO's joints is in FreiHAND's order, and the other way round, as its documents list them.
TO_MANO = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
FROM_MANO = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
K = [[614.0, 0.0, 320.5], [0.0, 613.0, 238.5], [0.0, 0.0, 1.0]]
TRAIN = ("ABF10/0001", "ABF10/0000", "MC1/0007")
EVALUATION = ("SM1/0003", "AP10/0000", "SM1/0001")


def pose(seed):
    """A right hand's joints `[21, 3]`, FreiHAND order, metres, half a metre in front of the camera."""
    joints, _ = reference.sample_hand(np.random.default_rng(seed), (0.0, 1.2), (-0.3, 0.3))
    return 0.033 * joints + seed * np.array([0.002, -0.001, 0.003])


def as_stored(joints):
    """The same joints in OpenGL's frame and MANO's order."""
    return np.stack([joints[:, 0], -joints[:, 1], -joints[:, 2]], axis=-1)[TO_MANO]


def pixels(joints):
    (fx, _, cx), (_, fy, cy), _ = K
    return np.stack([fx * joints[:, 0] / joints[:, 2] + cx, fy * joints[:, 1] / joints[:, 2] + cy], axis=-1)


def photograph(joints, file):
    """Black but for a soft white dot at the index finger's tip."""
    u, v = np.meshgrid(np.arange(640), np.arange(480))
    at = pixels(joints)[8]
    dot = 255 * np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / 18)
    Image.fromarray(dot.astype(np.uint8)[..., None].repeat(3, -1)).save(file)


def tree(folder, *, suffix=".jpg", changes=None, published=False):
    """A dataset of six frames; `changes` are fields of the annotations of the frames of that name."""
    for part, names in (("train", TRAIN), ("evaluation", EVALUATION)):
        (folder / f"{part}.txt").write_text("\n".join(names) + "\n")
        for seed, name in enumerate(names):
            joints = pose(seed)
            meta = {"camMat": np.array(K), "objName": "cracker box", "handJoints3D": as_stored(joints)}
            if part == "evaluation":
                meta["handJoints3D"] = as_stored(joints)[0]
                low, high = pixels(joints).min(axis=0), pixels(joints).max(axis=0)
                meta["handBoundingBox"] = [int(low[0]), int(low[1]), int(high[0]) + 1, int(high[1]) + 1]
            meta |= (changes or {}).get(name, {})
            sequence, frame = name.split("/")
            for kind in ("rgb", "meta"):
                (folder / part / sequence / kind).mkdir(parents=True, exist_ok=True)
            (folder / part / sequence / "meta" / f"{frame}.pkl").write_bytes(pickle.dumps(meta, protocol=2))
            photograph(joints, folder / part / sequence / "rgb" / f"{frame}{suffix}")
    if published:
        content = [as_stored(pose(seed)).tolist() for seed in range(len(EVALUATION))]
        (folder / "evaluation_xyz.json").write_text(json.dumps(content))
    return folder


def rows(folder, **options):
    return ho3d.splits(folder, partial=True, **options)


def dot_in(encoded, around):
    """Centre of the light within 12 pixels of a place of a JPEG."""
    weight = np.asarray(Image.open(io.BytesIO(encoded))).astype(float)[..., 0]
    v, u = np.indices(weight.shape)
    weight = weight * (np.hypot(u - around[0], v - around[1]) < 12)
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


@pytest.mark.parametrize(("suffix", "version"), [(".png", "v2"), (".jpg", "v3")])
def test_frames_are_in_the_order_of_their_list(tmp_path, suffix, version):
    splits = rows(tree(tmp_path, suffix=suffix))
    assert {split: tuple(row.id for row in part) for split, part in splits.items()} == {
        "train": TRAIN,
        "test": EVALUATION,
    }
    assert [row.line for row in splits["test"]] == [1, 2, 3]
    assert {ho3d.annotation(row).source for part in splits.values() for row in part} == {f"ho3d_{version}"}


def test_calibration_folder_indicates_version_3(tmp_path):
    (tree(tmp_path, suffix=".png") / "calibration").mkdir()
    assert rows(tmp_path)["train"][0].version == "v3"
    assert rows(tmp_path, version="v2")["train"][0].version == "v2"


def test_known_pose_is_recovered(tmp_path):
    for seed, row in enumerate(rows(tree(tmp_path))["train"]):
        found = ho3d.annotation(row)
        np.testing.assert_allclose(found.joints_3d, pose(seed), atol=1e-12)
        np.testing.assert_array_equal(found.intrinsics, K)
        assert not found.left
        assert found.box is None


def test_evaluation_has_wrist_and_box(tmp_path):
    for seed, row in enumerate(rows(tree(tmp_path))["test"]):
        found = ho3d.annotation(row)
        np.testing.assert_allclose(found.joints_3d[0], pose(seed)[0], atol=1e-12)
        assert np.isnan(found.joints_3d[1:]).all()
        low, high = pixels(pose(seed)).min(axis=0), pixels(pose(seed)).max(axis=0)
        np.testing.assert_allclose(found.box, (*low, *high), atol=1)


def test_published_joints_complete_the_evaluation(tmp_path):
    for seed, row in enumerate(rows(tree(tmp_path, published=True))["test"]):
        np.testing.assert_allclose(ho3d.annotation(row).joints_3d, pose(seed), atol=1e-12)


@pytest.mark.parametrize("published", [False, True])
def test_label_of_the_record_is_at_its_pixel(tmp_path, published):
    splits = rows(tree(tmp_path, published=published))
    train, test = record(ho3d.annotation(splits["train"][0])), record(ho3d.annotation(splits["test"][0]))
    np.testing.assert_allclose(train["joints_2d"][8], dot_in(train["image"], train["joints_2d"][8]), atol=0.2)
    np.testing.assert_allclose(train["joints_3d"], pose(0), atol=1e-6)
    assert reprojection_error(train) < 1e-3
    assert (train["hand"], train["id"], train["source"]) == ("right", "ABF10/0001", "ho3d_v3")
    assert test["joints_3d_valid"].sum() == (21 if published else 1)
    assert (test["visibility"] > 0).sum() == (21 if published else 1)
    assert test["scale"] > 0 if published else test["scale"] == 0


@pytest.mark.parametrize("name", [TRAIN[1], EVALUATION[1]])
def test_frame_without_hand_is_skipped_with_the_reason(tmp_path, name):
    splits = rows(tree(tmp_path, changes={name: {"handJoints3D": None}}))
    row = next(row for part in splits.values() for row in part if row.id == name)
    with pytest.raises(SkipRow, match="handJoints3D is None: no hand is annotated"):
        ho3d.annotation(row)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (TRAIN[0], {"camMat": None}, r"0001.pkl \(train.txt, line 1\): camMat: .* got 'None' of shape \[\]"),
        (TRAIN[0], {"camMat": np.full((3, 3), np.nan)}, r"camMat: expected finite numbers of shape \[3, 3\], got"),
        (
            TRAIN[0],
            {"camMat": np.eye(4)},
            r"camMat: expected finite numbers of shape \[3, 3\], got (.|\n)* of shape \[4, 4\]",
        ),
        (TRAIN[0], {"camMat": np.diag([-614.0, 613.0, 1.0])}, r"0001.pkl .* with positive focal lengths"),
        (TRAIN[0], {"handJoints3D": np.zeros(3)}, r"handJoints3D: expected finite numbers of shape \[21, 3\]"),
        (TRAIN[0], {"handJoints3D": np.full((21, 3), np.nan)}, "handJoints3D: expected finite numbers"),
        (TRAIN[0], {"handJoints3D": 1000 * as_stored(pose(0))}, "divide millimetres by 1000"),
        (TRAIN[0], {"handJoints3D": -as_stored(pose(0))}, "behind the camera"),
        (EVALUATION[0], {"handJoints3D": np.zeros((21, 3))}, r"handJoints3D: expected finite numbers of shape \[3\]"),
        (EVALUATION[0], {"handBoundingBox": [200, 100, 60, 300]}, "handBoundingBox: .* with a positive size, got"),
        (EVALUATION[0], {"handBoundingBox": None}, r"0003.pkl \(evaluation.txt, line 1\): handBoundingBox: .* 'None'"),
    ],
)
def test_bad_field_is_named(tmp_path, name, change, message):
    splits = rows(tree(tmp_path, changes={name: change}))
    row = next(row for part in splits.values() for row in part if row.id == name)
    with pytest.raises(ValueError, match=message):
        record(ho3d.annotation(row))


def test_missing_field_is_named(tmp_path):
    file = tree(tmp_path) / "train/ABF10/meta/0001.pkl"
    file.write_bytes(pickle.dumps({"camMat": np.array(K)}))
    with pytest.raises(ValueError, match=r"handJoints3D: .* got 'None' of shape \[\]"):
        ho3d.annotation(rows(tmp_path)["train"][0])
    file.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match=r"0001.pkl .*: expected the dict of a frame, got a list"):
        ho3d.annotation(rows(tmp_path)["train"][0])


def test_truncated_annotation_is_named(tmp_path):
    file = tree(tmp_path) / "train/ABF10/meta/0001.pkl"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"meta/0001.pkl: expected a pickle"):
        ho3d.annotation(rows(tmp_path)["train"][0])


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("train/MC1/rgb/0007.jpg", r"train.txt: line 3 \('MC1/0007'\): expected .*rgb/0007.jpg or 0007.png"),
        (
            "evaluation/AP10/meta/0000.pkl",
            r"evaluation.txt: line 2 .*: expected .*AP10/meta/0000.pkl, got no such file",
        ),
        ("evaluation.txt", r"expected the list .*evaluation.txt, got no such file; name the folder"),
    ],
)
def test_missing_file_is_named(tmp_path, lost, message):
    (tree(tmp_path) / lost).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        ho3d.splits(tmp_path)


def test_missing_folder_of_a_sequence_is_named(tmp_path):
    (tree(tmp_path) / "train.txt").write_text("\n".join(TRAIN) + "\nBB12/0000\n")
    with pytest.raises(FileNotFoundError, match=r"line 4 .*expected .*BB12/rgb/0000.jpg or"):
        rows(tmp_path)


@pytest.mark.parametrize("line", ["MC1", "MC1/", "/0000", "train/MC1/0000", ""])
def test_line_of_another_form_is_named(tmp_path, line):
    (tree(tmp_path) / "train.txt").write_text(f"ABF10/0000\n{line}\nMC1/0007\n")
    with pytest.raises(ValueError, match=r"train.txt: line 2 .*: expected the name of a frame, SEQUENCE/FRAME"):
        rows(tmp_path)


def test_other_number_of_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train.txt: expected 78,297 frames of HO-3D v3, got 3"):
        ho3d.splits(tree(tmp_path))
    with pytest.raises(ValueError, match=r"train.txt: expected 66,034 frames of HO-3D v2, got 3"):
        ho3d.splits(tmp_path, version="v2")
    with pytest.raises(ValueError, match="version: expected one of auto, v2, v3, got 'v1'"):
        ho3d.splits(tmp_path, version="v1")


def test_official_numbers_are_accepted_and_no_annotation_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(ho3d, "COUNTS", {"v3": {"train": 3, "test": 3}})
    monkeypatch.setattr(ho3d.safe_pickle, "load", lambda path: pytest.fail(f"{path} was read"))
    assert {split: len(part) for split, part in ho3d.splits(tree(tmp_path)).items()} == {"train": 3, "test": 3}


def test_published_joints_in_another_order_are_refused(tmp_path):
    file = tree(tmp_path, published=True) / "evaluation_xyz.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content[::-1]))
    splits = rows(tmp_path)
    ho3d.annotation(splits["test"][1])
    with pytest.raises(
        ValueError, match=r"evaluation_xyz.json: row 0: expected the wrist of .*0003.pkl.*, got one .* m apart"
    ):
        ho3d.annotation(splits["test"][0])
    file.write_text(json.dumps((1000 * np.array(content)).tolist()))
    with pytest.raises(ValueError, match=r"evaluation_xyz.json: row 0: .* in metres, in OpenGL's frame"):
        ho3d.annotation(rows(tmp_path)["test"][0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[[0.0] * 3] * 21] * 2, r"expected finite numbers \[3, 21, 3\], .*, got \[2, 21, 3\]"),
        ([[[0.0] * 3] * 20] * 3, r"got \[3, 20, 3\]"),
        ([[[0.0] * 3], [[0.0] * 2]], "expected a list of joints"),
        ([[[float("nan")] * 3] * 21] * 3, r"got \[3, 21, 3\] with values that are not finite"),
    ],
)
def test_published_joints_of_another_shape_are_refused(tmp_path, content, message):
    (tree(tmp_path) / "evaluation_xyz.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        rows(tmp_path)


def test_true_frames_are_right_hands_in_their_images():
    if not REAL.exists():
        pytest.skip("no shared data beside this checkout")
    splits = ho3d.splits(REAL, partial=True)
    assert list(splits) == ["train"]
    assert [row.id for row in splits["train"]] == ["ABF10/0000", "ABF10/0001"]
    poses = []
    for row in splits["train"]:
        frame = row.id.split("/")[1]
        meta = pickle.loads((REAL / f"train/ABF10/meta/{frame}.pkl").read_bytes(), encoding="latin1")
        expected = (meta["handJoints3D"].astype(np.float64) @ np.diag([1.0, -1.0, -1.0]))[FROM_MANO]
        found = ho3d.annotation(row)
        np.testing.assert_allclose(found.joints_3d, expected, atol=1e-12)
        np.testing.assert_array_equal(found.intrinsics, meta["camMat"])
        projected = expected @ meta["camMat"].T.astype(np.float64)
        projected = projected[:, :2] / projected[:, 2:]
        assert ((projected > 0) & (projected < [640, 480])).all()
        kept = record(found)
        assert reprojection_error(kept) < 0.1
        assert (kept["hand"], kept["source"]) == ("right", "ho3d_v3")
        # The hand's colour, warmer than the grey and blue room, is under most joints; the bottle hides some.
        image = np.asarray(Image.open(row.image)).astype(float)
        under = np.array([image[round(v), round(u)] for u, v in projected])
        assert np.median(under[:, 0] - under[:, 2]) > np.median(image[..., 0] - image[..., 2]) + 20
        poses.append(expected)
    poses = np.stack(poses)
    bones = np.linalg.norm(np.diff(poses[:, 1:].reshape(-1, 5, 4, 3), axis=2), axis=-1)
    assert ((bones > 0.015) & (bones < 0.06)).all()
    fingers = bones.sum(axis=-1)
    assert (fingers[:, 4] < 0.9 * fingers[:, :4].min(axis=-1)).all(), "the little finger is the shortest"
    bases = np.linalg.norm(poses[:, 1::4] - poses[:, :1], axis=-1)
    assert (bases[:, 0] < 0.6 * bases[:, 1:].min(axis=-1)).all(), "the thumb begins nearest to the wrist"
    from_index = np.linalg.norm(poses[:, [5, 9, 13, 17]] - poses[:, 5:6], axis=-1)
    assert (np.diff(from_index, axis=-1) > 0.01).all(), "the knuckles follow one another from the index finger"
    assert (validation.thumb_side(poses) > validation.UNDECIDED).all()
