"""`bmc score`: prediction files evaluated against the files of datasets, with the numbers of the official formulas."""

import json
import re

import numpy as np
import pytest
from support import dexter_object_files, official, paths, rhd_files
from support.annotations import open_hand

from bmc_jax import cli, metrics
from bmc_jax.cli import score
from bmc_jax.metrics import ground_truth, prediction_checks, prediction_files, scoring

DATA = paths.SHARED
MANO = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]


@pytest.fixture
def true():
    generator = np.random.default_rng(0)
    return np.stack([open_hand(0.4 + 0.2 * generator.random(), generator.normal(size=2) * 0.05) for _ in range(6)])


@pytest.fixture
def predicted(true):
    generator = np.random.default_rng(1)
    return true + generator.normal(size=true.shape) * 0.008 + generator.normal(size=(6, 1, 3)) * 0.01


def dump(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(np.asarray(content).tolist()))


def value(content, name):
    return content["figures"][name]["value"]


def test_freihand_is_scored_from_its_files(tmp_path, capsys, true, predicted):
    folder = tmp_path / "FreiHAND_pub_v2_eval"
    mesh = true[:, :, None] + np.linspace(-0.01, 0.01, 4)[:, None] * [0.3, 0.5, 1]
    mesh = mesh.reshape(6, -1, 3)
    k = np.tile(np.array([[480.0, 0, 112], [0, 480, 112], [0, 0, 1]]), (6, 1, 1))
    for name, content in (("xyz", true), ("verts", mesh), ("K", k)):
        dump(folder / f"evaluation_{name}.json", content)
    prediction_files.write("freihand", tmp_path / "pred.json", predicted, vertices=mesh + 0.004, partial=True)
    out = tmp_path / "out/scores.json"
    arguments = ["score", tmp_path / "pred.zip", tmp_path, "--protocol", "freihand", "--out", out]
    assert cli.main(list(map(str, arguments))) == 0
    content, printed = json.loads(out.read_text()), capsys.readouterr().out
    written = out.stat().st_mtime_ns
    assert cli.main(list(map(str, arguments))) == 2
    assert "--force to replace it" in capsys.readouterr().err
    assert out.stat().st_mtime_ns == written
    assert cli.main(list(map(str, [*arguments, "--force"]))) == 0
    capsys.readouterr()
    expected, _ = official.evaluate(true, predicted, official.procrustes)
    assert value(content, "joints_procrustes_mean_mm") == pytest.approx(expected["mean"], rel=1e-9)
    assert value(content, "joints_procrustes_auc_0_50mm") == pytest.approx(expected["auc"], rel=1e-9)
    distance = 4 * np.sqrt(3)
    assert value(content, "mesh_absolute_mean_mm") == pytest.approx(distance)
    assert value(content, "mesh_procrustes_f_5mm") == pytest.approx(1.0)
    parts = metrics.pinhole(predicted, true, k)
    assert value(content, "joints_2d_absolute_mean_px") == pytest.approx(parts["joints_2d_absolute_mean_px"])
    for name, figure in content["figures"].items():
        assert figure["alignment"] in name
        assert figure["count"] == 6
        assert figure["unit"] in ("mm", "px", "share")
    errors = np.linalg.norm(predicted - true, axis=-1)
    assert content["joints_mean_mm"]["absolute"]["ring TIP"] == pytest.approx(1000 * errors[:, 16].mean())
    assert content["fingers_mean_mm"]["absolute"]["thumb"] == pytest.approx(1000 * errors[:, 1:5].mean())
    assert f"{expected['mean']:.2f}" in printed
    assert "procrustes (moved, scaled, turned or mirrored)" in printed
    assert "AUC 0-50 mm" in printed
    assert "F@5 mm" in printed
    assert "note" not in printed


