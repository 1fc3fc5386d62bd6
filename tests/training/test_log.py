"""Logs of runs: bars on terminals, lines in log files, every metric once, and the same wandb run when resumed."""

import io
import json
import re
import sys
import types

import jax
import numpy as np
import pytest
from PIL import Image
from support import examples

from bmc_jax.runtime import progress
from bmc_jax.training import flops, log
from bmc_jax.training.log import Log

METRICS = {"loss": 1.25, "joints_2d": 0.5, "input_wait": 0.25}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class FakeWandb(types.ModuleType):
    """Records its calls in `runs`."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = []
        self.Image = lambda image: ("image", image.shape)

    def init(self, **options):
        run = types.SimpleNamespace(options=options, logged=[], finished=None)
        run.log = lambda content, step: run.logged.append((step, content))
        run.finish = lambda exit_code: setattr(run, "finished", exit_code)
        self.runs.append(run)
        return run


@pytest.fixture
def wandb(monkeypatch):
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def steps(run_log, first, last):
    for number in range(first, last + 1):
        run_log.advance()
        run_log.write(number, METRICS)


def test_bar_shows_steps_speed_time_left_loss_and_waiting(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Log(tmp_path, examples.tiny_config(), first=2, total=8) as run_log:
        steps(run_log, 3, 6)
    line = terminal.getvalue().split("\r")[-1]
    assert re.search(r"train tiny:  75%\|.*\| 6/8 \[\d+:\d+<\d+:\d+, [\d,]+ images/s, loss 1.25, waiting 25%\]", line)


def test_mfu_is_shown_and_logged_where_the_peak_is_given_alone(tmp_path, capsys):
    options = examples.tiny_config()
    for peak in (0.0, 1e-3):
        options.training.peak_tflops = peak
        with Log(tmp_path, options, first=0, total=4) as run_log:
            for _ in range(4):
                run_log.advance()
            speed = run_log.speed()
        assert speed["images_per_second"] > 0
        assert ("mfu" in speed) == bool(peak)
        assert ("MFU" in capsys.readouterr().err) == bool(peak)
    fastest = 4 * 1e9 / flops.training_flops(options)
    assert speed["mfu"] == pytest.approx(speed["images_per_second"] / fastest)


def test_without_a_terminal_there_is_a_plain_line_every_so_often(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.Progress, "monitor_interval", 0)
    with progress.Progress(total=100, desc="train", unit=" steps") as bar:
        bar._time = lambda: clock[0]
        bar.start_t = bar.last_print_t = 0.0
        for _ in range(100):
            clock[0] += 1.0
            bar.update()
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert [line.split(" [")[0] for line in lines] == [
        *(f"train: {number}%, {number} of 100 steps" for number in (30, 60, 90)),
        "train: 100%, 100 of 100 steps",
    ]
    assert "[00:30<01:10,  1.00 steps/s]" in lines[0]


def test_of_several_processes_the_first_alone_shows_progress(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with progress.Progress(range(2), desc="render") as bar:
        assert list(bar) == [0, 1]
    assert capsys.readouterr().err == ""


def test_last_line_is_there_once(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    with progress.Progress(total=2, desc="render") as bar:
        bar.update(1)
        bar.update(1)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["render: 50%", "render: 100%"]


def test_without_a_terminal_a_bar_within_a_bar_is_not_printed(capsys):
    with progress.Progress(total=1, desc="outer") as outer:
        with progress.Progress(total=1, desc="inner") as inner:
            inner.update()
        outer.update()
    assert "inner" not in (printed := capsys.readouterr().err)
    assert printed.count("outer") == 1


def test_resumed_run_has_every_step_once(tmp_path):
    options = examples.tiny_config()
    with Log(tmp_path, options, first=0, total=8) as run_log:
        steps(run_log, 1, 5)
        run_log.write(4, {"test/mannequin/joints_2d_px": 3.0})
    with Log(tmp_path, options, first=3, total=8) as run_log:
        steps(run_log, 4, 8)
        run_log.write(4, {"test/mannequin/joints_2d_px": 3.0})
    rows = [json.loads(line) for line in (tmp_path / log.FILE).read_text().splitlines()]
    assert len(rows) == 9
    assert [row for row in rows if "loss" not in row] == [{"step": 4, "test/mannequin/joints_2d_px": 3.0}]
    assert log.read(tmp_path) == [{"step": number, **METRICS} for number in range(1, 9)]


DAMAGED_LINES = (
    b'{"step": 2, "lo\n',
    b"\0\0\0\0\0\0\n",
    b"\xff\xfe{}\n",
    b"not JSON\n",
    b"\n",
    b"[1, 2]\n",
    b"7\n",
    b"null\n",
    b"{}\n",
    b'{"step": "2", "loss": 1.0}\n',
    b'{"step": true, "loss": 1.0}\n',
    b'{"step": 2.5, "loss": 1.0}\n',
    b'{"step": 2, "loss": null}\n',
    b'{"step": 2, "loss": "low"}\n',
    b'{"step": 2, "loss": {"a": 1}}\n',
    b'{"step": 2, "loss": 1' + 400 * b"0" + b"}\n",
    b'{"step": ' + 5000 * b"9" + b"}\n",
    100_000 * b"[" + b"\n",
)


def test_damaged_lines_are_set_aside_and_the_others_stay(tmp_path):
    options, file = examples.tiny_config(), tmp_path / log.FILE
    good = [json.dumps({"step": number, "loss": 0.1 * number}).encode() + b"\n" for number in (1, 2, 3)]
    file.write_bytes(b"".join([good[0], *DAMAGED_LINES, good[1], DAMAGED_LINES[0], good[2], b'{"step": 4']))
    with pytest.warns(UserWarning, match=f"skipped {len(DAMAGED_LINES) + 1} damaged lines"):
        assert [row["step"] for row in log.read(tmp_path)] == [1, 2, 3]
    moved = f"{len(DAMAGED_LINES) + 1} damaged lines were moved to metrics.jsonl.damaged"
    with pytest.warns(UserWarning, match=moved), Log(tmp_path, options, first=2, total=8) as run_log:
        steps(run_log, 3, 3)
    assert file.read_bytes().splitlines(keepends=True)[:2] == good[:2]
    assert [row["step"] for row in log.read(tmp_path)] == [1, 2, 3]
    aside = tmp_path / log.DAMAGED_FILE
    assert aside.read_bytes() == b"".join([*DAMAGED_LINES, DAMAGED_LINES[0]])
    # Those of a later time are added.
    with file.open("ab") as opened:
        opened.write(b"null\n")
    with pytest.warns(UserWarning, match="1 damaged"), Log(tmp_path, options, first=3, total=8):
        pass
    assert aside.read_bytes().endswith(DAMAGED_LINES[0] + b"null\n")


def test_pictures_are_kept_by_step_and_shown_on_the_board(tmp_path):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 255
    with Log(tmp_path, examples.tiny_config(), first=0, total=8) as run_log:
        run_log.picture(500, image)
    kept = np.asarray(Image.open(tmp_path / "pictures/step_000500.jpg"), int)
    assert np.abs(kept - image).mean() < 2
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"predictions" in events.read_bytes()


def test_wandb_receives_everything_and_goes_on_with_the_same_run(tmp_path, wandb):
    options = examples.tiny_config(wandb="hands")
    log.require_installed(options)
    with Log(tmp_path, options, first=0, total=8) as run_log:
        steps(run_log, 1, 2)
        run_log.picture(2, np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(FloatingPointError), Log(tmp_path, options, first=2, total=8):
        raise FloatingPointError
    first, second = wandb.runs
    assert first.logged == [(1, METRICS), (2, METRICS), (2, {"predictions": ("image", (4, 6, 3))})]
    assert (first.finished, second.finished) == (0, 1)
    assert first.options == second.options
    assert first.options["config"]["training"]["wandb"] == "hands"
    given = {name: first.options[name] for name in ("project", "name", "resume", "dir")}
    assert given == {"project": "hands", "name": "tiny", "resume": "allow", "dir": str(tmp_path)}
    # Whether it is online is the user's to say, by WANDB_MODE.
    assert "mode" not in first.options
    other = tmp_path / "other"
    other.mkdir()
    with Log(other, options, first=0, total=8):
        pass
    assert wandb.runs[2].options["id"] != first.options["id"]
    assert (other / log.WANDB_FILE).exists()


def test_wandb_that_is_not_installed_is_an_error_and_unasked_for_is_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        ValueError, match=r"training.wandb: expected the package wandb for 'hands', got .*pip install wandb"
    ):
        log.require_installed(examples.tiny_config(wandb="hands"))
    log.require_installed(examples.tiny_config())
    with Log(tmp_path, examples.tiny_config(), first=0, total=8) as run_log:
        steps(run_log, 1, 1)
    assert not (tmp_path / log.WANDB_FILE).exists()
