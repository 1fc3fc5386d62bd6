"""The report: one file that needs nothing else, honest about what is missing."""

import json
import re

import numpy as np
import pytest
from support import examples, results

from bmc_jax import limits
from bmc_jax.core.types import Prediction
from bmc_jax.inference import evaluate, report
from bmc_jax.metrics import evaluation, published
from bmc_jax.training import config_io

COUNT = 5
BREAKOUT = "</td></table><script>alert(1)</script><svg onload=alert(1)><!--"
ENVIRONMENT = {"hardware": "8 x test chip", BREAKOUT: BREAKOUT}


def run(folder, *, name="tiny & small", evaluated=True):
    """A run's folder as training and evaluation leave it, with made-up numbers."""
    folder.mkdir()
    options = examples.tiny_config()
    options.name = name
    config_io.write(options, folder)
    limits.save(examples.fitted_limits(), folder / limits.FILE)
    rows = [{"step": i, "loss": 1 / i, "palm": 0.1, "rate": 1e-3} for i in range(1, 6)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if not evaluated:
        return folder
    measured = {
        "count": COUNT,
        "count_3d": COUNT,
        "network": dict.fromkeys(evaluation.METRICS, 12.34),
        "mean_pose": dict.fromkeys(evaluation.METRICS, 24.68),
        "reduction_percent": {"joints_2d_px": 50.0},
        "labels": {"within_limits": 99.5, "angles_within": 99.9, "bone_length": 0.0, "palm": 0.0, "joint_angle": 0.0},
        "intervals": {"joints_2d_px": [11.25, 13.75]},
    }
    figure = {"value": 7.25, "unit": "mm", "interval": [6.5, 8.0]}
    official = {"protocol": "rhd", "metres": "a ruler", "figures": {"joints_root_mean_mm": figure}}
    heading = {"experiment": name, "limits": "<clinic>", "environment": ENVIRONMENT}
    domains = dict.fromkeys(options.data.test, measured | {"official": official})
    (folder / evaluate.FILE).write_text(json.dumps(results.measured(5, domains, **heading)))
    heading |= {"step": 5}
    photographs = heading | measured | {"name": "street", "description": "of a street", "labels_predicted": True}
    (folder / evaluate.PHOTOGRAPHS_FILE).write_text(json.dumps(photographs))
    labelled = examples.examples(COUNT)
    joints = labelled.joints_3d / labelled.scale[:, None, None]
    prediction = Prediction(labelled.joints_2d, joints[..., 2], joints[:, 0, 2], joints[:, 0, 2], joints)
    mean_2d, mean_3d = evaluation.mean_pose(labelled)
    for which in (*options.data.test, "photographs_street"):
        evaluate.save_predictions(
            folder / evaluate.FOLDER / f"{which}.npz", prediction, labelled, mean_2d=mean_2d, mean_3d=mean_3d
        )
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = run(tmp_path_factory.mktemp("runs") / "one")
    return report.report([folder], folder / "report.html").read_text()


def test_page_needs_nothing_else(page):
    sources = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"' >]{1,40})", page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_page_shows_what_was_run_and_measured(page):
    for words in (
        "16 mannequin images with 3D labels",
        "16 real_like images with 2D labels",
        f"ResNet-{examples.tiny_config().network.depth}",
        "8 x test chip",
    ):
        assert words in page
    assert "12.34" in page
    assert "50.0 %" in page
    assert "12.34 (11.25 to 13.75)" in page
    assert re.search("joints_root_mean_mm</td><td>7.25</td><td>6.50 to 8.00<", page)
    assert "by RHD's protocol" in page
    assert "a ruler" in page
    assert "which another model predicted" in page


def test_page_stands_beside_the_papers_table(page):
    for words in ("<td>3.79</td><td>9.97</td><td>13.78</td>", "<td>12.35</td><td>20.02</td><td>30.82</td>"):
        assert words in page
    assert "figures do not" in page


def test_names_are_escaped(page):
    assert "tiny &amp; small" in page
    assert "&lt;clinic&gt;" in page
    assert "<clinic>" not in page
    assert page.count("&lt;script&gt;alert(1)") == 2  # a key and its value
    assert "<svg" not in page


def test_every_domain_and_the_photographs_have_their_pictures(page):
    # Bars, PCK and training curves once; a sheet, 3D views and hulls of two domains and of the photographs.
    assert page.count("<img ") == 3 + 3 * 3
    assert page.count('alt="Predicted hands over their images"') == 2


def test_two_runs_stand_beside_each_other(tmp_path):
    folders = [run(tmp_path / name, name=name, evaluated=False) for name in ("with", "without")]
    page = report.report(folders, tmp_path / "report.html").read_text()
    assert "<title>with, without</title>" in page
    assert page.count("<h2>") == 2


def test_run_that_was_not_evaluated_says_how_to(tmp_path):
    folder = run(tmp_path / "one", evaluated=False)
    page = report.report([folder], tmp_path / "new/report.html").read_text()
    assert f"run <code>bmc evaluate {folder}</code>" in page
    assert 'alt="Training curves"' in page
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        report.report([tmp_path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one or more folders of runs, got none"):
        report.report([], tmp_path / "report.html")


def test_damaged_metrics_are_named(tmp_path):
    folder = run(tmp_path / "one", evaluated=False)
    (folder / evaluate.FILE).write_text('{"domains":')
    with pytest.raises(ValueError, match=r"metrics.json is damaged: .*; evaluate the run again"):
        report.report([folder], tmp_path / "report.html")


def test_missing_predictions_are_named(tmp_path):
    folder = run(tmp_path / "one")
    (folder / evaluate.FOLDER / "mannequin.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected .*mannequin.npz, got no file; run `bmc evaluate"):
        report.report([folder], tmp_path / "report.html")


def test_papers_gains_are_those_it_states():
    """Section 5.3 states 15 % from 20.02 to 17.02 mm and 50 % from 20.02 to 9.97 mm in depth."""
    depth = [published.ROWS[f"Table 2, {row}"]["depth_mm"] for row in list(report.TABLE_2.values())[2:]]
    np.testing.assert_allclose([1 - depth[1] / depth[0], 1 - depth[2] / depth[0]], [0.15, 0.50], atol=0.005)
