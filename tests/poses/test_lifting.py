"""Lifting of landmarks to feasible hands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.transform

from bmc_jax import hand, limits, poses, synthesis
from bmc_jax.metrics import alignment
from bmc_jax.poses import lifting
from bmc_jax.synthesis import landmark_noise

SIZE, FOCAL = 640, 900.0
K = np.array([[FOCAL, 0, 319.5], [0, FOCAL, 319.5], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def hands():
    """Rendered people's hands `[64, 21, 3]`, metres, half a metre before a camera."""
    joints = synthesis.poses(0, "any_view", "test", range(64))
    return (joints - joints.mean(axis=1, keepdims=True) + np.float32([0.03, -0.02, 0.5])).astype(np.float32)


@pytest.fixture(scope="module")
def allowed():
    return limits.load("people")


def project(joints):
    return FOCAL * joints[..., :2] / joints[..., 2:] + K[:2, 2]


def landmarks(hands, z=True, world=True):
    """What an exact detector says of the hands."""
    pixels = project(hands)
    depth = FOCAL * (hands[..., 2] / hands[:, :1, 2] - 1)
    return poses.Landmarks(pixels, depth if z else None, hands - hands.mean(1, keepdims=True) if world else None)


def error(found, hands):
    """Mean error after Procrustes alignment, mm."""
    aligned = alignment.procrustes(np.asarray(found.joints), hands)
    return float(1000 * np.linalg.norm(aligned - hands, axis=-1).mean())


@pytest.mark.parametrize("world", [False, True])
def test_exact_depths_give_the_exact_hand_in_scale_units(hands, allowed, world):
    given, cameras = landmarks(hands, world=world), np.broadcast_to(K, (64, 3, 3))
    found = lifting.lift_hands(given, cameras, allowed, network_share=0)
    assert error(found._replace(joints=found.estimate), hands) < 0.1
    assert error(found, hands) < 2
    start, end = hand.SCALE_BONE
    scale = np.linalg.norm(found.joints[:, end] - found.joints[:, start], axis=-1)
    np.testing.assert_allclose(scale, 1, atol=1e-5)


def test_the_mean_with_the_networks_depth_is_between_both(hands, allowed):
    given, cameras = landmarks(hands, world=False), np.broadcast_to(K, (64, 3, 3))
    own, mean, network = (
        lifting.lift_hands(given, cameras, allowed, network_share=share).estimate for share in (0, 0.5, 1)
    )
    depth = [one[..., 2] / one[..., 2].mean(axis=-1, keepdims=True) for one in (own, mean, network)]
    np.testing.assert_allclose(depth[1], (depth[0] + depth[2]) / 2, atol=1e-5)
    for share in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"network_share: expected a number from 0 to 1, got {share}"):
            lifting.lift_hands(given, cameras, allowed, network_share=share)


def test_2d_landmarks_get_their_depth_from_the_network_with_its_deviation(hands, allowed):
    found = lifting.lift_hands(landmarks(hands, z=False, world=False), np.broadcast_to(K, (64, 3, 3)), allowed)
    flat = np.concatenate([(project(hands) - K[:2, 2]) / FOCAL, np.ones((64, 21, 1))], axis=-1)
    assert error(found, hands) < 0.6 * error(found._replace(joints=flat), hands)
    assert (found.deviation >= 0).all()
    assert (found.deviation[:, 1:] > 0).all()


def test_joints_stay_on_the_rays_of_their_pixels(hands, allowed):
    given = landmarks(hands, world=False)
    wrong = given._replace(z=given.z + np.random.default_rng(0).normal(0, 25, given.z.shape).astype(np.float32))
    found = lifting.lift_hands(wrong, np.broadcast_to(K, (64, 3, 3)), allowed)
    np.testing.assert_allclose(project(found.joints), given.pixels, atol=0.05)
    assert (np.linalg.norm(found.joints - found.estimate, axis=-1).mean(axis=1) > 0.01).mean() > 0.9


def test_world_landmarks_may_be_turned_scaled_and_moved(hands, allowed):
    turn = scipy.spatial.transform.Rotation.from_rotvec([0.2, -0.4, 0.3]).as_matrix()
    given = landmarks(hands)
    moved = given._replace(world=(3.0 * given.world @ turn.T + [1, 2, 3]).astype(np.float32))
    cameras = np.broadcast_to(K, (64, 3, 3))
    found, wanted = lifting.lift_hands(moved, cameras, allowed), lifting.lift_hands(given, cameras, allowed)
    np.testing.assert_allclose(found.estimate, wanted.estimate, atol=5e-3)


