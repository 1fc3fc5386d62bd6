"""Batches: deterministic, mixed by shares, split over processes and devices; every example has its turn."""

import dataclasses

import jax
import numpy as np
import pytest
from support import examples

from bmc_jax import config
from bmc_jax.data import example_sets, input_pipeline
from bmc_jax.training import feed

CONFIG = examples.tiny_config()


def opened():
    hidden = example_sets.without_3d(examples.examples(16, source=1))
    return [
        example_sets.InMemory("mannequin", examples.examples(16, source=0)),
        example_sets.InMemory("real_like", hidden),
    ]


def batches(options=CONFIG):
    return feed.calls_on_batches(opened(), input_pipeline.rows(options)).map(lambda call: call.inputs.batch)


def three(batch_size, **options):
    """Three sources, 40 images of which 3 in 8 are of the first."""
    shares = {"a": (16, 0.375), "b": (14, 0.5), "c": (10, 0.125)}
    train = tuple(config.Source(name, count=count, share=share) for name, (count, share) in shares.items())
    return dataclasses.replace(CONFIG, data=config.Data(train=train, batch_size=batch_size), **options)


def test_a_batch_is_a_function_of_seed_and_step():
    first, again = batches(), batches()
    for step in (5, 0, 3):
        jax.tree.map(np.testing.assert_array_equal, first[step], again[step])
    other = batches(dataclasses.replace(CONFIG, seed=1))
    assert not np.array_equal(first[0].index, other[0].index)
    assert not np.array_equal(first[0].index, first[1].index)


def test_a_resumed_iterator_goes_on_where_the_first_would_have():
    whole = list(batches()[0:6].to_iter_dataset(input_pipeline.READING))
    resumed = list(batches()[4:6].to_iter_dataset(input_pipeline.READING))
    jax.tree.map(np.testing.assert_array_equal, whole[4:], resumed)


def test_every_batch_and_every_device_sees_each_source_by_its_share():
    for step in range(3):
        batch = batches()[step]
        assert batch.image.shape == (4, 2, examples.SIZE, examples.SIZE, 3)
        assert batch.source.sum(axis=1).tolist() == [1] * 4


def test_a_source_is_seen_once_before_it_is_seen_again():
    for epoch in range(2):
        seen = [input_pipeline.unshard(batches()[step]) for step in range(4 * epoch, 4 * epoch + 4)]
        for source in range(2):
            index = np.concatenate([batch.index[batch.source == source] for batch in seen])
            assert sorted(index) == list(range(16))


def test_three_sources_of_other_lengths_keep_their_shares_and_their_own_passes():
    options = three(16)
    rows = np.stack([input_pipeline.rows(options)[step] for step in range(40)])
    of = np.searchsorted([0, 16, 30], rows, side="right") - 1
    assert [(of == source).sum(axis=1).tolist() for source in range(3)] == [[6] * 40, [8] * 40, [2] * 40]
    for source, (first, count) in enumerate([(0, 16), (16, 14), (30, 10)]):
        passes = rows[of == source][: len(rows[of == source]) // count * count].reshape(-1, count)
        assert len(passes) > 5
        for one in passes:
            assert sorted(one) == list(range(first, first + count))
        assert not np.array_equal(passes[0], passes[1])


@pytest.mark.parametrize("batch_size", [16, 48])
def test_processes_split_the_batch_of_a_single_one(batch_size):
    options = three(batch_size, seed=3)
    alone = input_pipeline.rows(options)
    for processes in (2, 4):
        parts = [input_pipeline.rows(options, process, processes) for process in range(processes)]
        for step in (0, 1, 7):
            found = [part[step] for part in parts]
            assert {len(part) for part in found} == {batch_size // processes}
            np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.sort(alone[step]))
            # Row by row, a process has what its devices would have as the devices of one large process.
            np.testing.assert_array_equal(np.stack(found, axis=1).reshape(-1), alone[step])


def test_an_image_stays_with_its_own_labels():
    batch = input_pipeline.unshard(batches()[2])
    for i in range(8):
        row = jax.tree.map(lambda leaf: leaf[batch.index[i]], opened()[batch.source[i]].examples)  # noqa: B023
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[i], batch), row)  # noqa: B023


def test_examples_are_fetched_from_the_source_that_their_row_lies_in():
    rows = np.array([3, 0, 15, 31, 16], np.int32)
    batch = input_pipeline.fetch(opened(), rows)
    assert batch.source.tolist() == [0, 0, 0, 1, 1]
    assert batch.index.tolist() == [3, 0, 15, 15, 0]
    assert input_pipeline.describe(opened(), rows)[2:4] == ["mannequin 15", "real_like 15"]
    assert input_pipeline.fetch(opened(), rows[3:]).source.tolist() == [1, 1]


def test_examples_for_several_devices_are_those_of_one_in_the_order_of_shard():
    class Decoded:
        """A set that is not in RAM, as far as one can see."""

        def __len__(self):
            return 16

        load, poses, describe = (staticmethod(getattr(opened()[1], name)) for name in ("load", "poses", "describe"))

    rows = np.array([3, 0, 15, 3, 1, 25, 17, 31], np.int32)
    for sets in (opened(), [opened()[0], Decoded()]):
        found = input_pipeline.fetch(sets, input_pipeline.shard(rows))
        jax.tree.map(np.testing.assert_array_equal, found, input_pipeline.shard(input_pipeline.fetch(opened(), rows)))
        assert all(leaf.flags.c_contiguous for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("shares", "size", "counts"),
    [([0.5, 0.5], 8, [4, 4]), ([0.7, 0.3], 8, [6, 2]), ([1 / 3, 1 / 3, 1 / 3], 8, [3, 3, 2]), ([1.0], 5, [5])],
)
def test_shares_are_rounded_to_whole_examples(shares, size, counts):
    assert input_pipeline.share_out(shares, size) == counts


def test_share_without_an_example_is_refused():
    with pytest.raises(ValueError, match=r"data.batch_size: expected one .* shares \[0.95, 0.05\], got none .* of 4"):
        input_pipeline.share_out([0.95, 0.05], 4)


def test_batch_that_cannot_be_split_over_devices_is_refused():
    with pytest.raises(ValueError, match=r"data.batch_size: expected a multiple of 4 for 4 devices, got 6"):
        input_pipeline.rows(three(6))
    with pytest.raises(ValueError, match=r"data.batch_size: expected a multiple of 8 for 8 devices, got 12"):
        input_pipeline.rows(three(12), 0, 2)
    with pytest.raises(ValueError, match=r"batch: expected a multiple of the number of devices, 4, got 6"):
        input_pipeline.shard(examples.examples(6))


def test_unshard_is_the_inverse_of_shard():
    batch = examples.examples(8)
    jax.tree.map(np.testing.assert_array_equal, input_pipeline.unshard(input_pipeline.shard(batch)), batch)


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_evaluation_sees_every_example_once_and_pads_the_rest(monkeypatch, devices):
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    batches = [
        input_pipeline.unshard(batch) for batch in input_pipeline.evaluation_batches(examples.examples(10), 2 * devices)
    ]
    assert [len(batch.present) for batch in batches] == [2 * devices] * -(-10 // (2 * devices))
    index = np.concatenate([batch.index[batch.present] for batch in batches])
    assert index.tolist() == list(range(10))
