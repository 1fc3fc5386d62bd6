"""The pages: their Python runs and prints the shown output, and `bmc` accepts their commands."""

import doctest
import json
import re
import runpy
import shlex

import jax
import matplotlib
import numpy as np
import pytest
from support import mano_files, paths, reference_pages

import bmc_jax
from bmc_jax import anatomy, cli
from bmc_jax.training import config_io
from bmc_jax.visualization import draw

ROOT = paths.ROOT
PAGES = runpy.run_path(str(ROOT / "docs/pages.py"))
NOTEBOOKS = runpy.run_path(str(ROOT / "docs/notebooks.py"))
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
#: Packages that some pages need and the tests do not install.
OPTIONAL = {"torch", "torchvision"}


def text(page):
    return (ROOT / page).read_text()


def numbers(printed):
    return [float(number.replace(",", "")) for number in NUMBER.findall(printed)]


def same(printed, said):
    """Whether the words are the same, and the numbers but for what another processor or version makes of them; of one
    that follows "about", such as what training comes to, that is more."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", said).split():
        return False
    about = [0.25 if said[: found.start()].endswith("about ") else 0.03 for found in NUMBER.finditer(said)]
    last_digit = [10.0 ** -len(number.partition(".")[2]) for number in NUMBER.findall(said)]
    near = np.abs(np.subtract(numbers(printed), numbers(said)))
    return bool((near <= np.array(last_digit) + np.array(about) * np.abs(numbers(said))).all())


@pytest.mark.parametrize("page", [page for page in PAGES["PAGES"] if PAGES["python_blocks"](text(page))])
def test_python_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, without_shape_checks):
    monkeypatch.chdir(tmp_path)
    missing = ""
    with jax.numpy_rank_promotion("allow"), matplotlib.rc_context({"backend": "agg"}):
        try:
            for block, printed in PAGES["run"](page, text(page)):
                if block.printed is not None:
                    said = f"{page}:{block.line} prints\n{printed}\nand says\n{block.printed}"
                    assert same(printed, block.printed), said
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise
            missing = error.name
    if missing:
        pytest.skip(f"the rest needs {missing}")


def test_what_is_not_run_is_little_and_says_why():
    blocks = [block for page in PAGES["PAGES"] for block in PAGES["python_blocks"](text(page))]
    left_out = [block.source.splitlines()[0] for block in blocks if block.source.startswith(PAGES["NOT_RUN"])]
    assert len(left_out) <= 3, left_out
    assert all(len(line) > len(PAGES["NOT_RUN"]) + 10 for line in left_out)


def test_every_python_block_is_found():
    """Blocks that are indented, or whose fence has other words, would be skipped silently."""
    for page in PAGES["PAGES"]:
        shown = len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", text(page), re.MULTILINE))
        hidden = len(re.findall(r"<!--\s*python", text(page)))
        assert len(PAGES["python_blocks"](text(page))) == shown + hidden, page


def commands(line):
    """Returns the `bmc` commands of a line of shell, as their arguments; other commands may precede `bmc`."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    words = list(reader)
    separators = [i for i, word in enumerate(words) if set(word) <= set(";&|()<>")]
    for start, end in zip([-1, *separators], [*separators, len(words)], strict=True):
        part = words[start + 1 : end]
        if "bmc" in part:
            yield part[part.index("bmc") + 1 :]


def parse(arguments):
    """Parses a command without running it. Raises SystemExit or ValueError if `bmc` refuses it."""
    options = cli.parse(arguments)
    for override in config_io.from_arguments(options.overrides):
        config_io.check_override(override)


SHELL = [
    (page, line, arguments)
    for page in PAGES["PAGES"]
    for line, command in PAGES["shell_lines"](text(page))
    for arguments in commands(command)
]


def test_commands_of_the_pages_are_found():
    assert len(SHELL) > 50
    assert {page for page, _, _ in SHELL} >= {"README.md", "docs/limits.md", "docs/evaluation.md", "docs/datasets.md"}


