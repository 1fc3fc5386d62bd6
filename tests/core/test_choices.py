"""The names that options accept are those that the rooms know, and listing them loads no library."""

import importlib
import subprocess
import sys
from pathlib import Path

from bmc_jax import hand, limits, metrics
from bmc_jax.core import choices


def test_mappings_of_the_rooms_have_these_keys():
    assert set(hand.TO_FREIHAND) == set(choices.JOINT_ORDERS)
    assert tuple(metrics.PROTOCOLS) == choices.PROTOCOLS
    assert set(metrics.ALIGNMENTS) == set(choices.ALIGNMENTS)


def test_presets_are_the_files_of_the_package():
    folder = Path(limits.__file__).parent / "presets"
    assert sorted(file.stem for file in folder.glob("*.json")) == sorted(choices.PRESETS)


def test_every_reader_is_a_module():
    for name in choices.READERS:
        reader = importlib.import_module(f"bmc_jax.data.readers.{name}")
        assert callable(reader.splits)
        assert callable(reader.annotation)


def test_choices_import_nothing_else():
    code = "import sys; before = set(sys.modules); import bmc_jax.core.choices; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names)
    assert loaded == {"bmc_jax"}
