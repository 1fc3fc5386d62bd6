"""Exports equal the checkpoint in each format, and are written atomically."""

import dataclasses
import functools
import json
import runpy
import shutil

import jax
import jaxtyping
import numpy as np
import pytest
from support import average_run, examples

from bmc_jax import anatomy, cli, limits, losses, step
from bmc_jax.config import Network, Source
from bmc_jax.core.types import Prediction
from bmc_jax.data import store
from bmc_jax.inference import export, training_data
from bmc_jax.inference.export import card, program
from bmc_jax.training import checkpoint, config_io, forward, run_folder

LIMITS, STEP, options = average_run.LIMITS, average_run.STEP, average_run.options


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return average_run.write(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    # Signatures are not checked: the program's number of hands is symbolic.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        patch.setattr(training_data.synthesis, "poses", average_run.hands_of_40_mm)
        return export.export(run, tmp_path_factory.mktemp("exports") / "hands")


@pytest.fixture(scope="module")
def predict(exported):
    return runpy.run_path(str(exported / "load.py"))["load"](exported)


@pytest.fixture
def quick(monkeypatch):
    """Exports without the program, which takes seconds."""
    monkeypatch.setattr(training_data.synthesis, "poses", average_run.hands_of_40_mm)
    monkeypatch.setattr(program, "write", lambda *_, **__: None)
    monkeypatch.setattr(program, "check", lambda *_, **__: 0.0)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def said(run):
    """Returns the predictions of the run's average for seven images, with angles and violations."""

    def everything(state, given):
        prediction = step.eval_step(state, given, config=options())
        joints = prediction.joints_3d
        return prediction, anatomy.joint_angles(joints), losses.constraints(joints, LIMITS)

    state = step.evaluated(checkpoint.load(run))
    return jax.device_get(jax.jit(everything)(state, examples.examples(7, seed=5)))


@pytest.mark.parametrize("count", [1, 7])
def test_exported_program_is_the_checkpoint(said, predict, count):
    given, scale = examples.examples(7, seed=5), np.linspace(0.03, 0.05, 7, dtype=np.float32)
    found = predict(given.image[:count], given.intrinsics[:count], scale[:count])
    prediction, angles, violations = jax.tree.map(lambda rows: rows[:count], said)
    for name in ("joints_2d", "relative_depth", "root_depth", "refined_root_depth"):
        close(found[name], getattr(prediction, name))
    close(found["joints_3d"], prediction.joints_3d * scale[:count, None, None])
    close(found["angles"], angles)
    for name, value in violations.items():
        close(found[f"{name}_violation"], value)
    assert found["within_limits"].dtype == bool
    assert len(found) == 10


def test_poses_within_limits_are_said_to_be(monkeypatch, without_shape_checks):
    """The limits allow any angle, and one of the hands has a finger that is too long."""
    hands = examples.examples(5)
    units = hands.joints_3d / hands.scale[:, None, None]
    units[2, 8] += 9.0

    known = Prediction(units, units, units, units, units)

    class Known:
        def apply(self, *_, **__):
            return known

    monkeypatch.setattr(step, "network", lambda config: Known())
    wide = dataclasses.replace(
        LIMITS,
        bone_length=np.broadcast_to(np.array([0.0, 5.5], np.float32), (5, 4, 2)),
        curvature=np.broadcast_to(np.array([-99.0, 99.0], np.float32), (4, 2)),
        spread=np.broadcast_to(np.array([0.0, 4.0], np.float32), (4, 2)),
        hull=100 * LIMITS.hull,
    )
    judge = jax.jit(functools.partial(program.answer, config=options(), limits=wide))
    found = judge({}, hands.image, hands.intrinsics, hands.scale)
    assert found["within_limits"].tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(found["joints_3d"][0], hands.joints_3d[0], rtol=1e-5)


def test_without_a_scale_it_is_the_stated_one(exported, predict):
    given = examples.examples(1)
    told = json.loads((exported / export.FILE).read_text())
    assert told["scale"] == pytest.approx(0.04)
    default = predict(given.image, given.intrinsics)["joints_3d"]
    close(default, predict(given.image, given.intrinsics, 0.04)["joints_3d"])
    close(default, 0.5 * predict(given.image, given.intrinsics, [0.08])["joints_3d"])


def test_exported_checkpoint_is_the_average_alone_and_opens_as_a_run(run, exported):
    opened, average = forward.load(exported), checkpoint.load(run)["average"]
    assert set(opened.saved) == {"step", "params", "batch_stats"}
    assert opened.saved["step"] == STEP
    assert opened.config == options()
    for name in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, opened.saved[name], average[name])
    assert checkpoint.metadata(exported)["environment"] == {"commit": "the commit of training"}
    with pytest.raises(FileNotFoundError, match="expected a checkpoint of step 9, got those of"):
        forward.load(exported, 9)


def test_export_of_an_export_is_the_same(exported, tmp_path, quick):
    again = export.export(exported, tmp_path / "again")
    saved = checkpoint.load(exported)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.load(again), saved)
    for name in (run_folder.DATA_FILE, config_io.FILE, limits.FILE, export.FILE):
        assert (again / name).read_text() == (exported / name).read_text()


