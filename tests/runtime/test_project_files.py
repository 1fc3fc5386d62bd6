"""The project's configurations are found by name and copied, together with the launch files."""

import pytest
from support import paths

from bmc_jax import cli
from bmc_jax.runtime import project_files
from bmc_jax.training import config_io


def test_every_configuration_and_launch_file_of_the_repository_is_known():
    assert list(project_files.configs().values()) == sorted((paths.ROOT / "configs").glob("*.py"))
    assert list(project_files.launch_files()) == sorted(file.name for file in (paths.ROOT / "launch").iterdir())


def test_a_name_means_the_projects_configuration_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project_files.find_config("quickstart").samefile(paths.ROOT / "configs/quickstart.py")
    assert config_io.load("lifting:bl+rb").name == "lifting bl+rb"


def test_a_path_means_its_file_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.py").write_text("", encoding="utf-8")
    assert project_files.find_config("quickstart.py").samefile(tmp_path / "quickstart.py")


@pytest.mark.parametrize("text", ["quickstrat", "configs/quickstart.py", "quikstart.py"])
def test_an_unknown_configuration_is_refused_with_the_known_names_and_the_nearest(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=rf"ablation, cameras, demo.*table8.*, got '{text}'; did you mean 'quickstart'\?$"
    ):
        config_io.load(text)


@pytest.mark.parametrize("text", ["", "..", "zzz"])
def test_a_name_like_no_other_is_refused_without_a_guess(text):
    with pytest.raises(FileNotFoundError, match=rf"table8.*, got {text!r}$"):
        project_files.find_config(text)


def test_copies_equal_the_originals_and_keep_their_mode(tmp_path, capsys):
    out = tmp_path / "new" / "mine"
    assert cli.main(["configs", "copy", "quickstart", "local.sh", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"written to {out / 'quickstart.py'}\nwritten to {out / 'local.sh'}\n"
    for copied, original in (("quickstart.py", "configs/quickstart.py"), ("local.sh", "launch/local.sh")):
        assert (out / copied).read_bytes() == (paths.ROOT / original).read_bytes()
        assert (out / copied).stat().st_mode == (paths.ROOT / original).stat().st_mode


def test_nothing_is_copied_over_a_file_or_beside_an_unknown_name(tmp_path, capsys):
    (tmp_path / "smoke.py").write_text("mine", encoding="utf-8")
    assert cli.main(["configs", "copy", "quickstart", "smoke", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / 'smoke.py'} exists; delete it" in capsys.readouterr().err
    assert cli.main(["configs", "copy", "demo", "slurm.sh", "--out", str(tmp_path)]) == 2
    assert "got 'slurm.sh'; did you mean" in capsys.readouterr().err
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [("smoke.py", "mine")]


def test_the_list_says_what_each_configuration_is(capsys):
    assert cli.main(["configs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "smoke       A run through all parts in about a minute on a laptop" in "\n".join(lines)
    assert [line.split()[0] for line in lines[:-2]] == list(project_files.configs())
    assert "slurm.sbatch" in lines[-1]
