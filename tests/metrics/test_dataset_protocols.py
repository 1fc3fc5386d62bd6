"""The protocol of a dataset on a run's predictions: metrics of perfect ones, and files that servers can read."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from support import examples, freihand_files

from bmc_jax import hand, limits
from bmc_jax.core.types import Prediction
from bmc_jax.data import sources, store
from bmc_jax.data.build import builder
from bmc_jax.inference import evaluate
from bmc_jax.metrics import dataset_protocols, prediction_files
from bmc_jax.training import checkpoint, config_io, forward
from bmc_jax.visualization import charts, draw

SIZE = examples.tiny_config().data.image_size


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    for name in ("pck", "joints"):
        monkeypatch.setattr(charts, name, lambda *_, **__: draw.Figure())
    monkeypatch.setattr(draw, "contact_sheet", lambda *_, **__: draw.Figure())


def perfect(config, saved, examples, **_):
    """Returns predictions equal to the labels; without labels, all joints two scale units in front of the camera."""
    known = np.asarray(examples.joints_3d_valid).all(axis=1)[:, None, None]
    scale = np.where(examples.scale > 0, examples.scale, 1)[:, None, None]
    somewhere = np.broadcast_to(np.array([0.0, 0.0, 2.0]), (len(scale), 21, 3))
    joints = np.where(known, examples.joints_3d / scale, somewhere)
    root = joints[:, 0, 2]
    return Prediction(np.array(examples.joints_2d), joints[..., 2] - root[:, None], root, root, joints)


def evaluated(tmp_path, monkeypatch, *, joints, **options):
    """Evaluates `perfect` on a generated FreiHAND of 5 evaluation images; returns the run's folder and the result."""
    source = freihand_files.tree(tmp_path / "source", evaluation=5, joints=joints)
    builder.build("freihand", source, tmp_path / "data", workers=1, options={"partial": True})
    config = examples.tiny_config()
    config.data = dataclasses.replace(config.data, directory=str(tmp_path / "data"))
    workdir = tmp_path / "run"
    workdir.mkdir()
    config_io.write(config, workdir)
    limits.save(limits.load("clinical"), workdir / limits.FILE)
    monkeypatch.setattr(checkpoint, "load", lambda *_: {"step": 0})
    monkeypatch.setattr(forward, "predict", perfect)
    return workdir, evaluate.evaluate(workdir, ["freihand"], **options)


def test_perfect_predictions_have_no_error_and_are_in_the_file_for_the_server(tmp_path, monkeypatch):
    workdir, content = evaluated(tmp_path, monkeypatch, joints=True)
    found = content["domains"]["freihand"]["official"]
    assert found["protocol"] == "freihand"
    assert found["metres"] == "each hand's true scale"
    assert found["figures"]["joints_absolute_mean_mm"]["value"] == pytest.approx(0, abs=1e-4)
    assert found["figures"]["joints_procrustes_auc_0_50mm"]["value"] == pytest.approx(1, abs=0.01)
    assert found["files"] == ["freihand.json", "freihand.zip"]
    assert not found["complete"]
    predicted = prediction_files.read("freihand", workdir / evaluate.FOLDER / "freihand.zip")
    records = store.records(store.find("freihand", tmp_path / "data"), "test")
    np.testing.assert_allclose(predicted.joints, [row["joints_3d"] for row in records], atol=1e-6)
    words = evaluate.table(content)
    assert "by the protocol of FreiHAND, with each hand's true scale" in words
    assert "of a part of the split, which servers do not accept" in words


def test_unlabelled_images_have_a_file_and_no_metrics(tmp_path, monkeypatch):
    _, content = evaluated(tmp_path, monkeypatch, joints=False)
    found = content["domains"]["freihand"]["official"]
    assert found["figures"] == {}
    assert found["files"] == ["freihand.json", "freihand.zip"]
    assert "no metrics, because no 3D labels are available" in evaluate.table(content)


@pytest.mark.parametrize("passes", [1, 2])
def test_two_passes_use_more_of_the_image_and_are_evaluated_in_the_same_crop(tmp_path, monkeypatch, passes):
    shown, predict = [], perfect

    def central(config, saved, batch, **given):
        shown.append(batch.image.shape[1])
        margin = (batch.image.shape[1] - SIZE) / 2
        found = predict(config, saved, batch)
        return dataclasses.replace(found, joints_2d=found.joints_2d - margin)

    monkeypatch.setitem(globals(), "perfect", central)
    _, content = evaluated(tmp_path, monkeypatch, joints=True, passes=passes)
    assert shown == [SIZE if passes == 1 else 2 * SIZE]
    assert content["domains"]["freihand"]["network"]["joints_2d_px"] == pytest.approx(0, abs=1e-3)
    assert content["passes"] == passes


