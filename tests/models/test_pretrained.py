"""Initial weights: torchvision's names and shapes, features equal to PyTorch's, and errors for wrong files."""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import re
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from support import examples

from bmc_jax import config, step
from bmc_jax.models import pretrained
from bmc_jax.models.backbone import Block, ResNet, convolution
from bmc_jax.training import checkpoint, config_io, run_folder, train

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


@functools.cache
def published(depth, width=64):
    """Returns the shapes of torchvision's ResNet by name, without classifier and counters."""
    shapes = {}

    def layer(conv, norm, outputs, inputs, kernel):
        shapes[f"{conv}.weight"] = (outputs, inputs, kernel, kernel)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{name}"] = (outputs,)

    layer("conv1", "bn1", width, 3, 7)
    inputs, expansion = width, 4 if depth == 50 else 1
    for i, count in enumerate(BLOCKS[depth]):
        inner = width * 2**i
        outputs = inner * expansion
        for j in range(count):
            block = f"layer{i + 1}.{j}"
            if depth == 50:
                layer(f"{block}.conv1", f"{block}.bn1", inner, inputs, 1)
                layer(f"{block}.conv2", f"{block}.bn2", inner, inner, 3)
                layer(f"{block}.conv3", f"{block}.bn3", outputs, inner, 1)
            else:
                layer(f"{block}.conv1", f"{block}.bn1", inner, inputs, 3)
                layer(f"{block}.conv2", f"{block}.bn2", inner, inner, 3)
            if j == 0 and (i > 0 or inputs != outputs):
                layer(f"{block}.downsample.0", f"{block}.downsample.1", outputs, inputs, 1)
            inputs = outputs
    return shapes


@functools.cache
def tensors(depth, width=4, seed=0):
    """Returns random weights and statistics by torchvision's names. They differ from the initial ones and keep features
    near one through all layers."""
    generator, found = np.random.default_rng(seed), {}
    for name, shape in published(depth, width).items():
        if len(shape) == 4:
            value = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith("running_var"):
            value = generator.uniform(0.5, 2, shape)
        elif name.endswith("weight"):
            last = re.search(r"bn3\.|layer\d\.\d\.bn2\." if depth != 50 else r"layer\d\.\d\.bn3\.", name)
            value = generator.uniform(0.2, 0.4, shape) if last else generator.uniform(0.5, 1.5, shape)
        else:
            value = generator.normal(0, 0.3, shape)
        found[name] = value.astype(np.float32)
    return found


def written(tmp_path, content, name="weights.safetensors"):
    safetensors.numpy.save_file(content, tmp_path / name)
    return tmp_path / name


# -- an independent ResNet with PyTorch's conventions in float64 numpy, channels first


def windows(x, kernel, stride, edge, fill):
    """Returns the windows `[b, c, rows, columns, kernel, kernel]` of `[b, c, h, w]`, padded equally on all sides."""
    padded = np.pad(x, [(0, 0), (0, 0), (edge, edge), (edge, edge)], constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))[:, :, ::stride, ::stride]


