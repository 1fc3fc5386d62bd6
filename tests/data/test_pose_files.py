"""Poses of other programs: files of every kind, and the order, unit and side that they are found to be in."""

import json

import numpy as np
import pytest
from support import hands, paths

from bmc_jax import hand
from bmc_jax.data import pose_files
from bmc_jax.poses import conventions

REAL = paths.SHARED / "rhd_eval_joints.npy"
MIRROR = np.array([-1.0, 1.0, 1.0])
#: Joint names by the datasets' own lists, written anew: wrist w, fingers t i m r l, base to tip 1 to 4.
LISTS = {
    "mediapipe": "w t1 t2 t3 t4 i1 i2 i3 i4 m1 m2 m3 m4 r1 r2 r3 r4 l1 l2 l3 l4",
    "rhd": "w t4 t3 t2 t1 i4 i3 i2 i1 m4 m3 m2 m1 r4 r3 r2 r1 l4 l3 l2 l1",
    "mano": "w i1 i2 i3 m1 m2 m3 l1 l2 l3 r1 r2 r3 t1 t2 t3 t4 i4 m4 r4 l4",
    "interhand": "t4 t3 t2 t1 i4 i3 i2 i1 m4 m3 m2 m1 r4 r3 r2 r1 l4 l3 l2 l1 w",
}
LISTS |= dict.fromkeys(("freihand", "openpose", "coco-wholebody"), LISTS["mediapipe"]) | {"ho3d": LISTS["mano"]}


@pytest.fixture
def poses():
    return hands.adults()


def in_order(poses, name):
    ours = LISTS["freihand"].split()
    return poses[..., [ours.index(joint) for joint in LISTS[name].split()], :]


@pytest.mark.parametrize("name", LISTS)
def test_every_order_is_converted_to_freihand_order(poses, name):
    np.testing.assert_array_equal(in_order(poses, name)[:, hand.TO_FREIHAND[name]], poses)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("unit", "size"), [("m", 1), ("mm", 1000)])
@pytest.mark.parametrize("side", ["right", "left"])
def test_order_unit_and_side_are_found(poses, name, unit, size, side):
    raw = size * in_order(poses * (MIRROR if side == "left" else 1), name)
    found = conventions.convert(raw, "file")
    np.testing.assert_allclose(found.joints, poses, atol=1e-6)
    group = next(group for group, names in conventions.ORDERS.items() if name in names)
    assert [finding.value for finding in found.findings] == [group, unit, side]
    assert not any(finding.stated or finding.mistaken for finding in found.findings)


def test_single_noisy_poses_are_classified_correctly_or_refused():
    if not REAL.is_file():
        pytest.skip("no real poses beside the checkout")
    real = np.load(REAL)[::30].astype(np.float64)
    noisy = real + np.random.default_rng(0).normal(scale=0.005, size=real.shape)
    told = 0
    for name in ("freihand", "rhd", "mano", "interhand"):
        for pose in in_order(noisy, name):
            try:
                found = conventions.convert(pose[None], "file")
            except ValueError:
                continue
            told += 1
            assert name in conventions.ORDERS[found.findings[0].value]
            np.testing.assert_allclose(found.joints[0], pose[hand.TO_FREIHAND[name]], atol=1e-6)
    assert told > 0.9 * 4 * len(noisy)


def test_wrong_statement_is_reported_with_evidence_and_remedy(poses):
    found = conventions.convert(in_order(poses * MIRROR, "rhd"), "file", order="mediapipe", side="left")
    order, unit, _ = found.findings
    assert "give --order rhd" in order.mistaken
    assert "times as long as it should" in order.mistaken
    assert "rhd is nearest in 100 % of the poses" in order.evidence
    assert str(order).startswith("likely a mistake: order mediapipe (stated)")
    assert not unit.mistaken
    with pytest.raises(ValueError, match=r"the side cannot be detected.* And likely a mistake: order mediapipe"):
        conventions.convert(in_order(poses, "rhd"), "file", order="mediapipe")
    side = conventions.convert(poses * MIRROR, "file", side="right").findings[2]
    assert "give --side left" in side.mistaken
    assert "left hand in 100 %" in side.evidence
    with pytest.raises(
        ValueError,
        match=r"expected poses in mm, got .* in 100 % of the poses if in m, in 0 % if in mm; give --unit m",
    ):
        conventions.convert(poses, "file", unit="mm")


