"""Experiments: the arms of a file, unfinished runs by seed, and comparisons by independent formulas."""

import dataclasses
import json
import subprocess

import jax
import numpy as np
import pytest
from scipy import stats
from support import examples, paths, results

from bmc_jax import cli
from bmc_jax.config import steps
from bmc_jax.experiments import comparison, runner, settings, tables
from bmc_jax.inference import evaluate
from bmc_jax.metrics import published
from bmc_jax.training import config_io, train

CONFIGS = paths.ROOT / "configs"
LIFTING = str(CONFIGS / "lifting.py")
EXPERIMENTS = sorted(str(path) for path in CONFIGS.glob("*.py") if "\nARMS = " in path.read_text())
FILE = """
import sys
sys.path.insert(0, {tests!r})
from support import examples
from bmc_jax.experiments.settings import Arm

from bmc_jax.experiments.claims import Claim

ARMS = Arm("a", "nothing"), Arm("b", "something", after="a", paper="Table 4, + BL"), Arm("c", "all", after="b")
GAP = "a", "c"
CLAIMS = Claim("something helps", "b", than="a", measure="depth_mm"),

def get_config(argument=""):
    config = examples.tiny_config()
    config.name, _, dataset = argument.partition("@")
    if dataset:
        config.data.train[1].name = dataset
        config.data.train[1].count = 0
    return config
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(FILE.format(tests=str(paths.ROOT / "tests")))
    return str(path)


def finished(workdir, commit="abc", official=None, entries=("target",), **network):
    """Creates a run's folder with metrics of its last step."""
    workdir.mkdir(parents=True, exist_ok=True)
    config = examples.tiny_config()
    config.name = workdir.parent.name
    config_io.write(config, workdir)
    domain = {"network": network} | (results.official(**official) if official else {})
    content = results.measured(
        steps(config), dict.fromkeys(entries, domain), environment={"hardware": "a chip", "commit": commit}
    )
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
    for arm in runner.read(LIFTING).arms:
        config = config_io.load(f"{LIFTING}:{arm.name}")
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
    with pytest.raises(ValueError, match=r"expected an arm of source, 2d, .* got 'bmc'"):
        config_io.load(f"{LIFTING}:bmc")


def test_arms_that_differ_take_as_many_steps_and_see_as_much_of_the_source():
    configs = [config_io.load(f"{LIFTING}:{arm.name}") for arm in runner.read(LIFTING).arms]
    assert len({steps(config) for config in configs}) == 1
    assert len({config.data.train[0].share * config.data.batch_size for config in configs}) == 1


def test_unfinished_runs_are_trained_and_measured_seed_by_seed_and_finished_ones_left(
    file, tmp_path, monkeypatch, capsys
):
    done = []
    finished(tmp_path / "out/b/seed0", entries=("mannequin", "real_like"))
    finished(tmp_path / "out/c/seed0", entries=("mannequin",))
    monkeypatch.setattr(train, "train", lambda config, workdir: done.append((config.name, config.seed, workdir)))
    monkeypatch.setattr(evaluate, "evaluate", lambda workdir: done.append(workdir))
    runner.run(runner.read(file), 2, tmp_path / "out", ["training.epochs=2.0"])
    # c has no metrics of one of the test sets.
    runs = [("a", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1)]
    folders = [runner.run_directory(tmp_path / "out", *run) for run in runs]
    assert done == [part for run, at in zip(runs, folders, strict=True) for part in ((*run, at), at)]
    assert "b/seed0: finished" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"b/seed0 has a run of another configuration.*\n.*rate"):
        runner.run(runner.read(file, arms=["b"]), 1, tmp_path / "out", ["optimizer.rate=0.5"])


def test_a_run_leaves_nothing_compiled_behind(file, tmp_path, monkeypatch):
    doubled = jax.jit(lambda x: 2 * x)
    held = []

    def train_once(config, workdir):
        held.append(doubled._cache_size())
        doubled(1.0)
        held.append(doubled._cache_size())

    monkeypatch.setattr(train, "train", train_once)
    monkeypatch.setattr(evaluate, "evaluate", lambda workdir: None)
    runner.run(runner.read(file, arms=["a"]), 2, tmp_path / "out")
    assert held == [0, 1, 0, 1]


