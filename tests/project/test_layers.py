"""The house: every room imports only rooms that CONTRIBUTING.md lists before it, and each is in that list."""

import ast
import re
import subprocess
import sys

from support import paths

ROOT = paths.ROOT
PACKAGE = ROOT / "bmc_jax"


def listed():
    words = re.search(r"Imports point one way: `(.*?)`", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    return re.sub(r"\(.*?\)|\s", "", words[1], flags=re.DOTALL).split(",")


def rooms():
    return {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")} - {"__init__"}


def imported(path):
    """Rooms that a file imports when it is imported itself, and those that its functions do."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "bmc_jax":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bmc_jax."):
            yield node.module.split(".")[1]


def test_every_room_is_listed_once():
    assert len(listed()) == len(set(listed()))
    assert set(listed()) == rooms()


def test_every_room_imports_only_what_stands_before_it():
    order = {room: place for place, room in enumerate(listed())}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        wrong += [
            f"{path.relative_to(ROOT)} imports {other}"
            for other in imported(path)
            if other in order and room in order and order[other] > order[room]
        ]
    assert not wrong


def test_losses_and_limits_need_of_all_frameworks_only_jax():
    listed = "import bmc_jax.losses, bmc_jax.limits, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "jax" in loaded
    assert not loaded & {"flax", "optax", "orbax", "grain", "tensorflow", "tensorflow_datasets"}
    assert not loaded & {"matplotlib", "PIL", "torch"}
