"""Several steps in one call are the same steps one by one, wherever a run begins and ends."""

import json

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import examples
from support.small_networks import Pixels

from bmc_jax import step
from bmc_jax.data import sources
from bmc_jax.models import pose_network
from bmc_jax.training import checkpoint, config_io, feed, train
from bmc_jax.training.log import Log

STEPS = 3


def on_device(**training):
    options = examples.tiny_config(**{"epochs": 2.0, "log_every": STEPS, "save_every": 2 * STEPS} | training)
    options.data.cache = "device"
    return options


def logged(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in ("step", "loss", "joint_angle", "gradient_norm", "rate")} for line in lines]


def moves(state, batch, limits, *, config, axis_name):
    """A step that depends on the state, on every image and on the order of steps, and compiles at once."""
    seen = jax.lax.pmean(jnp.mean(batch.image * jnp.float32(1e-3)), axis_name)
    params = {"w": 0.9 * state.params["w"] + seen}
    metrics = {"loss": seen, "joint_angle": params["w"], "gradient_norm": seen, "rate": jnp.float32(1)}
    return state.replace(step=state.step + 1, params=params), metrics


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_of_several_steps_a_call_is_one_of_single_steps_and_compiles_once(tmp_path, monkeypatch, whole):
    traces, runs = [], {}
    if not whole:
        start = step.TrainState(np.zeros((), np.int32), {"w": np.zeros((), np.float32)}, {}, {})
        monkeypatch.setattr(step, "train_step", moves)
        monkeypatch.setattr(step, "create", lambda _: start)

    def counted(*arguments, original=step.train_step, **options):
        traces.append(options["axis_name"])
        return original(*arguments, **options)

    monkeypatch.setattr(step, "train_step", counted)

    def compiled(options, original=feed.train_program):
        size = options.training.steps_per_dispatch
        runs[size] = runs.get(size) or original(options)
        return runs[size]

    def stop_at_two(self, done, metrics, write=Log.write):
        write(self, done, metrics)
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pose_network, "ResNet", Pixels)
    monkeypatch.setattr(sources, "rendered", lambda *given, **_: examples.examples(given[3], source=given[4]))
    monkeypatch.setattr(feed, "train_program", compiled)
    single, several, parts = (tmp_path / name for name in ("single", "several", "parts"))
    train.train(on_device(), single)
    del traces[:]
    train.train(on_device(steps_per_dispatch=STEPS), several)
    # Once for the shapes of its metrics and once to compile, for calls of 3, 3 and the last 2 steps.
    assert len(traces) == 2
    assert [line["step"] for line in logged(several)] == [3, 6, 8]

    # Steps a call may change on the way, between two of its multiples.
    with monkeypatch.context() as patch:
        patch.setattr(Log, "write", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            train.train(on_device(log_every=1, save_every=1), parts)
    assert checkpoint.latest(parts) == 1
    train.train(on_device(steps_per_dispatch=STEPS), parts)
    assert [line["step"] for line in logged(parts)][-3:] == [3, 6, 8]

    wanted_state = checkpoint.load(single)
    for workdir in (several, parts):
        jax.tree.map(
            lambda found, wanted: np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6),
            checkpoint.load(workdir),
            wanted_state,
        )
        for found, wanted in zip(logged(workdir)[-3:], logged(single), strict=True):
            assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("first", "total", "wanted"), [(0, 7, [3, 3, 1]), (2, 9, [1, 3, 3]), (4, 5, [1]), (3, 6, [3])])
def test_calls_end_at_multiples_and_hold_every_step_once(first, total, wanted):
    rows = grain.MapDataset.source([np.full(8, number, np.int32) for number in range(first, total)])
    calls = list(feed.calls_on_rows(rows, first, 3))
    assert [int(call.inputs.count) for call in calls] == wanted
    assert np.concatenate([call.rows[:, 0] for call in calls]).tolist() == list(range(first, total))
    for call in calls:
        padded, count = call.inputs.rows, call.inputs.count
        assert padded.shape == (4, 3, 4, 2)
        np.testing.assert_array_equal(padded[:, :count, 0, 0], np.broadcast_to(call.rows[:, 0], (4, count)))


def test_what_is_due_within_a_call_and_images_elsewhere_are_refused():
    options = on_device(steps_per_dispatch=STEPS)
    assert config_io.validate(options) is options
    options.training.check_replicas = 4
    with pytest.raises(
        ValueError, match=r"training.check_replicas: expected a multiple of training.steps_per_dispatch, 3, got 4"
    ):
        config_io.validate(options)
    options.data.cache = "auto"
    with pytest.raises(ValueError, match=r"data.cache: expected 'device' for steps_per_dispatch above 1, got 'auto'"):
        config_io.validate(options)