def test_the_alignment_of_world_landmarks_agrees_with_scipy(hands):
    generator = np.random.default_rng(0)
    source = hands[0] + generator.normal(0, 0.01, (21, 3))
    # With z alone and z with world, the difference of the depths is half of that of the aligned world landmarks.
    given = landmarks(hands[:1], world=False)
    both = given._replace(world=source[None].astype(np.float32))
    wide = limits.widen(limits.load("clinical"), degrees=180.0, fraction=5.0)
    alone, fused = (poses.lift(one, K[None], wide, network_share=0.0).estimate[0] for one in (given, both))
    target = np.asarray(alone, np.float64)
    middle = source.mean(0), target.mean(0)
    turn, _ = scipy.spatial.transform.Rotation.align_vectors(target - middle[1], source - middle[0])
    turned = turn.apply(source - middle[0])
    scale = (turned * (target - middle[1])).sum() / (turned**2).sum()
    parts = target[:, 2], (scale * turned + middle[1])[:, 2]
    depth = sum(part / part.mean() for part in parts) / 2
    np.testing.assert_allclose(fused[:, 2] / fused[:, 2].mean(), depth, atol=1e-4)


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_any_batch_shape_gives_the_same_hands(hands, allowed, shape):
    count = int(np.prod(shape))
    given = landmarks(hands[:count])
    wanted = lifting.lift_hands(given, np.broadcast_to(K, (count, 3, 3)), allowed)
    shaped = poses.Landmarks(*(part.reshape(*shape, *part.shape[1:]) for part in given))
    found = poses.lift(shaped, jnp.asarray(K), allowed)
    assert found.joints.shape == (*shape, 21, 3)
    np.testing.assert_allclose(np.reshape(found.joints, wanted.joints.shape), wanted.joints, atol=2e-3)


def test_a_missing_landmark_makes_its_hand_nan_and_no_other(hands, allowed):
    given = landmarks(hands[:3])
    given.pixels[1, 4] = np.nan
    found = lifting.lift_hands(given, np.broadcast_to(K, (3, 3, 3)), allowed)
    for part in (found.joints, found.estimate, found.excess):
        assert np.isnan(part[1]).all()
        assert np.isfinite(part[[0, 2]]).all()


def test_depths_of_a_wrong_unit_give_finite_hands(hands, allowed):
    given = landmarks(hands[:4], world=False)
    for factor in (-100, 100):
        found = lifting.lift_hands(given._replace(z=factor * given.z), np.broadcast_to(K, (4, 3, 3)), allowed)
        assert np.isfinite(found.joints).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixels": np.zeros((3, 20, 2), np.float32)}, "landmarks.pixels"),
        ({"z": np.zeros((2, 21), np.float32)}, "landmarks.z: expected the shape"),
        ({"world": np.zeros((3, 21, 2), np.float32)}, "landmarks.world: expected the shape"),
    ],
)
def test_arrays_of_other_shapes_are_refused_by_name(hands, allowed, change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        poses.lift(landmarks(hands[:3])._replace(**change), K, allowed)


def test_smoothing_steadies_the_depth_of_a_sequence_and_leaves_gaps(hands, allowed):
    frames = np.repeat(hands[:1], 40, axis=0)
    given = landmarks(frames, world=False)
    given = given._replace(z=given.z + np.random.default_rng(0).normal(0, 6, given.z.shape).astype(np.float32))
    given.pixels[7] = np.nan
    cameras = np.broadcast_to(K, (40, 3, 3))
    rough, smooth = (lifting.lift_hands(given, cameras, allowed, smooth=period) for period in (None, 10))
    assert np.isnan(smooth.joints[7]).all()
    known = np.arange(40) != 7
    jitter = [np.abs(np.diff(one.joints[known, :, 2], axis=0)).mean() for one in (rough, smooth)]
    assert jitter[1] < 0.5 * jitter[0]


def test_lifting_lowers_the_error_of_landmarks_as_mediapipe_finds_them_by_more_than_15_percent(hands, allowed):
    noise = jax.jit(landmark_noise.mediapipe_like)(jax.random.key(0), jnp.asarray(hands), jnp.asarray(K))
    pixels, z, world = map(np.asarray, noise)
    cameras = np.broadcast_to(K, (64, 3, 3))
    of_z = lifting.lift_hands(poses.Landmarks(pixels, z), cameras, allowed, network_share=0)
    raw = error(of_z._replace(joints=of_z.estimate), hands)
    assert error(of_z, hands) < 0.85 * raw  # by repair alone
    lifted = error(lifting.lift_hands(poses.Landmarks(pixels, z, world), cameras, allowed), hands)
    assert lifted < 0.85 * raw
    assert lifted < 0.85 * error(of_z._replace(joints=world), hands)