def test_correct_statement_is_accepted(poses):
    found = conventions.convert(poses, "file", order="openpose", unit="m", side="right")
    assert all(finding.stated and not finding.mistaken for finding in found.findings)
    assert found.findings[0].value == "openpose"


def test_weak_evidence_is_an_error(poses):
    noise = np.random.default_rng(0).normal(size=(50, 21, 3))
    with pytest.raises(
        ValueError, match=r"file: the joint order cannot be detected .* bones differ .* State it with --order"
    ):
        conventions.convert(noise, "file")
    with pytest.raises(ValueError, match=r"the unit cannot be detected .* 0.\d+ at the median.*--unit"):
        conventions.convert(poses * np.resize([1, 4], len(poses))[:, None, None], "file")
    mixed = poses * np.where(np.arange(len(poses)) % 3 > 0, 1, MIRROR[:, None]).T[:, None]
    with pytest.raises(ValueError, match=r"the side cannot be detected .* 6\d % .* 3\d %.*field `left`"):
        conventions.convert(mixed, "file")
    left = np.arange(len(poses)) % 3 == 0
    found = conventions.convert(mixed, "file", left=left)
    np.testing.assert_allclose(found.joints, poses, atol=1e-6)
    assert "67 left hands by `left` in the file" in found.findings[2].evidence
    assert conventions.convert(mixed, "file", left=~left).findings[2].mistaken


def test_gaps_remain_and_are_counted(poses):
    raw = poses.copy()
    raw[10:15], raw[20, 3], raw[30] = np.nan, np.nan, poses[30] * 0.01
    found = conventions.convert(raw, "file")
    np.testing.assert_array_equal(found.gaps, [10, 11, 12, 13, 14, 20])
    assert found.partial == 1
    np.testing.assert_array_equal(found.impossible, [30])
    assert np.isnan(found.joints[[*found.gaps, 30]]).all()
    assert len(found.present) == len(poses) - 7
    with pytest.raises(ValueError, match="expected poses with all 21 joints, got none in 3 poses"):
        conventions.convert(raw[11:14], "file")


def test_unknown_names_are_refused(poses):
    for said, message in (
        ({"order": "x"}, "order: expected one of .* got 'x'"),
        ({"unit": "inch"}, "unit: expected one of .* got 'inch'"),
        ({"side": "up"}, "side: expected one of .* got 'up'"),
    ):
        with pytest.raises(ValueError, match=message):
            conventions.convert(poses, "file", **said)


def csv_text(poses, separator=","):
    return "\n".join(separator.join("" if np.isnan(x) else repr(float(x)) for x in pose.ravel()) for pose in poses)


