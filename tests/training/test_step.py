"""The training step: the labels it uses, the labels it must not use, its schedules, and its dtypes."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from support import examples

from bmc_jax import config as configuration
from bmc_jax import step
from bmc_jax.data import augment, example_sets
from bmc_jax.training import optimizer

CONFIG = examples.tiny_config(epochs=25.0)
LIMITS = examples.narrow_limits()


def mixed_batch():
    """Returns four examples with all labels and four with 2D labels only."""
    parts = examples.examples(4, source=0), example_sets.without_3d(examples.examples(4, source=1))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


@functools.cache
def start():
    return step.create(CONFIG)


@functools.cache
def train_step(dtype="float32"):
    options = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, dtype=dtype))
    return jax.jit(functools.partial(step.train_step, config=options))


@pytest.mark.slow
def test_loss_falls_on_a_batch_seen_again_and_again():
    state, losses = start(), []
    for _ in range(20):
        state, metrics = train_step()(state, mixed_batch(), LIMITS)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    assert int(state.step) == 20


def test_every_term_and_norm_is_reported_finite_and_in_float32():
    for dtype in ("float32", "bfloat16"):
        state, metrics = train_step(dtype)(start(), mixed_batch(), LIMITS)
        terms = {"joints_2d", "relative_depth", "root_depth", "bone_length", "palm", "joint_angle"}
        norms = {"gradient_norm", "update_norm", "parameter_norm"}
        assert set(metrics) == {"loss", "rate", "biomechanical_ramp"} | terms | norms
        assert all(metric.dtype == jnp.float32 and np.isfinite(metric) for metric in metrics.values())
        floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}


def test_heatmaps_have_a_term_of_their_own_where_it_has_a_weight():
    network = configuration.Network(depth=10, width=4, patch=8, pool="heatmaps", lift=True, heatmap_channels=8)
    options = dataclasses.replace(CONFIG, network=network)
    shapes = jax.eval_shape(functools.partial(step.create, options))
    assert shapes.params["head"]["heat"]["kernel"].shape == (8, 21)
    for weight, there in ((0.0, False), (1.0, True)):
        options.weights = configuration.Weights(heatmaps=weight)
        run = functools.partial(step.train_step, config=options)
        assert ("heatmaps" in jax.eval_shape(run, shapes, mixed_batch(), LIMITS)[1]) == there


def test_a_step_in_bfloat16_goes_where_one_in_float32_goes():
    """With eight bits of mantissa in about ten layers, the update is within a fifth in length and direction."""
    updates = []
    for dtype in ("float32", "bfloat16"):
        state, _ = train_step(dtype)(start(), mixed_batch(), LIMITS)
        moved = jax.tree.map(lambda now, before: np.ravel(now - before), state.params, start().params)
        updates.append(np.concatenate(jax.tree.leaves(moved)))
    exact, rounded = updates
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 1e-5 < error < 0.2


def test_labels_that_are_masked_change_nothing_whatever_they_hold():
    batch = mixed_batch()
    hidden = ~batch.joints_3d_valid
    poisoned = dataclasses.replace(batch, joints_3d=np.where(hidden[..., None], np.nan, batch.joints_3d))
    states = [train_step()(start(), labels, LIMITS)[0] for labels in (batch, poisoned)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_augmentation_hangs_on_seed_and_step_and_replaces_the_screens_of_its_sources_alone(monkeypatch):
    seen = []
    batch = mixed_batch()

    def record(key, given, *arguments, green_screen):
        seen.append((key, *arguments, green_screen))
        return given

    monkeypatch.setattr(augment, "augment", record)
    for seed, number, screens in ((0, 0, (False, False)), (0, 1, (False, True)), (1, 0, (True, True))):
        options = dataclasses.replace(CONFIG, seed=seed)
        train = [
            dataclasses.replace(source, green_screen=screen)
            for source, screen in zip(options.data.train, screens, strict=True)
        ]
        options.data = dataclasses.replace(options.data, augment=True, train=tuple(train))
        step.augmented(batch, jnp.array(number), options)
    keys = [jax.random.key_data(call[0]).tolist() for call in seen]
    assert len({tuple(key) for key in keys}) == 3
    assert all(call[1:3] == (CONFIG.data.augmentation, examples.SIZE) for call in seen)
    assert seen[0][3] is None
    assert seen[1][3].tolist() == [False] * 4 + [True] * 4
    assert seen[2][3].tolist() == [True] * 8
    step.augmented(batch, jnp.array(1), dataclasses.replace(CONFIG, seed=0))
    assert jax.random.key_data(seen[3][0]).tolist() == keys[1]


@pytest.mark.slow
def test_the_same_seed_makes_the_same_network_and_another_another():
    again = step.create(CONFIG)
    jax.tree.map(np.testing.assert_array_equal, start(), again)
    other = step.create(dataclasses.replace(CONFIG, seed=1))
    assert np.any(other.params["head"]["kernel"] != again.params["head"]["kernel"])


def test_step_schedule_is_the_papers():
    options = configuration.Config()
    rate, epoch = optimizer.rate(options), configuration.steps(options, 1.0)
    found = [float(rate(round(epochs * epoch))) for epochs in (0, 29.9, 30.1, 59.9, 60.1)]
    np.testing.assert_allclose(found, [5e-3, 5e-3, 5e-4, 5e-4, 5e-5], rtol=1e-6)


def test_cosine_schedule_warms_up_and_ends_at_zero():
    chosen = configuration.Optimizer(schedule="cosine", warmup=0.1, rate=1.0)
    options = dataclasses.replace(CONFIG, optimizer=chosen)
    rate, total = optimizer.rate(options), configuration.steps(options)
    values = [float(rate(number)) for number in range(total + 1)]
    assert values[0] == 0
    assert values.index(max(values)) == round(0.1 * total)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.0, abs=1e-6)


def test_biomechanical_weights_start_late_and_grow():
    biomechanics = configuration.Biomechanics(start=0.2, ramp=0.4)
    options = dataclasses.replace(CONFIG, biomechanics=biomechanics)
    total = configuration.steps(options)
    ramp = [float(step.biomechanical_ramp(options, jnp.array(number))) for number in range(total)]
    assert ramp[round(0.2 * total) - 1] == 0
    assert 0 < ramp[round(0.2 * total)] < 0.1
    assert ramp[round(0.6 * total) - 1] == pytest.approx(1)
    assert max(ramp) == 1


def test_without_a_ramp_the_biomechanical_terms_are_on_from_the_first_step():
    options = dataclasses.replace(CONFIG, biomechanics=configuration.Biomechanics(start=0.0, ramp=0.0))
    assert float(step.biomechanical_ramp(options, jnp.array(0))) == 1


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weights_decay_and_biases_do_not(name):
    chosen = configuration.Optimizer(name=name, rate=0.1, weight_decay=0.1)
    transformation = optimizer.create(dataclasses.replace(CONFIG, optimizer=chosen))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transformation.update(nothing, transformation.init(params), params)
    assert np.all(updates["kernel"] < 0)
    assert np.all(updates["bias"] == 0)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_modules_keep_their_weights_and_others_are_trained_as_if_alone(name):
    chosen = configuration.Optimizer(name=name, rate=0.1, weight_decay=0.1, clip=1.0)
    trained = {"head": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    params = trained | {"backbone": {"kernel": jnp.ones((3, 2))}, "refiner": {"bias": jnp.ones(3)}}
    gradients = jax.tree.map(lambda leaf: 5 * jnp.ones_like(leaf), params)
    alone = optimizer.create(dataclasses.replace(CONFIG, optimizer=chosen))
    frozen = dataclasses.replace(chosen, frozen="backbone,refiner")
    some = optimizer.create(dataclasses.replace(CONFIG, optimizer=frozen))
    updates, _ = some.update(gradients, some.init(params), params)
    wanted, _ = alone.update({"head": gradients["head"]}, alone.init(trained), trained)
    jax.tree.map(np.testing.assert_array_equal, updates["head"], wanted["head"])
    for module in ("backbone", "refiner"):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates[module]))


def test_frozen_modules_that_do_not_exist_are_refused():
    options = dataclasses.replace(CONFIG, optimizer=configuration.Optimizer(frozen="head,lifting"))
    with pytest.raises(
        ValueError, match=r"optimizer\.frozen: expected one of backbone, .*, got 'lifting'; choose of these"
    ):
        step.create(options)


def test_averaged_weights_are_a_recursion_that_forgets_the_start():
    options = dataclasses.replace(CONFIG, optimizer=configuration.Optimizer(ema=0.4))
    values = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    average, wanted = {"w": jnp.asarray(values[0])}, values[0].astype(np.float64)
    for number, now in enumerate(values[1:]):
        average = optimizer.average(options, jnp.array(number), average, {"w": jnp.asarray(now)})
        decay = min(0.4, (1 + number) / (10 + number))
        wanted = decay * wanted + (1 - decay) * now
        np.testing.assert_allclose(average["w"], wanted, rtol=1e-5)
    assert decay == 0.4


@pytest.mark.slow
def test_a_step_averages_weights_and_statistics_and_evaluation_takes_them():
    options = dataclasses.replace(CONFIG, optimizer=dataclasses.replace(CONFIG.optimizer, ema=0.9))
    before = step.create(options)
    state, _ = jax.jit(functools.partial(step.train_step, config=options))(before, mixed_batch(), LIMITS)
    alone, _ = train_step()(start(), mixed_batch(), LIMITS)
    jax.tree.map(np.testing.assert_array_equal, state.params, alone.params)
    for name in ("params", "batch_stats"):
        jax.tree.map(
            lambda average, first, now: np.testing.assert_allclose(average, 0.1 * first + 0.9 * now, atol=1e-6),
            state.average[name],
            getattr(before, name),
            getattr(state, name),
        )
    shown = step.evaluated(serialization.to_state_dict(state))
    found = {"params": shown.params, "batch_stats": shown.batch_stats}
    jax.tree.map(np.testing.assert_array_equal, found, state.average)


def test_evaluation_takes_the_last_weights_of_a_run_without_an_average():
    saved = serialization.to_state_dict(start())
    assert set(saved) == {"step", "params", "batch_stats", "opt_state"}
    assert step.evaluated(saved).params is saved["params"]


def test_a_huge_gradient_is_scaled_down_to_the_clip():
    chosen = configuration.Optimizer(rate=1.0, clip=2.0, momentum=0.0, weight_decay=0.0, nesterov=False)
    transformation = optimizer.create(dataclasses.replace(CONFIG, optimizer=chosen))
    params = {"kernel": jnp.ones((3, 4))}
    updates, _ = transformation.update({"kernel": jnp.full((3, 4), 1e6)}, transformation.init(params), params)
    assert float(jnp.linalg.norm(updates["kernel"])) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_step_for_accelerators_has_no_callback_no_float64_and_no_product_of_small_matrices(platform):
    shapes = jax.eval_shape(lambda: (start(), mixed_batch(), LIMITS))
    text = jax.export.export(train_step(), platforms=[platform])(*shapes).mlir_module()
    assert text.count("stablehlo.convolution") > 10
    assert "f64" not in text
    assert not [call for call in re.findall(r"custom_call @(\w+)", text) if "callback" in call or "python" in call]
    products = [line for line in text.splitlines() if "stablehlo.dot" in line]
    assert not [line for line in products if "x3x3xf32" in line]
    constants = [line for line in text.splitlines() if "stablehlo.constant" in line]
    assert max(map(len, constants)) < 20_000