def convolve(weights, name, x, stride=1):
    kernel = weights[f"{name}.weight"].astype(np.float64)
    size = kernel.shape[-1]
    return np.einsum("bcijkl,ockl->boij", windows(x, size, stride, size // 2, 0.0), kernel, optimize=True)


def norm(weights, name, x):
    scale, bias, mean, var = (
        weights[f"{name}.{leaf}"].astype(np.float64)[:, None, None]
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def reference_block(weights, name, x, stride, depth):
    last, y = 3 if depth == 50 else 2, x
    for i in range(1, last + 1):
        strided = i == (2 if depth == 50 else 1)
        y = norm(weights, f"{name}.bn{i}", convolve(weights, f"{name}.conv{i}", y, stride if strided else 1))
        y = y if i == last else np.maximum(y, 0)
    if f"{name}.downsample.0.weight" in weights:
        x = norm(weights, f"{name}.downsample.1", convolve(weights, f"{name}.downsample.0", x, stride))
    return np.maximum(x + y, 0)


def reference_features(weights, image, depth):
    x = np.maximum(norm(weights, "bn1", convolve(weights, "conv1", image, 2)), 0)
    x = windows(x, 3, 2, 1, -np.inf).max((-1, -2))
    for i, count in enumerate(BLOCKS[depth]):
        for j in range(count):
            x = reference_block(weights, f"layer{i + 1}.{j}", x, 2 if i and not j else 1, depth)
    return x.mean((2, 3))


def channels_last(x):
    return jnp.asarray(np.moveaxis(x, 1, -1), jnp.float32)


def assert_same(found, expected):
    """Asserts equality to 1e-4 of the largest value, for values that are not constant."""
    assert expected.std() > 0.05
    assert np.abs(np.asarray(found) - expected).max() < 1e-4 * np.abs(expected).max()


def features(depth, width, params, batch_stats, image):
    apply = jax.jit(functools.partial(ResNet(depth, width).apply, train=False))
    return apply({"params": params, "batch_stats": batch_stats}, channels_last(image))


# -- names and shapes


@pytest.mark.parametrize(("depth", "entries"), [(18, 122), (34, 218), (50, 320)])
def test_names_and_shapes_are_torchvisions(depth, entries):
    shapes = published(depth)
    norms = sum(name.endswith("running_var") for name in shapes)
    # torchvision's state_dict also has two entries of the classifier and a counter for each BatchNorm.
    assert len(shapes) + 2 + norms == entries
    variables = jax.eval_shape(
        lambda image: ResNet(depth).init(jax.random.key(0), image, train=False), jnp.zeros((1, 32, 32, 3))
    )
    blank = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), variables)
    named = pretrained.torch_named(blank["params"], blank["batch_stats"])
    assert {name: tensor.shape for name, tensor in named.items()} == shapes


def test_resnet_50_has_161_parameters_and_106_statistics():
    statistics = [name for name in published(50) if "running" in name]
    assert len(published(50)) - len(statistics) + 2 == 161
    assert len(statistics) == 106


def test_names_and_shapes_of_well_known_tensors():
    shapes = published(50)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer2.0.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["layer4.2.bn3.running_var"] == (2048,)
    assert "layer1.0.downsample.1.running_mean" not in published(34)


def test_save_and_load_preserve_every_bit(tmp_path):
    first = pretrained.load(written(tmp_path, tensors(18)), depth=18, width=4)
    pretrained.save(tmp_path / "again.safetensors", *first)
    assert sorted(safetensors.numpy.load_file(tmp_path / "again.safetensors")) == sorted(published(18))
    for name, tensor in safetensors.numpy.load_file(tmp_path / "again.safetensors").items():
        np.testing.assert_array_equal(tensor, tensors(18)[name])
    second = pretrained.load(tmp_path / "again.safetensors", depth=18, width=4)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_classifier_counters_and_prefixes_are_ignored(tmp_path, prefix):
    more = {"fc.weight": np.ones((1000, 32), np.float32), "fc.bias": np.ones(1000, np.float32)}
    counters = {f"{name[: -len('.bias')]}.num_batches_tracked": np.array(7) for name in tensors(18) if ".bias" in name}
    content = {prefix + name: tensor for name, tensor in (tensors(18) | more | counters).items()}
    params, batch_stats = pretrained.load(written(tmp_path, content), depth=18, width=4)
    named = pretrained.torch_named(params, batch_stats)
    jax.tree.map(np.testing.assert_array_equal, named, tensors(18))


def test_half_precision_becomes_float32(tmp_path):
    content = {name: tensor.astype(np.float16) for name, tensor in tensors(18).items()}
    params, batch_stats = pretrained.load(written(tmp_path, content), depth=18, width=4)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, batch_stats))} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(params["bn1"]["scale"], content["bn1.weight"].astype(np.float32))


# -- features equal to those of other implementations


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_features_are_those_of_pytorchs_conventions_in_float64(tmp_path, depth):
    # "SAME" pads odd sides as PyTorch does, so the sides include odd and even ones before each stride of 2.
    image = np.random.default_rng(1).normal(0, 1, (2, 3, 46, 55))
    params, batch_stats = pretrained.load(written(tmp_path, tensors(depth)), depth=depth, width=4)
    assert_same(features(depth, 4, params, batch_stats, image), reference_features(tensors(depth), image, depth))


