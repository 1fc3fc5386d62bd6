"""MANO's parameters become joints as MANO's own equations have them, and angles become parameters that have them."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.transform import Rotation
from support import mano_files

from bmc_jax import anatomy, hand, mano

FREIHAND = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
CONTENT = mano_files.content()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return mano_files.write(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl", CONTENT)


@pytest.fixture(scope="module")
def right(file):
    return mano.load(file)


@pytest.fixture(scope="module")
def left(file):
    return mano.load(file, side="left")


def poses(count, spread=0.4, seed=1):
    return np.random.default_rng(seed).normal(0, spread, (count, 45)).astype(np.float32)


def skinned(pose, shape, orientation, translation, tips):
    """The joints by the equations of SMPL and MANO, with 4x4 matrices and all vertices, in float64."""
    template = CONTENT["v_template"] + CONTENT["shapedirs"] @ shape
    rest = CONTENT["J_regressor"] @ template
    turns = Rotation.from_rotvec(np.concatenate([orientation, pose]).reshape(16, 3)).as_matrix()
    posed = template + CONTENT["posedirs"] @ (turns[1:] - np.eye(3)).reshape(-1)
    world = np.tile(np.eye(4), (16, 1, 1))
    for joint, parent in enumerate(mano_files.PARENTS):
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = turns[joint], rest[joint]
        if joint:
            own[:3, 3] -= rest[parent]
            own = world[parent] @ own
        world[joint] = own
    relative = world.copy()
    relative[:, :3, 3] -= np.einsum("jab,jb->ja", world[:, :3, :3], rest)
    vertices = np.einsum("vj,jab,vb->va", CONTENT["weights"], relative, np.c_[posed, np.ones(778)])[:, :3]
    return np.concatenate([world[:, :3, 3], vertices[tips]])[FREIHAND] + translation


@pytest.mark.parametrize("tips", ["smplx", "manotorch"])
@pytest.mark.parametrize("flat", [True, False])
def test_joints_are_those_of_manos_equations(file, tips, flat):
    generator, pose = np.random.default_rng(2), poses(6)
    shape = generator.normal(size=(6, 10)).astype(np.float32)
    orientation, translation = generator.normal(size=(2, 6, 3)).astype(np.float32)
    given = (pose, shape, orientation, translation)
    found = mano.joints(mano.load(file, tips=tips), *given, flat_hand_mean=flat)
    whole = pose + (0 if flat else CONTENT["hands_mean"])
    parts = zip(whole, *given[1:], strict=True)
    wanted = [skinned(*one, mano_files.TIPS[tips]) for one in parts]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_angles_are_those_of_the_joints(right):
    pose, of_joints = poses(6), jax.jit(anatomy.joint_angles)
    joints = mano.joints(right, pose, flat_hand_mean=True)
    turned = mano.joints(right, pose, None, np.float32([1, 2, 3]), np.float32([0, 0, 1]), flat_hand_mean=True)
    found = mano.angles(right, pose, flat_hand_mean=True)
    np.testing.assert_allclose(found, of_joints(joints), atol=1e-6)
    np.testing.assert_allclose(found, of_joints(turned), atol=1e-4)


@pytest.mark.parametrize(("side", "flat"), [("right", False), ("left", True)])
def test_angles_become_a_pose_that_has_them(right, left, side, flat):
    generator = np.random.default_rng(3)
    wanted = generator.uniform([-0.3, -0.4], [1.3, 0.4], (6, 5, 3, 2)).astype(np.float32)
    shape = generator.normal(size=(6, 10)).astype(np.float32)
    one = {"right": right, "left": left}[side]
    if side == "left":  # the made hand is a right one
        one = mirrored(one)
    pose = mano.pose_from_angles(one, wanted, shape, flat_hand_mean=flat)
    np.testing.assert_allclose(mano.angles(one, pose, shape, flat_hand_mean=flat), wanted, atol=2e-4)


def mirrored(one):
    """The left hand that is the mirror image of a right one."""
    flip = np.array([-1.0, 1.0, 1.0], np.float32)
    one = jax.device_get(one)
    # Of a rotation matrix, minus the identity, the four mixed products with x change their sign.
    signs = np.tile(np.outer(flip, flip).reshape(-1), 15)
    return mano.Mano(
        joints=one.joints * flip,
        joints_by_shape=one.joints_by_shape * flip[:, None],
        tips=one.tips * flip,
        tips_by_shape=one.tips_by_shape * flip[:, None],
        tips_by_pose=one.tips_by_pose * flip[:, None] * signs,
        weights=one.weights,
        mean=one.mean,
        components=one.components,
        left=np.array(True),
    )


def test_left_hands_have_the_angles_of_their_mirror_image(right):
    pose = poses(6)
    other = (pose.reshape(6, 15, 3) * np.float32([1, -1, -1])).reshape(6, 45)
    found = mano.angles(mirrored(right), other, flat_hand_mean=True)
    np.testing.assert_allclose(found, mano.angles(right, pose, flat_hand_mean=True), atol=1e-5)
    joints = mano.joints(mirrored(right), other, flat_hand_mean=True)
    np.testing.assert_allclose(joints, hand.mirror(mano.joints(right, pose, flat_hand_mean=True)), atol=1e-6)


def test_flat_hand_has_the_angles_of_its_skeleton_and_they_give_it_back(right):
    rest = jnp.asarray(skinned(np.zeros(45), np.zeros(10), np.zeros(3), 0, mano_files.TIPS["smplx"]), jnp.float32)
    angles = np.tile(jax.jit(anatomy.joint_angles)(rest), (6, 1, 1, 1))
    pose = mano.pose_from_angles(right, angles, np.zeros((6, 10), np.float32), flat_hand_mean=False)
    np.testing.assert_allclose(pose, np.tile(-CONTENT["hands_mean"], (6, 1)), atol=2e-3)


def test_flexion_of_one_joint_changes_its_angle_alone(right):
    straight = mano.angles(right, np.zeros((6, 45), np.float32), flat_hand_mean=True)
    bent = straight.at[:, 1, 1, 0].add(0.7)
    pose = mano.pose_from_angles(right, bent, np.zeros((6, 10), np.float32), flat_hand_mean=False)
    moved = np.linalg.norm((pose[0] + CONTENT["hands_mean"]).reshape(15, 3), axis=-1)
    assert moved.argmax() == 1  # the index finger's second joint, in MANO's order
    assert moved[1] == pytest.approx(0.7, abs=0.01)
    assert np.delete(moved, 1).max() < 0.02


def test_gradients_are_finite_for_the_flat_hand_and_half_turns(right):
    pose = np.zeros((6, 45), np.float32)
    pose[1, 3] = np.pi
    gradient = jax.grad(lambda pose: mano.joints(right, pose, flat_hand_mean=True).sum())(jnp.asarray(pose))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0.01


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_file_is_read_whatever_its_protocol(tmp_path, protocol, right):
    again = mano.load(mano_files.write(tmp_path / "MANO_RIGHT.pkl", CONTENT, protocol))
    jax.tree.map(np.testing.assert_array_equal, again, right)


def test_file_without_chumpy_and_with_todays_scipy_is_read(tmp_path, right):
    plain = CONTENT | {"J_regressor": scipy.sparse.csc_matrix(CONTENT["J_regressor"])}
    (tmp_path / "mano_right.pkl").write_bytes(pickle.dumps(plain))
    jax.tree.map(np.testing.assert_array_equal, mano.load(tmp_path / "mano_right.pkl"), right)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": np.ones((778, 24))}, r"weights: expected finite numbers \[778, 16\], got \[778, 24\]"),
        ({"hands_mean": np.full(45, np.nan)}, "hands_mean: expected finite numbers"),
        ({"kintree_table": np.zeros((2, 16), np.uint32)}, "kintree_table: expected the parents"),
        ({"hands_components": "text"}, "expected the arrays of a MANO hand, got others"),
        ({"v_template": CONTENT["v_template"][:100]}, r"shapedirs: expected finite numbers \[100, 3, 'coefficients'\]"),
    ],
)
def test_damaged_file_is_named_with_its_field(tmp_path, changes, words):
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(CONTENT | changes))
    with pytest.raises(ValueError, match=words) as error:
        mano.load(tmp_path / "MANO_RIGHT.pkl")
    assert "MANO_RIGHT.pkl" in str(error.value)


class Malicious:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CONTENT | {"f": Malicious()}, "expected a pickle of plain data, got a call of builtins.print"),
        ([1, 2], "expected a MANO hand, a dict, got a list"),
        ({"weights": np.ones(3)}, "got a file without v_template"),
    ],
)
def test_other_pickles_are_refused(tmp_path, capsys, content, words):
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=words):
        mano.load(tmp_path / "MANO_RIGHT.pkl")
    assert capsys.readouterr().out == ""


def test_what_is_not_stated_is_asked_for(file, right, tmp_path, without_shape_checks):
    (tmp_path / "hand.pkl").write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="expected RIGHT or LEFT in its name, got neither; give side"):
        mano.load(tmp_path / "hand.pkl")
    with pytest.raises(ValueError, match="expected side of right, left and tips of smplx, manotorch, freihand"):
        mano.load(file, tips="mine")
    with pytest.raises(ValueError, match=r"pose: expected an array of shape \[..., 45\], got shape \[2, 48\]"):
        mano.joints(right, np.zeros((2, 48), np.float32), flat_hand_mean=True)
    with pytest.raises(ValueError, match="shape: expected at most 10 coefficients, got 11"):
        mano.joints(right, np.zeros(45, np.float32), np.zeros(11, np.float32), flat_hand_mean=True)
