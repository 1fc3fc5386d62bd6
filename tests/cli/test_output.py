"""Output of `bmc`: quiet and verbose, into a closed pipe, and completion scripts."""

import logging
import os
import subprocess
import sys

import pytest

from bmc_jax import cli
from bmc_jax.core.plural import counted
from bmc_jax.runtime import distributed
from bmc_jax.runtime.progress import Progress


def run_into_closed_pipe(arguments, *, unbuffered, with_errors=False):
    """Returns the exit status and standard error of `bmc` with a closed standard output."""
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(
        [sys.executable, "-m", "bmc_jax", *arguments],
        env=os.environ | {"PYTHONUNBUFFERED": "1" if unbuffered else ""},
        stdout=writer,
        stderr=writer if with_errors else subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    return found.returncode, found.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("arguments", [["data", "list"], ["--version"]], ids=" ".join)
def test_a_closed_pipe_is_no_error_and_shows_no_traceback(arguments, unbuffered):
    status, errors = run_into_closed_pipe(arguments, unbuffered=unbuffered)
    assert status == (cli.CLOSED_OUTPUT if unbuffered else 0)
    assert errors == ""


def test_an_error_into_a_closed_pipe_ends_the_process_too():
    status, _ = run_into_closed_pipe(["configs", "copy", "x"], unbuffered=True, with_errors=True)
    assert status == cli.CLOSED_OUTPUT


def test_a_broken_pipe_of_something_else_is_an_error(monkeypatch, capsys):
    def fail(options):
        raise BrokenPipeError("the connection to the board broke")

    monkeypatch.setattr(cli.runs, "_report", fail)
    assert cli.main(["report", "run"]) == 1
    assert capsys.readouterr().err == "bmc: error: the connection to the board broke\n"


@pytest.mark.parametrize(("flags", "shown"), [([], True), (["--quiet"], False)])
def test_quiet_prints_results_without_progress(monkeypatch, capsys, flags, shown):
    def work(options):
        distributed.print_once("cache: host")
        for _ in Progress(range(3), desc="predict", unit=" images"):
            pass
        print("written to report.html")

    monkeypatch.setattr(cli.runs, "_report", work)
    assert cli.main(["report", "run", *flags]) == 0
    out, err = capsys.readouterr()
    assert "written to report.html\n" in out
    assert ("cache: host" in out, "3 of 3 images" in err) == (shown, shown)


def test_quiet_reaches_the_bars_of_a_build():
    """These bars are tqdm's, which reads its setting at import."""
    program = (
        "import sys; from bmc_jax import cli\n"
        "def work(options):\n"
        "  from tqdm import tqdm\n"
        "  list(tqdm(range(3)))\n"
        "cli.runs._report = work\n"
        "sys.exit(cli.main(['report', 'run', *sys.argv[1:]]))"
    )
    errors = [
        subprocess.run([sys.executable, "-c", program, *flags], capture_output=True, text=True, check=True).stderr
        for flags in ([], ["--quiet"])
    ]
    assert "3/3" in errors[0]
    assert errors[1] == ""


def test_verbose_prints_the_log_messages_of_libraries():
    program = (
        "import logging, sys; from bmc_jax import cli\n"
        "cli.runs._report = lambda options: logging.getLogger('orbax').info('saved')\n"
        "sys.exit(cli.main(['report', 'run', *sys.argv[1:]]))"
    )
    errors = [
        subprocess.run([sys.executable, "-c", program, *flags], capture_output=True, text=True, check=True).stderr
        for flags in ([], ["--verbose"])
    ]
    assert errors == ["", "orbax: saved\n"]
    assert logging.getLogger("orbax").level == logging.NOTSET


def test_quiet_and_verbose_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        cli.main(["report", "run", "--quiet", "--verbose"])
    assert "not allowed with argument" in capsys.readouterr().err


def completions(script, *words):
    line = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
    program = f'source {script}; {line}; _shtab_bmc; echo "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_the_completion_script_of_bash_completes_verbs_options_choices_and_files(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "bash"])
    assert stop.value.code == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "poses.npy").touch()
    monkeypatch.chdir(tmp_path)
    assert completions(script, "bmc", "tr") == ["train"]
    assert completions(script, "bmc", "limits", "pers") == ["personalize"]
    assert completions(script, "bmc", "limits", "check", "po") == ["poses.npy"]
    assert completions(script, "bmc", "data", "build", "freih") == ["freihand"]
    assert completions(script, "bmc", "evaluate", "run", "--spl") == ["--split"]
    assert completions(script, "bmc", "evaluate", "run", "--split", "val") == ["validation"]


def test_the_completion_script_of_zsh_is_of_bmc(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--print-completion", "zsh"])
    assert capsys.readouterr().out.startswith("#compdef bmc\n")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "pose", "0 poses"), (1, "pose", "1 pose"), (1000, "box", "1,000 boxes"), (1, "process", "1 process")],
)
def test_a_count_has_its_noun_in_singular_or_plural(number, noun, text):
    assert counted(number, noun) == text