def test_ho3d_is_scored_from_its_files(tmp_path, true, predicted):
    moved = np.empty_like(true)
    moved[:, MANO] = true * [1, -1, -1]
    dump(tmp_path / "evaluation_xyz.json", moved)
    names = [f"SM1/{i:04d}" for i in range(6)]
    (tmp_path / "evaluation.txt").write_text("\n".join(names) + "\n")
    prediction_files.write("ho3d", tmp_path / "pred.json", predicted, partial=True)
    content = scoring.score(tmp_path / "pred.json", tmp_path, "ho3d")
    expected, _ = official.evaluate(true, predicted, lambda a, b: official.scaled_to(a, b, 0, 9))
    assert value(content, "joints_scale_translation_mean_mm") == pytest.approx(expected["mean"], rel=1e-9)
    # By names, a file of fields may have another order and more images.
    order = [3, 1, 5, 0, 2, 4, 0]
    np.savez(tmp_path / "mine.npz", joints=predicted[order], names=[*np.array(names)[order][:6], "SM1/9999"])
    again = scoring.score(tmp_path / "mine.npz", tmp_path, "ho3d")
    assert value(again, "joints_procrustes_mean_mm") == pytest.approx(value(content, "joints_procrustes_mean_mm"))
    assert again["notes"] == ["1 prediction has no image in the ground truth and is ignored"]


def test_hands19_is_scored_by_subset(tmp_path, true, predicted):
    names = [f"{i}.png" for i in range(6)]
    prediction_files.write("hands19", tmp_path / "truth.txt", true, names=names)
    prediction_files.write("hands19", tmp_path / "result.txt", predicted[::-1], names=names[::-1])
    (tmp_path / "subsets.txt").write_text("0.png INTERP\n1.png interp\n2.png EXTRAP\n")
    content = scoring.score(
        tmp_path / "result.txt", tmp_path / "truth.txt", "hands19", subsets=tmp_path / "subsets.txt"
    )
    errors = 1000 * np.linalg.norm(predicted - true, axis=-1)
    assert value(content, "joints_absolute_mean_mm") == pytest.approx(errors.mean())
    assert value(content, "interp_joints_absolute_mean_mm") == pytest.approx(errors[:2].mean())
    assert value(content, "extrap_joints_absolute_mean_mm") == pytest.approx(errors[2].mean())
    assert content["figures"]["extrap_joints_absolute_mean_mm"]["count"] == 1
    assert "interp joints, aligned by" in scoring.table(content)
    prediction_files.write("hands19", tmp_path / "less.txt", predicted[:5], names=names[:5])
    with pytest.raises(ValueError, match=r"expected all 6 images .* following 1: 5\.png"):
        scoring.score(tmp_path / "less.txt", tmp_path / "truth.txt", "hands19")


def test_dexter_object_is_scored_from_its_folder(tmp_path):
    folder = dexter_object_files.tree(tmp_path / "dexter", unseen=(1,))
    found = ground_truth.read("dexter_object", folder)
    poses = np.stack([open_hand() for _ in found.names])
    poses[:, official.TIPS] = np.where(np.isnan(found.joints[:, official.TIPS]), 0.5, found.joints[:, official.TIPS])
    poses[:, official.TIPS] += [0.0, 0.025, 0.0]
    np.savez(tmp_path / "tips.npz", joints=poses, names=found.names)
    content = scoring.score(tmp_path / "tips.npz", folder, "dexter_object", checked=False)
    assert value(content, "tips_absolute_mean_mm") == pytest.approx(25.0)
    assert value(content, "tips_centroid_mean_mm") == pytest.approx(0, abs=1e-9)
    assert set(content["joints_mean_mm"]["absolute"]) == {"thumb TIP", "middle TIP", "ring TIP", "little TIP"}
    assert content["count"] == len(found.names)


def test_rhd_is_scored_from_its_folder_without_mirroring_left_hands(tmp_path):
    if not (DATA / "rhd_mini").exists():
        pytest.skip("no RHD on this machine")
    found = ground_truth.read("rhd", DATA / "rhd_mini")
    assert found.left.tolist() == [True, True, False]
    sides = np.where(found.left[:, None, None], [-1, 1, 1], 1)
    right_hands = found.joints * sides
    prediction_files.write("rhd", tmp_path / "a.npz", right_hands * 1.1, names=found.names, left=found.left)
    content = scoring.score(tmp_path / "a.npz", DATA / "rhd_mini", "rhd")
    assert value(content, "joints_root_scale_mean_mm") == pytest.approx(0, abs=1e-9)
    assert value(content, "joints_root_mean_mm") > 1
    assert content["truth"].endswith("training")
    prediction_files.write("rhd", tmp_path / "b.npz", found.joints, names=found.names)
    with pytest.raises(ValueError, match=r"2 of 3 hands with the thumb on the wrong side"):
        scoring.score(tmp_path / "b.npz", DATA / "rhd_mini", "rhd")
    prediction_files.write("rhd", tmp_path / "c.npz", right_hands, names=found.names, left=~found.left)
    with pytest.raises(
        ValueError, match=r"training/00000: expected a left hand, .* got a right hand, and 3 hands of the wrong side"
    ):
        scoring.score(tmp_path / "c.npz", DATA / "rhd_mini", "rhd", checked=False)


