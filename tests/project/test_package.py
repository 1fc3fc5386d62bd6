"""Contents of a release: the licence, the notice, the citation and the wheel."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
import venv
import zipfile

import numpy as np
import pytest
import yaml
from support import paths

import bmc_jax
from bmc_jax import synthesis
from bmc_jax.core.choices import READERS

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = ("bmc_jax", "configs", "launch", "pyproject.toml", "README.md", "LICENSE", "NOTICE")


def text(name):
    return (paths.ROOT / name).read_text(encoding="utf-8")


def test_the_licence_is_the_official_text():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    found = hashlib.sha256(text("LICENSE").encode()).hexdigest()
    assert found == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_citation_names_this_version_its_licence_and_the_paper():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == PROJECT["project"]["version"] == bmc_jax.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert {"cff-version", "message", "title", "authors", "type"} <= citation.keys()
    [paper] = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == re.findall(
        r"(\w+), \w+", re.search(r"author += \{(.*)\}", text("README.md"))[1]
    )
    assert paper["title"] in re.sub(r"[{}]", "", text("README.md"))


def test_the_notice_has_the_terms_of_every_dataset_that_others_publish():
    names = {
        "ho3d_v1": "HO-3D v1",
        "ho3d": "HO-3D",
        "dexter_object": "Dexter+Object",
        "coco_wholebody": "COCO-WholeBody",
    }
    for reader in set(READERS) - {"coco_hand", "synthetic"}:
        assert names.get(reader, reader).lower() in text("NOTICE").lower(), reader


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree by the setuptools of this environment."""
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (paths.ROOT / name).is_dir():
            shutil.copytree(paths.ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(paths.ROOT / name, place)
    program = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    built = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "Package would be ignored" not in built.stdout + built.stderr
    (wheel,) = place.glob("*.whl")
    return wheel


def test_the_wheel_has_every_file_of_the_package_the_configurations_and_the_launch_files(wheel):
    expected = {
        f"{'' if folder == 'bmc_jax' else 'bmc_jax/'}{file.relative_to(paths.ROOT).as_posix()}"
        for folder in ("bmc_jax", "configs", "launch")
        for file in (paths.ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {name.rpartition("/")[2] for name in names} >= {"LICENSE", "NOTICE", "entry_points.txt"}


def test_an_installed_wheel_trains_exports_checks_and_lifts_without_the_repository(wheel, tmp_path):
    """The environment has the libraries of this environment, and no bmc_jax except the wheel's."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    python = str(environment / "bin/python")
    (packages,) = environment.glob("lib/python*/site-packages")
    # Python searches the folder that a .pth file names, and not the .pth files in it (editable installations).
    (packages / "libraries.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    install = ["-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([sys.executable, *install, str(wheel)], check=True)

    work = tmp_path / "work"
    work.mkdir()
    hands = synthesis.poses(0, "any_view", "test", np.arange(2))
    hands = np.asarray(hands - hands.mean(axis=1, keepdims=True) + np.float32([0, 0, 0.5]))
    K = np.float32([[900, 0, 320], [0, 900, 240], [0, 0, 1]])
    pixels = hands[..., :2] / hands[..., 2:] * 900 + K[:2, 2]
    np.save(work / "poses.npy", hands)
    np.savez(work / "landmarks.npz", pixels=pixels, K=np.stack([K, K]), size=[640, 480], left=np.zeros(2, bool))

    # One step, on hands of one domain, so that the renderer compiles once.
    fields = ["training.epochs=0.5", "data.train[0].count=16", "data.train[1].count=16", "data.train[1].name=mannequin"]
    commands = [
        ["train", "--config=smoke", "--workdir=run", *(f"--config.{field}" for field in fields)],
        ["export", "run", "--out=exported"],
        ["limits", "check", "poses.npy", "--side=right"],
        ["lift", "landmarks.npz", "--out=lifted"],
    ]
    program = f"""\
        import sys, bmc_jax
        assert bmc_jax.__file__.startswith({str(environment)!r}), bmc_jax.__file__
        from bmc_jax import cli
        for command in {commands!r}:
            assert cli.main(command) == 0, command
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = {"cwd": work, "env": variables, "capture_output": True, "text": True, "check": False}
    # The command loads no library for its help, and so imports the package alone.
    found = subprocess.run([str(environment / "bin/bmc"), "--help"], **run)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("usage: bmc")
    found = subprocess.run([python, "-c", textwrap.dedent(program)], **run)
    assert found.returncode == 0, found.stderr
    assert "2 of 2 poses are within every limit" in found.stdout
    assert json.loads((work / "run/config.json").read_text(encoding="utf-8"))["name"] == "smoke"
    assert {"README.md", "load.py"} <= {file.name for file in (work / "exported").iterdir()}
    assert (work / "lifted/page.html").is_file()


def test_no_large_file_and_no_folder_of_data_or_runs_is_in_the_repository():
    if not (paths.ROOT / ".git").exists():
        pytest.skip("not a clone of the repository")
    listed = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.splitlines()
    assert "README.md" in files
    assert [file for file in files if file.startswith(("data/", "runs/"))] == []
    assert [file for file in files if (paths.ROOT / file).stat().st_size > 3_000_000] == []
    ignored = ["git", "check-ignore", "data/rendered/domain.npz", "runs/mine/config.json"]
    assert subprocess.run(ignored, cwd=paths.ROOT, capture_output=True, text=True).stdout.splitlines() == ignored[2:]
