"""The network for photographs in the repository: its checkpoint loads and predicts hands."""

import numpy as np
from support import paths

import bmc_jax
from bmc_jax.training import forward

PHOTOS = paths.ROOT / "docs/artifacts/photos"
BOXES = [[100, 80, 300, 320], [350, 90, 520, 300]]


def test_network_in_the_repository_predicts_joints_that_project_where_it_says():
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    found = bmc_jax.load(PHOTOS)(image, BOXES)
    projected = found.joints_3d @ found.intrinsics.transpose(0, 2, 1)
    np.testing.assert_allclose(projected[..., :2] / projected[..., 2:], found.joints_2d, atol=0.05)
    assert np.ptp(found.joints_2d, axis=1).min() > 1


def test_card_states_the_run_of_the_checkpoint():
    trained = forward.load(PHOTOS)
    card = (PHOTOS / "README.md").read_text(encoding="utf-8")
    assert f"step {int(trained.saved['step'])} of" in card
    assert f"uint8 `[b, {trained.config.data.image_size}, {trained.config.data.image_size}, 3]`" in card