def test_loader_that_needs_more_than_jax_is_found(exported, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "copy")
    (copy / "load.py").write_text("import jax, numpy\nimport flax")
    with pytest.raises(ChildProcessError, match=r"load.py fails .* must not need flax"):
        program.check(copy, {}, config=options(), limits=LIMITS)


@pytest.mark.parametrize(("apart", "found"), [(2e-5, "got 2e-05"), (np.nan, "got nan"), (5e-6, None)])
def test_program_that_is_not_the_checkpoint_is_found(tmp_path, monkeypatch, apart, found):
    monkeypatch.setattr(program, "answer", lambda weights, image, K, scale, **_: {"joints_2d": scale, "angles": scale})
    (tmp_path / "load.py").write_text(
        "import sys, numpy as np\nscale = np.load(sys.argv[1])['scale'].astype(float)\nnan = np.nan\n"
        f"np.savez(sys.argv[2], joints_2d=scale + {apart}, angles=scale - 2 * np.pi)"
    )
    if found:
        with pytest.raises(
            ValueError, match=f"hand.stablehlo: expected the checkpoint's joints_2d within 1e-05, {found}"
        ):
            program.check(tmp_path, {}, config=options(), limits=LIMITS)
    else:
        assert program.check(tmp_path, {}, config=options(), limits=LIMITS) == pytest.approx(apart, rel=0.01)
    assert [file.name for file in tmp_path.iterdir()] == ["load.py"] or found


def test_failed_check_leaves_nothing_and_what_was_there(run, tmp_path, quick, monkeypatch):
    out = export.export(run, tmp_path / "made" / "hands")
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}

    def fail(*_, **__):
        raise ValueError("not the checkpoint")

    monkeypatch.setattr(program, "check", fail)
    with pytest.raises(ValueError, match="not the checkpoint"):
        export.export(run, out, force=True)
    with pytest.raises(ValueError, match="not the checkpoint"):
        export.export(run, tmp_path / "made" / "other")
    assert list(out.parent.iterdir()) == [out]
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_nothing_is_overwritten_unasked_and_only_exports_ever(run, tmp_path, quick, capsys):
    out = tmp_path / "hands"
    out.mkdir()  # empty: free
    export.export(run, out)
    (out / "old").touch()
    assert cli.main(["export", str(run), "--out", str(out)]) == 2
    assert f"{out} has an earlier export; give another --out, or --force" in capsys.readouterr().err
    assert (out / "old").exists()
    assert cli.main(["export", str(run), "--out", str(out), "--force", "--step", str(STEP)]) == 0
    assert not (out / "old").exists()
    assert capsys.readouterr().out == f"written to {out}; its README.md describes the use\n"
    with pytest.raises(FileExistsError, match="expected no content or an earlier export, got other files"):
        export.export(run, run, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="got other files"):
        export.export(run, tmp_path / "file", force=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "hands"]


def test_what_is_not_there_is_named_before_anything_is_made(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "hands"
    with pytest.raises(FileNotFoundError, match=r"got no config.json"):
        export.export(tmp_path, out)
    with pytest.raises(FileNotFoundError, match="expected a checkpoint of step 4"):
        export.export(run, out, step=4)
    with pytest.raises(SystemExit):
        cli.main(["export", str(run), "--out", str(out), "--step", "last"])
    assert "expected the number of a step or 'best', got 'last'" in capsys.readouterr().err
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'bmc-jax\[export\]'"):
        export.export(run, out)
    assert not out.exists()


def test_loader_within_jit_gives_the_same_numbers(predict):
    given = examples.examples(2)
    plain = predict(given.image, given.intrinsics, given.scale)
    compiled = jax.jit(predict)(given.image, given.intrinsics, given.scale)
    assert compiled.keys() == plain.keys()
    jax.tree.map(close, compiled, plain)


def test_loader_within_jit_checks_shapes_and_types(predict):
    given = examples.examples(2)
    with pytest.raises(ValueError, match=r"image: expected uint8 .* got float32 \[2, 32, 32, 3\]"):
        jax.jit(predict)(given.image.astype(np.float32), given.intrinsics)
    with pytest.raises(ValueError, match=r"K: expected numbers \[2, 3, 3\], .* got float32 \[3, 3\]"):
        jax.jit(predict)(given.image, given.intrinsics[0])
    with pytest.raises(ValueError, match=r"scale: expected positive lengths"):
        jax.jit(lambda image, K: predict(image, K, 0.0))(given.image, given.intrinsics)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        (
            "image",
            np.zeros((2, 32, 32, 3), np.float32),
            r"image: expected uint8 \[hands, 32, 32, 3\], got float32 \[2, 32",
        ),
        ("image", np.zeros((2, 16, 32, 3), np.uint8), r"image: .* got uint8 \[2, 16, 32, 3\]"),
        ("image", np.zeros((32, 32, 3), np.uint8), r"image: .* got uint8 \[32, 32, 3\]"),
        ("image", np.zeros((0, 32, 32, 3), np.uint8), r"image: .* got uint8 \[0, 32, 32, 3\]"),
        ("K", examples.INTRINSICS, r"K: expected numbers \[2, 3, 3\], .* got float32 \[3, 3\]"),
        ("K", np.zeros((2, 3, 3)), "K: expected pinhole matrices"),
        ("K", np.full((2, 3, 3), np.nan), "K: expected pinhole matrices"),
        ("K", np.stack([examples.INTRINSICS.T] * 2), "last row 0, 0, 1"),
        ("scale", np.ones(3), r"scale: expected numbers \[2\], .* got float32 \[3\]"),
        ("scale", 0.0, "scale: expected positive lengths in metres"),
        ("scale", [0.04, np.nan], "scale: expected positive lengths in metres"),
    ],
)
def test_loader_names_the_argument_that_is_wrong(predict, name, wrong, said):
    given = examples.examples(2)
    with pytest.raises(ValueError, match=said):
        predict(**{"image": given.image, "K": given.intrinsics, "scale": given.scale} | {name: wrong})


