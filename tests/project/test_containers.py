"""The container files, which are not built here: lint, and existence of the files that they use."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import paths

DOCKERFILE = paths.ROOT / "launch/Dockerfile"
DEVCONTAINER = paths.ROOT / ".devcontainer/devcontainer.json"


def instructions():
    """Returns the instructions of the Dockerfile as their names and arguments."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this platform")
    found = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_has_all_that_the_package_is_built_from():
    copied = [name for kind, text in instructions() if kind == "COPY" for name in text.split()[:-1]]
    assert all((paths.ROOT / name).exists() for name in copied)
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {package.split(".")[0] for package in project["tool"]["setuptools"]["packages"]}
    needed |= set(project["tool"]["setuptools"]["package-dir"].values())
    assert needed <= set(copied)


def test_the_extras_of_the_image_exist_and_its_user_is_not_root():
    text = DOCKERFILE.read_text(encoding="utf-8")
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = re.findall(r"EXTRAS=([\w,]+)", text)
    assert len(lists) == 2
    assert {extra for extras in lists for extra in extras.split(",")} <= project["optional-dependencies"].keys()
    kinds = [kind for kind, _ in instructions()]
    assert kinds.index("USER") < kinds.index("ENTRYPOINT")
    [user] = [text for kind, text in instructions() if kind == "USER"]
    assert int(user) > 0


def test_the_development_container_has_known_properties_and_commands():
    content = json.loads(DEVCONTAINER.read_text(encoding="utf-8"))
    assert content.keys() <= {"name", "image", "hostRequirements", "postCreateCommand", "customizations"}
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+", content["image"])
    command = [*shlex.split(content["postCreateCommand"]), "--dry-run"]
    # Without the variables that `make test VENV=...` passes to nested calls of make.
    environment = {"PATH": os.environ["PATH"]}
    assert subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True).returncode == 0
    interpreter = content["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"
