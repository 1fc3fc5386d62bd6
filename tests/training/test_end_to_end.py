"""Whole runs on injected images: finished, interrupted, resumed, and stopped by values that are not finite."""

import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import annotations, examples
from support.small_networks import Pixels

from bmc_jax import config, limits, step
from bmc_jax.data import sources
from bmc_jax.data.build import builder
from bmc_jax.models import pose_network
from bmc_jax.runtime import distributed
from bmc_jax.training import checkpoint, config_io, feed, run_folder, train
from bmc_jax.training.log import Log


@pytest.fixture(autouse=True)
def injected_images(request, monkeypatch):
    """Replaces rendering, which takes long to compile, by noise with labels of hands."""

    def rendered(options, domain, split, count, number=0, *, stored=None):
        return examples.examples(count, source=number, seed=options.seed)

    if "slow" not in request.keywords:
        monkeypatch.setattr(sources, "rendered", rendered)


def lines(workdir):
    """Returns the logged lines without values that do not depend on the seed."""
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line.pop("input_wait") <= 1 for line in found)
    assert all(line.pop("images_per_second") > 0 for line in found)
    return found


def interrupt_after(number, monkeypatch):
    write = Log.write

    def interrupting(self, done, metrics):
        write(self, done, metrics)
        if done == number:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Log, "write", interrupting)


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(tmp_path, monkeypatch, capsys):
    options, whole, parts = examples.tiny_config(epochs=1.5), tmp_path / "whole", tmp_path / "parts"
    total = config.steps(options)
    # Compiled once for the three parts of this test.
    run, start = feed.train_program(options), jax.device_get(step.create(options))
    monkeypatch.setattr(feed, "train_program", lambda *_, **__: run)
    monkeypatch.setattr(step, "create", lambda _: start)
    train.train(options, whole)
    assert checkpoint.latest(whole) == total

    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(SystemExit) as stop:
            train.train(options, parts)
    assert stop.value.code == distributed.INTERRUPTED != 0
    assert checkpoint.latest(parts) == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    # A resumed run repeats the steps after its last checkpoint; the log must not have them twice.
    with (parts / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3, "loss": 0.0}) + '\n{"step": 4, "lo')
    train.train(options, parts)

    jax.tree.map(np.testing.assert_array_equal, checkpoint.load(parts), checkpoint.load(whole))
    assert lines(parts) == lines(whole)
    assert [line["step"] for line in lines(whole)] == list(range(1, total + 1))
    assert limits.load(parts / limits.FILE).meta == limits.load("clinical").meta
    assert config_io.read(parts) == options

    capsys.readouterr()
    before = (whole / "metrics.jsonl").stat().st_mtime_ns
    monkeypatch.setattr(sources, "rendered", None)
    train.train(options, whole)
    assert f"all {total} steps are done; nothing to train" in capsys.readouterr().out
    assert (whole / "metrics.jsonl").stat().st_mtime_ns == before

    other = dataclasses.replace(options, seed=1)
    with pytest.raises(ValueError, match="seed: expected 0, got 1"):
        train.train(other, whole)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_the_step_its_terms_and_its_examples(tmp_path, monkeypatch):
    def poisoned(options, domain, split, count, number=0, *, stored=None):
        batch = examples.examples(count, source=number)
        if number == 1:
            batch.joints_2d[7, 3] = np.nan
        return batch

    def total(state, inputs, hand_limits, resident):
        """Replaces the step, which takes long to compile."""
        value = jnp.sum(inputs.batch.joints_2d)
        return state, dict.fromkeys(("loss", "joints_2d", "gradient_norm"), value) | {feed.FINITE: jnp.isfinite(value)}

    monkeypatch.setattr(pose_network, "ResNet", Pixels)
    monkeypatch.setattr(sources, "rendered", poisoned)
    monkeypatch.setattr(feed, "train_program", lambda *_, **__: total)
    named = r"step \d+: .*joints_2d.* not finite.*themselves: real_like 7 \(joints_2d\)\. Check their"
    with pytest.raises(FloatingPointError, match=named):
        train.train(examples.tiny_config(epochs=1.0), tmp_path)
    assert checkpoint.latest(tmp_path) is None