def test_backbone_under_torchvision_names_reads_back(tmp_path):
    config = dataclasses.replace(options(), network=Network(depth=18))
    init = functools.partial(step.network(config).init, train=False)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    shapes = jax.eval_shape(init, jax.random.key(0), image, jax.ShapeDtypeStruct((1, 3, 3), np.float32))
    generator = np.random.default_rng(0)
    trees = jax.tree.map(lambda leaf: generator.random(leaf.shape, np.float32), shapes)
    state = step.TrainState(np.array(0), trees["params"], trees["batch_stats"], None)
    assert export._backbone(tmp_path, config, state) == "backbone.safetensors"
    params, _ = export.pretrained.load(tmp_path / "backbone.safetensors", depth=18)
    kernel = params["layer2_0"]["downsample_0"]["kernel"]
    np.testing.assert_array_equal(kernel, trees["params"]["backbone"]["layer2_0"]["downsample_0"]["kernel"])


def test_backbone_that_torchvision_does_not_have_is_said_and_not_written(exported):
    assert not (exported / export.BACKBONE).exists()
    told = (exported / card.FILE).read_text()
    assert "no file under torchvision's names: torchvision has no ResNet with network.depth 10" in told


def test_card_tells_the_facts_of_the_run(exported):
    told = (exported / card.FILE).read_text()
    for fact in (
        "# tiny: 3D hand pose",
        "step 3 of 8, averaged with decay 0.9; initial weights: random",
        "uint8 `[b, 32, 32, 3]`",
        "| mannequin | train | 16 | 3D | - | rendered by this package |",
        "| real_like | train | 16 | 2D |",
        "| 3D, Procrustes | 9.9 mm | 12.3 mm |",
        "| 2D | 12.35 px | 23.40 px |",
        "hands of this test: 300 poses",
        "| commit | the commit of training |",
        "the default is 0.0400, the mean of the 3D-labelled training data, mannequin",
    ):
        assert fact in told or fact.replace("12.35", "12.34") in told, fact
    assert "&#" not in told
    assert "wrist by the bone's length" in told
    assert "None" not in told
    assert "nan" not in told.split()


def test_card_does_not_pass_on_numbers_of_another_step(run):
    trained = forward.load(run)
    trained.saved["step"] = np.array(2)
    assert card.measured(trained) == {"rows": [], "reason": "the run's `metrics.json` is of step 3, not of 2"}


def built(folder, name, mean, digest):
    (folder / name / "1.0.0").mkdir(parents=True)
    content = {"hash": digest, "about": {"licence": "research"}, "splits": {"train": {"scale_m": {"mean": mean}}}}
    (folder / name / "1.0.0" / store.SUMMARY).write_text(json.dumps(content))


def test_usual_scale_is_that_of_the_3d_labelled_data(tmp_path, quick):
    built(tmp_path, "big", 0.03, "a")
    built(tmp_path, "flat", 0.9, "b")
    built(tmp_path, "changed", 0.9, "of another day")
    names = {"big": "3d", "flat": "2d", "changed": "3d", "gone": "3d", "mannequin": "3d"}
    config = options()
    config.data.directory = str(tmp_path)
    config.data.train = tuple(Source(name, labels=kind) for name, kind in names.items())
    hashes = {"big": "a", "flat": "b", "changed": "c", "gone": "d", "mannequin": None}
    records = [{"name": name, "count": 300 if name == "big" else 100, "hash": hashes[name]} for name in names]
    records[-1].pop("hash")
    (tmp_path / run_folder.DATA_FILE).write_text(json.dumps(records))
    found = training_data.read(config, tmp_path)
    assert [source.licence[:8] for source in found] == ["research", "research", "unknown:", "unknown:", "rendered"]
    metres, words = training_data.mean_scale(found)
    assert metres == pytest.approx((3 * 0.03 + 0.04) / 4)
    assert words.endswith("big and mannequin")
    assert training_data.mean_scale(found[1:4]) == (0.04463, training_data.ADULT)
