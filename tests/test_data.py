"""Batches: deterministic, mixed by shares, without a trace of labels that training may not see."""

import dataclasses

import examples
import jax
import numpy as np
import pytest

from bmc_jax import data

CONFIG = examples.tiny_config()


def sources():
    return [examples.examples(16, source=0), data.without_3d(examples.examples(16, source=1))]


def test_a_batch_is_a_function_of_seed_and_step():
    first, again = data.batches(sources(), CONFIG), data.batches(sources(), CONFIG)
    for step in (5, 0, 3):
        jax.tree.map(np.testing.assert_array_equal, first[step], again[step])
    other = data.batches(sources(), dataclasses.replace(CONFIG, seed=1))
    assert not np.array_equal(first[0].index, other[0].index)
    assert not np.array_equal(first[0].index, first[1].index)


def test_a_resumed_iterator_goes_on_where_the_first_would_have():
    whole = list(data.batches(sources(), CONFIG)[0:6].to_iter_dataset())
    resumed = list(data.batches(sources(), CONFIG)[4:6].to_iter_dataset())
    jax.tree.map(np.testing.assert_array_equal, whole[4:], resumed)


def test_every_batch_and_every_device_sees_each_source_by_its_share():
    for step in range(3):
        batch = data.batches(sources(), CONFIG)[step]
        assert batch.image.shape == (4, 2, examples.SIZE, examples.SIZE, 3)
        assert batch.source.sum(axis=1).tolist() == [1] * 4


def test_a_source_is_seen_once_before_it_is_seen_again():
    batches = data.batches(sources(), CONFIG)
    for epoch in range(2):
        seen = [data.unshard(batches[step]) for step in range(4 * epoch, 4 * epoch + 4)]
        for source in range(2):
            index = np.concatenate([batch.index[batch.source == source] for batch in seen])
            assert sorted(index) == list(range(16))


def test_an_image_stays_with_its_own_labels():
    rows = sources()
    batch = data.unshard(data.batches(rows, CONFIG)[2])
    for i in range(8):
        row = jax.tree.map(lambda leaf: leaf[batch.index[i]], rows[batch.source[i]])  # noqa: B023, used at once
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[i], batch), row)  # noqa: B023


def test_2d_labels_only_means_that_no_3d_value_is_left():
    shown = examples.examples(4)
    hidden = data.without_3d(shown)
    assert not hidden.joints_3d_valid.any()
    assert not hidden.joints_3d.any()
    assert np.all(hidden.scale == 1)
    np.testing.assert_array_equal(hidden.joints_2d, shown.joints_2d)


def test_limits_are_fitted_to_3d_labelled_poses_only():
    rows = sources()
    rows[0].joints_3d_valid[3, 5] = False
    joints = data.labelled_joints(rows)
    np.testing.assert_array_equal(joints, np.delete(examples.examples(16, source=0).joints_3d, 3, axis=0))


@pytest.mark.parametrize(
    ("shares", "size", "counts"),
    [([0.5, 0.5], 8, [4, 4]), ([0.7, 0.3], 8, [6, 2]), ([1 / 3, 1 / 3, 1 / 3], 8, [3, 3, 2]), ([1.0], 5, [5])],
)
def test_shares_are_rounded_to_whole_examples(shares, size, counts):
    assert data.share_out(shares, size) == counts


def test_a_share_of_no_example_is_refused():
    with pytest.raises(ValueError, match=r"batch_size 4 is too small for shares \[0.95, 0.05\]"):
        data.share_out([0.95, 0.05], 4)


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"batch_size 6 cannot be split over 4 devices"):
        data.shard(examples.examples(6))


def test_unshard_is_the_inverse_of_shard():
    batch = examples.examples(8)
    jax.tree.map(np.testing.assert_array_equal, data.unshard(data.shard(batch)), batch)


def test_evaluation_sees_every_example_once_and_pads_the_rest():
    batches = [data.unshard(batch) for batch in data.evaluation_batches(examples.examples(10), 8)]
    assert [len(batch.present) for batch in batches] == [8, 8]
    index = np.concatenate([batch.index[batch.present] for batch in batches])
    assert index.tolist() == list(range(10))