def test_left_hands_are_mirrored_back_in_files(tmp_path, monkeypatch):
    rows = [{"id": "a", "hand": "left"}, {"id": "b", "hand": "right"}]
    monkeypatch.setattr(store, "records", lambda *_: rows)
    given = examples.examples(2).joints_3d
    found = dataset_protocols.write("rhd", tmp_path, "test", given, tmp_path / "rhd")
    assert found == {"files": ["rhd.json"], "complete": True}
    written = prediction_files.read("rhd", tmp_path / "rhd.json", checked=False)
    assert written.names == ("a", "b")
    np.testing.assert_allclose(written.joints, given * np.array([[[-1, 1, 1]], [[1, 1, 1]]]), atol=1e-9)


class Built(sources.SourceKind):
    """A built dataset of random images. Every third hand is a left hand, which is mirrored in examples."""

    check = training_set = poses = None

    def folder(self, directory):
        return Path(directory)

    def test_examples(self, config, split, count, *, stored):
        return examples.examples(7)


@pytest.mark.parametrize("reader", dataset_protocols.PROTOCOLS)
def test_announced_files_hold_the_predictions_in_metres_after_evaluation(tmp_path, monkeypatch, reader):
    config, labelled = examples.tiny_config(), examples.examples(7)
    left = np.arange(7) % 3 == 0
    rows = [{"id": f"image/{row}", "hand": "left" if left[row] else "right"} for row in range(7)]
    monkeypatch.setattr(store, "summary", lambda folder: {"reader": reader})
    monkeypatch.setattr(store, "records", lambda *_: rows)
    monkeypatch.setattr(sources, "kind", Built)
    monkeypatch.setattr(sources, "require_tests", lambda *_: None)
    monkeypatch.setattr(checkpoint, "load", lambda *_: {"step": 0})
    monkeypatch.setattr(forward, "predict", lambda config, saved, batch, **_: perfect(config, saved, batch))
    config_io.write(config, tmp_path)
    limits.save(limits.load("clinical"), tmp_path / limits.FILE)
    official = evaluate.evaluate(tmp_path, [reader])["domains"][reader]["official"]
    own = np.load(tmp_path / evaluate.FOLDER / f"{reader}.npz")
    metres = own["joints_3d"] * own["scale"][:, None, None]
    np.testing.assert_allclose(metres, labelled.joints_3d, atol=1e-6)
    assert official["files"]
    for name in official["files"]:
        found = prediction_files.read(official["protocol"], tmp_path / evaluate.FOLDER / name, checked=False)
        np.testing.assert_allclose(found.joints, np.where(left[:, None, None], metres * [-1, 1, 1], metres), atol=1e-6)


def test_sets_with_the_same_file_are_refused_before_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "require_tests", lambda *_: None)
    monkeypatch.setattr(checkpoint, "load", lambda *_: {"step": 0})
    config_io.write(examples.tiny_config(), tmp_path)
    limits.save(limits.load("clinical"), tmp_path / limits.FILE)
    with pytest.raises(ValueError, match=r"'mine:test' and 'mine_test', which are both written to .*mine_test\.npz"):
        evaluate.evaluate(tmp_path, ["mine:test", "mine_test"])


def test_only_tips_are_evaluated_if_only_tips_are_labelled():
    labelled = examples.examples(4)
    tips = hand.FINGER_JOINTS[:, -1]
    valid = np.zeros((4, 21), bool)
    valid[:3, tips] = True
    labelled = jax.tree.map(np.array, dataclasses.replace(labelled, joints_3d_valid=valid))
    metres = labelled.joints_3d + np.where(valid, 0, 1.0)[..., None] + np.array([0.0, 0.0, 0.03])
    found = dataset_protocols.figures("dexter_object", metres, labelled)
    assert found["tips_absolute_mean_mm"]["value"] == pytest.approx(30, rel=1e-3)
    assert found["tips_absolute_mean_mm"]["count"] == 3
    assert found["tips_procrustes_mean_mm"]["value"] == pytest.approx(0, abs=1e-3)
