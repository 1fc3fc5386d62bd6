"""Inference: predictions of any crops and rotations are in the central crop's pixels and the camera's frame."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from support import examples

from bmc_jax import camera, limits, step
from bmc_jax.config import Training
from bmc_jax.core.types import Prediction
from bmc_jax.training import checkpoint, config_io, forward

CONFIG = examples.tiny_config()
SIZE = CONFIG.data.image_size
STATE = step.TrainState(np.zeros((), np.int32), {}, {}, None)


def wide(count=3):
    """Images of `stored_size` for two passes, black but for a white spot at the wrist."""
    given = examples.examples(count)
    stored = forward.stored_size(CONFIG, 2)
    intrinsics = given.intrinsics + np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]]) * (stored - SIZE) / 2
    pixels = np.asarray(camera.project(jnp.asarray(given.joints_3d), jnp.asarray(intrinsics, jnp.float32)))
    image = np.zeros((count, stored, stored, 3), np.uint8)
    for one, (column, row) in zip(image, np.rint(pixels[:, 0]).astype(int), strict=True):
        one[row - 2 : row + 3, column - 2 : column + 3] = 255
    return dataclasses.replace(given, image=image, intrinsics=intrinsics.astype(np.float32), joints_2d=pixels)


def perfect_network(seen):
    """Returns an evaluation step that predicts the labels of its crops, and appends images and pixels to `seen`."""

    def eval_step(state, batch, *, config):
        joints = jnp.asarray(batch.joints_3d) / jnp.asarray(batch.scale)[:, None, None]
        pixels = camera.project(joints, jnp.asarray(batch.intrinsics))
        seen.append((np.asarray(batch.image), np.asarray(pixels)))
        root = joints[:, 0, 2]
        return Prediction(pixels, joints[..., 2] - root[:, None], root, root, joints)

    return eval_step


@pytest.mark.parametrize(("passes", "turns", "crops"), [(1, 3, 3), (2, 1, 2), (2, 2, 3)])
def test_predictions_of_a_perfect_network_are_the_labels(monkeypatch, passes, turns, crops):
    seen, batch = [], wide()
    monkeypatch.setattr(step, "eval_step", perfect_network(seen))
    found = forward.predict_batch(STATE, batch, config=CONFIG, passes=passes, turns=turns)
    margin = (batch.image.shape[1] - SIZE) / 2
    np.testing.assert_allclose(found.joints_2d, batch.joints_2d - margin, atol=2e-3)
    np.testing.assert_allclose(found.joints_3d * batch.scale[:, None, None], batch.joints_3d, atol=2e-5)
    assert len(seen) == crops
    for image, pixels in seen:
        assert image.shape[1:] == (SIZE, SIZE, 3)
        for one, (column, row) in zip(image, np.rint(pixels[:, 0]).astype(int), strict=True):
            if 0 <= column < SIZE and 0 <= row < SIZE:
                assert one[row, column].min() > 100


def test_the_second_crop_is_cut_around_the_hand_that_the_first_found(monkeypatch):
    seen, batch = [], wide()
    monkeypatch.setattr(step, "eval_step", perfect_network(seen))
    forward.predict_batch(STATE, batch, config=CONFIG, passes=2)
    _, (_, pixels) = seen
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    np.testing.assert_allclose((low + high) / 2, (SIZE - 1) / 2, atol=1e-3)
    hand_side = np.ptp(batch.joints_2d, axis=1).max(axis=-1)
    crop_side = np.clip(CONFIG.data.margin * hand_side, 0.4 * SIZE, 1.5 * SIZE)
    np.testing.assert_allclose((high - low).max(axis=-1), hand_side / crop_side * SIZE, rtol=1e-3)


def test_one_pass_is_the_evaluation_of_the_central_crop(monkeypatch):
    seen, batch = [], wide()
    monkeypatch.setattr(step, "eval_step", perfect_network(seen))
    forward.predict_batch(STATE, batch, config=CONFIG)
    margin = (batch.image.shape[1] - SIZE) // 2
    np.testing.assert_array_equal(seen[0][0], batch.image[:, margin:-margin, margin:-margin])


@pytest.mark.parametrize(("passes", "turns"), [(0, 1), (3, 1), (1, 0)])
def test_wrong_numbers_of_passes_and_turns_are_refused(passes, turns):
    with pytest.raises(ValueError, match="expected passes 1 or 2"):
        forward.predict_batch(STATE, wide(1), config=CONFIG, passes=passes, turns=turns)


def test_best_of_a_run_that_kept_none_is_refused(tmp_path):
    config_io.write(CONFIG, tmp_path)
    with pytest.raises(ValueError, match=r"expected training\.best to name a metric"):
        forward.load(tmp_path, "best")


def test_best_of_a_run_is_what_was_measured_best(tmp_path):
    key = "test/mannequin/joints_3d_mm"
    config_io.write(dataclasses.replace(CONFIG, training=Training(best=key, evaluate_every=1)), tmp_path)
    limits.save(examples.narrow_limits(), tmp_path / limits.FILE)
    with checkpoint.Writer(tmp_path, keep=1, best=(key, True)) as writer:
        for number, value in enumerate([9.0, 4.0, 6.0, 5.0]):
            writer.save(step.TrainState(np.asarray(number, np.int32), {"a": np.zeros(1)}, {}, {}), {key: value})
    assert forward.load(tmp_path, "best").saved["step"] == 1
    assert forward.load(tmp_path).saved["step"] == 3