@pytest.mark.parametrize(("name", "stride"), [("layer1_0", 1), ("layer2_0", 2), ("layer2_1", 1)])
def test_bottleneck_is_that_of_pytorchs_conventions_in_float64(tmp_path, name, stride):
    params, batch_stats = pretrained.load(written(tmp_path, tensors(50)), depth=50, width=4)
    filters = 8 if name.startswith("layer2") else 4
    inputs = params[name]["conv1"]["kernel"].shape[2]
    x = np.maximum(np.random.default_rng(2).normal(0, 1, (2, inputs, 7, 6)), 0)
    block = Block(filters, stride, True, convolution, functools.partial(nn.BatchNorm, use_running_average=True))
    found = block.apply({"params": params[name], "batch_stats": batch_stats[name]}, channels_last(x))
    expected = reference_block(tensors(50), name.replace("_", "."), x, stride, 50)
    assert_same(found, np.moveaxis(expected, 1, -1))


@needs_torch
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_features_are_those_of_a_pytorch_resnet(tmp_path, depth):
    import torch
    from support import torch_resnet

    model = torch_resnet.TorchResNet(depth)
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors(depth, 64).items()})
    image = np.random.default_rng(3).normal(0, 1, (1, 3, 64, 51))
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(image).float()).numpy()
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "weights.pth")
    params, batch_stats = pretrained.load(tmp_path / "weights.pth", depth=depth)
    assert_same(features(depth, 64, params, batch_stats, image), expected)


def test_training_moves_the_statistics_by_a_tenth_towards_the_batch():
    # PyTorch does the same with n / (n - 1) times the variance of the batch.
    image = np.random.default_rng(4).normal(0, 1, (2, 3, 32, 32))
    network, weights = ResNet(18, 4), tensors(18)
    variables = network.init(jax.random.key(0, impl="rbg"), channels_last(image), train=False)
    variables["params"]["conv1"]["kernel"] = jnp.asarray(weights["conv1.weight"].transpose(2, 3, 1, 0))
    variables["batch_stats"]["bn1"] = {name: weights[f"bn1.running_{name}"] for name in ("mean", "var")}
    apply = functools.partial(network.apply, train=True, mutable=["batch_stats"])
    found = jax.jit(lambda image: apply(variables, image)[1]["batch_stats"]["bn1"])(channels_last(image))
    of_batch = convolve(weights, "conv1", image, 2)
    for name, value in {"mean": of_batch.mean((0, 2, 3)), "var": of_batch.var((0, 2, 3))}.items():
        np.testing.assert_allclose(found[name], 0.9 * weights[f"bn1.running_{name}"] + 0.1 * value, rtol=1e-4)


@needs_torch
def test_pytorch_loads_saved_weights(tmp_path):
    import torch
    from support import torch_resnet

    saved = tmp_path / "ours.safetensors"
    pretrained.save(saved, *pretrained.load(written(tmp_path, tensors(18)), depth=18, width=4))
    model = torch_resnet.TorchResNet(18, width=4)
    content = safetensors.numpy.load_file(saved)
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in content.items()})
    image = np.random.default_rng(5).normal(0, 1, (1, 3, 40, 40))
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(image).float()).numpy()
    assert_same(found, reference_features(tensors(18), image, 18))


# -- wrong files


def without(name):
    return {key: tensor for key, tensor in tensors(18).items() if key != name}


