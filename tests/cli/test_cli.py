"""The `bmc` command: help, errors in one line, and every verb reaching its room."""

import argparse
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import examples, paths, photograph_files

from bmc_jax import cli, limits, synthesis
from bmc_jax.inference import evaluate, report
from bmc_jax.runtime import lock
from bmc_jax.training import config_io, train


@pytest.fixture
def poses(tmp_path):
    file = tmp_path / "poses.npy"
    np.save(file, examples.examples(60).joints_3d)
    return file


@pytest.fixture
def limits_file(tmp_path, poses):
    file = tmp_path / "limits.json"
    limits.save(limits.fit(np.load(poses), source="test", left="keep"), file)
    return file


def fails(capsys, *arguments):
    """The error that `bmc` ends with, one line without a traceback."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bmc: error: ")
    assert "Traceback" not in error
    return error.removeprefix("bmc: error: ").strip()


def verbs(parser, words=()):
    """Every verb of the parser as its words, the empty one of `bmc` itself included, and whether it has verbs."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    yield words, bool(groups)
    for group in groups:
        for word, parser in group.choices.items():
            yield from verbs(parser, (*words, word))


VERBS = dict(verbs(cli.make_parser()))


def test_verbs_are_found():
    assert {("train",), ("limits", "fit"), ("data", "preview")} <= VERBS.keys()
    assert VERBS[()]
    assert VERBS["limits",]
    assert not VERBS["limits", "fit"]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_of_every_verb_has_examples_of_it(capsys, verb):
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    command = " ".join(["bmc", *verb])
    assert text.startswith(f"usage: {command}")
    if VERBS[verb] and verb:
        assert "VERB" in text or "NAME" in text
    else:
        assert f"  {command}" in text[text.index("example") :]


def test_help_loads_no_library():
    program = (
        "import sys; from bmc_jax import cli\n"
        "try: cli.main(['limits', 'fit', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('jax', 'numpy', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("failure", ["return 2", "raise KeyError"])
def test_an_error_ends_the_process_at_once_with_its_status_whatever_threads_wait(failure):
    program = (
        "import threading\n"
        "from bmc_jax import cli\n"
        "def main():\n"
        "  threading.Thread(target=threading.Event().wait).start()\n"
        f"  {failure}\n"
        "cli.main = main\n"
        "cli.run_process()"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.returncode == (2 if "2" in failure else 1)
    assert ("KeyError" in found.stderr) == ("KeyError" in failure)


def test_a_file_in_the_place_of_checkpoints_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "checkpoints").write_text("", encoding="utf-8")
    arguments = ["train", f"--config={paths.ROOT / 'configs/quickstart.py'}", f"--workdir={tmp_path}"]
    assert cli.main(arguments) == 2
    assert f"expected a folder of checkpoints, got the file {tmp_path / 'checkpoints'}" in capsys.readouterr().err
    assert [place.name for place in tmp_path.iterdir()] == ["checkpoints"]


def test_a_second_process_does_not_train_in_the_folder_of_a_run_that_is_training(tmp_path, capsys):
    command = ["train", f"--config={paths.ROOT / 'configs/quickstart.py'}", f"--workdir={tmp_path}"]
    with lock.hold(tmp_path):
        assert cli.main(command) == 2
        assert [place.name for place in tmp_path.iterdir()] == [lock.FILE]
    assert (
        f"bmc: error: {tmp_path} is in use by another run ({socket.gethostname()}, process {os.getpid()}, since "
        in (capsys.readouterr().err)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--config=configs/quickstart.py", "--workdir=gs://bucket/run"],
        ["train", "--config=configs/quickstart.py", "--workdir", "file:///tmp/run"],
        ["train", "--config=configs/quickstart.py", "--workdir=run", "--config.data.directory=s3://bucket/data"],
        ["evaluate", "gs://bucket/run"],
        ["evaluate", "run", "--data", "coco:https://host/annotations.json"],
        ["report", "run", "--out", "gs://bucket/report.html"],
        ["predict", "run", "https://host/photo.jpg", "--out", "out"],
        ["predict", "run", "photo.jpg", "--out", "gs://bucket/out"],
        ["export", "run", "--out", "memory://out"],
        ["experiment", "lifting", "--out", "gs://bucket/lifting"],
        ["limits", "fit", "gs://bucket/poses.npy", "--out", "limits.json"],
        ["data", "build", "freihand", "--source", "FreiHAND_pub_v2", "--out", "gs://bucket/data"],
    ],
    ids=" ".join,
)
def test_urls_are_refused_before_anything_is_written(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "expected a path on this machine, got the URL" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_urls_are_refused_in_configurations_and_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected a path on this machine, got the URL 'gs://bucket/run'"):
        train.train(examples.tiny_config(), "gs://bucket/run")
    assert not list(tmp_path.iterdir())
    beam = "runner=DataflowRunner,temp_location=gs://bucket/temp"
    assert cli.parse(["data", "build", "freihand", "--source", "x", "--out", "y", "--beam", beam]).beam == beam
    options = examples.tiny_config()
    options.data.directory = "gs://bucket/data"
    with pytest.raises(ValueError, match=r"data\.directory is 'gs://bucket/data'; it must be a name or a path"):
        config_io.validate(options)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["limits"],
        ["evaluate"],
        ["evaluate", "runs/x", "--counts", "3"],
        ["evaluate", "runs/x", "--count", "0"],
        ["evaluate", "runs/x", "--count", "1000000000"],
        ["evaluate", "runs/x", "--turns", "1000000000"],
        ["limits", "sample", "--count", "1000000000"],
        ["limits", "depths", "--count", "1000000000"],
        ["limits", "check", "poses.npy", "--list", "1000000000"],
        ["data", "preview", "mannequin", "--count", "1000000000"],
        ["data", "preview", "mannequin", "--size", "1000000000"],
        ["data", "build", "coco_hand", "--source", "x", "--out", "y", "--workers", "1000000000"],
        ["train", "--config=x.py"],
    ],
)
def test_wrong_arguments_end_with_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: bmc" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        cli.main(["evaluate", str(tmp_path), "--debug"])


