"""Modules that an import loads. `make lint` checks with import-linter that rooms import only rooms below them."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from support import paths

import bmc_jax

FRAMEWORKS = {"flax", "optax", "orbax", "grain", "tensorflow", "tensorflow_datasets", "matplotlib", "PIL", "torch"}
FRAMEWORKS |= {"array_record", "chex", "jinja2", "ml_collections", "safetensors", "tensorboardX", "tensorstore", "tqdm"}
PUBLIC = [name for name in dir(bmc_jax) if not name.startswith("_")]


def loaded(code):
    """Returns the modules that a program loads in addition to those of an empty program."""
    program = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_the_package_itself_is_instant():
    assert {name.split(".")[0] for name in loaded("import bmc_jax")} <= {"bmc_jax", *sys.stdlib_module_names}


def test_losses_and_limits_load_no_framework_but_jax():
    modules = loaded("from bmc_jax import limits, losses")
    assert "jax" in modules
    assert not {name.split(".")[0] for name in modules} & FRAMEWORKS


def test_losses_load_core_alone():
    rooms = {name for name in loaded("import bmc_jax; bmc_jax.losses") if name.count(".") == 1 and "bmc_jax" in name}
    assert rooms == {"bmc_jax.core"}


def test_dataset_workers_load_readers_and_builds_without_jax():
    readers = "coco_hand, coco_wholebody, dexter_object, freihand, ho3d, ho3d_v1, interhand, rhd"
    modules = loaded(f"from bmc_jax.data.readers import {readers}\nfrom bmc_jax.data.build import shard")
    assert not modules & {"jax", "flax", "matplotlib"}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_modules_are_attributes_and_can_be_imported(name):
    if name == "torch_bridge":
        pytest.importorskip("torch")
    namespace = {}
    exec(f"import bmc_jax\nfrom bmc_jax import {name}\nsame = bmc_jax.{name} is {name}", namespace)
    assert namespace["same"]
    assert namespace[name].__doc__


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'bmc_jax' has no attribute 'lossses'"):
        _ = bmc_jax.lossses  # pyright: ignore[reportAttributeAccessIssue]
    assert importlib.reload(bmc_jax).__version__


def test_the_picture_of_the_layers_is_that_of_the_imports():
    run = subprocess.run(
        [sys.executable, paths.ROOT / "docs/draw_layers.py", "--check"], capture_output=True, text=True, cwd=paths.ROOT
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_type_checkers_of_users_see_the_signatures_of_the_public_modules(tmp_path):
    assert (paths.ROOT / "bmc_jax/py.typed").is_file()
    (tmp_path / "user.py").write_text(
        "import bmc_jax\nfrom bmc_jax import limits\n"
        "reveal_type(bmc_jax.losses.bone_length)\nreveal_type(limits.load('clinical'))\nbmc_jax.losses.bone_lenght\n"
    )
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "user.py"]
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    messages = [found["message"] for found in json.loads(run.stdout)["generalDiagnostics"]]
    assert any("bone_length" in text and "limits: Limits" in text for text in messages), messages
    assert any('"limits.load' in text and text.endswith('is "Limits"') for text in messages), messages
    assert any('"bone_lenght" is not a known attribute' in text for text in messages), messages
