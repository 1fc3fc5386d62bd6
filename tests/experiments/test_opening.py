"""The first part of an experiment's page: hands with their labels and depth errors, rotated together."""

import re

import jax
import numpy as np
import pytest
from support import browser, examples, results

from bmc_jax import limits
from bmc_jax.core.types import Prediction
from bmc_jax.experiments import comparison, opening, report, runner
from bmc_jax.experiments.runner import Arm, Experiment
from bmc_jax.inference import evaluate
from bmc_jax.metrics import evaluation
from bmc_jax.runtime import files
from bmc_jax.training import config_io

COUNT = 31
ARMS = (Arm("2d", "2D"), Arm("bl+rb+a", "and the losses", after="2d"), Arm("full", "3D"))
#: Millimetres by which one arm is off in the depth of each joint but the wrist, by hand.
OFF = {"2d": np.linspace(20, 78, COUNT), "bl+rb+a": np.linspace(10, 39, COUNT), "full": np.full(COUNT, 5.0)}


def finished(workdir, arm):
    """Creates a run whose depths have the errors `OFF`."""
    labelled = examples.examples(COUNT)
    workdir.mkdir(parents=True)
    config_io.write(examples.tiny_config(), workdir)
    limits.save(limits.load("clinical"), workdir / limits.FILE)
    network = dict.fromkeys(evaluation.METRICS, 1.0) | {"depth_mm": OFF[arm].mean() * 20 / 21}
    measured = {"network": network, "count": COUNT, "count_3d": COUNT}
    files.write_json(workdir / evaluate.FILE, results.measured(5, {"real_like": measured}))
    metres = labelled.joints_3d.copy()
    metres[:, 1:, 2] += OFF[arm][:, None] / 1000
    joints = (metres / labelled.scale[:, None, None]).astype(np.float32)
    prediction = Prediction(labelled.joints_2d, joints[..., 2], joints[:, 0, 2], joints[:, 0, 2], joints)
    evaluate.save_predictions(evaluate.predictions_file(workdir, "real_like"), prediction, labelled)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("experiment")
    for arm in ARMS:
        finished(runner.run_directory(out, arm.name, 0), arm.name)
    found = Experiment("configs/small.py", ARMS, ("2d", "full"), (), (), "")
    comparison.write(comparison.compare(found, 1, out, "bmc experiment small"), out / report.FILE)
    return out


@pytest.fixture(scope="module")
def page(folder):
    """The page without its figures, which have separate tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_target", lambda *_: None)
        return report.write(folder, folder / "report.html")


def content(folder):
    arms = comparison.read(folder / report.FILE)["sets"]["real_like"]
    kept = {arm: report.report.predictions(runner.run_directory(folder, arm, 0), "real_like") for arm in opening.POSES}
    return opening.opening(arms, kept, kept["2d"]["image"], "an image")


def test_poses_are_metres_from_the_wrist_with_the_errors_of_their_depths(folder):
    found, labels = content(folder), examples.examples(COUNT).joints_3d
    assert found["names"][0] == "3D label"
    assert len(found["data"]["hands"]) == evaluate.PICTURES
    for i, hand in enumerate(found["data"]["hands"]):
        label, without, with_losses = np.array(hand["poses"])
        np.testing.assert_allclose(label, labels[i] - labels[i, :1], atol=1e-5)
        # All joints except the wrist have errors in depth only.
        np.testing.assert_allclose((without - label)[1:] * 1000, np.tile([0, 0, OFF["2d"][i]], (20, 1)), atol=0.02)
        np.testing.assert_allclose(hand["errors"], [OFF["2d"][i] * 20 / 21, OFF["bl+rb+a"][i] * 20 / 21], atol=0.02)
        assert np.ptp(with_losses, axis=0).max() > 0.05


def test_hand_shown_first_is_the_ordinary_one_of_all(folder):
    assert content(folder)["data"]["opened"] == 15
    # With the first column alone, the second row would be chosen.
    assert opening.ordinary(np.array([[10.0, 1.0], [30.0, 90.0], [20.0, 60.0], [21.0, 10.0], [90.0, 10.0]]), 5) == 3


def test_bars_have_the_mean_errors_of_the_arms(folder):
    bars = content(folder)["bars"]
    assert [(title, value, bound) for title, value, _, bound in bars] == [
        ("2D labels only", "46.7 mm", False),
        ("2D labels and the losses", "23.3 mm", False),
        ("3D labels, the bound", "4.8 mm", True),
    ]
    lengths = [float(share) for _, _, share, _ in bars]
    np.testing.assert_allclose(np.array(lengths) / lengths[0], np.array([46.67, 23.33, 4.76]) / 46.67, atol=0.002)


def test_images_of_a_network_that_takes_points_are_rendered_where_they_are_of_the_same_hands(folder, monkeypatch):
    options = examples.tiny_config()
    hands = jax.tree.map(lambda rows: rows[: evaluate.PICTURES], examples.examples(COUNT))
    kept = report.report.predictions(runner.run_directory(folder, "2d", 0), "real_like")
    assert opening.images(options, "real_like", "test", kept)[0] is kept["image"]
    kept["image"] = kept["image"][..., :0]
    asked = []

    def rendered(options, domain, split, count):
        asked.append((options.network.input, domain, split, count))
        return hands

    monkeypatch.setattr(opening.sources, "rendered", rendered)
    np.testing.assert_array_equal(opening.images(options, "real_like", "test", kept)[0], hands.image)
    assert asked == [("image", "real_like", "test", evaluate.PICTURES)]
    kept["labels_2d"] = kept["labels_2d"][::-1]
    assert opening.images(options, "real_like", "test", kept)[0] is None
    assert opening.images(options, "hands.npy", "test", kept)[0] is None


def test_page_without_an_arm_of_the_pair_does_not_open_with_hands(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_target", lambda *_: None)
    found = comparison.read(folder / report.FILE)
    del found["sets"]["real_like"]["2d"]
    comparison.write(found, tmp_path / report.FILE)
    text = report.write(tmp_path, tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "script-src" not in text


def test_page_opens_with_hands_that_turn_together(page):
    if browser.EXECUTABLE is None:
        pytest.skip("no Chromium on this machine")
    with browser.page() as tab:
        tab.open(page)
        drawn = (
            "[...document.querySelectorAll('canvas.pose')].map(c => c.getContext('2d').getImageData(0, 0, c.width, "
            "c.height).data.filter((v, i) => i % 4 == 3 && v > 200).length)"
        )
        yaws = "[...document.querySelectorAll('canvas.pose')].map(c => +c.dataset.yaw)"
        errors = "[...document.querySelectorAll('.error')].map(e => e.textContent)"
        assert min(tab.evaluate(drawn)) > 1000
        assert tab.evaluate(errors) == [f"{OFF[arm][15] * 20 / 21:.0f} mm" for arm in opening.POSES]
        before = tab.evaluate(yaws)
        tab.drag("canvas.pose", 60, 0)
        after = tab.evaluate(yaws)
        assert len(set(after)) == 1
        assert after[0] != before[0]
        tab.evaluate("document.querySelectorAll('#strip button')[2].click()")
        assert tab.evaluate(errors) == [f"{OFF[arm][2] * 20 / 21:.0f} mm" for arm in opening.POSES]
        tab.evaluate("document.querySelector('[data-view=\"0,0\"]').click()")
        assert tab.evaluate(yaws) == [0, 0, 0]
        assert {url.partition(":")[0] for url in tab.requests} == {"file", "data"}
        assert tab.errors == []
        tab.open(page, width=390, height=844, touch=True)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", page.read_text())
