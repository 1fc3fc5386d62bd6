"""Checkpoints: bit-identical, atomic, limited in number, with clear errors for another network or damage."""

import dataclasses
import gc
import importlib.metadata
import json
import os
import re
import shutil
import tomllib

import jax
import numpy as np
import pytest
from flax import traverse_util
from support import examples, paths

from bmc_jax import step
from bmc_jax.training import checkpoint, parallel

CONFIG = examples.tiny_config()
# Orbax leaves other reads of a damaged checkpoint behind, which find their event loop closed: in any test after.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def older_objects_are_not_searched_for_garbage():
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def state():
    yield jax.device_get(step.create(CONFIG))
    gc.collect()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    gc.collect()


def at(state, number):
    return state.replace(step=np.asarray(number, np.int32))


def test_restored_state_is_the_saved_one_bit_for_bit(tmp_path, state):
    checkpoint.save(tmp_path, parallel.replicate(at(state, 7)), keep=2)
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
    with pytest.raises(FileNotFoundError, match=r"expected a checkpoint of step 2, got those of \[3, 10\]"):
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


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a checkpoint, got none"):
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
    assert "expected float32[6], got float32[4]" in str(error.value)


def test_states_are_written_while_the_caller_goes_on_and_are_what_they_were(tmp_path, state):
    with checkpoint.Writer(tmp_path, keep=3, metadata={"config": {"name": "tiny"}, "commit": "abc"}) as writer:
        for number in (1, 2, 3):
            changing = jax.tree.map(np.array, at(state, number))
            writer.save(changing)
            for leaf in jax.tree.leaves(changing):
                leaf[...] = 0
    for number in (1, 2, 3):
        jax.tree.map(np.testing.assert_array_equal, checkpoint.load(tmp_path, number)["params"], state.params)
    assert checkpoint.metadata(tmp_path, 2) == {"config": {"name": "tiny"}, "commit": "abc"}