def test_train_passes_overrides_to_the_configuration(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(train, "train", lambda options, workdir, **_: seen.append((options, workdir)))
    file = tmp_path / "small.py"
    file.write_text("from bmc_jax.config import Config\ndef get_config():\n    return Config(name='small')\n")
    run = ["train", f"--config={file}", "--workdir=runs/x", "--config.optimizer.rate=0.125"]
    assert cli.main([*run, "--config.data.train[1].count=7"]) == 0
    [(options, workdir)] = seen
    assert (options.name, options.optimizer.rate, options.data.train[1].count) == ("small", 0.125, 7)
    assert workdir == "runs/x"


@pytest.mark.parametrize("extra", ["--optimizer.rate=1", "--config.optimizer.rate", "fast"])
def test_train_refuses_what_sets_no_field(capsys, extra):
    error = fails(capsys, "train", "--config=x.py", "--workdir=runs/x", extra)
    assert error == f"unrecognized argument {extra!r}; fields are set by --config.FIELD=VALUE"


def test_train_names_an_unknown_field(capsys, tmp_path):
    file = tmp_path / "small.py"
    file.write_text("from bmc_jax.config import Config\ndef get_config():\n    return Config()\n")
    error = fails(capsys, "train", f"--config={file}", "--workdir=runs/x", "--config.optimizer.rat=1")
    assert "optimizer.rat" in error
    assert "'rate'" in error


def test_evaluate_prints_the_table_and_where_it_is(monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "evaluate", lambda *given, **named: (given, named))
    monkeypatch.setattr(evaluate, "table", lambda content: f"table of {content}")
    given = ["evaluate", "runs/x", "freihand", "rhd:train", "--split", "train", "--count", "3", "--step", "best"]
    assert cli.main([*given, "--passes", "2", "--turns", "3"]) == 0
    named = {"split": "train", "count": 3, "step": "best", "passes": 2, "turns": 3}
    content = ("runs/x", ["freihand", "rhd:train"]), named
    assert capsys.readouterr().out == f"table of {content}\nwritten to runs/x/metrics.json\n"


def test_evaluate_takes_photographs(monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "evaluate_photographs", lambda workdir, file, **_: {"file": str(file)})
    monkeypatch.setattr(evaluate, "table", lambda content: f"table of {content}")
    assert cli.main(["evaluate", "runs/x", "--data", "coco:a/b.json"]) == 0
    assert capsys.readouterr().out == "table of {'file': 'a/b.json'}\nwritten to runs/x/photographs.json\n"
    assert fails(capsys, "evaluate", "runs/x", "--data", "a/b.json") == "'a/b.json' is not of the form coco:FILE"
    assert "expected --data or datasets, got both; leave out rhd" in fails(
        capsys, "evaluate", "runs/x", "rhd", "--data", "coco:a/b.json"
    )


def test_evaluate_names_a_folder_that_is_no_run(capsys, tmp_path):
    assert "is not the folder of a run" in fails(capsys, "evaluate", tmp_path)


@pytest.mark.parametrize(("runs", "place"), [(["a"], "a/report.html"), (["a", "b"], "report.html")])
def test_report_lies_with_its_only_run(monkeypatch, capsys, runs, place):
    monkeypatch.setattr(report, "report", lambda workdirs, out: out)
    assert cli.main(["report", *runs]) == 0
    assert capsys.readouterr().out == f"written to {place}\n"


def test_limits_are_fitted_shown_and_checked(capsys, tmp_path, poses):
    out, picture = tmp_path / "new.json", tmp_path / "hulls.png"
    assert cli.main(["limits", "fit", str(poses), "--left", "keep", "--source", "me", "--out", str(out)]) == 0
    assert "60 poses" in capsys.readouterr().out
    assert limits.load(out).meta.source == "me"

    assert cli.main(["limits", "show", str(out), "--samples", str(poses), "--out", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "limits of me" in shown
    assert "thumb-index" in shown
    with Image.open(picture) as image:
        assert image.width > 1000

    known = ["--order", "freihand", "--unit", "m", "--side", "right"]
    assert cli.main(["limits", "check", str(poses), "--limits", str(out), *known, "--list", "--fail"]) == 0
    text = capsys.readouterr().out
    assert "60 of 60 poses are within every limit" in text
    assert text.endswith("\n0 violations\n")


def test_check_names_the_joint_and_the_excess(capsys, tmp_path, poses, limits_file):
    pose = np.load(poses)[0]
    pose[8] += 2 * (pose[8] - pose[7])
    np.save(tmp_path / "one.npy", pose)
    known = ["--order", "freihand", "--unit", "m", "--side", "right"]
    check = ["limits", "check", str(tmp_path / "one.npy"), "--limits", str(limits_file), *known]
    assert cli.main(check) == 0
    assert "1 violation\n" not in capsys.readouterr().out
    assert cli.main([*check, "--fail", "--list", "1"]) == 1
    text = capsys.readouterr().out
    assert "0 of 1 pose is within every limit" in text
    assert "violation\npose 0: " in text
    assert text.count("pose 0: ") == 1 + text.count("in all: ")
    assert "index TIP bone: length" in text
    assert " mm" in text


def test_margin_and_merge_widen(capsys, tmp_path, poses, limits_file):
    out = tmp_path / "wide.json"
    fit = ["limits", "fit", str(poses), "--left", "keep", "--out", str(out)]
    assert cli.main([*fit, "--angle-margin", "5"]) == 0
    assert limits.load(out).meta.margin_degrees == 5
    assert cli.main([*fit, "--merge", str(limits_file)]) == 0
    assert limits.load(out).meta.count == 120


def test_left_hands_are_refused_with_the_remedy(capsys, tmp_path, poses):
    np.save(tmp_path / "left.npy", cupped(60) * np.array([-1, 1, 1], np.float32))
    error = fails(capsys, "limits", "fit", tmp_path / "left.npy", "--out", tmp_path / "never.json")
    assert "left" in error
    assert "mirror" in error
    assert not (tmp_path / "never.json").exists()


def cupped(count):
    """Right hands whose thumbs lie in front of their palms: the flat ones, their thumbs moved towards the palm."""
    joints = examples.examples(count).joints_3d.copy()
    index, little = (joints[:, i] - joints[:, 0] for i in (5, 17))
    palmar = np.cross(index, little)
    palmar /= np.linalg.norm(palmar, axis=-1, keepdims=True)
    joints[:, 1:5] += 0.04 * palmar[:, None]
    return joints


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((0, 21, 3), np.float32), "empty"),
        (np.zeros((4, 20, 3), np.float32), "expected 21 points per pose, got 20"),
        (np.full((4, 21, 3), np.nan, np.float32), "not finite"),
        (1000 * examples.examples(4).joints_3d, "divide millimetres by 1000"),
    ],
)
def test_poses_that_are_none_are_refused(capsys, tmp_path, content, message):
    np.save(tmp_path / "bad.npy", content)
    assert message in fails(capsys, "limits", "fit", tmp_path / "bad.npy")


