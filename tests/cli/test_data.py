"""`bmc data`: listing, building and preview of datasets from the command line."""

import json
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from support import annotations

from bmc_jax import cli
from bmc_jax.config import Augmentation
from bmc_jax.core.choices import READERS
from bmc_jax.data import augment, store


def bmc(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def built(tmp_path):
    source = annotations.coco(tmp_path / "source", 8)
    assert (
        bmc("data", "build", "coco_hand", "--source", source, "--name", "mine", "--out", tmp_path, "--workers", 1) == 0
    )
    return tmp_path / "mine"


def test_list_names_every_dataset_with_its_licence_and_address(capsys):
    assert bmc("data", "list") == 0
    out = capsys.readouterr().out
    for reader in READERS:
        assert f"\n{reader}\n" in "\n" + out
    assert out.count("licence") == out.count("from     ") == len(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_help_of_a_dataset_shows_its_options(capsys, reader):
    with pytest.raises(SystemExit) as stopped:
        bmc("data", "build", reader, "--help")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "--faults" in out
    assert f"options of {reader}" in out


def test_build_says_what_it_made(capsys, built):
    out = capsys.readouterr().out
    assert "train: 8 hands, 8 with all 3D joints, 0 with some, 0 with none; 0 left hands" in out
    assert "2D labels: 168 of 168 joints" in out
    assert "reprojection, px: min" in out
    assert f"bmc data preview {built / '1.0.0'}" in out


def test_options_reach_the_reader(tmp_path, capsys):
    source = annotations.coco(tmp_path / "source", 3)
    options = ["--split", "test", "--focal", "2.0", "--visibility-threshold", "0.5", "--faults", "skip"]
    assert bmc("data", "build", "coco_hand", "--source", source, "--out", tmp_path, "--workers", 1, *options) == 0
    summary = store.summary(store.find("coco_hand", tmp_path))
    assert summary["options"] == {"split": "test", "side": "", "focal": 2.0, "visibility_threshold": 0.5}
    assert (summary["faults"], list(summary["splits"])) == ("skip", ["test"])


def test_fault_ends_with_one_line_and_status_2(tmp_path, capsys):
    source = annotations.coco(tmp_path / "source", 3)
    (source / "images/1.jpg").unlink()
    assert bmc("data", "build", "coco_hand", "--source", source, "--out", tmp_path, "--workers", 1) == 2
    error = capsys.readouterr().err
    assert "bmc: error: " in error
    assert "annotation 1 (1.jpg): expected an image" in error
    assert "Traceback" not in error


def test_skipped_and_faulty_rows_are_told(tmp_path, capsys):
    source = annotations.coco(tmp_path / "source", 3)
    (source / "images/1.jpg").write_bytes(b"")
    options = ["--out", tmp_path, "--workers", 1, "--faults", "skip"]
    assert bmc("data", "build", "coco_hand", "--source", source, *options) == 0
    out = capsys.readouterr().out
    assert "left out 1 with faults, such as" in out
    assert "1.jpg: expected an image, got a damaged file" in out


def test_labels_left_out_are_told(tmp_path, capsys):
    source = annotations.coco(tmp_path / "source", 3)
    file = source / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["keypoints"][:2] = [0, 0]
    file.write_text(json.dumps(content))
    assert bmc("data", "build", "coco_hand", "--source", source, "--out", tmp_path, "--workers", 1) == 0
    out = capsys.readouterr().out
    assert "labels left out of 1: keypoints at (0, 0) (1)" in out
    assert "2D labels: 62 of 63 joints" in out


def test_verify_passes_what_is_whole_and_fails_what_is_not(capsys, built):
    assert bmc("data", "verify", built) == 0
    assert "complete and valid" in capsys.readouterr().out
    next((built / "1.0.0").glob("*.array_record*")).unlink()
    assert bmc("data", "verify", built) == 2
    assert "1 faults found:" in capsys.readouterr().err


def test_preview_draws_crops_of_a_built_dataset(capsys, built, tmp_path):
    assert bmc("data", "preview", built, "--count", 4, "--size", 32, "--out", tmp_path / "sheet.png") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > sheet.height  # four crops in a row
    assert "4 images drawn" in capsys.readouterr().out


def test_preview_shows_what_augmentation_makes(built, tmp_path, monkeypatch):
    seen = []

    def recorded(key, batch, options, size, *, green_screen):
        seen.append((batch.image.shape, options, size, green_screen.tolist()))
        return augment.central(batch, size)

    monkeypatch.setattr(augment, "augment", recorded)
    command = ["data", "preview", built, "--count", 2, "--size", 32, "--augment", "--green-screen"]
    assert bmc(*command, "--out", tmp_path / "augmented.png") == 0
    assert seen == [((2, 52, 52, 3), Augmentation(), 32, [True, True])]
    assert (tmp_path / "augmented.png").read_bytes()


def test_preview_of_nothing_known_is_an_error(capsys, tmp_path):
    assert bmc("data", "preview", tmp_path / "absent") == 2
    assert "expected a built dataset" in capsys.readouterr().err


def test_stopped_build_says_so_and_goes_on(tmp_path):
    source = annotations.coco(tmp_path / "source", 200)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from bmc_jax.cli import main; from bmc_jax.data.build import shard; "
        "shard.ROWS = 2; sys.exit(main())"
    )
    command = [sys.executable, script, "data", "build", "coco_hand", "--source", source]
    command += ["--name", "mine", "--out", tmp_path, "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while not list(tmp_path.glob("mine/1.0.0.building/train-*.json")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "stopped; run the same command to resume" in out
    subprocess.run(command, check=True, capture_output=True)
    assert len(store.records(store.find("mine", tmp_path), "train")) == 200
