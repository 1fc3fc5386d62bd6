"""A run's folder stays one run: its schedule, and its files."""

import dataclasses
import math

import pytest
from support import examples, paths

from bmc_jax import cli
from bmc_jax.training import checkpoint, config_io, run_folder, train

CONFIGURATION = str(paths.ROOT / "configs/quickstart.py")


class Reached(Exception):
    """Training would have begun."""


@pytest.fixture
def stopped_at(tmp_path, monkeypatch):
    """Returns a function that makes a folder of a run of some configuration with its last checkpoint at some step."""

    def hold(_):
        raise Reached

    def make(options, done):
        monkeypatch.setattr(checkpoint, "latest", lambda _: done)
        monkeypatch.setattr(run_folder, "hold", hold)
        config_io.write(options, tmp_path)
        return tmp_path

    return make


def scheduled(epochs, ramp=0.0, **options):
    tiny = examples.tiny_config(epochs=epochs)
    return dataclasses.replace(
        tiny,
        optimizer=dataclasses.replace(tiny.optimizer, **options),
        biomechanics=dataclasses.replace(tiny.biomechanics, ramp=ramp),
    )


@pytest.mark.parametrize("done", [10, 40])
def test_longer_cosine_schedule_needs_to_be_asked_for(stopped_at, done):
    short, long = (scheduled(epochs, schedule="cosine", rate=1e-3) for epochs in (10.0, 20.0))
    workdir = stopped_at(short, done)
    last, following = (1e-3 * (1 + math.cos(math.pi * at / total)) / 2 for at, total in ((done - 1, 40), (done, 80)))
    found = rf"training.epochs: expected 10, .* got 20: .* from {last:.3g} to {following:.3g}; give --extend"
    with pytest.raises(ValueError, match=found):
        train.train(long, workdir)
    with pytest.raises(Reached):
        train.train(long, workdir, extend=True)
    if done < 40:
        with pytest.raises(Reached):
            train.train(short, workdir)


@pytest.mark.parametrize(
    ("options", "done"),
    [({"warmup": 0.5}, 10), ({"schedule": "cosine", "warmup": 0.5}, 10), ({"ramp": 0.5}, 10), ({"ramp": 0.5}, 15)],
)
def test_every_share_of_the_run_counts_as_its_schedule(stopped_at, options, done):
    workdir = stopped_at(scheduled(10.0, **options), done)
    with pytest.raises(ValueError, match="--extend"):
        train.train(scheduled(20.0, **options), workdir)
    with pytest.raises(ValueError, match="--extend"):
        train.train(scheduled(8.0, **options), workdir)


@pytest.mark.parametrize(("options", "done"), [({}, 10), ({}, 40), ({"schedule": "cosine"}, 0)])
def test_constant_schedule_and_a_run_without_a_step_may_become_longer(stopped_at, options, done):
    workdir = stopped_at(scheduled(10.0, **options), done)
    with pytest.raises(Reached):
        train.train(scheduled(20.0, **options), workdir)


def test_extend_is_an_option_of_train(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(train, "train", lambda *_, extend: given.append(extend))
    arguments = ["train", f"--config={CONFIGURATION}", f"--workdir={tmp_path}"]
    assert cli.main(arguments) == cli.main([*arguments, "--extend"]) == 0
    assert given == [False, True]