def test_files_that_are_no_arrays_are_named(capsys, tmp_path, limits_file):
    assert "expected the pose file none.npy, got no such file" in fails(capsys, "limits", "fit", "none.npy")
    (tmp_path / "text.npy").write_text("poses")
    assert "text.npy: expected an array saved by numpy.save" in fails(capsys, "limits", "fit", tmp_path / "text.npy")
    np.savez(tmp_path / "many.npz", a=np.zeros(3), b=np.zeros(3))
    check = "limits", "check", tmp_path / "many.npz", "--limits", limits_file
    assert "many.npz" in fails(capsys, *check)


def test_unknown_limits_are_named(capsys, poses):
    assert "no limits file and no preset 'clinic'" in fails(capsys, "limits", "check", poses, "--limits", "clinic")


@pytest.mark.filterwarnings("always")
def test_preview_of_photographs_warns_in_one_line(capsys, tmp_path):
    file = photograph_files.tree(tmp_path)
    content = json.loads(file.read_text())
    del content["images"][0]["K"]
    file.write_text(json.dumps(content))
    out = tmp_path / "preview.png"
    assert cli.main(["data", "preview", f"coco:{file}", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"1 image drawn in {out}\n"
    assert said.err.startswith(f"bmc: warning: {file}: 1 image has no 'K'")
    assert said.err.count("\n") == 1
    assert out.exists()


def test_preview_draws_what_was_rendered(monkeypatch, capsys, tmp_path):
    asked = []

    def render(seed, domain, split, index, *, size):
        asked.append((seed, domain, split, len(index), size))
        return examples.examples(len(index))

    monkeypatch.setattr(synthesis, "render", render)
    out = tmp_path / "preview.png"
    assert cli.main(["data", "preview", "mannequin", "--count", "7", "--size", "32", "--out", str(out)]) == 0
    assert asked == [(0, "mannequin", "train", 7, 32)]
    assert capsys.readouterr().out == f"7 images drawn in {out}\n"
