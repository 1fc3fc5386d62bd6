"""The network of photographs that the repository holds can be used: its program runs, its checkpoint is read."""

import runpy

import numpy as np
from support import paths

from bmc_jax.training import forward

PHOTOS = paths.ROOT / "docs/artifacts/photos"
COUNT, SIZE = 3, 64


def test_program_in_the_repository_answers_with_joints_that_project_where_it_says():
    images = np.random.default_rng(0).integers(0, 255, (COUNT, SIZE, SIZE, 3), np.uint8)
    K = np.tile([[90.0, 0, 31.5], [0, 90.0, 31.5], [0, 0, 1]], (COUNT, 1, 1))
    found = runpy.run_path(str(PHOTOS / "load.py"))["load"]()(images, K, 0.05)
    projected = found["joints_3d"] @ K.transpose(0, 2, 1)
    np.testing.assert_allclose(projected[..., :2] / projected[..., 2:], found["joints_2d"], atol=1e-2)
    assert np.ptp(found["joints_2d"], axis=1).min() > 1


def test_checkpoint_in_the_repository_is_read_by_this_version():
    assert forward.load(PHOTOS).config.data.image_size == SIZE
