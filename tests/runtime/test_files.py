"""Atomic writing of files and replacement of folders."""

import errno
import json

import pytest

from bmc_jax.runtime import files


def test_a_file_is_replaced_once_the_new_one_is_whole(tmp_path):
    file = tmp_path / "made" / "numbers.npz"
    with files.replacing(file) as partial:
        assert partial.suffix == ".npz"
        partial.write_text("first")
        assert not file.exists()
    with files.replacing(file) as partial:
        partial.write_text("second")
        assert file.read_text() == "first"
    assert file.read_text() == "second"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_could_not_be_finished_leaves_the_one_before(tmp_path):
    file = tmp_path / "limits.json"
    files.write_json(file, {"a": 1})

    def fail_half_way():
        with files.replacing(file) as partial:
            partial.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert json.loads(file.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    file = tmp_path / "metrics.json"
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.json'"), files.replacing(file):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_text_is_utf_8_and_json_has_no_nan(tmp_path):
    files.write_text(tmp_path / "words.txt", "Ẑ, °")
    assert (tmp_path / "words.txt").read_bytes() == "Ẑ, °".encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "numbers.json", {"loss": float("nan")})
    assert not (tmp_path / "numbers.json").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_takes_the_place_of_another(tmp_path, there):
    new, path = tmp_path / "building", tmp_path / "export"
    new.mkdir()
    (new / "a").write_text("new")
    if there:
        path.mkdir()
        (path / "b").write_text("old")
    files.replace_folder(new, path)
    assert {entry.name: entry.read_text() for entry in path.iterdir()} == {"a": "new"}
    assert list(tmp_path.iterdir()) == [path]