def test_real_freihand_samples_are_scored(tmp_path):
    file = DATA / "freihand_mini/training_xyz.json"
    if not file.exists():
        pytest.skip("no FreiHAND on this machine")
    true = np.array(json.loads(file.read_text()))
    prediction_files.write("freihand", tmp_path / "pred.json", true + np.array([0.01, 0, 0]), partial=True)
    content = scoring.score(tmp_path / "pred.json", file, "freihand")
    assert value(content, "joints_absolute_mean_mm") == pytest.approx(10.0)
    assert value(content, "joints_procrustes_mean_mm") == pytest.approx(0, abs=1e-4)
    assert value(content, "depth_absolute_mean_mm") == pytest.approx(0, abs=1e-9)


def test_untrained_networks_are_scored(tmp_path, true):
    """Predictions hardly depend on the image, and joints are random; some have a hand's proportions by chance."""
    refused = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        anyhow = 0.05 * generator.normal(size=(1, 21, 3)) + 0.003 * generator.normal(size=(60, 21, 3)) + [0, 0, 0.5]
        try:
            prediction_checks.check(anyhow, prediction_files.FIELDS, "mine.npz")
        except ValueError:
            refused += 1
    assert refused <= 3
    np.savez(tmp_path / "mine.npz", joints=anyhow)
    np.savez(tmp_path / "truth.npz", joints=np.repeat(true, 10, axis=0))
    content = scoring.score(tmp_path / "mine.npz", tmp_path / "truth.npz", "freihand")
    assert "most predicted hands do not have the bone proportions of a hand" in content["notes"][-1]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda joints: joints * 0.1, "the predicted hands are 0.1 times as large as the true ones"),
        (lambda joints: joints - joints[:, :1], "the predicted positions are relative to the wrist and the true ones"),
        (lambda joints: joints - joints[:, 9:10], "the predicted positions are relative to the middle MCP"),
        (lambda joints: joints - joints[:, :1] * [0, 0, 1], "the predicted depths are relative to the wrist"),
        (
            lambda joints: joints * np.where(np.arange(len(joints)) % 40 == 7, 1000, 1)[:, None, None],
            "2 of 60 predicted hands have another size than the rest, first pose 7, 1,000 times as large",
        ),
    ],
)
def test_anomalies_of_predictions_are_noted(tmp_path, true, change, note):
    np.savez(tmp_path / "mine.npz", joints=change(np.repeat(true, 10, axis=0)))
    np.savez(tmp_path / "truth.npz", joints=np.repeat(true, 10, axis=0))
    (found,) = scoring.score(tmp_path / "mine.npz", tmp_path / "truth.npz", "freihand")["notes"]
    assert found.startswith(note)


def test_unchecked_skips_the_checks(tmp_path, capsys, true):
    np.savez(tmp_path / "mine.npz", joints=true * [-1, 1, 1])
    np.savez(tmp_path / "truth.npz", joints=true)
    arguments = ["score", str(tmp_path / "mine.npz"), str(tmp_path / "truth.npz"), "--protocol", "rhd"]
    assert cli.main(arguments) == 2
    assert "if they are correct, add --unchecked" in capsys.readouterr().err
    assert cli.main([*arguments, "--unchecked"]) == 0


def test_zero_predictor_is_scored_with_notes_on_missing_metrics(tmp_path, true):
    np.savez(tmp_path / "truth.npz", joints=true, vertices=true, intrinsics=np.tile(np.eye(3), (6, 1, 1)))
    (tmp_path / "pred.json").write_text(json.dumps([np.zeros((6, 21, 3)).tolist(), np.zeros((6, 778, 3)).tolist()]))
    content = scoring.score(tmp_path / "pred.json", tmp_path / "truth.npz", "freihand")
    distance = 1000 * np.linalg.norm(true, axis=-1).mean()
    assert value(content, "joints_absolute_mean_mm") == pytest.approx(distance, rel=1e-12)
    assert content["notes"] == [
        "the predictions have no vertices, so there are no mesh metrics",
        "6 predicted hands are not in front of the camera, so there are no errors in pixels",
    ]
    assert "note: the predictions have no vertices" in scoring.table(content)


