"""A trained experiment that lifts a few points: after an interruption it gives the same table."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from support import examples

from bmc_jax import cli
from bmc_jax.inference import evaluate
from bmc_jax.runtime import distributed
from bmc_jax.training import feed, forward
from bmc_jax.training.log import Log

FILE = """
from bmc_jax.config import Config, Data, Limits, Network, Optimizer, Source, Training
from bmc_jax.experiments.settings import Arm

ARMS = Arm("fewer", "2D of 16"), Arm("more", "2D of all", after="fewer")

def get_config(argument="more"):
    arm, _, hands = argument.partition("@")
    train = Source(hands, labels="3d", count=32), Source(hands, labels="2d", count=16 if arm == "fewer" else 32)
    data = Data(train=train, test=(hands,), batch_size=16, augment=False, cache="device")
    return Config(
        name=arm, data=data, network=Network(input="points"), limits=Limits(source="clinical"),
        optimizer=Optimizer(name="adamw", rate=1e-3), training=Training(epochs=2.0, log_every=1, save_every=100),
    )
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "few.py").write_text(FILE)
    np.save(tmp_path / "hands.npy", examples.examples(80).joints_3d)
    return ["experiment", str(tmp_path / "few.py"), "--seeds", "1", "--data", str(tmp_path / "hands.npy")]


def once(make):
    """Replaces `make` by a function that returns its first result."""
    made = []

    def get(*arguments, **options):
        if not made:
            made.append(make(*arguments, **options))
        return made[0]

    return get


@pytest.mark.slow
def test_an_experiment_that_is_stopped_ends_in_the_table_of_one_that_was_not(command, tmp_path, monkeypatch, capsys):
    # Compiled once for all runs of this test, whose arms differ only in data. Drawing takes longer than training.
    for room, name in ((feed, "train_program"), (forward, "program")):
        monkeypatch.setattr(room, name, once(getattr(room, name)))
    monkeypatch.setattr(evaluate, "draw_errors", lambda *_: None)
    assert cli.main([*command, "--out", str(tmp_path / "whole")]) == 0

    write, written = Log.write, []

    def interrupting(self, done, metrics):
        write(self, done, metrics)
        written.append(done)
        if len(written) == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = [*command, "--out", str(tmp_path / "stopped")]
    with monkeypatch.context() as patch:
        patch.setattr(Log, "write", interrupting)
        with pytest.raises(SystemExit) as stop:
            cli.main(stopped)
    assert stop.value.code == distributed.INTERRUPTED
    assert written[-1] < 7 < len(written), "it was to be stopped in the second arm"
    assert not (tmp_path / "stopped/experiment.json").exists()
    capsys.readouterr()
    assert cli.main(stopped) == 0
    assert f"{Path('fewer') / 'seed0'}: finished" in capsys.readouterr().out

    whole, stopped = (json.loads((tmp_path / name / "experiment.json").read_text()) for name in ("whole", "stopped"))
    assert stopped == whole
    assert whole["sets"]["hands.npy"]["more"]["step"]["depth_mm"]["change"] != 0
    assert whole["command"] == "bmc experiment few.py --data hands.npy --seeds 1"
    assert str(tmp_path) not in json.dumps(whole)