@pytest.mark.parametrize("page", sorted({page for page, _, _ in SHELL}))
def test_commands_of_a_page_are_ones_that_bmc_takes(page, capsys):
    refused = []
    for where, line, arguments in SHELL:
        if where == page:
            try:
                parse(arguments)
            except (SystemExit, ValueError) as error:
                refused.append(f"{page}:{line}: bmc {shlex.join(arguments)}\n{error} {capsys.readouterr().err[-300:]}")
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize(
    "command",
    ["bmc limits chek poses.npy clinical", "bmc evaluate runs/mine --passses 2", "srun bmc train --config=a.py"],
)
def test_a_command_that_bmc_does_not_take_is_noticed(command, capsys):
    (arguments,) = commands(command)
    with pytest.raises(SystemExit):
        parse(arguments)


def test_a_field_that_the_configuration_does_not_have_is_noticed():
    (arguments,) = commands("bmc train --config=a.py --workdir=runs/a --config.optimizer.speed=1  # a comment")
    with pytest.raises(ValueError, match=r"optimizer.*speed"):
        parse(arguments)


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text("README.md"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert len(links) > 10
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_result_of_the_first_page_is_that_of_the_table(page):
    (result,) = re.findall(r"lower the error of depth from (.*?) mm to\s(.*?) mm; 3D labels reach (.*?) mm", text(page))
    table = text("README.md").partition("<!-- results: table2_synthetic short -->")[2].partition("<!-- end -->")[0]
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("|"))
    arms = {row[1]: row[head.index("Z, wrists aligned, mm")] for row in rows}
    shown = [arms[arm] for arm in ("and 2D on the target", "and the biomechanical losses", "3D on both")]
    assert list(result) == shown


#: Functions of the reference whose example is not run, or that have none, and why.
NO_EXAMPLE_RUN = {
    "evaluate.evaluate": "needs a run: docs/notebook.md",
    "evaluate.evaluate_photographs": "needs a run and photographs: docs/evaluation.md",
    "evaluate.table": "needs a run: docs/notebook.md",
    "kinematics.finger_jacobian": "none: steps of repair use it",
    "kinematics.palm_jacobian": "none: steps of repair use it",
    "load.load": "needs a run: docs/notebook.md",
    "losses.biomechanical": "compiles for seconds: README.md",
    "losses.excess": "compiles what limits.assess does for another shape",
    "losses.heatmaps": "none: needs the logits of a network",
    "losses.labelled": "none: the example of losses.total has a batch",
    "losses.pose": "none: the example of losses.total has a batch",
    "repair.repair_poses": "compiles what repair.project_to_limits does, for 256 poses",
    "step.create": "compiles a network: docs/notebook.md",
    "step.eval_step": "compiles a network: docs/notebook.md",
    "step.evaluated": "needs a run: docs/notebook.md",
    "step.train_step": "compiles a network: docs/notebook.md",
    "synthesis.depth": "compiles the renderer: docs/tutorial.md",
    "synthesis.example": "compiles the renderer: docs/tutorial.md",
    "synthesis.labels": "compiles the renderer: docs/tutorial.md",
    "synthesis.render": "compiles the renderer: docs/tutorial.md",
    "synthesis.sample": "compiles the renderer: docs/tutorial.md",
    "train.train": "trains: docs/notebook.md",
}


def reference_functions(page):
    if page == "torch_bridge":
        pytest.importorskip("torch")
    return reference_pages.functions(page)


def test_each_public_module_has_a_page_in_the_reference():
    assert set(reference_pages.PAGES) == set(dir(bmc_jax)) - {"__version__"}


@pytest.mark.parametrize("page", reference_pages.PAGES)
def test_each_function_of_a_reference_page_has_an_example_that_runs_or_a_reason(page):
    parsed = {
        name: doctest.DocTestParser().get_examples(one.__doc__) for name, one in reference_functions(page).items()
    }
    runs = {name for name, examples in parsed.items() if any(not one.options for one in examples if one.want)}
    assert {f"{page}.{name}" for name in parsed.keys() - runs} == {
        name for name in NO_EXAMPLE_RUN if name.startswith(f"{page}.")
    }


