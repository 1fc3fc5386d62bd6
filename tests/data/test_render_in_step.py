"""Fresh images: rendered as training goes on, none twice, and the same wherever they are rendered."""

import dataclasses
import functools
import json

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import examples

from bmc_jax import config, step, synthesis
from bmc_jax.core.choices import SPLITS
from bmc_jax.data import cache, example_sets, input_pipeline, render_in_step, sources
from bmc_jax.synthesis import domains
from bmc_jax.training import checkpoint, feed, parallel, run_folder, safeguards, train
from bmc_jax.training.log import Log

BASE = jax.tree.map(lambda leaf: leaf[0], examples.examples(1))


def picture(seed, domain, split, index, size):
    """In place of the renderer, which takes long to compile: exact, and of every argument."""
    number = jnp.asarray(index, jnp.int32)
    of = seed + 3 * list(domains.DOMAINS).index(domain.name) + 7 * SPLITS.index(split)
    place = jnp.arange(size * size * 3, dtype=jnp.int32).reshape(size, size, 3)
    return dataclasses.replace(
        jax.tree.map(jnp.asarray, BASE),
        image=((number * 31 + of * 17 + place) % 251).astype(jnp.uint8),
        joints_2d=BASE.joints_2d + number.astype(jnp.float32) / 64,
        joints_3d=BASE.joints_3d + number.astype(jnp.float32) / 64,
        index=number,
    )


@pytest.fixture(autouse=True)
def renderer(monkeypatch):
    def render(seed, domain, split, indices, size):
        domain = domains.get(domain) if isinstance(domain, str) else domain
        return jax.tree.map(np.array, _pictures(seed, domain, split, jnp.asarray(indices), size))

    monkeypatch.setattr(synthesis, "example", picture)
    monkeypatch.setattr(synthesis, "render", render)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 4))
def _pictures(seed, domain, split, indices, size):
    return jax.vmap(lambda index: picture(seed, domain, split, index, size))(indices)


def mixture(*shares, batch_size=12, **training):
    """Sources of those shares; of four, the first and third are fresh."""
    names = ("mannequin", "synthetic", "real_like", "mannequin")
    train = [
        config.Source(name, count=20, labels="2d" if i == 2 else "3d", share=share / sum(shares), fresh=i % 2 == 0)
        for i, (name, share) in enumerate(zip(names, shares, strict=False))
    ]
    options = examples.tiny_config(**training)
    own = dataclasses.replace(options.data, train=tuple(train), batch_size=batch_size)
    return sources.resolve(dataclasses.replace(options, data=own, seed=5))


def all_fresh(options):
    train = tuple(dataclasses.replace(source, fresh=True) for source in options.data.train)
    return dataclasses.replace(options, data=dataclasses.replace(options.data, train=train))


def kept(options):
    return [source for source in sources.training(options) if not isinstance(source, example_sets.RenderedOnDemand)]


def of_devices(rows):
    """A step's row numbers, as each device is given them."""
    return feed.calls_on_rows(grain.MapDataset.source([rows]), 0, 1)[0].inputs.rows[:, 0]


def gathered(options, rows, resident):
    gather = functools.partial(render_in_step.gather, config=options, axis_name=parallel.AXIS)
    return jax.device_get(parallel.parallelize(gather, (0, cache.Resident(0, None)), 0)(rows, resident))


def test_every_example_is_used_exactly_once():
    options = mixture(5, 4, 3, epochs=3.0)
    total, opened = config.steps(options), sources.training(options)
    first = input_pipeline.offsets([len(source) for source in opened])
    rows = np.stack([input_pipeline.rows(options)[number] for number in range(total)])
    for number, (low, count) in {0: (0, 5), 2: (9, 3)}.items():
        found = rows[:, low : low + count] - first[number]
        np.testing.assert_array_equal(found.reshape(-1), np.arange(total * count))
        assert len(opened[number]) >= total * count
    assert total * 4 > 2 * len(opened[1])
    assert input_pipeline.describe(opened, rows[3, [0, 11]]) == ["mannequin 15", "real_like 11"]
    assert input_pipeline.fetch(opened, rows[3]).index[[0, 11]].tolist() == [15, 11]


