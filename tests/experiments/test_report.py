"""The page of an experiment: its tables, and figures of the predictions of its runs."""

import json
import re

import numpy as np
import pytest
from support import examples, results

from bmc_jax import cli, limits
from bmc_jax.core.types import Prediction
from bmc_jax.experiments import comparison, plots, report, runner, tables
from bmc_jax.experiments.runner import Arm, Experiment
from bmc_jax.inference import evaluate
from bmc_jax.limits import depth_ambiguity
from bmc_jax.metrics import evaluation
from bmc_jax.training import config_io

COUNT = 5
ARMS = (
    Arm("2", "few <labels>", fraction=0.02),
    Arm("2+bmc", "and the losses", after="2", paper="Table 2, 3D RHD + 2D FH + BMC", fraction=0.02),
    Arm("all", "all labels", fraction=1.0),
)
FOUND = Experiment("configs/small.py", ARMS, ("2", "all"), (), (), "")


def finished(workdir, error):
    """Creates a run with errors in depth."""
    labelled, options = examples.examples(COUNT), examples.tiny_config()
    workdir.mkdir(parents=True)
    config_io.write(options, workdir)
    limits.save(limits.load("clinical"), workdir / limits.FILE)
    measured = {"network": dict.fromkeys(evaluation.METRICS, error), "count": COUNT, "count_3d": COUNT}
    content = results.measured(5, {"real_like": measured})
    (workdir / evaluate.FILE).write_text(json.dumps(content))
    joints = labelled.joints_3d / labelled.scale[:, None, None]
    joints[:, 8, 2] += error
    prediction = Prediction(labelled.joints_2d, joints[..., 2], joints[:, 0, 2], joints[:, 0, 2], joints)
    evaluate.save_predictions(evaluate.predictions_file(workdir, "real_like"), prediction, labelled)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("experiment")
    for error, arm in enumerate(ARMS):
        for seed in range(2):
            finished(runner.run_directory(out, arm.name, seed), 1.0 + error + 0.25 * seed)
    comparison.write(comparison.compare(FOUND, 2, out, "bmc experiment small"), out / report.FILE)
    return out


@pytest.fixture(scope="module")
def page(folder):
    """The page without the minimization, which has separate tests."""
    with pytest.MonkeyPatch.context() as patch:
        stages = (depth_ambiguity.START, *depth_ambiguity.STAGES)
        patch.setattr(
            depth_ambiguity,
            "resolve",
            lambda truth, known: {stage: depth_ambiguity.perturb_depths(truth) for stage in stages},
        )
        patch.setattr(report, "HANDS", 1)
        assert cli.main(["report", str(folder)]) == 0
    return (folder / "report.html").read_text()


def test_page_needs_nothing_else_and_has_every_picture(page):
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="(.{20})', page))
    for words in (
        "Errors of the arms",
        "Errors over the share",
        "The same hands: 2, 2+bmc, all",
        "Joint angles",
        "One pose",
    ):
        assert page.count(f'alt="{words}') == 1


def test_page_has_the_table_with_the_papers_numbers_escaped(page):
    assert "<td>1.12 ± 0.18</td>" in page
    assert "<td>9.97</td>" in page
    assert "few &lt;labels&gt;" in page
    assert "<code>bmc experiment small</code>" in page


def test_2d_errors_are_in_pixels_of_the_crop_and_beside_the_papers_only_in_crops_of_its_size(folder, tmp_path):
    content = comparison.read(folder / report.FILE)
    assert content["image_size"] == examples.tiny_config().data.image_size != comparison.PAPER_SIZE
    assert content["sets"]["real_like"]["2+bmc"]["paper"] == {"depth_mm": 9.97, "joints_3d_mm": 13.78}
    assert f"| 2D, px of {content['image_size']} |" in re.sub(" +", " ", tables.markdown(content))
    finished(runner.run_directory(tmp_path, "2+bmc", 0), 1.0)
    options = examples.tiny_config()
    options.data.image_size = comparison.PAPER_SIZE
    config_io.write(options, runner.run_directory(tmp_path, "2+bmc", 0))
    content = comparison.compare(FOUND, 1, tmp_path, "bmc experiment small")
    assert content["sets"]["real_like"]["2+bmc"]["paper"]["joints_2d_px"] == 3.79


def test_dots_are_the_seeds_and_diamonds_the_papers(folder):
    arms = json.loads((folder / report.FILE).read_text())["sets"]["real_like"]
    axes = plots.errors(arms, ["depth_mm"]).axes[0]
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[1.0, 1.25], [2.0, 2.25], [3.0, 3.25]]
    assert [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "D"] == [[9.97]]


def test_same_hands_say_the_error_of_their_depths(folder):
    labels = examples.examples(2)
    true = 1000 * labels.joints_3d
    off = true + np.eye(21)[8][:, None] * np.array([0.0, 0.0, 42.0])
    figure = plots.same_hands(
        labels.image, (labels.joints_2d, true), {"one": (labels.joints_2d, true), "two": (labels.joints_2d, off)}
    )
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said[3:6] == [[], ["Z 0 mm"], ["Z 2 mm"]]
    without = plots.same_hands(
        labels.image, (labels.joints_2d, np.full_like(true, np.nan)), {"one": (labels.joints_2d, true)}
    )
    assert not any(axes.texts for axes in without.axes)


def test_arms_without_a_seed_in_common_or_whose_predictions_are_gone_are_told(folder, tmp_path):
    content = json.loads((folder / report.FILE).read_text())
    for number, arm in enumerate(content["sets"]["real_like"].values()):
        arm["seeds"] = [number]
        arm["values"] = {key: values[:1] for key, values in arm["values"].items()}
    (tmp_path / report.FILE).write_text(json.dumps(content))
    assert "No seed has a finished run of every arm" in report.write(tmp_path, tmp_path / "a.html").read_text()
    (tmp_path / report.FILE).write_text((folder / report.FILE).read_text())
    with pytest.raises(FileNotFoundError, match=r"expected .*metrics.json, got no file; run `bmc evaluate"):
        report.write(tmp_path, tmp_path / "a.html")