@pytest.mark.parametrize("page", reference_pages.PAGES)
def test_examples_of_a_reference_page_print_what_they_say(page, tmp_path, monkeypatch, without_shape_checks):
    monkeypatch.chdir(tmp_path)
    if page == "mano":
        mano_files.write(tmp_path / "MANO_RIGHT.pkl", mano_files.content())
    runner, printed = doctest.DocTestRunner(), []
    # As the pages are run, so that what those compile is used again.
    with jax.numpy_rank_promotion("allow"):
        for name, function in reference_functions(page).items():
            runner.run(doctest.DocTestParser().get_doctest(function.__doc__, {}, name, page, 0), out=printed.append)
    assert not runner.failures, "".join(printed)


def test_pictures_of_the_concepts_are_drawn_and_shown(tmp_path):
    room = runpy.run_path(str(ROOT / "docs/draw_concepts.py"))
    shown = set(re.findall(r"images/concept_(\w+)\.png", text("docs/concepts.md")))
    assert shown == set(room["PICTURES"])
    for name, picture in room["PICTURES"].items():
        draw.save(picture(), tmp_path / f"{name}.png", dpi=40)
        assert (ROOT / f"docs/images/concept_{name}.png").is_file()


def test_the_pictures_hand_has_the_angles_that_it_is_given():
    room = runpy.run_path(str(ROOT / "docs/draw_concepts.py"))
    angles = np.degrees(jax.jit(anatomy.joint_angles)(room["posed"]()))
    np.testing.assert_allclose(angles[..., 0], room["REST"], atol=0.01)
    np.testing.assert_allclose(angles[:, 0, 1], room["FAN"], atol=0.01)


def test_numbers_may_differ_in_their_last_digit_and_words_may_not():
    assert same("loss 0.124 of 3", "loss 0.123 of 3")
    assert not same("loss 0.153 of 3", "loss 0.123 of 3")
    assert same("loss about 0.133", "loss about 0.123")
    assert not same("loss about 0.163", "loss about 0.123")
    assert not same("lose 0.123 of 3", "loss 0.123 of 3")
    assert not same("loss 0.123", "loss 0.123 of 3")


def sources(notebook):
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("page", NOTEBOOKS["REQUIREMENTS"])
def test_notebook_installs_the_package_and_has_the_code_of_its_page_in_order(page):
    notebook = json.loads(text(f"docs/notebooks/{page}.ipynb"))
    install, *code = [source for source in sources(notebook) if "IPython.display" not in source]
    assert re.match(f"%pip install --quiet (bmc-jax==|git.*@v){bmc_jax.__version__}", install)
    shown = [block.source.strip() for block in PAGES["python_blocks"](text(f"docs/{page}.md"))]
    assert code == [re.sub(f"^{PAGES['NOT_RUN']}.*\n", "", source) for source in shown]


@pytest.mark.parametrize("page", NOTEBOOKS["REQUIREMENTS"])
def test_notebook_is_current(page):
    """`python docs/notebooks.py` makes it."""
    pytest.importorskip("jupytext", reason="jupytext comes with the extra docs")
    made = NOTEBOOKS["notebook"](text(f"docs/{page}.md"), NOTEBOOKS["REQUIREMENTS"][page], NOTEBOOKS["repository"]())
    kept = json.loads(text(f"docs/notebooks/{page}.ipynb"))
    assert sources(made) == sources(kept)
    prose = ["".join(cell["source"]) for cell in kept["cells"] if cell["cell_type"] == "markdown"]
    assert [cell["source"] for cell in made["cells"] if cell["cell_type"] == "markdown"] == prose


def test_link_to_colab_needs_a_repository_on_github():
    link = "a [notebook](notebooks/tutorial.ipynb)"
    hook = NOTEBOOKS["on_page_markdown"]
    for elsewhere in (None, "https://example.org/hands"):
        assert hook(link, config={"repo_url": elsewhere}) == link
    opened = "https://colab.research.google.com/github/me/hands/blob/v" + bmc_jax.__version__
    linked = hook(link, config={"repo_url": "https://github.com/me/hands.git"})
    assert linked == f"{link} ([open in Colab]({opened}/docs/notebooks/tutorial.ipynb))"
