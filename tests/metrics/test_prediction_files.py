"""Prediction files: their content read by other means, round trips, and errors that name each fault."""

import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from support import hands
from support.annotations import open_hand

from bmc_jax.metrics import prediction_checks, prediction_files

#: The finger joints of each order, thumb to little finger and base to tip, as the datasets' pages define them.
MANO = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
BIGHAND = [0, 1, 6, 7, 8, 2, 9, 10, 11, 3, 12, 13, 14, 4, 15, 16, 17, 5, 18, 19, 20]
RHD = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
PAPER = [0, 1, 6, 11, 16, 2, 7, 12, 17, 3, 8, 13, 18, 4, 9, 14, 19, 5, 10, 15, 20]


@pytest.fixture
def joints():
    generator = np.random.default_rng(0)
    return np.stack([open_hand(0.4 + 0.2 * generator.random(), generator.normal(size=2) * 0.05) for _ in range(6)])


def in_order(joints, order):
    moved = np.empty_like(joints)
    moved[:, order] = joints
    return moved


def pair(folder, xyz, vertices=None):
    file = folder / "pred.json"
    verts = np.zeros((len(xyz), 778, 3)) if vertices is None else vertices
    file.write_text(json.dumps([np.asarray(xyz).tolist(), np.asarray(verts).tolist()]))
    return file


def test_freihand_file_has_the_form_that_its_server_reads(tmp_path, joints):
    files = prediction_files.write("freihand", tmp_path / "out/pred.json", joints, partial=True)
    assert (
        [file.name for file in files] == ["pred.json", "pred.zip"] == sorted(p.name for p in files[0].parent.iterdir())
    )
    with zipfile.ZipFile(files[1]) as archive:
        assert archive.namelist() == ["pred.json"]
        xyz, verts = json.loads(archive.read("pred.json"))
    np.testing.assert_array_equal(xyz, joints)
    np.testing.assert_array_equal(verts, np.zeros((6, 778, 3)))
    assert json.loads(files[0].read_text()) == [xyz, verts]


def test_ho3d_file_is_in_manos_order_and_opengls_frame(tmp_path, joints):
    vertices = joints[:, :7] + 0.01
    prediction_files.write("ho3d", tmp_path / "pred.json", joints, vertices=vertices, partial=True)
    xyz, verts = map(np.array, json.loads((tmp_path / "pred.json").read_text()))
    np.testing.assert_array_equal(xyz[:, MANO], joints * [1, -1, -1])
    np.testing.assert_array_equal(verts, vertices * [1, -1, -1])
    found = prediction_files.read("ho3d", tmp_path / "pred.zip")
    np.testing.assert_array_equal(found.joints, joints)
    np.testing.assert_array_equal(found.vertices, vertices)