def test_given_alignments_replace_those_of_the_protocol(tmp_path, capsys, true, predicted):
    np.savez(tmp_path / "truth.npz", joints=true)
    np.savez(tmp_path / "mine.npz", joints=predicted)
    arguments = ["score", str(tmp_path / "mine.npz"), str(tmp_path / "truth.npz"), "--protocol", "freihand"]
    assert cli.main([*arguments, "--alignment", "root", "--alignment", "centroid"]) == 0
    printed = capsys.readouterr().out
    assert "root (wrists aligned)" in printed
    assert "procrustes" not in printed


def test_help_of_score_names_every_protocol_and_alignment(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["score", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "  bmc score pred.json" in text[text.index("examples:") :]
    assert all(name in text for name in score.ALIGNMENTS)
    assert tuple(metrics.PROTOCOLS) == tuple(prediction_files.KINDS) == score.PROTOCOLS
    assert tuple(metrics.ALIGNMENTS) == score.ALIGNMENTS


@pytest.mark.parametrize(
    ("count", "truth_count", "message"),
    [
        (1980, 3960, r"expected 3,960 poses \(FreiHAND's evaluation\), got 1,980 \(half of FreiHAND's evaluation\)"),
        (11524, 20137, r"expected 20,137 poses \(HO-3D v3's evaluation\), got 11,524 \(HO-3D v2's evaluation\)"),
        (5, 10, r"expected 10 poses, got 5 \(half of 10\)"),
    ],
)
def test_wrong_count_is_refused_with_its_likely_cause(tmp_path, capsys, true, count, truth_count, message):
    for name, number in (("mine", count), ("truth", truth_count)):
        np.savez(tmp_path / f"{name}.npz", joints=np.broadcast_to(true[:1], (number, 21, 3)))
    arguments = ["score", str(tmp_path / "mine.npz"), str(tmp_path / "truth.npz"), "--protocol", "freihand"]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("bmc: error: ")
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_faults_of_the_ground_truth_are_named(tmp_path, true):
    def refused(message, protocol, path, error=ValueError):
        with pytest.raises(error, match=message):
            ground_truth.read(protocol, path)

    refused("ground truth at .*nowhere, got no file", "freihand", tmp_path / "nowhere", FileNotFoundError)
    refused(r"ground truth .*evaluation_xyz\.json, got no file; .*training_xyz", "ho3d", tmp_path, FileNotFoundError)
    dump(tmp_path / "evaluation_xyz.json", true)
    refused("got probably FreiHAND's", "ho3d", tmp_path)
    dump(tmp_path / "evaluation_verts.json", true[:5])
    refused("expected 6 rows in verts .*, got 5", "freihand", tmp_path)
    (tmp_path / "evaluation_xyz.json").write_text("[[")
    refused("damaged", "freihand", tmp_path)
    (tmp_path / "evaluation_xyz.json").write_text("{}")
    refused("expected a list of poses, got a dict", "freihand", tmp_path)
    refused("expected a .txt of image names .*, got '.json'", "hands19", tmp_path / "evaluation_xyz.json")
    np.savez(tmp_path / "a.npz", joints=true, left=[True])
    refused("left: expected 6, one per pose, got 1", "rhd", tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", poses=true)
    refused(r"joints: expected the shape \[N, 21, 3\], got \[0\]", "rhd", tmp_path / "b.npz")
    (tmp_path / "subsets.txt").write_text("a.png\n")
    with pytest.raises(ValueError, match=r"line 1: .* got 1 fields"):
        ground_truth.read_subsets(tmp_path / "subsets.txt", ["a.png"])
    with pytest.raises(ValueError, match="expected a ground truth with names of images"):
        ground_truth.read_subsets(tmp_path / "subsets.txt", None)
    with pytest.raises(ValueError, match=r"protocol: expected one of .*, got 'stb'"):
        scoring.score("a", "b", "stb")


def test_rhd_without_annotated_hands_is_refused(tmp_path):
    folder = rhd_files.tree(tmp_path / "rhd", {0: rhd_files.entry(left=False, right=False)})
    with pytest.raises(ValueError, match="expected annotated hands, got none"):
        ground_truth.read("rhd", folder)
