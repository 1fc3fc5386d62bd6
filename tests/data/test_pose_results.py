"""Results of other programs as they write them, beside the numbers that they hold."""

import json
import pickle

import numpy as np
import pytest
import scipy.io
from support import hands

from bmc_jax.data import pose_files
from bmc_jax.poses import conventions

P = hands.adults()[:5]
TWO = np.stack([P, P + 1], axis=1)
NONE = np.full((1, 21, 3), np.nan)


def points(pose):
    """As MediaPipe's landmarks are written in JSON."""
    return [{"x": x, "y": y, "z": z, "visibility": 0.0} for x, y, z in pose.tolist()]


def openpose(pose, seen=1):
    return np.concatenate([pose, np.full((21, 1), seen)], axis=1).ravel().tolist()


def person(**hands):
    return {f"hand_{side}_keypoints_3d": hands.get(side, []) for side in ("left", "right")}


def category(side):
    return [{"index": 0, "score": 0.97, "categoryName": side, "displayName": side}]


def wilor(pose, right):
    return {"hand_bbox": [1, 2, 3, 4], "is_right": right, "wilor_preds": {"pred_keypoints_3d": pose[None]}}


def read(folder, name, content):
    file = folder / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return pose_files.read(file)


#: Contents of a JSON file, and what is in them: poses, left hands, frames.
RESULTS = {
    "lists of points": ([points(pose) for pose in P], P, None, None),
    "one hand": (points(P[0]), P[:1], None, None),
    "lists of hands": (
        [[points(P[0]), points(P[1])], [], [points(P[2])]],
        (P[0], P[1], NONE[0], P[2]),
        None,
        [0, 0, 1, 2],
    ),
    "no hand": ([P[0].tolist(), [], None, [[]], P[1].tolist()], (P[0], *[NONE[0]] * 3, P[1]), None, None),
    "frames of two hands": (TWO.tolist(), TWO.reshape(-1, 21, 3), None, np.repeat(range(5), 2).tolist()),
    "two frames of two hands": (TWO[:2].tolist(), TWO[:2].reshape(-1, 21, 3), None, [0, 0, 1, 1]),
    "joints and vertices": ([P.tolist(), np.ones((5, 778, 3)).tolist()], P, None, None),
    "MediaPipe, Python": (
        {
            "handedness": [[{"category_name": "Left"}]],
            "hand_landmarks": [points(P[1])],
            "hand_world_landmarks": [points(P[0])],
        },
        P[:1],
        [True],
        None,
    ),
    "MediaPipe, JavaScript": (
        [
            {"landmarks": [points(P[4])], "worldLandmarks": [points(P[0])], "handednesses": [category("Left")]},
            {"landmarks": [], "worldLandmarks": [], "handednesses": []},
            {"worldLandmarks": [points(P[1]), points(P[2])], "handedness": [category("Right"), category("Left")]},
        ],
        [P[0], NONE[0], P[1], P[2]],
        [True, False, False, True],
        [0, 1, 2, 2],
    ),
    "MediaPipe, older": (
        {
            "multi_hand_world_landmarks": [{"landmark": points(P[0])}],
            "multi_handedness": [{"classification": [{"label": "Right"}]}],
        },
        P[:1],
        [False],
        None,
    ),
    "MediaPipe, holistic": (
        {"left_hand_world_landmarks": points(P[0]), "right_hand_world_landmarks": []},
        P[:1],
        [True],
        None,
    ),
    "OpenPose": (
        [{"version": 1.3, "people": [person(left=openpose(P[0]), right=openpose(P[1] * 0, 0))]}, {"people": []}],
        [P[0], NONE[0]],
        [True, False],
        None,
    ),
    "HaMeR": (
        {"pred_keypoints_3d": P.tolist(), "right": [1.0, 0.0, 1.0, 1.0, 0.0]},
        P,
        [False, True, False, False, True],
        None,
    ),
    "own": ({"joints": P.tolist(), "left": [True] * 5, "order": "freihand", "unit": "m"}, P, [True] * 5, None),
    "frames": (
        {"fps": 30, "frames": [{"joints": P[0].tolist(), "left": False}, None]},
        [P[0], NONE[0]],
        [False, False],
        None,
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_other_programs_are_read(tmp_path, name):
    content, joints, left, frames = RESULTS[name]
    found = read(tmp_path, "results.json", content)
    np.testing.assert_allclose(found.joints, joints, rtol=0, atol=0)
    assert (None if found.left is None else found.left.tolist()) == left
    assert (None if found.frames is None else found.frames.tolist()) == frames


@pytest.mark.parametrize("name", ["results.jsonl", "results.NDJSON", "results.json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_json_are_frames(tmp_path, name, encoding):
    lines = [{"worldLandmarks": [points(pose)], "handedness": [category("Right")]} for pose in P]
    text = "\n".join(map(json.dumps, [*lines, {"worldLandmarks": [], "handedness": []}])) + "\n"
    found = read(tmp_path, name, text.encode(encoding))
    np.testing.assert_array_equal(found.joints, [*P, *NONE])
    assert not found.left.any()
    with pytest.raises(ValueError, match=r"line 2: expected JSON, got a damaged or other file"):
        read(tmp_path, "cut.jsonl", text[: len(text) // 4])


def test_objects_in_numpys_and_pythons_files_are_read(tmp_path):
    right, poses = np.array([1.0, 0.0, 1.0, 1.0, 0.0]), P.astype(np.float32)
    fields = {"pred_keypoints_3d": poses, "pred_vertices": np.zeros((5, 778, 3)), "right": right}
    np.savez(tmp_path / "a.npz", **fields)
    np.save(tmp_path / "b.npy", np.array(fields, dtype=object), allow_pickle=True)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(fields))
    (tmp_path / "d.PICKLE").write_bytes(pickle.dumps([wilor(*one) for one in zip(poses, right, strict=True)]))
    of_matlab = {"joints": np.moveaxis(poses, 0, -1), "left": right == 0, "fps": 30.0}
    scipy.io.savemat(tmp_path / "e.mat", of_matlab, do_compression=True)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    for file in files:
        found = pose_files.read(file)
        np.testing.assert_array_equal(found.joints, poses, err_msg=file.name)
        np.testing.assert_array_equal(found.left, right == 0, err_msg=file.name)
    several = pickle.dumps([[wilor(P[0], 1.0), wilor(P[1], 0.0)], []])
    (tmp_path / "f.pkl").write_bytes(several)
    found = pose_files.read(tmp_path / "f.pkl")
    np.testing.assert_array_equal(found.joints, [*P[:2], *NONE])
    assert found.frames.tolist() == [0, 0, 1]


def test_missing_joints_are_nan_in_every_notation(tmp_path):
    rows = json.loads(json.dumps(P.tolist()))
    rows[0][3], rows[1][3], rows[2][3] = None, [None] * 3, [float("nan")] * 3
    rows[3][7] = rows[3][3] = [0, 0, 0]
    found = read(tmp_path, "a.json", rows).joints
    assert np.argwhere(np.isnan(found).any(axis=2)).tolist() == [[0, 3], [1, 3], [2, 3], [3, 3], [3, 7]]
    # A joint at the origin alone is the root.
    relative = P - P[:, :1]
    np.testing.assert_array_equal(read(tmp_path, "b.json", relative.tolist()).joints, relative)


def test_frames_of_zeros_are_gaps_with_a_note(tmp_path):
    poses = P.copy()
    poses[[1, 3]] = 0
    np.save(tmp_path / "a.npy", poses)
    found = pose_files.read(tmp_path / "a.npy")
    assert found.notes == ("2 poses of zeros are read as missing: 1, 3",)
    np.testing.assert_array_equal(conventions.convert(found.joints, "a.npy").gaps, [1, 3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"hand_landmarks": [points(P[0])]},
            "a.json: .*got MediaPipe's landmarks of the picture.*save the world landmarks",
        ),
        ({"people": [{"hand_left_keypoints_2d": [1] * 63}]}, "a.json: .*got OpenPose's 2D keypoints.*--3d"),
        ({"people": [person(left=[1.0] * 63)]}, "expected 21 x 4 numbers per hand from OpenPose, got 63"),
        (np.stack([P, P]).tolist(), r"a.json: .*got the shape \[2, 5, ...\]; save each hand in one file"),
        (np.zeros((3, 4, 21, 3)).tolist(), r"expected one or two hands per frame, got the shape \[3, 4, ...\]"),
        ([[{"x": 1, "y": 2}] * 21], "got 2D joints"),
        (np.zeros((2, 21, 4)).tolist(), r"expected x, y and z of each joint, got 4 numbers"),
        ({"joints": P.tolist(), "unit": "inch"}, "unit: expected one of m, cm, mm.*, got 'inch'"),
        ({"joints": P.tolist(), "order": ["rhd"]}, "order: expected one of freihand.*, got "),
        ({"pred_keypoints_3d": P.tolist(), "right": [1, 2, 1, 0, 0]}, "1 for right hands and 0 for left hands, got"),
        ({"pred_keypoints_3d": P.tolist(), "right": [[1], [1, 2]]}, "1 for right hands"),
        ([{"joints": P[0].tolist()}, {"name": "b"}], "a.json: frame 1: expected the field `joints`, got name"),
    ],
)
def test_results_without_3d_hands_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "a.json", content)


def test_tensors_of_pytorch_are_named(tmp_path):
    content = b"\x80\x04\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93."
    with pytest.raises(ValueError, match=r"a\.pkl: expected arrays, got PyTorch's tensors; save them as numpy arrays"):
        read(tmp_path, "a.pkl", content)


def test_matlab_73_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mat: expected a \.mat file of MATLAB 5 to 7, .*; save it by save\("):
        read(tmp_path, "a.mat", b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(500))


def test_sides_that_the_thumbs_contradict_are_reported():
    left = np.arange(10) % 2 == 0
    right_hands = hands.adults()[:10]
    # As HaMeR writes them, right hands in the place of left ones.
    assert "HaMeR's are: give --side right" in conventions.convert(right_hands, "file", left=left).findings[2].mistaken
    mirrored = np.where(left[:, None, None], right_hands * [-1, 1, 1], right_hands)
    assert not conventions.convert(mirrored, "file", left=left).findings[2].mistaken


def test_two_hands_of_each_frame_are_separated_by_their_place(tmp_path):
    right_hands = hands.adults()[:40].reshape(20, 2, 21, 3)
    two = right_hands * np.array([[[-1, 1, 1]], [[1, 1, 1]]])
    two[3, 0] = 0
    found = read(tmp_path, "a.json", two.tolist())
    poses = conventions.convert(found.joints, "a.json", frames=found.frames)
    assert poses.side.value == "by the place in the frame"
    assert poses.gaps.tolist() == [6]
    there = np.arange(40) != 6
    np.testing.assert_allclose(poses.joints[there], right_hands.reshape(40, 21, 3)[there], atol=1e-6)
    np.testing.assert_allclose(poses.to_source(poses.joints)[there], two.reshape(40, 21, 3)[there], atol=1e-6)
    anyhow = two.copy()
    anyhow[::2] = anyhow[::2, ::-1]
    with pytest.raises(ValueError, match="the side cannot be detected"):
        conventions.convert(anyhow.reshape(40, 21, 3)[8:], "a.json", frames=found.frames[8:])


@pytest.mark.parametrize("size", [1, 640])
def test_landmarks_of_the_picture_are_not_lengths(size):
    """x and y in [0, 1] of the picture, or pixels; z about the wrist's, in the same scale."""
    poses = hands.adults()
    picture = np.concatenate([poses[..., :2] / poses[..., 2:] + 0.5, poses[..., 2:] - poses[:, :1, 2:]], axis=-1) * size
    for shrunk in (1, 0.3):
        with pytest.raises(
            ValueError, match=r"file: the wrists have depth 0.*world landmarks, in metres.*state --unit"
        ):
            conventions.convert(picture * shrunk * [1, 16 / 9, 1], "file")


def test_scale_units_are_not_centimetres():
    units = hands.in_scale_units(hands.adults())
    with pytest.raises(ValueError, match=r"file: the bone from middle MCP to PIP is 1 long.*in scale units; multiply"):
        conventions.convert(units, "file")
    assert "scale units" in conventions.convert(units, "file", unit="cm").findings[1].mistaken
    with pytest.raises(ValueError, match=r"the unit cannot be detected .* State it with --unit"):
        conventions.convert(hands.adults() * 0.25, "file")
