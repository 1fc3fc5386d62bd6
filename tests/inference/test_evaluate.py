"""Evaluation without training: each image counts once, perfect predictions have no error, and files are complete."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from support import annotations, examples, photograph_files

from bmc_jax import hand, limits, step
from bmc_jax.core.types import Prediction
from bmc_jax.data import sources
from bmc_jax.data.build import builder
from bmc_jax.inference import evaluate, report
from bmc_jax.metrics import evaluation
from bmc_jax.training import checkpoint, config_io, forward
from bmc_jax.visualization import draw

COUNT = 11


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Compiles the network once, because all configurations here have the same network."""
    run = forward.program(examples.tiny_config())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "program", lambda options, **_: run)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was saved without training."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    workdir.mkdir()
    options = examples.tiny_config()
    config_io.write(options, workdir)
    limits.save(examples.fitted_limits(), workdir / limits.FILE)
    checkpoint.save(workdir, step.create(options), keep=1)
    return workdir


@pytest.fixture(scope="module")
def measured_run(run):
    """Result of an evaluation with random images instead of rendered images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sources, "rendered", lambda options, domain, split, count, **_: examples.examples(count, seed=len(split))
        )
        return evaluate.evaluate(run, count=COUNT)


@pytest.fixture(scope="module")
def measured_photograph(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("street")
    file = photograph_files.tree(folder, info={"description": "predicted by a detector"})
    return evaluate.evaluate_photographs(run, file)


def perfect(labelled):
    """Returns the prediction that equals all labels."""
    joints = labelled.joints_3d / labelled.scale[:, None, None]
    root = joints[:, hand.WRIST, 2]
    return Prediction(labelled.joints_2d, joints[..., 2] - root[:, None], root, root, joints)


def test_perfect_prediction_has_no_error():
    labelled = examples.examples(COUNT)
    prediction = perfect(labelled)
    measured = evaluation.measure(prediction.joints_2d, prediction.joints_3d, labelled, examples.fitted_limits())
    assert set(measured) == set(evaluation.METRICS)
    for name, value in measured.items():
        if name.endswith(("_mm", "_px")):
            assert value == pytest.approx(0, abs=1e-4)
    assert measured["joints_3d_auc"] == pytest.approx(1, abs=0.01)


def test_known_errors_are_measured_in_their_units():
    labelled = examples.examples(COUNT)
    prediction = perfect(labelled)
    # 10 mm further away, all joints but the wrist: half a scale unit is not the same for every hand.
    depth = np.zeros((COUNT, 21, 3))
    depth[:, 1:, 2] = 0.010 / labelled.scale[:, None]
    measured = evaluation.measure(
        prediction.joints_2d + np.array([3.0, 4.0]), prediction.joints_3d + depth, labelled, examples.fitted_limits()
    )
    assert measured["joints_2d_px"] == pytest.approx(5, abs=1e-4)
    assert measured["depth_mm"] == pytest.approx(10 * 20 / 21, rel=1e-4)
    assert measured["joints_3d_median_mm"] == pytest.approx(10 * 20 / 21, rel=1e-4)
    assert measured["root_depth_mm"] == pytest.approx(0, abs=1e-3)


def test_plausible_and_impossible_hands_are_told_apart():
    labelled = examples.examples(COUNT)
    joints = labelled.joints_3d / labelled.scale[:, None, None]
    wide, narrow = examples.fitted_limits(), examples.narrow_limits()
    broken = joints.copy()
    broken[:, 8] += 5 * (broken[:, 8] - broken[:, 7])
    assert evaluation.plausibility(broken, wide)["within_limits"] == 0
    assert evaluation.plausibility(broken, wide)["bone_length"] > evaluation.plausibility(joints, wide)["bone_length"]
    assert evaluation.plausibility(joints, narrow)["angles_within"] < 100
    flexed = evaluation.plausibility(joints, narrow)["joint_angle"]
    assert 0 < flexed < 180


def test_plausibility_is_that_of_the_shape_whatever_the_unit():
    labelled, wide = examples.examples(COUNT), examples.fitted_limits()
    in_scale_units = evaluation.plausibility(labelled.joints_3d / labelled.scale[:, None, None], wide)
    in_metres = evaluation.plausibility(labelled.joints_3d, wide)
    assert in_scale_units["within_limits"] == in_metres["within_limits"] == 100
    assert in_metres["bone_length"] == pytest.approx(in_scale_units["bone_length"], abs=1e-5)


def test_tilts_are_counted_of_the_bones_that_lead_out_of_the_image():
    labelled = examples.examples(COUNT)
    mirrored = labelled.joints_3d.copy()
    mirrored[..., 2] = 2 * mirrored[:, :1, 2] - mirrored[..., 2]
    half = labelled.joints_3d.copy()
    half[::2] = mirrored[::2]

    def tilts(joints):
        units = joints / labelled.scale[:, None, None]
        return evaluation.measure(labelled.joints_2d, units, labelled, examples.fitted_limits())["tilts_percent"]

    assert tilts(labelled.joints_3d) == 100
    assert tilts(mirrored) == 0
    assert 25 < tilts(half) < 75


@pytest.fixture
def repaired_run(run, tmp_path, monkeypatch):
    """The run with a repair of its output, as a function of the kind of repair."""
    monkeypatch.setattr(sources, "rendered", lambda *_, **__: examples.examples(COUNT))

    def folder(kind):
        shutil.copytree(run, tmp_path / kind)
        options = examples.tiny_config()
        options = dataclasses.replace(options, biomechanics=dataclasses.replace(options.biomechanics, repair=kind))
        (tmp_path / kind / "config.json").unlink()
        config_io.write(options, tmp_path / kind)
        return tmp_path / kind

    return folder


def test_output_is_repaired_if_the_configuration_says_so(run, repaired_run, measured_photograph, tmp_path):
    free = repaired_run("free")
    before, after = (evaluate.evaluate(one, ["mannequin"], count=COUNT)["domains"]["mannequin"] for one in (run, free))
    # Poses of an untrained network, of which a few are no hand.
    assert before["network"]["within_limits"] < 50 < 90 < after["network"]["within_limits"]
    assert after["network"]["joints_2d_px"] == before["network"]["joints_2d_px"]
    photographs = evaluate.evaluate_photographs(free, photograph_files.tree(tmp_path))
    assert measured_photograph["network"]["within_limits"] < photographs["network"]["within_limits"]


def test_poses_behind_the_camera_are_not_repaired_along_rays(repaired_run, monkeypatch):
    labelled = examples.examples(COUNT)
    prediction = perfect(labelled)
    joints = np.array(prediction.joints_3d)
    joints[:, 8, 2] += 3.0
    joints[0, :, 2] *= -1
    given = dataclasses.replace(prediction, joints_3d=joints)
    monkeypatch.setattr(forward, "predict", lambda *_, **__: given)
    folder = repaired_run("rays")
    evaluate.evaluate(folder, ["mannequin"], count=COUNT)
    with np.load(folder / "predictions/mannequin.npz") as saved:
        np.testing.assert_array_equal(saved["joints_3d"][0], joints[0])
        assert np.isfinite(saved["joints_3d"]).all()
        assert np.abs(saved["joints_3d"][1:] - joints[1:]).max() > 0.01


def test_mean_pose_is_the_mean_in_scale_units():
    labelled = examples.examples(COUNT)
    mean_2d, mean_3d = evaluation.mean_pose(labelled)
    np.testing.assert_allclose(mean_2d, np.mean(list(labelled.joints_2d), axis=0), rtol=1e-5)
    units = [joints / scale for joints, scale in zip(labelled.joints_3d, labelled.scale, strict=True)]
    np.testing.assert_allclose(mean_3d, np.mean(units, axis=0), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 8, 11])
def test_padded_examples_count_once_and_in_order(monkeypatch, count):
    """The stand-in network predicts the number of the example, and a larger number for padding."""

    def number(_, batch):
        value = np.where(batch.present, batch.index, 10**6).astype(np.float32)
        joints = np.broadcast_to(value[..., None, None], (*value.shape, 21, 3))
        return Prediction(joints[..., :2], joints[..., 0], value, value, joints)

    monkeypatch.setattr(forward, "program", lambda options: number)
    saved = {"step": 3, "params": {}, "batch_stats": {}}
    prediction = forward.predict(examples.tiny_config(), saved, examples.examples(count))
    np.testing.assert_array_equal(prediction.root_depth, np.arange(count))
    assert prediction.joints_3d.shape == (count, 21, 3)


def test_batch_size_that_devices_cannot_share_is_rounded_up(run):
    options = examples.tiny_config()
    options.data.batch_size = 6
    assert jax.local_device_count() == 4
    prediction = forward.predict(options, checkpoint.load(run), examples.examples(5))
    assert prediction.joints_2d.shape == (5, 21, 2)


def test_evaluation_writes_every_domain(run, measured_run):
    assert json.loads((run / evaluate.FILE).read_text()) == json.loads(json.dumps(measured_run))
    assert set(measured_run["domains"]) == {"mannequin", "real_like"}
    for measured in measured_run["domains"].values():
        assert measured["count"] == COUNT
        assert set(measured["network"]) == set(measured["mean_pose"]) == set(evaluation.METRICS)
        network, constant = measured["network"]["joints_2d_px"], measured["mean_pose"]["joints_2d_px"]
        assert measured["reduction_percent"]["joints_2d_px"] == pytest.approx(100 * (1 - network / constant))
        assert list(measured["joints"]["joints_3d_mm"]) == list(hand.JOINTS)
        of_joints = list(measured["joints"]["joints_3d_mm"].values())
        assert np.mean(of_joints) == pytest.approx(measured["network"]["joints_3d_mm"])
        of_fingers = measured["fingers"]["joints_3d_mm"]
        assert (of_fingers["wrist"] + 4 * sum(of_fingers[name] for name in hand.FINGERS)) / 21 == pytest.approx(
            measured["network"]["joints_3d_mm"]
        )
        for name, (low, high) in measured["intervals"].items():
            assert low <= measured["network"][name] <= high
            assert low < high or name == "joints_3d_auc"
    assert measured_run["step"] == 0
    assert "jax " in measured_run["environment"]["versions"]
    kept = np.load(run / evaluate.FOLDER / "mannequin.npz")
    assert kept["joints_3d"].shape == (COUNT, 21, 3)
    assert kept["image"].shape == (COUNT, examples.SIZE, examples.SIZE, 3)
    pictures = sorted(file.name for file in (run / evaluate.FOLDER).glob("mannequin_*"))
    assert pictures == ["mannequin_joints.png", "mannequin_pck.png", "mannequin_worst.jpg"]
    assert not list(run.glob("**/*partial*"))


def test_network_is_evaluated_as_it_was_saved(run):
    labelled = examples.examples(3)
    options, saved = examples.tiny_config(), checkpoint.load(run)
    state = step.TrainState(saved["step"], saved["params"], saved["batch_stats"], None)
    direct = jax.jit(lambda batch: step.eval_step(state, batch, config=options))(labelled)
    prediction = forward.predict(options, saved, labelled)
    np.testing.assert_allclose(prediction.joints_2d, direct.joints_2d, atol=1e-3)
    np.testing.assert_allclose(prediction.joints_3d, direct.joints_3d, rtol=1e-3, atol=1e-3)


def test_photographs_are_measured_against_their_2d_labels(run, measured_photograph):
    assert measured_photograph["count"] == 1
    assert measured_photograph["labels_predicted"]
    assert measured_photograph["network"]["joints_2d_px"] > 0
    # With a single photograph, the mean pose equals the label.
    assert measured_photograph["mean_pose"]["joints_2d_px"] == pytest.approx(0, abs=1e-5)
    name = measured_photograph["name"]
    assert json.loads((run / evaluate.PHOTOGRAPHS_FILE).read_text())["name"] == name
    assert (run / evaluate.FOLDER / f"photographs_{name}.png").stat().st_size > 1000


@pytest.mark.slow
def test_built_datasets_are_measured_and_shown_as_far_as_they_are_labelled(run, tmp_path):
    """In `some`, every second hand has 3D labels."""
    for name in ("none", "some"):
        folder = annotations.coco(tmp_path / name, 6, joints_3d=name == "some")
        if name == "some":
            content = json.loads((folder / "annotations.json").read_text())
            for one in content["annotations"][::2]:
                del one["joints_3d"]
            (folder / "annotations.json").write_text(json.dumps(content))
        builder.build("coco_hand", folder, tmp_path / "data", name=name, workers=1)
    options = config_io.read(run)
    options.data = dataclasses.replace(options.data, test=("none:train", "some"), directory=str(tmp_path / "data"))
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir)
    config_io.write(options, workdir)
    content = evaluate.evaluate(workdir, split="train")
    none, some = content["domains"]["none:train"], content["domains"]["some"]
    assert [(found["count"], found["count_3d"]) for found in (none, some)] == [(6, 0), (6, 3)]
    assert set(some["network"]) == set(evaluation.METRICS)
    assert set(none["network"]) == {"joints_2d_px", *some["labels"]}
    assert set(none["mean_pose"]) == {"joints_2d_px"}
    assert "labels" not in none
    # Both are pictures of the same hands.
    assert none["network"]["joints_2d_px"] == pytest.approx(some["network"]["joints_2d_px"], rel=1e-4)
    assert "none:train · train · 6 images" in evaluate.table(content)
    assert "none:train" in report.report([workdir], tmp_path / "report.html").read_text()


def test_worst_images_are_shown_worst_first(run, monkeypatch):
    labelled, shown = examples.examples(30), []
    prediction = perfect(labelled)
    joints = prediction.joints_3d.copy()
    joints[[7, 3, 21], 8] += np.array([[3.0], [2.0], [1.0]])
    monkeypatch.setattr(
        evaluate.draw, "contact_sheet", lambda *_, captions, **__: shown.extend(captions) or draw.Figure()
    )
    monkeypatch.setattr(evaluate.charts, "pck", lambda *_, **__: draw.Figure())
    monkeypatch.setattr(evaluate.charts, "joints", lambda *_, **__: draw.Figure())
    evaluate.draw_errors(run, "worst", dataclasses.replace(prediction, joints_3d=joints), labelled)
    assert [caption.partition(" · ")[0] for caption in shown[:3]] == ["row 7", "row 3", "row 21"]
    assert len(shown) == evaluate.WORST


def test_table_states_units_and_whose_labels_they_are(measured_run, measured_photograph):
    words = evaluate.table(measured_run)
    assert "mannequin · test · 11 images · step 0" in words
    assert "2D, px" in words
    assert "joint angle violation, °" in words
    words = evaluate.table(measured_photograph)
    assert "The labels are predictions of another model: 'predicted by a detector'" in words


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the folder of a run, got no config.json"):
        evaluate.evaluate(tmp_path)


def test_run_without_a_checkpoint_is_refused(tmp_path):
    config_io.write(examples.tiny_config(), tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a checkpoint, got none; run bmc train first"):
        evaluate.evaluate(tmp_path)


def test_prediction_that_is_not_finite_is_refused():
    labelled = examples.examples(2)
    prediction = perfect(labelled)
    bad = dataclasses.replace(prediction, joints_2d=prediction.joints_2d.copy())
    bad.joints_2d[1, 4, 0] = np.nan
    with pytest.raises(ValueError, match=r"predicted joint \[1, 4\].*: expected finite numbers"):
        evaluation.measure(bad.joints_2d, bad.joints_3d, labelled, examples.fitted_limits())
