"""`bmc limits` from files to reports."""

import json
import re

import numpy as np
import pytest
from support import hands

from bmc_jax import cli, limits


@pytest.fixture(scope="module")
def adults():
    return hands.adults().astype(np.float32)


def run(capsys, *arguments):
    status = cli.main(list(map(str, arguments)))
    found = capsys.readouterr()
    return status, found.out, found.err


def test_check_writes_a_page_that_stands_alone(capsys, tmp_path, adults):
    file, page = tmp_path / "hands.npy", tmp_path / "out" / "report.html"
    raw = 1000 * adults.copy()
    raw[5] = np.nan
    np.save(file, raw)
    status, text, _ = run(capsys, "limits", "check", file, "--limits", "functional", "--out", page)
    assert status == 0
    assert "unit mm (detected)" in text
    assert "1 of 200 frames are gaps" in text
    assert re.search(r"index PIP +\d+ +\d", text)
    content = page.read_text()
    assert not re.search(r"https?://|<script|<link", content)
    assert content.count("data:image/png;base64,") == 2
    assert "prefers-color-scheme: dark" in content
    assert "1 gaps are left out" in content
    assert list(page.parent.iterdir()) == [page]


def test_check_prints_json(capsys, tmp_path, adults):
    np.save(tmp_path / "one.npy", adults[0])
    status, text, _ = run(capsys, "limits", "check", tmp_path / "one.npy", "--limits", "clinical", "--json")
    content = json.loads(text)
    assert status == 0
    assert (content["frames"], content["poses"], content["gaps"]) == (1, 1, [])
    assert [joint["joint"] for joint in content["joints"]][:4] == ["thumb CMC", "thumb MCP", "thumb IP", "index MCP"]
    assert [of["convention"] for of in content["conventions"]] == ["order", "unit", "side"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "POSES"], "run: bmc limits check poses.npy --limits clinical"),
        (["check", "POSES", "eaton"], "run: bmc limits check poses.npy --limits eaton"),
        (["check", "POSES", "eaton", "--limits", "clinical"], "expected limits as an option"),
        (["check", "POSES", "--limits", "clinic"], "no limits file and no preset 'clinic'"),
        (["check", "none.csv", "--limits", "clinical"], "no pose file none.csv"),
        (["check", "EMPTY", "--limits", "clinical"], "is empty: there is no pose in it"),
        (["motion", "POSES", "--fps", "0"], "expected a positive number of frames a second, got 0"),
        (["personalize", "EMPTY"], "is empty"),
        (["compare", "clinical", "none.json"], "no limits file"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, adults, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("poses.npy", adults[:3])
    np.save("empty.npy", adults[:0])
    files = {"POSES": "poses.npy", "EMPTY": "empty.npy"}
    status, text, error = run(capsys, "limits", *(files.get(word, word) for word in arguments))
    assert status == 2
    assert not text
    assert message in error
    assert error.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.npy", "poses.npy"]


def test_personalize_compare_and_motion_write_their_files(capsys, tmp_path, monkeypatch, adults):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", adults[:20] * [-1, 1, 1])
    np.save("sequence.npy", hands.bending_sequence())
    status, text, _ = run(capsys, "limits", "personalize", "mine.npy", "--out", "mine.json")
    assert status == 0
    assert "side left (detected)" in text
    assert limits.load("mine.json").meta.source.startswith("mine.npy, drawn to clinical")
    status, text, _ = run(capsys, "limits", "compare", "clinical", "mine.json", "--out", "compare.png")
    assert status == 0
    assert re.search(r"little DIP +-?\d+ to \d+", text)
    assert (tmp_path / "compare.png").read_bytes()[1:4] == b"PNG"
    status, text, _ = run(capsys, "limits", "motion", "sequence.npy", "--fps", "30", "--out", "motion.html")
    assert status == 0
    assert "11 of 90 frames are gaps" in text
    content = (tmp_path / "motion.html").read_text()
    assert content.count("data:image/png;base64,") == 1
    assert "clinical norm" in content
