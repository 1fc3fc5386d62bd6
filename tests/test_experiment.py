"""Experiments: the arms that a file says, run or left alone seed by seed, and their table by others' formulas."""

import json
import subprocess
from pathlib import Path

import examples
import numpy as np
import pytest
from scipy import stats

from bmc_jax import cli, comparison, config_file, evaluate, experiment, paper, train
from bmc_jax.config import steps

LIFTING = str(Path(__file__).parents[1] / "configs/lifting.py")
FILE = """
import sys
sys.path.insert(0, {tests!r})
import examples
from bmc_jax.experiment import Arm

ARMS = Arm("a", "nothing"), Arm("b", "something", after="a", paper="Table 4, + BL"), Arm("c", "all", after="b")
GAP = "a", "c"

def get_config(argument=""):
    config = examples.tiny_config()
    config.name = argument
    return config
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(FILE.format(tests=str(Path(__file__).parent)))
    return str(path)


def finished(workdir, **network):
    """A run's folder with measures of its last step."""
    workdir.mkdir(parents=True)
    config_file.write(examples.tiny_config(), workdir)
    content = {
        "step": steps(examples.tiny_config()),
        "environment": {"hardware": "a chip", "commit": "abc"},
        "domains": {"target": {"network": network}},
    }
    (workdir / evaluate.FILE).write_text(json.dumps(content))


def test_every_arm_of_lifting_trains_with_its_own_terms_and_labels():
    expected = {
        "source": (0, 0, 0),
        "2d": (0, 0, 0),
        "bl": (1, 0, 0),
        "bl+rb": (1, 1, 0),
        "full": (0, 0, 0),
        "norefine": (0, 0, 0),
    }
    for arm in experiment.read(LIFTING).arms:
        config = config_file.load(f"{LIFTING}:{arm.name}")
        weights = config.weights
        on = tuple(int(weight > 0) for weight in (weights.bone_length, weights.palm, weights.joint_angle))
        assert on == expected.get(arm.name, (1, 1, 1)), arm.name
        assert len(config.data.train) == (1 if arm.name == "source" else 2)
        assert config.biomechanics.independent == (arm.name == "independent")
        assert config.network.refine == (arm.name != "norefine")
        assert config.limits.source == ("fit:any_view" if arm.name == "computed" else "fit")
        if arm.name != "source":
            supervised = arm.name in ("full", "full+bmc", "norefine")
            assert config.data.train[1].labels == ("3d" if supervised else "2d")
    with pytest.raises(ValueError, match="there is no arm 'bmc'; there are source, 2d"):
        config_file.load(f"{LIFTING}:bmc")


def test_arms_that_differ_take_as_many_steps_and_see_as_much_of_the_source():
    configs = [config_file.load(f"{LIFTING}:{arm.name}") for arm in experiment.read(LIFTING).arms]
    assert len({steps(config) for config in configs}) == 1
    assert len({config.data.train[0].share * config.data.batch_size for config in configs}) == 1


