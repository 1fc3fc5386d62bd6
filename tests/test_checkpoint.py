"""Checkpoints: bit for bit, the newest few, whole or not at all, and a clear refusal of another network's."""

import dataclasses
import shutil

import examples
import jax
import numpy as np
import pytest
from flax import traverse_util

from bmc_jax import checkpoint, step

CONFIG = examples.tiny_config()


@pytest.fixture(scope="module")
def state():
    return jax.device_get(step.create(CONFIG))


def at(state, number):
    return state.replace(step=np.asarray(number, np.int32))


def test_restored_state_is_the_saved_one_bit_for_bit(tmp_path, state):
    checkpoint.save(tmp_path, step.replicate(at(state, 7)), keep=2)
    restored = checkpoint.restore(tmp_path, jax.tree.map(np.zeros_like, state))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, at(state, 7))


def test_without_a_checkpoint_the_state_stays_as_it_is(tmp_path, state):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.restore(tmp_path, state) is state


def test_only_the_newest_are_kept(tmp_path, state):
    for number in (1, 2, 3, 10):
        checkpoint.save(tmp_path, at(state, number), keep=2)
    assert checkpoint.latest(tmp_path) == 10
    assert checkpoint.load(tmp_path, 3)["step"] == 3
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 2; it has \[3, 10\]"):
        checkpoint.load(tmp_path, 2)


def test_a_step_already_saved_stays(tmp_path, state):
    checkpoint.save(tmp_path, at(state, 4), keep=2)
    checkpoint.save(tmp_path, jax.tree.map(np.zeros_like, state).replace(step=np.asarray(4, np.int32)), keep=2)
    saved = checkpoint.load(tmp_path)["params"]["head"]["kernel"]
    np.testing.assert_array_equal(saved, state.params["head"]["kernel"])


def test_evaluation_loads_weights_without_a_template(tmp_path, state):
    checkpoint.save(tmp_path, at(state, 1), keep=1)
    saved = checkpoint.load(tmp_path)
    wanted, found = (traverse_util.flatten_dict(tree) for tree in (state.params, saved["params"]))
    assert wanted.keys() == found.keys()
    for name in wanted:
        np.testing.assert_array_equal(wanted[name], found[name])


def test_a_folder_without_checkpoints_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)


def test_a_write_cut_short_is_not_taken_for_a_checkpoint(tmp_path, state):
    checkpoint.save(tmp_path, at(state, 1), keep=2)
    folder = tmp_path / checkpoint.FOLDER
    shutil.copytree(folder / "1", folder / "2.orbax-checkpoint-tmp")
    assert checkpoint.latest(tmp_path) == 1


def test_another_networks_checkpoint_is_refused_by_name(tmp_path, state):
    checkpoint.save(tmp_path, at(state, 1), keep=1)
    wider = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, width=6))
    shapes = jax.eval_shape(lambda: step.create(wider))
    with pytest.raises(ValueError, match="another network or optimizer") as error:
        checkpoint.restore(tmp_path, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    assert "batch_stats/backbone/bn1/mean" in str(error.value)
    assert "float32[4] there" in str(error.value)
    assert "float32[6] here" in str(error.value)