@pytest.mark.parametrize(("devices", "shares"), [(1, (5, 4, 3)), (3, (1, 5, 1, 5)), (4, (5, 4, 3)), (4, (12,))])
def test_batches_of_the_step_equal_those_of_the_host(monkeypatch, devices, shares):
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    local = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: local)
    options = mixture(*shares)
    rows, opened = input_pipeline.rows(options), sources.training(options)
    resident = cache.on_devices(kept(options), parallel.AXIS)
    for number in (0, 3):
        told = feed.calls_on_rows(rows, 0, 1)[number].inputs.rows[:, 0]
        wanted = feed.calls_on_batches(opened, rows)[number].inputs.batch
        jax.tree.map(np.testing.assert_array_equal, gathered(options, told, resident), wanted)


def test_2d_labelled_images_have_no_3d_label_in_step_or_on_host():
    options = all_fresh(mixture(5, 4, 3))
    rows, nothing = input_pipeline.rows(options), cache.on_devices([], parallel.AXIS)
    inside = gathered(options, feed.calls_on_rows(rows, 0, 1)[2].inputs.rows[:, 0], nothing)
    outside = feed.calls_on_batches(sources.training(options), rows)[2].inputs.batch
    jax.tree.map(np.testing.assert_array_equal, inside, outside)
    for batch in map(input_pipeline.unshard, (inside, outside)):
        assert batch.source.tolist() == [0] * 5 + [1] * 4 + [2] * 3
        assert batch.joints_3d_valid[:9].all()
        assert not batch.joints_3d_valid[9:].any()
        assert not batch.joints_3d[9:].any()
        assert (batch.scale[9:] == 1).all()
        assert (batch.scale[:9] != 1).all()


def test_several_processes_render_the_batch_of_one(monkeypatch):
    """Four devices as those of two processes."""
    options = mixture(5, 4, 3)
    alone = input_pipeline.fetch(sources.training(options), input_pipeline.rows(options)[1])
    with monkeypatch.context() as patch:
        patch.setattr(jax, "local_device_count", lambda: 2)
        local = jax.local_devices()[:2]
        patch.setattr(jax, "local_devices", lambda: local)
        parts = [input_pipeline.rows(options, process, 2)[1] for process in range(2)]
        resident = jax.device_get(cache.on_devices(kept(options), parallel.AXIS))
        told = np.concatenate(
            [feed.calls_on_rows(grain.MapDataset.source([rows]), 0, 1)[0].inputs.rows[:, 0] for rows in parts]
        )
    resident = dataclasses.replace(resident, images=np.concatenate([resident.images, resident.images]))
    found = gathered(options, told, resident)
    for process in range(2):
        half = input_pipeline.unshard(jax.tree.map(lambda leaf: leaf[2 * process :][:2], found))  # noqa: B023, used at once
        jax.tree.map(np.testing.assert_array_equal, half, jax.tree.map(lambda leaf: leaf[process::2], alone))  # noqa: B023


def test_fresh_images_equal_those_rendered_before_training(monkeypatch):
    options, seen = mixture(12), []
    options.data.augment = True

    def render(seed, domain, split, indices, size):
        seen.append((seed, domain, split, list(indices), size))
        return examples.examples(len(indices))

    monkeypatch.setattr(synthesis, "render", render)
    stored = config.stored_size(options)
    sources.rendered(options, "mannequin", "train", 4, stored=stored)
    (source,) = sources.training(options)
    source.load(np.arange(4))
    assert seen[0] == seen[1]
    assert stored > options.data.image_size
    assert seen[0][1] == domains.widen(domains.get("mannequin"), stored / options.data.image_size)


