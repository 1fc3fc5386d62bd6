"""Four devices are one device: the same loss, the same weights, equal replicas, one compilation."""

import functools
import re

import jax
import numpy as np
import pytest
from support import examples

from bmc_jax import step
from bmc_jax.data import example_sets, input_pipeline
from bmc_jax.data.cache import Resident
from bmc_jax.models import backbone
from bmc_jax.training import feed, forward, parallel, safeguards

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


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 4])
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


@pytest.mark.parametrize(("size", "groups"), [(0, [range(4)]), (2, [range(2), range(2, 4)]), (1, [[0], [1], [2], [3]])])
def test_batch_norm_has_the_statistics_of_its_group_of_devices(size, groups):
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 3, 5)).astype(np.float32)
    config = examples.tiny_config()
    config.network.batch_norm = size

    def on_device(x):
        layer = backbone.batch_norm(True, np.float32, step.network(config, axis_name=parallel.AXIS).devices)()
        return layer.apply(layer.init(jax.random.key(0), x), x, mutable=["batch_stats"])[0]

    found = np.asarray(parallel.parallelize(on_device, (0,), 0)(x))
    for group in groups:
        together = x[list(group)]
        expected = (together - together.mean((0, 1))) / np.sqrt(together.var((0, 1)) + 1e-5)
        np.testing.assert_allclose(found[list(group)], expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_of_each_device_by_itself_exchanges_nothing_in_the_network_and_leaves_the_replicas_equal():
    counts, state, batch = {}, jax.device_get(step.create(CONFIG)), input_pipeline.shard(lopsided_batch())
    for size in (0, 1):
        options = examples.tiny_config()
        options.network.batch_norm = size
        program = feed.train_program(options)
        arguments = (parallel.replicate(state), feed.Inputs(batch=batch), LIMITS, Resident(None, None))
        compiled = program.lower(*arguments).compile().as_text()
        counts[size] = len(re.findall(r" all-reduce(?:-start)?\(", compiled))
    layers = len(jax.tree.leaves(state.batch_stats)) // 2
    # One exchange a layer forwards and one backwards, of which XLA combines those that nothing lies between.
    assert layers < counts[0] - counts[1] <= 2 * layers
    # Counts of labels, gradients with metrics, running statistics.
    assert counts[1] <= 3
    safeguards.require_equal(program(*arguments)[0])


def test_groups_that_the_devices_do_not_make_are_refused():
    config = examples.tiny_config()
    config.network.batch_norm = 3
    with pytest.raises(ValueError, match=r"network.batch_norm: expected a divisor of .* devices, 4, got 3; .* or to 0"):
        input_pipeline.rows(config)
