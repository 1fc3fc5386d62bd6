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
    assert "1 gap in 200 frames" in text
    assert re.search(r"index PIP +\d+ +\d", text)
    content = page.read_text()
    assert not re.search(r"https?://|<script|<link", content)
    assert content.count("data:image/png;base64,") == 2
    assert "prefers-color-scheme: dark" in content
    assert "1 gap is left out" in content
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
        (["check", "POSES", "eaton"], "run: bmc limits check poses.npy --limits eaton"),
        (["check", "POSES", "eaton", "--limits", "clinical"], "expected limits as an option"),
        (["check", "POSES", "--limits", "clinic"], "no limits file and no preset 'clinic'"),
        (["check", "none.csv", "--limits", "clinical"], "expected the pose file none.csv"),
        (["check", "EMPTY", "--limits", "clinical"], "expected one pose or more, got none"),
        (["motion", "TWO"], "two.json: expected one hand in each frame of a sequence, got 2 in frame 0"),
        (["repair", "TWO", "--limits", "clinical", "--smooth", "5"], "expected one hand in each frame"),
        (["fit", "MILLIMETRES"], "expected poses of the unit m, got mm; convert them first"),
        (["sample", "--out", "poses.csv"], "poses are written as .npz or .npy"),
        (["motion", "POSES", "--fps", "0"], "expected a positive number of frames a second, got 0"),
        (["personalize", "EMPTY"], "expected one pose or more, got none"),
        (["compare", "clinical", "none.json"], "no limits file"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, adults, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("poses.npy", adults[:3])
    np.save("empty.npy", adults[:0])
    (tmp_path / "two.json").write_text(json.dumps(np.stack([adults[:3]] * 2, axis=1).tolist()))
    np.savez("mm.npz", joints=1000 * adults[:3], unit="mm")
    files = {"POSES": "poses.npy", "EMPTY": "empty.npy", "TWO": "two.json", "MILLIMETRES": "mm.npz"}
    status, text, error = run(capsys, "limits", *(files.get(word, word) for word in arguments))
    assert status == 2
    assert not text
    assert message in error
    assert error.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.npy", "mm.npz", "poses.npy", "two.json"]


def test_gaps_are_counted_and_named(capsys, tmp_path, adults):
    rows = json.loads(json.dumps(adults[:8].tolist()))
    rows[2], rows[5], rows[6][3] = [], None, None
    (tmp_path / "a.json").write_text(json.dumps(rows))
    status, text, _ = run(capsys, "limits", "check", tmp_path / "a.json")
    assert status == 0
    assert "3 gaps in 8 frames, 1 with some joints: 2, 5, 6" in text


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
    assert "11 gaps in 90 frames" in text
    content = (tmp_path / "motion.html").read_text()
    assert content.count("data:image/png;base64,") == 1
    assert "clinical norm" in content
