"""Four devices are one device: the same loss, the same weights, equal replicas, one compilation."""

import functools

import jax
import numpy as np
import pytest
from support import examples

from bmc_jax import step
from bmc_jax.data import example_sets, input_pipeline
from bmc_jax.training import feed, forward, parallel

CONFIG = examples.tiny_config()
LIMITS = examples.narrow_limits()
STEPS = 3


def lopsided_batch():
    """Eight examples of which only the first device's have 3D labels: the devices' own means all differ."""
    devices = jax.local_device_count()
    batch, hidden = examples.examples(8), example_sets.without_3d(examples.examples(8))
    labelled = np.arange(8) % devices == 0
    return jax.tree.map(
        lambda shown, masked: np.where(labelled.reshape(-1, *[1] * (shown.ndim - 1)), shown, masked), batch, hidden
    )


def train(run, state, batch):
    losses = []
    for _ in range(STEPS):
        state, metrics = run(state, batch, LIMITS)
        losses.append(float(metrics["loss"]))
    return state, losses


def test_four_devices_are_one_device_and_compile_once(monkeypatch):
    assert jax.local_device_count() == 4
    traces = []

    def counted(*arguments, original=step.train_step, **options):
        traces.append(options["axis_name"])
        return original(*arguments, **options)

    state, batch = jax.device_get(step.create(CONFIG)), lopsided_batch()
    one, losses = train(jax.jit(functools.partial(step.train_step, config=CONFIG)), state, batch)
    monkeypatch.setattr(step, "train_step", counted)
    four, parallel_losses = train(examples.on_batches(feed.train_program(CONFIG)), parallel.replicate(state), batch)

    np.testing.assert_allclose(parallel_losses, losses, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5), four.params, one.params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), four.batch_stats, one.batch_stats)
    assert traces == [parallel.AXIS]
    for leaf in jax.tree.leaves(four):
        replicas = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(replicas) == 4
        for replica in replicas[1:]:
            np.testing.assert_array_equal(replica, replicas[0])


def test_predictions_do_not_hang_on_the_number_of_devices():
    state, batch = step.create(CONFIG), examples.examples(8)
    alone = jax.jit(functools.partial(step.eval_step, config=CONFIG))(state, batch)
    together = forward.program(CONFIG)(parallel.replicate(state), input_pipeline.shard(batch))
    assert together.joints_2d.shape == (4, 2, 21, 2)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), input_pipeline.unshard(together), alone
    )


@pytest.mark.parametrize("devices", [1, 4])
def test_both_mappings_train_alike_to_the_last_bit(monkeypatch, devices):
    local, program = jax.devices()[:devices], examples.tiny_config()
    for name in ("devices", "local_devices"):
        monkeypatch.setattr(jax, name, lambda: local)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    state, batch, found = jax.device_get(step.create(CONFIG)), lopsided_batch(), {}
    for mapping in ("pmap", "shard_map"):
        program.training.mapping = mapping
        run = examples.on_batches(feed.train_program(program))
        found[mapping] = jax.device_get(train(run, parallel.replicate(state, mapping), batch))
    jax.tree.map(np.testing.assert_array_equal, found["pmap"], found["shard_map"])
