"""Gradient accumulation: gradient and losses equal those of the whole batch, with any labels in the parts."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from support import examples
from support.small_networks import Pixels

from bmc_jax import step
from bmc_jax.core.losses import LossWeights
from bmc_jax.data import example_sets, input_pipeline
from bmc_jax.models import pose_network
from bmc_jax.training import accumulation, feed, parallel

LIMITS = examples.narrow_limits()


def lopsided_batch():
    """Returns sixteen examples: two have 3D labels, one has no 2D labels and one is padding."""
    batch, hidden = examples.examples(16), example_sets.without_3d(examples.examples(16))
    labelled = np.arange(16) < 2
    batch = jax.tree.map(
        lambda shown, masked: np.where(labelled.reshape(-1, *[1] * (shown.ndim - 1)), shown, masked), batch, hidden
    )
    batch.joints_2d_valid[5], batch.present[7] = False, False
    return batch


def after_two_steps(run, state, batch):
    for _ in range(2):
        state, metrics = run(state, batch, LIMITS)
    return jax.device_get((state, metrics))


@pytest.mark.slow
def test_four_parts_on_each_of_four_devices_are_one_large_batch_on_one(monkeypatch):
    monkeypatch.setattr(pose_network, "ResNet", Pixels)
    config, batch = examples.tiny_config(), lopsided_batch()
    config.optimizer.rate = 0.03
    start = jax.device_get(step.create(config))
    run = jax.jit(functools.partial(step.train_step, config=config))
    whole, whole_metrics = after_two_steps(run, start, batch)

    config.optimizer.accumulate = 4
    run = examples.on_batches(feed.train_program(config))
    found, metrics = after_two_steps(run, parallel.replicate(start), batch)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found.params, whole.params)
    assert metrics.pop(feed.FINITE).all()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), metrics, whole_metrics)
    np.testing.assert_array_equal(found.batch_stats["backbone"]["seen"], [2 * 4, 2 * 4])
    moved = jax.tree.map(lambda now, before: np.abs(now - before).max(), whole.params, start.params)
    assert min(jax.tree.leaves(moved)) > 1e-5


def test_shares_are_those_of_the_examples_that_a_term_counts():
    shares = accumulation.shares(accumulation.split(lopsided_batch(), 4), axis_name=None)
    assert set(shares) == {field.name for field in dataclasses.fields(LossWeights)}
    # Each part has every fourth example: 5 in the second, 7 in the last.
    np.testing.assert_allclose(shares["root_depth"], [1 / 2, 1 / 2, 0, 0])
    np.testing.assert_allclose(shares["joints_2d"], np.array([4, 3, 4, 3]) / 14)
    np.testing.assert_allclose(shares["palm"], np.array([4, 4, 4, 3]) / 15)
    nothing = accumulation.split(example_sets.without_3d(examples.examples(4)), 2)
    np.testing.assert_array_equal(accumulation.shares(nothing, axis_name=None)["relative_depth"], [0, 0])


def test_a_batch_that_cannot_be_divided_is_refused_with_what_would_do():
    config = examples.tiny_config()
    config.optimizer.accumulate = 4
    with pytest.raises(ValueError, match=r"batch_size: expected a multiple of 16 for 4 devices x 4 parts .*, got 8"):
        input_pipeline.rows(config)
