"""Periodic evaluation: the metrics of `bmc evaluate`, compiled and read once, and pictures of the right hands."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import examples

from bmc_jax import limits, step
from bmc_jax.data import sources
from bmc_jax.inference import evaluate
from bmc_jax.training import checkpoint, config_io, feed, forward, parallel, periodic_eval, train
from bmc_jax.training.log import Log
from bmc_jax.visualization import draw

LIMITS = limits.load("clinical")
OPTIONS = {"evaluate_every": 3, "evaluate_count": 11, "picture_every": 4}


@functools.cache
def start():
    return jax.device_get(step.create(examples.tiny_config()))


@pytest.fixture(scope="module")
def compiled():
    """Compiles the evaluation once for all tests, and yields the shapes that it was traced with."""
    traced, eval_step = [], step.eval_step

    def counting(state, batch, *, config):
        traced.append(batch.image.shape)
        return eval_step(state, batch, config=config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "eval_step", counting)
        run = forward.program(examples.tiny_config())
        patch.setattr(forward, "program", lambda options, **_: run)
        yield traced


@pytest.fixture(autouse=True)
def rendered(monkeypatch):
    """Replaces rendering by noise with hands' labels, and returns the (domain, split, count) of each call."""
    calls = []

    def render(options, domain, split, count, number=0, *, stored=None):
        calls.append((domain, split, count))
        return examples.examples(count, seed=len(split) + len(domain))

    monkeypatch.setattr(sources, "rendered", render)
    return calls


def moved(state, by):
    return state.replace(params=jax.tree.map(lambda leaf: leaf + by, state.params))


def test_metrics_are_those_of_evaluating_the_saved_state_and_it_compiles_once(tmp_path, compiled, rendered):
    options = examples.tiny_config(**OPTIONS)
    options.data.test = ("mannequin", "real_like:validation")
    evaluation = periodic_eval.PeriodicEvaluation(options, LIMITS)
    assert rendered == [("mannequin", "test", 11), ("real_like", "validation", 11)]
    found = []
    with Log(tmp_path, options, first=0, total=8) as log:
        for number, by in ((3, 0.0), (6, 0.01)):
            state = moved(start(), by).replace(step=np.asarray(number, np.int32))
            found.append(evaluation.run(parallel.replicate(state), number, log))
            evaluation.run(parallel.replicate(state), 4, log)
    assert len(compiled) == 1
    assert len(rendered) == 2
    assert found[0] != found[1]

    config_io.write(options, tmp_path)
    limits.save(LIMITS, tmp_path / limits.FILE)
    checkpoint.save(tmp_path, state, keep=1)
    written = evaluate.evaluate(tmp_path, count=11)["domains"]
    wanted = {f"test/mannequin/{key}": value for key, value in written["mannequin"]["network"].items()} | {
        f"validation/real_like/{key}": value for key, value in written["real_like:validation"]["network"].items()
    }
    assert found[1] == wanted
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 3, **found[0]}, {"step": 6, **found[1]}]


def test_pictures_show_hands_from_all_over_each_set_with_their_labels(tmp_path, compiled, monkeypatch):
    options = examples.tiny_config(picture_every=500)
    drawn, contact_sheet = [], draw.contact_sheet

    def keep(images, labels, valid, **options):
        drawn.append((images, labels, options))
        return contact_sheet(images[:2], labels[:2], valid[:2], predicted=options["predicted"][:2])

    monkeypatch.setattr(draw, "contact_sheet", keep)
    evaluation = periodic_eval.PeriodicEvaluation(options, LIMITS)
    with Log(tmp_path, options, first=0, total=8) as log:
        assert evaluation.run(parallel.replicate(start()), 500, log) == {}
    ((images, labels, options_drawn),) = drawn
    rows = [0, 2, 4, 6, 8, 11]
    sets = [examples.examples(12, seed=len("test") + len(name)) for name in options.data.test]
    np.testing.assert_array_equal(images, np.concatenate([one.image[rows] for one in sets]))
    np.testing.assert_array_equal(labels, np.concatenate([one.joints_2d[rows] for one in sets]))
    assert options_drawn["captions"] == [f"{name} {row}" for name in options.data.test for row in rows]
    saved = {"step": 0, "params": start().params, "batch_stats": start().batch_stats}
    for part, one in zip(np.split(options_drawn["predicted"], 2), sets, strict=True):
        alone = forward.predict(options, saved, jax.tree.map(lambda leaf: leaf[rows], one))
        np.testing.assert_allclose(part, alone.joints_2d, atol=1e-4)
    picture = np.asarray(Image.open(tmp_path / "pictures/step_000500.jpg"))
    assert picture.ndim == 3
    assert picture.std() > 20


def test_training_with_periodic_evaluation_is_training_without(tmp_path, compiled, rendered, monkeypatch):
    """The step is replaced by one that moves every weight a little."""

    def take(state, inputs, limits, resident):
        metrics = {"loss": 1.0, "gradient_norm": float(state.step), feed.FINITE: jnp.bool_(True)}
        return moved(state, 0.001).replace(step=state.step + 1), metrics

    monkeypatch.setattr(feed, "train_program", lambda *_, **__: take)
    beginning = start()
    monkeypatch.setattr(step, "create", lambda _: beginning)
    monkeypatch.setattr(draw, "contact_sheet", functools.partial(lambda *_, **__: draw.Figure()))
    kept = OPTIONS | {"best": "test/mannequin/joints_3d_mm", "keep": 1}
    for name, options in (("evaluated", examples.tiny_config(**kept)), ("plain", examples.tiny_config())):
        train.train(options, tmp_path / name)
    lines = [json.loads(line) for line in (tmp_path / "evaluated/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" not in line] == [3, 6, 8]
    assert sorted(file.name for file in (tmp_path / "evaluated/pictures").iterdir()) == [
        "step_000004.jpg",
        "step_000008.jpg",
    ]
    jax.tree.map(np.testing.assert_array_equal, *(checkpoint.load(tmp_path / name) for name in ("evaluated", "plain")))
    assert not (tmp_path / "plain/pictures").exists()
    measured = {line["step"]: line[kept["best"]] for line in lines if kept["best"] in line}
    assert measured.keys() == {3, 6, 8}
    best = forward.load(tmp_path / "evaluated", "best")
    assert best.saved["step"] == min(measured, key=measured.__getitem__) < 8
    assert sum(split == "test" for _, split, _ in rendered) == 2


@pytest.mark.parametrize(
    ("best", "words"),
    [
        ("test/mannequin/joints_4d_mm", "expected a metric at its end, .*; choose from joints_2d_px"),
        ("test/elsewhere/joints_3d_mm", "expected SET/METRIC with a SET of test/mannequin, test/real_like"),
    ],
)
def test_best_by_what_is_not_measured_is_an_error_before_training(best, words):
    with pytest.raises(ValueError, match=words):
        periodic_eval.best_metric(examples.tiny_config(evaluate_every=5, best=best))
    with pytest.raises(
        ValueError, match=r"training.evaluate_every: expected a positive number for training.best, got 0"
    ):
        config_io.validate(examples.tiny_config(best="test/mannequin/joints_3d_mm"))


def test_evaluation_without_test_sets_is_an_error_before_training():
    options = examples.tiny_config(evaluate_every=5)
    options.data = dataclasses.replace(options.data, test=())
    with pytest.raises(ValueError, match=r"data.test: expected at least one test set, got \(\)"):
        config_io.validate(options)