def test_limits_are_fitted_to_poses_of_3d_labelled_fresh_images_without_their_pictures(monkeypatch):
    asked = []

    def poses(seed, domain, split, indices, size):
        asked.append((domain.name, indices.tolist()))
        return examples.examples(len(indices)).joints_3d

    monkeypatch.setattr(synthesis, "poses", poses)
    opened = [
        source for source in sources.training(mixture(5, 4, 3)) if isinstance(source, example_sets.RenderedOnDemand)
    ]
    monkeypatch.setattr(synthesis, "render", None)
    assert sources.labelled_joints(opened).shape == (20, 21, 3)
    assert asked == [("mannequin", list(range(20)))]


def test_faulty_fresh_example_is_named(tmp_path, monkeypatch):
    options, state = mixture(5, 4, 3), step.TrainState(np.array(2, np.int32), {}, {}, {})
    monkeypatch.setattr(step, "create", lambda _: state)
    monkeypatch.setattr(checkpoint, "restore", lambda _, state: state)
    monkeypatch.setattr(
        safeguards, "culprits", lambda _, state, batch, limits: {2: ["palm"], 11: [f"{batch.index[11]}"]}
    )
    broken, rows = {"loss": np.float32(np.nan), "gradient_norm": np.float32(0)}, input_pipeline.rows(options)[3]
    with pytest.raises(FloatingPointError, match=r"mannequin 17 \(palm\); real_like 11 \(11\)\. Check their"):
        safeguards.require_finite(
            options, tmp_path, sources.training(options), examples.narrow_limits(), 4, False, broken, rows[None]
        )


def digest(state, batch, limits, *, config, axis_name):
    """In place of the step: depends on the state and on every image and label, and compiles at once."""
    leaves = [jnp.mean(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(batch)]
    seen = jax.lax.pmean(sum(leaves), axis_name)
    params = {"w": 0.5 * state.params["w"] + seen}
    metrics = {"loss": seen, "weight": params["w"], "gradient_norm": seen}
    return state.replace(step=state.step + 1, params=params), metrics


@pytest.mark.parametrize("shares", [(12,), pytest.param((1, 3), marks=pytest.mark.slow)])
def test_run_has_the_same_examples_from_every_cache_and_step_count(tmp_path, monkeypatch, capsys, shares):
    start = step.TrainState(np.zeros((), np.int32), {"w": np.zeros((), np.float32)}, {}, {})
    monkeypatch.setattr(step, "train_step", digest)
    monkeypatch.setattr(step, "create", lambda _: start)
    total = config.steps(mixture(*shares))

    def run(name, mode, steps_per_dispatch=1):
        options = mixture(*shares, steps_per_dispatch=steps_per_dispatch, log_every=3, save_every=3)
        options.data.cache = mode
        train.train(options, tmp_path / name)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [(line["step"], line["loss"], line["weight"]) for line in lines], checkpoint.load(tmp_path / name)

    wanted = run("outside", "auto")
    assert "fresh images: rendered batch by batch, before the step" in capsys.readouterr().out
    assert [number for number, *_ in wanted[0]] == [*range(3, total, 3), total]
    assert len({loss for _, loss, _ in wanted[0]}) == len(wanted[0])
    inside = run("inside", "device")
    assert "fresh images: rendered inside the step, about fifty times slower on a CPU" in capsys.readouterr().out
    assert json.loads((tmp_path / "inside" / run_folder.DATA_FILE).read_text())[0]["fresh"] is True

    def stop_at_three(self, done, metrics, write=Log.write):
        write(self, done, metrics)
        if done == 3:
            raise KeyboardInterrupt

    for name, calls in (("single", 1), ("several", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(Log, "write", stop_at_three)
            with pytest.raises(KeyboardInterrupt):
                run(name, "device", calls)
        resumed = run(name, "device", calls)
        same = np.testing.assert_array_equal if calls == 1 else functools.partial(np.testing.assert_allclose, rtol=1e-6)
        jax.tree.map(same, resumed, inside)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), inside, wanted)
