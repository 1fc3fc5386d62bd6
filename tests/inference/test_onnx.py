"""The ONNX file, compared with the checkpoint for several numbers of hands."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import average_run, examples, initialized_weights

from bmc_jax import cli, step
from bmc_jax.inference import export, training_data
from bmc_jax.inference.export import card, onnx_graph, onnx_program, program
from bmc_jax.training import checkpoint

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def session(model):
    return runtime.InferenceSession(model, providers=["CPUExecutionProvider"])


def named(opened, given):
    return dict(zip([output.name for output in opened.get_outputs()], opened.run(None, given), strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return average_run.write(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def quick(monkeypatch, without_shape_checks):
    """Exports without the StableHLO program."""
    monkeypatch.setattr(training_data.synthesis, "poses", average_run.hands_of_40_mm)
    monkeypatch.setattr(program, "write", lambda *_, **__: None)
    monkeypatch.setattr(program, "check", lambda *_, **__: 0.0)


def test_exported_file_gives_the_checkpoints_joints_in_metres(run, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(onnx_program, "check", lambda *_, **__: 1e-7)  # which the next test runs
    out = tmp_path / "hands"
    assert cli.main(["export", str(run), "--out", str(out), "--onnx"]) == 0
    given, scale = examples.examples(5, seed=5), np.linspace(0.03, 0.05, 5, dtype=np.float32)
    state = step.evaluated(checkpoint.load(run))
    wanted = jax.device_get(jax.jit(functools.partial(step.eval_step, config=average_run.options()))(state, given))
    opened = session(str(out / onnx_program.FILE))
    for count in (1, 5):
        found = named(opened, {"image": given.image[:count], "K": given.intrinsics[:count], "scale": scale[:count]})
        metres = wanted.joints_3d[:count] * scale[:count, None, None]
        np.testing.assert_allclose(found["joints_3d"], metres, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found["joints_2d"], wanted.joints_2d[:count], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found["refined_root_depth"], wanted.refined_root_depth[:count], rtol=1e-5)
    text = (out / card.FILE).read_text()
    assert "| `hand.onnx` |" in text
    assert "In onnxruntime it was" in text
    assert "  - onnx\n" in text
    properties = {entry.key: entry.value for entry in onnx.load(out / onnx_program.FILE).metadata_props}
    assert properties["joint_order"] == "freihand"


@pytest.mark.parametrize(
    "network",
    [{"pool": "heatmaps", "lift": True, "patch": 8}, {"patch": 0, "dtype": "bfloat16", "refine": False}],
    ids=["two stages with heatmaps", "published stem, in bfloat16 and without refiner"],
)
def test_other_networks_are_translated_and_compared(tmp_path, without_shape_checks, network):
    tiny = examples.tiny_config()
    config = dataclasses.replace(tiny, network=dataclasses.replace(tiny.network, **network))
    weights = initialized_weights.of(config)
    head = "params/lifting/head/bias" if config.network.lift else "params/head/bias"
    weights[head] = np.random.default_rng(1).uniform(-0.5, 0.5, 63).astype(np.float32)
    onnx_program.write(tmp_path, weights, config=config)
    assert onnx_program.check(tmp_path, weights, config=config) <= onnx_program.TOLERANCE
    weights[head] += 1.0
    with pytest.raises(
        ValueError, match=r"hand.onnx: expected the checkpoint's joints_2d within 0.0001 for 1 hands, got"
    ):
        onnx_program.check(tmp_path, weights, config=config)


FUNCTIONS = {
    "product with a vector": lambda x: jnp.einsum("brc,c->br", x, jnp.arange(3.0)),
    "product over an inner axis": lambda x: jnp.einsum("brc,r->bc", x, jnp.arange(4.0)),
    "product with a transposed matrix": lambda x: jnp.einsum("brc,kc->brk", x, jnp.arange(6.0).reshape(2, 3)),
    "slices": lambda x: x[:, 1:3, ::2],
    "indices": lambda x: x[..., jnp.array([2, 0])],
    "fixed places": lambda x: x.at[:, 1:3, 0].add(x[:, :2, 2]),
    "stacked": lambda x: jnp.stack([x[..., 0], jnp.ones_like(x[..., 0])], axis=1),
    "maximum and padding": lambda x: jnp.max(jnp.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=0.5), axis=1),
    "chosen": lambda x: jnp.where(x > 0.2, x**2, -x),
    "constant": lambda x: jnp.broadcast_to(jnp.arange(3.0), (x.shape[0], 3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_translated_function_gives_the_same_numbers(without_shape_checks, name):
    def function(given):
        return {"y": FUNCTIONS[name](given["x"])}

    model = onnx_graph.translate(function, {"x": ((4, 3), np.float32)})
    for rows in (1, 3):
        x = np.random.default_rng(rows).normal(size=(rows, 4, 3)).astype(np.float32)
        found = named(session(model.SerializeToString()), {"x": x})["y"]
        np.testing.assert_allclose(found, function({"x": jnp.asarray(x)})["y"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: jnp.sort(x, axis=1), "got sort; omit --onnx"),
        (lambda x: x[:, x[0, 0].astype(int)], "got dim_as_value"),
        (lambda x: x.reshape(-1, 3), "sizes that are numbers or b"),
        (lambda x: jnp.einsum("brc,bkc->brk", x, x), "got a batched product"),
    ],
)
def test_what_cannot_be_translated_is_named(without_shape_checks, function, words):
    with pytest.raises(ValueError, match=words):
        onnx_graph.translate(lambda given: {"y": function(given["x"])}, {"x": ((4, 3), np.float32)})


def test_missing_packages_are_named_before_any_work(run, tmp_path, monkeypatch):
    find = onnx_program.importlib.util.find_spec
    monkeypatch.setattr(
        onnx_program.importlib.util, "find_spec", lambda name: None if name[:4] == "onnx" else find(name)
    )
    with pytest.raises(ValueError, match=r"--onnx needs onnx and onnxruntime; pip install 'bmc-jax\[onnx\]'"):
        export.export(run, tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