def test_unfinished_runs_are_trained_and_measured_seed_by_seed_and_finished_ones_left(
    file, tmp_path, monkeypatch, capsys
):
    done = []
    finished(tmp_path / "out/b/seed0")
    monkeypatch.setattr(train, "train", lambda config, workdir: done.append((config.name, config.seed, workdir)))
    monkeypatch.setattr(evaluate, "evaluate", lambda workdir: done.append(workdir))
    experiment.run(experiment.read(file), 2, tmp_path / "out", ["training.epochs=2.0"])
    runs = [("a", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]
    folders = [experiment.folder(tmp_path / "out", *run) for run in runs]
    assert done == [part for run, at in zip(runs, folders, strict=True) for part in ((*run, at), at)]
    assert "b/seed0: finished" in capsys.readouterr().out


def test_the_table_has_the_mean_the_deviation_the_paired_test_and_the_gap(file, tmp_path):
    depth = {"a": [20.0, 22.0, 21.5], "b": [15.0, 18.0, 16.0], "c": [10.0, 11.0, 10.5]}
    for arm, values in depth.items():
        for seed, value in enumerate(values):
            finished(tmp_path / arm / f"seed{seed}", depth_mm=value, joints_2d_px=1.0)
    found = experiment.read(file)
    content = comparison.compare(found, 3, tmp_path, "bmc experiment small")
    arms = content["sets"]["target"]
    assert arms["b"]["mean"]["depth_mm"] == pytest.approx(np.mean(depth["b"]))
    assert arms["b"]["sd"]["depth_mm"] == pytest.approx(np.std(depth["b"], ddof=1))
    step = arms["b"]["step"]["depth_mm"]
    difference = np.subtract(depth["b"], depth["a"])
    assert step["change"] == pytest.approx(difference.mean())
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(3))
    assert step["p"] == pytest.approx(2 * stats.t.sf(abs(t), 2))
    gap = [np.mean(depth[arm]) for arm in "abc"]
    assert arms["b"]["closed"]["depth_mm"] == pytest.approx(100 * (gap[0] - gap[1]) / (gap[0] - gap[2]))
    assert "step" not in arms["a"]
    assert len(set(content["configurations"].values())) == 1
    words = comparison.table(content)
    assert f"{np.mean(depth['b']):.1f} ± {np.std(depth['b'], ddof=1):.1f}" in words
    assert "17.58" in words  # of the paper
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_one_seed_has_neither_deviation_nor_test_and_missing_runs_are_left_out(file, tmp_path):
    finished(tmp_path / "a/seed0", depth_mm=2.0)
    finished(tmp_path / "b/seed0", depth_mm=1.0)
    arms = comparison.compare(experiment.read(file), 3, tmp_path, "")["sets"]["target"]
    assert set(arms) == {"a", "b"}
    assert arms["b"]["sd"] == {}
    assert arms["b"]["step"]["depth_mm"] == {"change": -1.0}


def test_an_experiment_without_a_finished_run_has_no_table(file, tmp_path):
    with pytest.raises(ValueError, match=r"no run of .* is finished"):
        comparison.compare(experiment.read(file), 2, tmp_path, "")


def test_what_is_no_experiment_is_refused(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        experiment.read(str(tmp_path / "none.py"))
    with pytest.raises(ValueError, match="has no arm 'd'; it has a, b, c"):
        experiment.read(file, arms=["d"])
    (tmp_path / "plain.py").write_text("ARMS = ()\n")
    with pytest.raises(ValueError, match="has no ARMS"):
        experiment.read(str(tmp_path / "plain.py"))


def test_the_slurm_array_runs_each_arm_with_each_seed_once(file, tmp_path):
    script = tmp_path / "array.sh"
    assert cli.main(["experiment", file, "--seeds", "2", "--out", "runs/x", "--slurm", str(script)]) == 0
    (tmp_path / "srun").write_text(f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/calls\n')
    (tmp_path / "srun").chmod(0o755)
    for task in range(6):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": str(task)}
        subprocess.run(["bash", str(script)], env=environment, check=True, timeout=20)
    assert "--array=0-5" in script.read_text()
    trained = [line for line in (tmp_path / "calls").read_text().splitlines() if " train " in line]
    assert [line.split("--workdir=")[1].split()[0] for line in trained] == [
        f"runs/x/{arm}/seed{seed}" for arm in "abc" for seed in range(2)
    ]
    assert all(f"{file}:{arm}" in line for arm, line in zip("aabbcc", trained, strict=True))


def test_command_writes_the_table(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "train", lambda config, workdir: None)
    monkeypatch.setattr(evaluate, "evaluate", lambda workdir: finished(workdir, depth_mm=3.0))
    assert cli.main(["experiment", file, "--arms", "a,c", "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
    assert "3.0" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "out/experiment.json").read_text())["sets"]["target"]) == {"a", "c"}
    assert (tmp_path / "out/experiment.md").read_text().startswith("`bmc experiment")


def test_paper_rows_that_arms_name_are_there():
    for arm in experiment.read(LIFTING).arms:
        assert not arm.paper or arm.paper in paper.ROWS
        assert not arm.after or arm.after in {other.name for other in experiment.read(LIFTING).arms}
