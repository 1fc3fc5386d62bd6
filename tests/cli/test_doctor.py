"""`bmc doctor`: the report of the installation, and exit status 1 if it has a problem."""

import importlib.metadata
import os

import jax
import pytest

from bmc_jax import __version__, cli

REQUIRED = [
    "jax>=0.10",
    "numpy>=2",
    'jax[cuda13]; extra == "cuda13"',
    'av; extra == "video"',
    'torch; extra == "bench"',
]


@pytest.fixture
def required(monkeypatch):
    """What the package seems to require; the other packages are as they are."""
    package, requires = list(REQUIRED), importlib.metadata.requires
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: package if name == "bmc-jax" else requires(name))
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: FakeMetadata())
    return package


class FakeMetadata:
    def get_all(self, field):
        assert field == "Provides-Extra"
        return ["cuda13", "video", "bench"]


def doctor(capsys, *flags):
    status = cli.main(["doctor", *flags])
    return status, capsys.readouterr().out


def problems(text):
    return [line.split(maxsplit=2)[1:] for line in text.splitlines() if line.startswith("!")]


def test_a_sound_installation_is_shown_and_nothing_is_wrong(required, capsys):
    status, text = doctor(capsys)
    assert (status, problems(text)) == (0, [])
    for line in (
        f"  bmc-jax            {__version__}, in ",
        f"  jax                {jax.__version__}\n",
        f"  devices            {jax.local_device_count()} x cpu (cpu)\n",
        "  free memory        ",
        f"  compile cache      {os.environ['JAX_COMPILATION_CACHE_DIR']}, ",
        "  [cuda13]           not installed: pip install 'bmc-jax[cuda13]'\n",
        f"  [video]            av {importlib.metadata.version('av')}\n",
        "\nno problem found\n",
    ):
        assert line in text
    assert "bench" not in text


def test_packages_that_are_absent_or_too_old_are_problems_with_the_command_that_installs_them(required, capsys):
    required[:2] = ["jax>=99", "no-such-package"]
    required.append('av>=99; extra == "video"')
    status, text = doctor(capsys)
    assert status == 1
    assert problems(text) == [
        ["jax", f"is {jax.__version__}, and >=99 is needed; pip install 'jax>=99'"],
        ["no-such-package", "is not installed; pip install 'no-such-package'"],
        ["[video]", f"av is {importlib.metadata.version('av')}, and >=99 is needed; pip install 'bmc-jax[video]'"],
    ]
    assert text.endswith("\n3 problems found\n")


def test_a_jax_that_computes_nothing_is_a_problem(required, monkeypatch, capsys):
    def fail():
        raise RuntimeError("no driver\nmore")

    monkeypatch.setattr(jax, "local_devices", fail)
    assert doctor(capsys)[0] == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    found = problems(doctor(capsys)[1])
    assert found == [["devices", "JAX cannot compute (RuntimeError: no driver)"]]


def test_a_gpu_that_jax_does_not_use_is_a_problem_unless_that_is_meant(required, monkeypatch, tmp_path, capsys):
    driver = tmp_path / "version"
    driver.touch()
    monkeypatch.setattr("bmc_jax.cli.doctor.NVIDIA_DRIVER", driver)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    [(name, words)] = problems(doctor(capsys)[1])
    assert name == "devices"
    assert "pip install 'bmc-jax[cuda13]'" in words
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert doctor(capsys)[0] == 0


def test_a_cache_that_cannot_be_used_is_a_problem(required, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file/cache"))
    status, text = doctor(capsys)
    assert status == 1
    assert f"{tmp_path / 'file'} is not a writable folder" in text
    assert "compile cache      off, by --no-compilation-cache\n" in doctor(capsys, "--no-compilation-cache")[1]


def test_models_that_are_not_where_their_variable_says_are_a_problem(required, monkeypatch, capsys):
    monkeypatch.setenv("BMC_MEDIAPIPE_MODEL", "none.task")
    [(name, words)] = problems(doctor(capsys)[1])
    assert name == "BMC_MEDIAPIPE_MODEL"
    assert words.startswith("is none.task, which is not a file")


def test_a_package_that_is_not_installed_is_a_problem(monkeypatch, capsys):
    def fail(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", fail)
    monkeypatch.setattr(importlib.metadata, "metadata", fail)
    status, text = doctor(capsys)
    assert status == 1
    assert "pip install bmc-jax" in text
