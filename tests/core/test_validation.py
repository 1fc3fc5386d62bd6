"""Left hands among right ones, found by their thumbs and treated."""

import json

import numpy as np
import pytest
from support import hands, paths

from bmc_jax import limits
from bmc_jax.core import validation
from bmc_jax.synthesis import skeleton

FREIHAND = paths.SHARED / "freihand_mini/training_xyz.json"


MIRROR = np.array([-1, 1, 1], np.float32)


@pytest.fixture(scope="module")
def poses():
    """Hands all over their range, somewhere before a camera."""
    hands = skeleton.clinical_poses(600, seed=3)
    return hands + np.random.default_rng(0).uniform([-0.2, -0.2, 0.3], [0.2, 0.2, 1.0], (600, 1, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def rhd():
    file = paths.SHARED / "rhd_eval_joints.npy"
    if not file.is_file():
        pytest.skip("no real poses beside the checkout")
    return np.load(file)


def test_left_hands_among_right_ones_are_found_and_treated(poses):
    poses = poses[validation.screen(poses).undecided.size :]
    left = np.arange(5, len(poses), 20)
    mixed = poses.copy()
    mixed[left] *= MIRROR
    for treatment, expected in (("drop", np.delete(poses, left, axis=0)), ("mirror", poses), ("keep", mixed)):
        screened = validation.screen(mixed, left=treatment)
        np.testing.assert_array_equal(screened.left, left)
        np.testing.assert_array_equal(screened.poses, expected)
        assert f"{len(left)} left hands ({100 * len(left) / len(poses):.1f} %)" in screened.report()
    hands.assert_same_limits(limits.fit(mixed, source="test", left="mirror"), limits.fit(poses, source="test"))
    dropped = limits.fit(mixed, source="test", left="drop")
    assert dropped.meta.count == len(poses) - len(left)
    assert "30 left hands (5.0 %), left out" in dropped.meta.screening


def test_sides_change_sign_in_a_mirror(poses):
    for side in (validation.thumb_side, validation.finger_side):
        np.testing.assert_allclose(side(poses * MIRROR), -side(poses), atol=1e-6)
    assert np.all(np.abs(validation.thumb_side(poses)) <= 1)


def test_a_thumb_in_the_palms_plane_is_counted_as_undecided(poses):
    flat = poses[:4].copy()
    flat[..., 2] = 0.5
    palm = np.linalg.norm(flat[:, 9] - flat[:, 0], axis=-1)
    bone = np.linalg.norm(flat[:, 10] - flat[:, 9], axis=-1)
    flat = flat[(palm > 0.02) & (bone > 0.01)]
    screened = validation.screen(flat)
    np.testing.assert_array_equal(screened.undecided, np.arange(len(flat)))
    assert "taken as right" in screened.report()


def test_real_right_hands_that_bend_back_are_no_left_hands(rhd):
    screened = validation.screen(rhd)
    assert len(screened.left) == len(screened.undecided) == 0
    assert len(screened.bent_back) == 119
    assert "119 (4.4 %) left-hand-like in their fingers" in limits.fit(rhd, source="rhd").meta.screening
    # Their palms are those of other poses, and curved the same way: a left hand's palm would be curved the other way.
    measured = limits.measure(rhd)
    palm = np.concatenate([measured["curvature"], measured["spread"]], axis=1)
    others = np.delete(palm, screened.bent_back, axis=0)
    for one in palm[screened.bent_back]:
        assert np.abs(others - one).max(axis=1).min() < 0.01
        assert np.abs(one[:4]).max() > 0.3
    mirrored = validation.screen(rhd * MIRROR, left="mirror")
    assert len(mirrored.left) == len(rhd)
    np.testing.assert_array_equal(mirrored.poses, rhd)


def test_photographed_right_hands_are_right():
    if not FREIHAND.is_file():
        pytest.skip("no FreiHAND samples beside the checkout")
    hands = np.asarray(json.loads(FREIHAND.read_text()), np.float32)
    assert len(validation.screen(hands).left) == 0
    assert len(validation.screen(hands * MIRROR, left="keep").left) == len(hands)


def test_sides_stand_five_millimetres_of_noise(rhd):
    noisy = rhd + np.random.default_rng(0).normal(size=rhd.shape) * 0.005
    assert np.mean(validation.thumb_side(noisy) < -validation.UNDECIDED) < 0.001
