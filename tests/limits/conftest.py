"""Poses and limits that the tests of this room share."""

import numpy as np
import pytest
from support import hands, paths

from bmc_jax import limits
from bmc_jax.synthesis import skeleton


@pytest.fixture(scope="session")
def poses():
    """Hands with poses over their whole range, at random places in front of a camera."""
    hands = skeleton.clinical_poses(600, seed=3)
    return hands + np.random.default_rng(0).uniform([-0.2, -0.2, 0.3], [0.2, 0.2, 1.0], (600, 1, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def fitted(poses):
    return limits.fit(poses, source="test")


@pytest.fixture(scope="session")
def rhd():
    file = paths.SHARED / "rhd_eval_joints.npy"
    if not file.is_file():
        pytest.skip("no real poses beside the checkout")
    return np.load(file)


@pytest.fixture(scope="session")
def clinical():
    return limits.load("clinical")


@pytest.fixture(scope="session")
def adults():
    return hands.adults().astype(np.float32)
