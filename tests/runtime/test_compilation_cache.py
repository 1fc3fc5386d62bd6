"""The compilation cache: private, bounded, and disabled by the user's settings."""

import os
import stat
import subprocess
import sys

import pytest

from bmc_jax.runtime import compilation_cache


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The environment of a user whose process has not imported JAX."""
    variables = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    monkeypatch.setattr(os, "environ", variables)
    monkeypatch.delitem(sys.modules, "jax")
    return variables


def test_programs_are_kept_in_a_folder_of_the_user_alone(tmp_path, environment):
    compilation_cache.enable()
    folder = compilation_cache.folder()
    assert folder.is_relative_to(tmp_path / "cache")
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "chosen", [{"JAX_COMPILATION_CACHE_DIR": "/elsewhere"}, {"JAX_ENABLE_COMPILATION_CACHE": "False"}]
)
def test_the_users_own_choice_wins(tmp_path, environment, chosen):
    environment |= chosen
    before = dict(environment)
    compilation_cache.enable()
    assert environment == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_open_to_others_is_closed(environment):
    folder = compilation_cache.folder()
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    compilation_cache.enable()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("owned", [True, False])
def test_a_folder_that_cannot_be_used_is_said_and_left_alone(tmp_path, environment, monkeypatch, owned):
    if owned:
        (tmp_path / "cache").write_text("a file")
    else:
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
    with pytest.warns(UserWarning, match="cache is disabled .*set JAX_COMPILATION_CACHE_DIR") as found:
        compilation_cache.enable()
    assert len(found) == 1
    assert "JAX_COMPILATION_CACHE_DIR" not in environment


def test_the_entries_longest_unused_are_deleted_beyond_the_limit(environment, monkeypatch):
    monkeypatch.setattr(compilation_cache, "LIMIT", 100)
    folder = compilation_cache.folder()
    folder.mkdir(parents=True)
    for age, name in enumerate(("new", "used", "old", "older")):
        (folder / name).write_bytes(bytes(40))
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    compilation_cache.enable()
    assert sorted(file.name for file in folder.iterdir()) == ["new", "used"]


def test_jax_writes_into_the_folder_that_was_enabled_before_its_import(tmp_path):
    program = (
        "from bmc_jax.runtime import compilation_cache\n"
        "compilation_cache.enable()\n"
        "import jax\n"
        "jax.jit(lambda x: x + 1)(1)\n"
        "print(compilation_cache.folder())\n"
    )
    left_out = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    variables |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    ran = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    assert any(file.name.endswith("-cache") for file in (tmp_path / ran.stdout.strip()).iterdir())