def cut_short(file):
    os.truncate(file, file.stat().st_size // 2)


def change_a_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def largest_file(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def empty(file):
    os.truncate(file, 0)


def fill_with_nuls(file):
    file.write_bytes(bytes(file.stat().st_size))


def edit(file, change):
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def rename_the_checksum(file):
    edit(file, lambda content: content["custom_metadata"].update(crc33=content["custom_metadata"].pop("crc32")))


def make_the_checksum_null(file):
    edit(file, lambda content: content["custom_metadata"].update(crc32=None))


def drop_the_metadata_of_the_run(file):
    edit(file, lambda content: content.pop("custom_metadata"))


def nest_deeply(file):
    file.write_text("[" * 100_000, encoding="utf-8")


def misspell_a_key(file):
    edit(file, lambda content: content.update(metricz=content.pop("metrics")))


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory, state):
    workdir = tmp_path_factory.mktemp("two")
    with checkpoint.Writer(workdir, keep=2) as writer:
        for number in (3, 8):
            writer.save(at(state, number))
    return workdir


@pytest.fixture
def saved(tmp_path, two_saved):
    shutil.copytree(two_saved, tmp_path / "run")
    return tmp_path / "run"


DAMAGE_OF_METADATA = (
    os.unlink,
    cut_short,
    empty,
    fill_with_nuls,
    rename_the_checksum,
    make_the_checksum_null,
    drop_the_metadata_of_the_run,
    nest_deeply,
)


@pytest.mark.parametrize("damage", DAMAGE_OF_METADATA)
def test_changed_numbers_are_never_loaded_where_the_checksum_is_lost_too(saved, state, damage):
    place = saved / checkpoint.FOLDER / "8"
    change_a_byte(largest_file(place))
    damage(place / "_CHECKPOINT_METADATA")
    with pytest.raises(ValueError, match="8 is damaged"):
        checkpoint.load(saved)
    with pytest.raises(ValueError, match="8 is damaged"):
        checkpoint.metadata(saved)
    with pytest.warns(UserWarning, match=r"checkpoint of step 8 .* is damaged .* continues from step 3"):
        assert checkpoint.restore(saved, state).step == 3


@pytest.mark.parametrize("damage", [cut_short, misspell_a_key])
def test_a_damaged_older_checkpoint_does_not_keep_the_run_from_saving(saved, state, damage):
    damage(saved / checkpoint.FOLDER / "3" / "_CHECKPOINT_METADATA")
    with pytest.warns(UserWarning, match=r"checkpoint of step 3 .* is damaged .* continues from step 8"):
        assert checkpoint.restore(saved, state).step == 8
    checkpoint.save(saved, at(state, 9), keep=2)
    assert checkpoint.latest(saved) == 9


def require_untouched(workdir, state, match):
    for use in (checkpoint.load, lambda workdir: checkpoint.restore(workdir, state)):
        with pytest.raises(ImportError, match=match) as error:
            use(workdir)
        assert "delete" not in str(error.value)
    assert {place.name for place in (workdir / checkpoint.FOLDER).iterdir()} == {"3", "8"}


@pytest.mark.parametrize("version", ["0.13.0", "0.11.40", "0.1", "1.12.0"])
def test_another_version_of_orbax_is_named_before_anything_is_read(saved, state, monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    found = f"expected orbax-checkpoint 0.12, got {version}; run pip install"
    require_untouched(saved, state, re.escape(found))
    with pytest.raises(ImportError, match=re.escape(found)):
        checkpoint.latest(saved)


@pytest.mark.parametrize("fault", [AttributeError("no attribute 'load'"), TypeError("unexpected keyword"), ImportError])
def test_a_changed_interface_of_orbax_is_not_taken_for_damage(saved, state, monkeypatch, fault):
    def load(_):
        try:
            raise fault
        except Exception as error:
            raise ValueError("Failed to load") from error

    monkeypatch.setattr(checkpoint.ocp, "load", load)
    require_untouched(saved, state, r"orbax-checkpoint 0\.12.* cannot read .* or another checkpoint in its folder")


@pytest.mark.parametrize("content", ["null", "[]", '{"tree_metadata": null}', '{"tree_metadata": {"a": 3}}'])
def test_metadata_of_wrong_types_is_damage_if_another_checkpoint_can_be_read(saved, state, content):
    (saved / checkpoint.FOLDER / "8/state/_METADATA").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"is damaged .*give --step with one of \[3\]"):
        checkpoint.load(saved, 8)
    with pytest.warns(UserWarning, match="the checkpoint of step 8 .* is damaged"):
        assert checkpoint.restore(saved, state).step == 3


def test_a_newer_checkpoint_that_cannot_be_read_is_not_taken_for_damaged(saved, state):
    for number in (3, 8):
        place = saved / checkpoint.FOLDER / str(number)
        edit(place / "_CHECKPOINT_METADATA", lambda content: content["custom_metadata"].update(orbax="0.14.2"))
        cut_short(largest_file(place))
    require_untouched(saved, state, r"got 0\.12.*was written with 0\.14\.2")


@pytest.mark.parametrize("fault", [PermissionError("denied"), MemoryError(), ValueError("PERMISSION_DENIED: shard")])
def test_a_fault_of_the_machine_is_not_taken_for_damage(saved, state, monkeypatch, fault):
    def load(_):
        raise fault

    monkeypatch.setattr(checkpoint.ocp, "load", load)
    with pytest.raises((OSError, MemoryError)):
        checkpoint.restore(saved, state)
    assert checkpoint.latest(saved) == 8


def test_the_version_of_orbax_is_the_one_that_is_installed_with_the_package():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = (line for line in project["dependencies"] if line.startswith(checkpoint.LIBRARY))
    major, minor = checkpoint.LIBRARY_VERSION.split(".")
    assert wanted == f"orbax-checkpoint>={major}.{minor},<{major}.{int(minor) + 1}"


@pytest.mark.parametrize("damage", [cut_short, change_a_byte])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(saved, state, damage):
    damage(largest_file(saved / checkpoint.FOLDER / "8"))
    with pytest.raises(ValueError, match=r"8 is damaged .*; give --step with one of \[3\], or run bmc train again"):
        checkpoint.load(saved)
    with pytest.warns(UserWarning, match=r"checkpoint of step 8 .* is damaged .* continues from step 3"):
        restored = checkpoint.restore(saved, state)
    jax.tree.map(np.testing.assert_array_equal, restored, at(state, 3))
    assert (saved / checkpoint.FOLDER / "8.damaged").is_dir()
    assert checkpoint.latest(saved) == 3
    # The step can be taken again, and be damaged again.
    checkpoint.save(saved, at(state, 8), keep=2)
    assert checkpoint.restore(saved, state).step == 8
    damage(largest_file(saved / checkpoint.FOLDER / "8"))
    with pytest.warns(UserWarning, match="8.damaged2"):
        assert checkpoint.restore(saved, state).step == 3


def test_a_folder_of_damaged_checkpoints_alone_is_an_error(tmp_path, state):
    checkpoint.save(tmp_path, at(state, 3), keep=2)
    cut_short(largest_file(tmp_path / checkpoint.FOLDER / "3"))
    with pytest.raises(ValueError, match=r"all checkpoints in .* are damaged, those of steps \[3\]"):
        checkpoint.restore(tmp_path, state)
    assert (tmp_path / checkpoint.FOLDER / "3").is_dir()


def test_an_error_of_writing_names_the_folder(tmp_path, state):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OSError, match=r"no checkpoint could be written into .*run"):
        checkpoint.save(tmp_path / "run", at(state, 1), keep=2)