WRONG = {
    "missing": (without("layer3.0.bn2.bias"), r"layer3\.0\.bn2\.bias: expected \[16\], got nothing"),
    "unexpected": (tensors(18) | {"head.bias": np.ones(2, np.float32)}, r"head\.bias: expected nothing, got \[2\]"),
    "wrong shape": (
        tensors(18) | {"conv1.weight": np.ones((4, 3, 3, 3), np.float32)},
        r"ResNet-18 of width 4 (.|\n)*conv1\.weight: expected \[4, 3, 7, 7\], got \[4, 3, 3, 3\]",
    ),
    "integers": (tensors(18) | {"bn1.bias": np.ones(4, np.int32)}, r"bn1\.bias: .* floating .*, got \[4\] of int32"),
    "not finite": (tensors(18) | {"bn1.bias": np.full(4, np.nan, np.float32)}, r"bn1\.bias: .* not finite"),
    "negative": (tensors(18) | {"bn1.running_var": np.full(4, -1, np.float32)}, r"bn1\.running_var: .* below zero"),
    "another depth": (tensors(50), r"network\.depth to that of the file(.|\n)*and \d+ more"),
    "mixed prefixes": (
        {("module." if "conv1" in name else "") + name: tensor for name, tensor in tensors(18).items()},
        r"conv1\.weight: expected .*, got nothing",
    ),
    "empty": ({}, r"bn1\.bias: expected \[4\], got nothing"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_wrong_tensors_are_named_with_the_expected_ones(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        pretrained.load(written(tmp_path, content), depth=18, width=4)
    assert "weights.safetensors" in str(error.value)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"network\.pretrained: .*nowhere\.safetensors', which does not exist"):
        pretrained.load(tmp_path / "nowhere.safetensors", depth=18)
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.safetensors, \.pth or \.pt file, got '\.h5'"):
        pretrained.load(tmp_path / "weights.h5", depth=18)
    whole = written(tmp_path, tensors(18)).read_bytes()
    for cut in (0, 5, 1000, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cut\.safetensors: expected a safetensors file, .* \(.+\); download"):
            pretrained.load(tmp_path / "cut.safetensors", depth=18)


def test_pth_without_torch_states_how_to_convert_it(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"safetensors\.torch\.save_file\(torch\.load\('weights\.pth', weights_only"):
        pretrained.load(tmp_path / "weights.pth", depth=18)


@needs_torch
def test_pth_with_other_content_than_tensors_is_refused(tmp_path):
    import torch

    file = tmp_path / "weights.pt"
    for content in (torch.nn.Linear(2, 2), pretrained):  # a whole module, and content that would run code
        try:
            torch.save(content, file)
        except TypeError:
            file.write_bytes(b"nonsense")
        with pytest.raises(
            ValueError, match=r"expected tensors, got unreadable content \(.+\); save the network's state_dict"
        ):
            pretrained.load(file, depth=18)
    torch.save({"state_dict": {"epoch": 3}}, file)
    with pytest.raises(ValueError, match=r"expected a mapping of names to tensors"):
        pretrained.load(file, depth=18)


# -- in a configuration


@pytest.mark.parametrize(
    ("field", "value", "wanted"), [("depth", 10, "18 or 34 or 50"), ("width", 32, "64"), ("patch", 4, "0")]
)
def test_published_weights_require_the_published_network(field, value, wanted):
    options = config.Config(network=config.Network(**{field: value}))
    config_io.validate(options)
    options.network.pretrained = "weights.safetensors"
    with pytest.raises(ValueError, match=rf"network\.{field}: expected {wanted} for network\.pretrained, got {value}"):
        config_io.validate(options)


def test_new_state_has_the_weights_of_the_file(tmp_path, monkeypatch):
    options = examples.tiny_config()
    options.network = config.Network(depth=18, width=4, pretrained=str(written(tmp_path, tensors(18))))
    # A narrow network compiles faster, but the check of the configuration refuses it.
    monkeypatch.setattr(pretrained, "load", functools.partial(pretrained.load, width=4))
    state = step.create(options)
    named = pretrained.torch_named(state.params["backbone"], state.batch_stats["backbone"])
    jax.tree.map(np.testing.assert_array_equal, named, tensors(18))
    assert {"head", "refiner"} < set(state.params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


class CreatedError(Exception):
    """Raised in place of the creation of a run's first state, with the file of its initial weights."""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Starts a run in `tmp_path / "run"` up to its first state; returns the file of its initial weights."""

    def create(options):
        raise CreatedError(options.network.pretrained)

    monkeypatch.setattr(step, "create", create)

    def run(file):
        options = examples.tiny_config()
        options.network = config.Network(depth=18, pretrained=str(file))
        with pytest.raises(CreatedError) as reached:
            train.train(options, tmp_path / "run")
        return str(reached.value)

    return run


def test_new_run_records_the_file_and_its_hash(tmp_path, begin, capsys):
    file = written(tmp_path, tensors(18, 64))
    assert begin(file) == str(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    noted = json.loads((tmp_path / "run" / run_folder.WEIGHTS_FILE).read_text())
    assert noted == {"file": "weights.safetensors", "sha256": digest}
    assert f"initial weights: weights.safetensors, sha256 {digest}" in capsys.readouterr().out


def test_resumed_run_does_not_need_the_file(tmp_path, begin, monkeypatch):
    file = written(tmp_path, tensors(18, 64))
    begin(file)
    noted = (tmp_path / "run" / run_folder.WEIGHTS_FILE).read_text()
    file.unlink()
    monkeypatch.setattr(checkpoint, "latest", lambda workdir: 1)
    assert begin(file) == ""
    assert (tmp_path / "run" / run_folder.WEIGHTS_FILE).read_text() == noted


def test_missing_or_wrong_file_leaves_no_run_folder(tmp_path, begin):
    with pytest.raises(FileNotFoundError, match="expected a file of initial weights"):
        begin(tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"ResNet-18(.|\n)*bn1\.bias: expected \[64\], got \[4\]"):
        begin(written(tmp_path, tensors(18)))
    assert not (tmp_path / "run").exists()


# -- weights of another run


@pytest.fixture
def finished(tmp_path):
    """Returns the folder of a run of the smallest network with averaged weights, after one step."""
    options = examples.tiny_config()
    options.optimizer.ema = 0.5
    state = step.create(options)
    state = dataclasses.replace(state, step=state.step + 1, average=jax.tree.map(lambda leaf: leaf + 1, state.average))
    folder = tmp_path / "finished"
    folder.mkdir()
    config_io.write(options, folder)
    checkpoint.save(folder, state, keep=1)
    return folder, state


def test_a_run_begins_with_the_averaged_weights_of_another_run(finished, tmp_path):
    folder, theirs = finished
    options = examples.tiny_config()
    options.network.pretrained = str(folder)
    found = step.create(config_io.validate(options))
    jax.tree.map(np.testing.assert_array_equal, found.params, theirs.average["params"])
    jax.tree.map(np.testing.assert_array_equal, found.batch_stats, theirs.average["batch_stats"])
    assert int(found.step) == 0
    weights = run_folder.initial_weights(tmp_path / "run", options)
    assert weights["file"] == "finished step 1"
    assert len(weights["sha256"]) == 64


def test_weights_of_another_network_or_of_no_run_are_refused(finished, tmp_path):
    options = examples.tiny_config()
    options.network.pretrained = str(finished[0])
    options.network.width *= 2
    with pytest.raises(
        ValueError, match=rf"expected network\.width {options.network.width}, got {options.network.width // 2}; give"
    ):
        run_folder.initial_weights(tmp_path / "run", options)
    options.network.pretrained = str(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        run_folder.initial_weights(tmp_path / "run", options)


def test_the_second_stage_begins_with_the_weights_of_a_lifting_network(tmp_path):
    options = examples.tiny_config()
    options.network = config.Network(input="points", noise=1.0)
    state = step.create(options)
    config_io.write(options, tmp_path)
    checkpoint.save(tmp_path, state, keep=1)
    options.network = config.Network(depth=10, width=4, pool="heatmaps", lift=True, pretrained=str(tmp_path))
    found = step.create(config_io.validate(options))
    jax.tree.map(np.testing.assert_array_equal, found.params["lifting"], state.params)
    assert {"backbone", "head"} < set(found.params)
    # The weights of the second folder replace those of the first.
    first = tmp_path / "first"
    first.mkdir()
    config_io.write(options, first)
    checkpoint.save(first, jax.tree.map(lambda leaf: leaf + 1, found), keep=1)
    options.network.pretrained = f"{first},{tmp_path}"
    both = step.initial_weights(config_io.validate(options))["params"]
    jax.tree.map(np.testing.assert_array_equal, both["lifting"], state.params)
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one, other + 1), both["head"], found.params["head"])
    options.network.pretrained = str(tmp_path)
    options.network.refine = False
    with pytest.raises(ValueError, match=r"expected network\.refine False, got True"):
        step.initial_weights(options)