def test_hands19_file_has_names_and_millimetres(tmp_path, joints):
    names = [f"image_{i}.png" for i in range(6)]
    prediction_files.write("hands19", tmp_path / "result.txt", joints, names=names)
    lines = [line.split("\t") for line in (tmp_path / "result.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == names
    numbers = np.array([line[1:] for line in lines], float).reshape(6, 21, 3)
    np.testing.assert_allclose(numbers[:, BIGHAND], joints * [1000, -1000, -1000], rtol=1e-15)
    found = prediction_files.read("hands19", tmp_path / "result.txt")
    np.testing.assert_allclose(found.joints, joints, rtol=1e-15)
    assert found.names == tuple(names)


@pytest.mark.parametrize("kind", ["rhd", "dexter_object"])
@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_files_of_fields_do_not_mirror_left_hands(tmp_path, joints, kind, suffix):
    left = np.arange(6) % 3 == 0
    file = tmp_path / f"predictions{suffix}"
    names = [f"evaluation/{i:05d}" for i in range(6)]
    prediction_files.write(kind, file, joints, names=names, left=left)
    found = prediction_files.read(kind, file)
    np.testing.assert_array_equal(found.joints, np.where(left[:, None, None], joints * [-1, 1, 1], joints))
    np.testing.assert_array_equal(found.left, left)
    assert found.names == tuple(names)


def test_fields_are_read_for_every_kind(tmp_path, joints):
    np.savez(tmp_path / "mine.npz", joints=joints.astype(np.float32))
    for kind in prediction_files.KINDS:
        np.testing.assert_array_equal(
            prediction_files.read(kind, tmp_path / "mine.npz").joints, joints.astype(np.float32)
        )


def test_zeros_with_any_whitespace_are_no_mesh(tmp_path, joints):
    file = tmp_path / "pred.json"
    zeros = np.zeros((6, 778, 3)).tolist()
    for text in (
        json.dumps([joints.tolist(), zeros]),
        json.dumps([joints.tolist(), zeros], separators=(",", ":")),
        json.dumps([joints.tolist(), zeros], indent=1),
        json.dumps([joints.tolist(), [[]] * 6]),
    ):
        file.write_text(text)
        assert prediction_files.read("freihand", file).vertices is None
    zeros[5][700][2] = 0.25
    file.write_text(json.dumps([joints.tolist(), zeros]))
    assert prediction_files.read("freihand", file).vertices.sum() == 0.25


def test_single_mesh_of_zeros_is_not_repeated_for_every_pose(tmp_path):
    """The file has 3,000 poses and one mesh of 100 kB, which would be 300 MB for all poses."""
    zeros = json.dumps([[0.0] * 3] * 8000)
    (tmp_path / "pred.json").write_text(f"[{json.dumps([[[0, 0, 0]]] * 3000)}, [{zeros}]]")
    tracemalloc.start()
    with pytest.raises(ValueError, match="verts: expected 3,000 rows, one per pose of xyz, got 1"):
        prediction_files.read("freihand", tmp_path / "pred.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_predictions_are_written_in_the_order_of_the_list(tmp_path, joints):
    names = ["c/1", "a/1", "b/2", "b/1", "a/0", "c/0"]
    prediction_files.write("ho3d", tmp_path / "pred.json", joints, names=names, listed=sorted(names), partial=True)
    found = prediction_files.read("ho3d", tmp_path / "pred.json").joints
    np.testing.assert_array_equal(found, joints[np.argsort(names)])
    with pytest.raises(ValueError, match=r"expected all 7 images .* following 2: d/0, d/1"):
        prediction_files.write("ho3d", tmp_path / "pred.json", joints, names=names, listed=[*names[:5], "d/0", "d/1"])
    with pytest.raises(ValueError, match="got 'c/1' twice"):
        prediction_files.write("ho3d", tmp_path / "pred.json", joints, names=["c/1", *names[:5]], listed=names)


def test_failed_write_leaves_the_old_file(tmp_path, joints, monkeypatch):
    prediction_files.write("freihand", tmp_path / "pred.json", joints, partial=True)
    before = (tmp_path / "pred.json").read_bytes()
    # Simulates a mistake in a table of orders.
    monkeypatch.setitem(prediction_files.FROM, "freihand", np.array(RHD))
    with pytest.raises(AssertionError):
        prediction_files.write("freihand", tmp_path / "pred.json", joints, partial=True)
    assert (tmp_path / "pred.json").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pred.json", "pred.zip"]


def test_unwritable_poses_are_named(tmp_path, joints):
    def refused(expected, kind="freihand", name="pred.json", joints=joints, **options):
        with pytest.raises(ValueError, match=re.escape(expected)):
            prediction_files.write(kind, tmp_path / name, joints, **options)
        assert not list(tmp_path.iterdir())

    refused("expected 3,960 poses (FreiHAND's evaluation), got 6")
    many = np.broadcast_to(joints[:1], (1980, 21, 3))
    refused("expected 3,960 poses (FreiHAND's evaluation), got 1,980 (half of FreiHAND's evaluation)", joints=many)
    refused("expected 11,524 poses (HO-3D v2's evaluation)", "ho3d")
    broken = joints.copy()
    broken[2, 5] = np.nan
    refused("joint [2, 5] (index MCP): expected finite numbers, got [nan, nan, nan]", joints=broken, partial=True)
    refused("[6, 20, 3]", joints=joints[:, :20])
    refused("expected the suffix .json of freihand files, got '.txt'", name="pred.txt", partial=True)
    refused("names: expected one per image", "hands19", "a.txt")
    refused("got 'stb'", "stb")
    refused("names: expected 6, one per pose, got 2", "rhd", "a.npz", names=["a", "b"])
    refused("left: expected 6, one per pose, got 5", "rhd", "a.npz", left=np.ones(5, bool))


ORDERS = {"MANO": MANO, "BigHand": BIGHAND, "RHD": RHD, "level by level": PAPER}


@pytest.mark.parametrize("order", ORDERS)
def test_wrong_joint_order_is_refused_with_evidence(tmp_path, joints, order):
    with pytest.raises(
        ValueError, match=rf"expected joints in the order FreiHAND's .* got probably .*{order}.*bone, joint \d+ to \d+"
    ):
        prediction_files.read("freihand", pair(tmp_path, in_order(joints, ORDERS[order])))
    if order != "MANO":
        with pytest.raises(ValueError, match="got probably "):
            prediction_files.read("ho3d", pair(tmp_path, in_order(joints, ORDERS[order]) * [1, -1, -1]))


@pytest.mark.parametrize("name", prediction_checks.CHAINS)
def test_real_hands_have_their_order_and_no_other(name):
    joints = hands.real(300)
    chain = [0, *(joint for finger in prediction_checks.CHAINS[name] for joint in finger)]
    for number in range(300):
        assert prediction_checks.order(in_order(joints[number : number + 1], chain), name) == name
    others = [other for other in prediction_checks.CHAINS if other != name]
    assert all(prediction_checks.order(in_order(joints, chain), other) == name for other in others)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda joints: joints * 1000, r"expected joints in metres, .*a hand in millimetres; multiply by 0.001"),
        (lambda joints: joints * 100, r"expected joints in metres, .*a hand in centimetres; multiply by 0.01"),
        (
            lambda joints: joints * [1, -1, -1],
            r"expected .*OpenCV.*behind the camera.*probably in the frame .*OpenGL.*multiply y and z by -1",
        ),
        (lambda joints: joints * [-1, 1, 1], r"6 of 6 hands with the thumb on the wrong side of the palm"),
        (lambda joints: joints * [1, -1, 1], r"check that no single axis is flipped"),
        (
            lambda joints: np.where(np.arange(21)[:, None] == 4, np.nan, joints),
            r"joint 4 of pose 0: expected finite numbers, got \[nan, .* 6 joints",
        ),
        (lambda joints: joints[:, :20], r"expected 21 points per pose, got 20"),
        (lambda joints: joints[..., :2], r"pose 0: expected the shape \[points, 3\], got \[21, 2\]"),
    ],
    ids=["mm", "cm", "OpenGL", "left", "flipped", "nan", "20 joints", "2D"],
)
def test_wrong_poses_are_named(tmp_path, joints, change, message):
    file = pair(tmp_path, change(joints))
    with pytest.raises(ValueError, match=message) as error:
        prediction_files.read("freihand", file)
    assert str(file) in str(error.value)