def test_every_kind_of_file_is_read_alike(poses, tmp_path):
    some = poses[:7].copy()
    some[2], some[4, 5, 1] = np.nan, np.nan
    lists = json.loads(json.dumps(some.tolist()).replace("NaN", "null"))
    lists[2] = None
    header = ",".join(f"{axis}{joint}" for joint in range(21) for axis in "xyz")
    numbered = "\n".join(f"{n},{line}" for n, line in enumerate(csv_text(some).splitlines()))
    np.save(tmp_path / "a.npy", some)
    np.save(tmp_path / "flat.npy", some.reshape(7, 63))
    np.savez(tmp_path / "b.npz", joints=some, other=np.zeros(3))
    np.savez(tmp_path / "only.npz", predictions=some)
    texts = {
        "list.json": json.dumps(lists),
        "fields.json": json.dumps({"joints": lists}),
        "pair.json": json.dumps([lists, [[] for _ in lists]]),
        "plain.csv": csv_text(some),
        "headed.csv": f"{header}\n{csv_text(some)}\n\n",
        "numbered.csv": f"frame,{header}\n{numbered}\n",
        "european.csv": csv_text(some, ";"),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for file in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(pose_files.read(file).joints, some, err_msg=file.name)


def test_one_pose_needs_no_first_axis(poses, tmp_path):
    np.save(tmp_path / "a.npy", poses[0])
    (tmp_path / "b.json").write_text(json.dumps(poses[0].tolist()))
    (tmp_path / "c.csv").write_text(csv_text(poses[:1]))
    for file in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(pose_files.read(file).joints, poses[:1], err_msg=file.name)


def test_sides_are_read_with_the_poses(poses, tmp_path):
    left = np.array([True, False])
    np.savez(tmp_path / "a.npz", joints=poses[:2], left=left)
    (tmp_path / "b.json").write_text(json.dumps({"joints": poses[:2].tolist(), "left": left.tolist()}))
    for file in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(pose_files.read(file).left, left)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "a.npy: expected poses, got an empty file"),
        ("a.npy", np.zeros((0, 21, 3)), "a.npy: expected one pose or more, got none"),
        ("a.npy", b"hello", "expected an array saved by numpy.save"),
        ("a.npy", np.float64(3), r"a.npy: expected poses \[N, 21, 3\], got 3.0"),
        ("a.npy", np.zeros((4, 20, 3)), "expected 21 points per pose, got 20"),
        ("a.npy", np.zeros((4, 21, 2)), "got 2D joints"),
        ("a.npy", np.zeros((4, 133, 3)), r"got 133, COCO-WholeBody.* joints\[:, 91:112\]"),
        ("a.npy", np.zeros((4, 42, 3)), r"got 42, InterHand2.6M's two hands"),
        ("a.npy", np.full((4, 21, 3), np.inf), "pose 0: expected finite joints, got infinite ones, and in 3 others"),
        ("a.npz", {"x": np.zeros((2, 21, 3)), "y": np.zeros(2)}, "a.npz: expected the array `joints`, got x, y"),
        ("a.npz", {"joints": np.zeros((2, 21, 3)), "left": np.zeros(3, bool)}, "left: expected 2, .* got 3"),
        ("a.npz", {"joints": np.zeros((2, 21, 3)), "left": np.zeros(2)}, "left: expected true or false .* got float64"),
        ("a.json", "[[[1, 2", "expected JSON, got a damaged"),
        ("a.json", "[]", "a.json: expected one pose or more, got none"),
        ("a.json", "3", "a.json: expected poses .* got 3"),
        ("a.json", '{"xyz": []}', "a.json: expected the field `joints`, got xyz"),
        ("a.json", '[[[1, 2, 3], ["a", 2, 3]]]', "pose 0: expected a list of points"),
        ("a.csv", "1,2,3\n", "line 1: expected 63 columns, .* got 3"),
        ("a.csv", ",".join(["1"] * 63) + "\n" + ",".join(["b"] * 63), "line 2: expected numbers"),
        ("a.csv", ",".join(["x"] * 63) + "\n", "a.csv: expected one pose or more, got none"),
        ("a.txt", "x", r"expected one of the suffixes .npy, .npz, .*, got '.txt'"),
    ],
)
def test_files_without_poses_are_refused_by_name(tmp_path, name, content, message):
    file = tmp_path / name
    if isinstance(content, dict):
        np.savez(file, **content)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, str):
        file.write_text(content)
    else:
        np.save(file, content)
    with pytest.raises(ValueError, match=message) as caught:
        pose_files.read(file)
    assert name in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"expected the pose file none\.csv, got no such file"):
        pose_files.read("none.csv")
