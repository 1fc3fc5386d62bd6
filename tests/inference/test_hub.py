"""An export on the Hugging Face Hub is loaded as it was exported; the hub is a stand-in on this machine."""

import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from support import average_run, hub

import bmc_jax
from bmc_jax import cli
from bmc_jax.inference import export, training_data
from bmc_jax.inference.export import card, program
from bmc_jax.training import checkpoint, forward, weights_file

library = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
constants = pytest.importorskip("huggingface_hub.constants")

NAME = "me/hands"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The hub, for this process, with a cache of its own."""
    with hub.running(NAME) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setenv("HF_TOKEN", "of this test")
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return average_run.write(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def run(trained, monkeypatch):
    """A run, of which exports leave out the program, which takes seconds."""
    monkeypatch.setattr(training_data.synthesis, "poses", average_run.hands_of_40_mm)
    monkeypatch.setattr(program, "write", lambda *_, **__: None)
    monkeypatch.setattr(program, "check", lambda *_, **__: 0.0)
    return trained


def test_pushed_network_is_loaded_by_its_name(run, tmp_path, served, capsys):
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out"), "--push", NAME]) == 0
    assert capsys.readouterr().out.endswith(f"uploaded to the Hugging Face Hub as hf:{NAME}\n")
    assert served.created["visibility"] == "private"
    assert served.files.keys() >= {"README.md", "config.json", "limits.json", "model.safetensors"}
    assert not any(name.startswith("checkpoints") for name in served.files)
    model = bmc_jax.load(f"hf:{NAME}")
    assert model.config == average_run.options()
    with pytest.raises(
        FileNotFoundError, match=r"expected checkpoints to choose step 3 from, got model.safetensors alone"
    ):
        bmc_jax.load(f"hf:{NAME}", step=3)
    average = checkpoint.load(run)["average"]
    for part in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, model.trained.saved[part], average[part])
    assert int(model.trained.saved["step"]) == average_run.STEP
    assert not any("README" in asked for asked in served.asked)
    again = export.export(f"hf:{NAME}@main", tmp_path / "again")
    assert checkpoint.metadata(again)["environment"] == {"commit": "the commit of training"}


def test_card_begins_with_the_hubs_fields(run, tmp_path):
    yaml = pytest.importorskip("yaml")
    text = (export.export(run, tmp_path / "out") / card.FILE).read_text()
    head, _, body = text.removeprefix("---\n").partition("\n---\n")
    fields = yaml.safe_load(head)
    assert fields["license"] == "apache-2.0"  # of rendered images alone
    assert fields["library_name"] == "bmc-jax"
    assert fields["pipeline_tag"] == "keypoint-detection"
    assert "hand-pose-estimation" in fields["tags"]
    assert body.lstrip().startswith("# tiny: 3D hand pose")


def test_weights_in_the_file_have_their_names_in_flax(run, tmp_path):
    tensors = safetensors.numpy.load_file(export.export(run, tmp_path / "out") / weights_file.FILE)
    saved = checkpoint.load(run)["average"]
    np.testing.assert_array_equal(tensors["params/head/bias"], saved["params"]["head"]["bias"])
    assert len(tensors) == len(jax.tree.leaves((saved["params"], saved["batch_stats"])))


def test_damaged_weights_are_named(run, tmp_path):
    out = export.export(run, tmp_path / "out")
    (out / "checkpoints").rename(tmp_path / "aside")
    file = out / weights_file.FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model.safetensors: expected weights written by bmc export"):
        forward.load(out)
    safetensors.numpy.save_file({"a": np.ones(3)}, file)
    with pytest.raises(ValueError, match=r"model.safetensors: expected weights written by bmc export"):
        forward.load(out)


def test_what_the_hub_does_not_have_or_allow_is_named(run, tmp_path, served, monkeypatch, capsys):
    with pytest.raises(FileNotFoundError, match="hf:me/other: expected a repository and revision"):
        bmc_jax.load("hf:me/other")
    served.refuse = 403
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out"), "--push", NAME]) == 2
    assert "me/hands: the Hugging Face Hub responded with 403; set HF_TOKEN" in capsys.readouterr().err
    assert (tmp_path / "out" / export.FILE).is_file()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ConnectionError, match="me/hands: the Hugging Face Hub cannot be reached"):
        export.export(run, tmp_path / "again", push=NAME)


@pytest.mark.parametrize("setting", [("HF_HUB_OFFLINE", True), ("ENDPOINT", "http://127.0.0.1:1")])
def test_unreachable_hub_is_named(tmp_path, monkeypatch, setting):
    monkeypatch.setattr(constants, *setting)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="hf:me/hands: the Hugging Face Hub cannot be reached"):
        bmc_jax.load("hf:me/hands")


@pytest.mark.parametrize("name", ["hands", "me/hands/more", "me/", "me hands/x", "../x/y", ""])
def test_other_names_are_refused_before_any_work(tmp_path, name):
    with pytest.raises(ValueError, match="expected a repository owner/name on the Hugging Face Hub, got"):
        bmc_jax.load(f"hf:{name}")
    with pytest.raises(ValueError, match="expected a repository owner/name on the Hugging Face Hub, got"):
        export.export(tmp_path / "none", tmp_path / "out", push=name)


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(ValueError, match=r"pip install 'bmc-jax\[hub\]'"):
        bmc_jax.load("hf:me/hands")