def test_the_table_has_the_mean_the_deviation_the_paired_test_and_the_gap(file, tmp_path):
    depth = {"a": [20.0, 22.0, 21.5], "b": [15.0, 18.0, 16.0], "c": [10.0, 11.0, 10.5]}
    for arm, values in depth.items():
        for seed, value in enumerate(values):
            finished(tmp_path / arm / f"seed{seed}", depth_mm=value, joints_2d_px=1.0)
    found = runner.read(file)
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
    assert len(set(content["configurations"].values())) == 3
    words = tables.markdown(content)
    assert f"{np.mean(depth['b']):.1f} ± {np.std(depth['b'], ddof=1):.1f}" in words
    assert "17.58" in words  # of the paper
    assert arms["b"]["values"]["depth_mm"] == depth["b"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_one_seed_has_neither_deviation_nor_test_and_missing_runs_are_left_out(file, tmp_path):
    finished(tmp_path / "a/seed0", depth_mm=2.0)
    finished(tmp_path / "b/seed0", depth_mm=1.0)
    arms = comparison.compare(runner.read(file), 3, tmp_path, "")["sets"]["target"]
    assert set(arms) == {"a", "b"}
    assert arms["b"]["sd"] == {}
    assert arms["b"]["step"]["depth_mm"] == {"change": -1.0}


def test_an_experiment_without_a_finished_run_has_no_table(file, tmp_path):
    with pytest.raises(ValueError, match=r"expected finished runs of .*, got none"):
        comparison.compare(runner.read(file), 2, tmp_path, "")


def test_what_is_no_experiment_is_refused(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a configuration file or one of"):
        runner.read(str(tmp_path / "none.py"))
    with pytest.raises(ValueError, match="expected an arm of a, b, c, got 'd'"):
        runner.read(file, arms=["d"])
    (tmp_path / "plain.py").write_text("ARMS = ()\n")
    with pytest.raises(ValueError, match="expected an experiment with ARMS, got none"):
        runner.read(str(tmp_path / "plain.py"))


def test_what_is_wrong_with_any_arms_data_is_told_before_one_is_trained(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "train", None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["experiment", file, "--data", "freihand"]) == 2
    told = capsys.readouterr().err
    assert "a, b, c: data.train[1].name: expected a ren" in told
    assert settings.BUILDS["freihand"] in told
    assert told.count("bmc data build freihand") == 1
    assert not (tmp_path / "runs").exists()


def test_initial_weights_that_are_missing_are_named_before_any_arm_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runner.read(str(paths.ROOT / "configs/pixels.py"), arms=["2d", "lifter", "lifter+bmc"])
    with pytest.raises(
        ValueError, match=r"no arm was trained, .*\n  lifter: runs/lifters/lifter.*\n  lifter\+bmc: "
    ) as told:
        runner.require_data(found)
    assert "2d:" not in str(told.value)


def test_a_recorded_result_names_files_and_data_without_their_folders(file, tmp_path, monkeypatch):
    def measure(workdir):
        finished(workdir, entries=(str(tmp_path / "hands.npy"),), depth_mm=3.0)

    monkeypatch.setattr(train, "train", lambda config, workdir: None)
    monkeypatch.setattr(evaluate, "evaluate", measure)
    monkeypatch.setattr(runner, "require_data", lambda *_: None)
    record = tmp_path / "docs/small.json"
    options = ["--out", str(tmp_path / "out"), "--seeds", "1", f"--config.data.directory={tmp_path}"]
    assert cli.main(["experiment", file, *options, "--record", str(record)]) == 0
    content = json.loads(record.read_text())
    assert content["command"] == "bmc experiment small.py --seeds 1 --config.data.directory=" + tmp_path.name
    assert list(content["sets"]) == ["hands.npy"]
    assert str(tmp_path) not in record.read_text()
    assert record.read_text() == (tmp_path / "out/experiment.json").read_text()
    assert '"depth_mm": [3.0]' in record.read_text()


def test_official_figures_stand_where_the_paper_has_them_and_all_commits_are_told(file, tmp_path):
    rows = runner.read(str(CONFIGS / "table8.py")).others
    assert rows
    name = "tips_procrustes_auc_20_50mm"
    finished(tmp_path / "a/seed0", official={name: 0.7}, entries=("dexter_object",), joints_2d_px=1.0)
    finished(tmp_path / "a/seed1", "def", official={name: 0.8}, entries=("dexter_object",), joints_2d_px=1.0)
    found = runner.read(file)
    arms = (settings.Arm("a", "ours", paper="Table 8, ours"),)
    found = dataclasses.replace(found, arms=arms, others=rows, claims=(), gap=None)
    content = comparison.compare(found, 2, tmp_path, "")
    assert content["environment"]["commit"] == "abc, def"
    lines = tables.markdown(content).splitlines()
    (ours,) = (line for line in lines if line.startswith("| a ") and "0.750" in line)
    assert [cell.strip() for cell in ours.split("|")][-4:-2] == ["0.750 ± 0.071", "0.82"]
    (zhang,) = (line for line in lines if "Zhang" in line)
    assert "0.82" in zhang


def test_slurm_commands_train_each_arm_with_each_seed_once(file, tmp_path, capsys):
    options = ["--seeds", "2", "--out", "runs/x", "--config.optimizer.rate=0.01", "--slurm"]
    assert cli.main(["experiment", file, *options]) == 0
    commands = capsys.readouterr().out.splitlines()
    for name, words in (
        ("srun", f'echo "$@" >> {tmp_path}/calls'),
        ("sbatch", 'while [[ $1 == --* ]]; do shift; done; bash "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{words}\n")
        (tmp_path / name).chmod(0o755)
    for command in commands:
        assert command.startswith("sbatch --array=0-1 ")
        for seed in range(2):
            environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": str(seed)}
            subprocess.run(["bash", "-c", command], env=environment, cwd=paths.ROOT, check=True, timeout=20)
    trained = (tmp_path / "calls").read_text().splitlines()
    assert [line.split("--workdir=")[1].split()[0] for line in trained] == [
        f"runs/x/{arm}/seed{seed}" for arm in "abc" for seed in range(2)
    ]
    for arm, line in zip("aabbcc", trained, strict=True):
        assert f"--config={file}:{arm} " in line
        assert line.endswith("--config.optimizer.rate=0.01")
    assert [f"--config.seed={seed} " in line for seed, line in zip([0, 1] * 3, trained, strict=True)] == [True] * 6


def test_command_writes_the_table(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "train", lambda config, workdir: None)
    monkeypatch.setattr(evaluate, "evaluate", lambda workdir: finished(workdir, depth_mm=3.0))
    assert cli.main(["experiment", file, "--arms", "a,c", "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
    assert "3.0" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "out/experiment.json").read_text())["sets"]["target"]) == {"a", "c"}
    assert (tmp_path / "out/experiment.md").read_text().startswith("`bmc experiment")


@pytest.mark.parametrize("file", EXPERIMENTS)
def test_what_arms_and_claims_name_is_there(file):
    found = runner.read(file)
    names = [arm.name for arm in found.arms]
    assert len(set(names)) == len(names)
    for arm in found.arms:
        assert not arm.paper or arm.paper in published.ROWS
        assert not arm.after or arm.after in names
    assert set(found.gap or ()) <= set(names)
    assert set(found.others) <= set(published.ROWS)
    for claim in found.claims:
        assert {claim.arm, claim.than, claim.gap_to or claim.arm} <= set(names)
        assert claim.measure in comparison.COLUMNS
    for row in found.others:
        assert all(published.row(row, key.partition("/")[0], False) for key in published.ROWS[row])