def test_limits_are_fitted_to_the_3d_labelled_training_poses_alone(tmp_path, monkeypatch):
    seen = []

    def fit(poses, **options):
        seen.append((poses, options))
        return limits.load("clinical")

    monkeypatch.setattr(limits, "fit", fit)
    options = dataclasses.replace(
        examples.tiny_config(), limits=config.Limits(angle_margin=3.0, percentiles=(1.0, 99.0))
    )
    run_folder.load_limits(tmp_path, options, sources.training(options))
    ((poses, given),) = seen
    np.testing.assert_array_equal(poses, examples.examples(16, source=0).joints_3d)
    assert (given["angle_margin"], given["percentiles"]) == (3.0, (1.0, 99.0))


def test_a_built_dataset_and_a_rendered_domain_give_the_same_batches_from_every_cache(tmp_path, monkeypatch, capsys):
    """The step is replaced by an exact sum of its inputs, weighted by position."""

    def digest(state, batch, limits, *, config, axis_name):
        def total(leaf):
            whole = leaf if leaf.dtype == np.uint8 else jnp.round(leaf * 1000)
            weights = jnp.arange(leaf.size, dtype=jnp.int32).reshape(leaf.shape) + 7 * jax.lax.axis_index(axis_name)
            return jax.lax.psum(jnp.sum(whole.astype(jnp.int32) * weights), axis_name) % 2**20

        metrics = {f"{i}": total(leaf) for i, leaf in enumerate(jax.tree.leaves(batch))}
        return dataclasses.replace(state, step=state.step + 1), {**metrics, "loss": 1.0, "gradient_norm": 1.0}

    start = step.TrainState(np.zeros((), np.int32), {"w": np.zeros(2, np.float32)}, {}, {})
    monkeypatch.setattr(step, "train_step", digest)
    monkeypatch.setattr(step, "create", lambda _: start)
    folder = annotations.coco(tmp_path / "source", 12)
    builder.build("coco_hand", folder, tmp_path / "data", name="mine", workers=1)
    options = examples.tiny_config(epochs=0.9)
    options.data.directory = str(tmp_path / "data")
    options.data.train = config.Source("mannequin", count=16), config.Source("mine", labels="2d")
    logged = {}
    for mode in ("none", "host", "device"):
        options.data.cache = mode
        train.train(options, tmp_path / mode)
        assert f"cache: {mode}, " in capsys.readouterr().out
        logged[mode] = lines(tmp_path / mode)
    assert logged["none"] == logged["host"] == logged["device"]
    assert [line["step"] for line in logged["none"]] == [1, 2, 3]
    assert len({line["0"] for line in logged["none"]}) == 3
    assert config_io.read(tmp_path / "none").data.train[1].count == 12

    # The cache may change when a run is resumed; the batches stay the same.
    parts, options.data.cache = tmp_path / "parts", "host"
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(SystemExit):
            train.train(options, parts)
    options.data.cache = "device"
    train.train(options, parts)
    assert lines(parts) == logged["none"]


@pytest.mark.slow
def test_rendered_hands_are_trained_on(tmp_path):
    options = examples.tiny_config(epochs=1.0)
    options.data.train = (
        config.Source("mannequin", labels="3d", count=16),
        config.Source("mannequin", labels="2d", count=16),
    )
    options.limits = config.Limits(angle_margin=10.0)
    options.data.augment, options.data.cache = True, "device"
    train.train(options, tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert limits.load(tmp_path / limits.FILE).meta.count == 16


def test_configuration_made_in_python_is_checked_before_any_work(tmp_path):
    good = examples.tiny_config()
    one_source = dataclasses.replace(good, data=dataclasses.replace(good.data, train=good.data.train[:1]))
    no_epochs = dataclasses.replace(good, training=dataclasses.replace(good.training, epochs=0.0))
    for wrong, said in (
        (one_source, r"data.train\[:\].share: expected shares that sum to 1, got 0.5"),
        (no_epochs, r"training.epochs: expected a positive finite number, got 0.0"),
    ):
        with pytest.raises(ValueError, match=said):
            train.train(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_shape_checks")
def test_file_in_place_of_a_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a bmc_jax.config.Config, got 'quickstart.py'; .* config_io.load"):
        train.train("quickstart.py", tmp_path)