def test_ho3d_in_the_camera_frame_is_refused(tmp_path, joints):
    with pytest.raises(ValueError, match=r"expected joints in the frame .*OpenGL.*probably in .*OpenCV"):
        prediction_files.read("ho3d", pair(tmp_path, in_order(joints, MANO)))


def test_metres_in_a_file_of_millimetres_are_refused(tmp_path, joints):
    moved = in_order(joints, BIGHAND) * [1, -1, -1]
    lines = ["\t".join([f"{i}.png", *map(str, pose.reshape(-1))]) for i, pose in enumerate(moved)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"expected joints in millimetres, .*a hand in metres; multiply by 1000"):
        prediction_files.read("hands19", tmp_path / "a.txt")


def test_poses_without_the_proportions_of_a_hand_pass(tmp_path, joints):
    for poses in (np.zeros((6, 21, 3)), np.full((6, 21, 3), 0.7), np.random.default_rng(0).normal(size=(6, 21, 3))):
        np.testing.assert_array_equal(prediction_files.read("freihand", pair(tmp_path, poses)).joints, poses)
    left = pair(tmp_path, joints * [-1, 1, 1])
    np.testing.assert_array_equal(prediction_files.read("freihand", left, checked=False).joints, joints * [-1, 1, 1])


def test_files_of_wrong_forms_are_named(tmp_path, joints):
    def refused(expected, content, name="pred.json", kind="freihand"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=re.escape(expected)) as error:
            prediction_files.read(kind, file)
        assert str(file) in str(error.value)

    xyz, verts = joints.tolist(), np.ones((6, 30, 3)).tolist()
    refused("exchange xyz and verts", json.dumps([verts, xyz]))
    refused("exchange xyz and verts", json.dumps([np.zeros((6, 778, 3)).tolist(), xyz]))
    refused("expected a list of two, [xyz, verts], got a list of 6", json.dumps(xyz))
    refused("verts: expected 6 rows, one per pose of xyz, got 5", json.dumps([xyz, verts[:5]]))
    refused("verts: expected a list with one row per pose, got a int", json.dumps([xyz, 3]))
    refused("xyz: expected a list with one row per pose, got an empty list", json.dumps([[], []]))
    refused("expected the field joints [N, 21, 3], got keypoints", json.dumps({"keypoints": xyz}))
    refused("names: expected 6, one per pose, got 2", json.dumps({"joints": xyz, "names": ["a", "b"]}))
    refused("damaged", json.dumps([xyz, verts])[:-100])
    refused("damaged", b"\x80\x02\xff")
    refused(
        "pose 3: expected the shape [21, 3] of pose 0, got [20, 3]",
        json.dumps([[*xyz[:3], xyz[0][:20], *xyz[4:]], verts]),
    )
    refused("pose 1: expected a list of points", json.dumps([[xyz[0], "hand", *xyz[2:]], verts]))
    refused(
        "joint 2 of pose 1: expected finite numbers, got [nan",
        json.dumps([[xyz[0], [*xyz[1][:2], [None] * 3, *xyz[1][3:]], *xyz[2:]], verts]),
    )
    refused("names: expected 6, one per pose, got 1", json.dumps({"joints": xyz, "names": 6}))
    refused("expected JSON, got a damaged or other file", "[" * 100_000)
    refused("int too large", json.dumps([[[[10**400] * 3] * 21] * 6, verts]))
    refused("left: expected true or false for each hand, got <U1", json.dumps({"joints": xyz, "left": ["1"] * 6}))
    refused("expected a zip file", "text", "pred.zip")
    refused("expected an .npz file", "text", "a.npz")
    refused("got lines of text", "a.png " + "0.5 " * 63, "a.txt")
    refused("line 1: expected 63 numbers", "a.png " + "0.5 " * 62, "a.txt", "hands19")
    refused("line 2: expected numbers", "a.png" + " 0.5" * 63 + "\nb.png x", "a.txt", "hands19")
    refused("a list of joints and vertices", json.dumps([xyz, verts]), kind="rhd")
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("results/pred.json", "[]")
    with pytest.raises(ValueError, match=r"expected pred.json at the top level, .*, got results/pred.json"):
        prediction_files.read("freihand", tmp_path / "deep.zip")
    with pytest.raises(FileNotFoundError, match=r"expected a file of predictions, got .*nothing"):
        prediction_files.read("freihand", tmp_path / "nothing.json")
