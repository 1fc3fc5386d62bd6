"""Networks: shapes, units, published weight counts, detached gradients and dtypes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import examples

from bmc_jax import camera, hand
from bmc_jax.models import PoseNetwork, TwoStageNetwork
from bmc_jax.models.backbone import Block, ResNet, convolution, maximum
from bmc_jax.models.heatmaps import soft_argmax
from bmc_jax.models.pose_network import Refiner, normalise

BATCH = jax.tree.map(jnp.asarray, examples.examples(3))
TINY = {"depth": 10, "width": 4, "patch": 8}


@functools.cache
def initialised(**options):
    """Returns the network and weights from numpy: compiling the initialisers would take longer than all these tests."""
    network, generator = PoseNetwork(**TINY | options), np.random.default_rng(0)
    shapes = jax.eval_shape(
        lambda key: network.init(key, BATCH.image, BATCH.intrinsics, train=False), jax.random.key(0)
    )
    plain = {"bias": 0.0, "mean": 0.0, "scale": 1.0, "var": 1.0}

    def draw(path, leaf):
        name = path[-1].key
        if name in plain or "Dense_2" in jax.tree_util.keystr(path):
            return np.full(leaf.shape, plain.get(name, 0.0), leaf.dtype)
        return generator.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(leaf.dtype)

    return network, jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def predictor(network):
    return jax.jit(lambda variables: network.apply(variables, BATCH.image, BATCH.intrinsics, train=False))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("depth", "published"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_backbone_has_torchvisions_number_of_weights(depth, published):
    features = {18: 512, 34: 512, 50: 2048}[depth]
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(lambda image: ResNet(depth).init(jax.random.key(0), image, train=False), image)
    classifier = features * 1000 + 1000
    assert count(variables["params"]) == published - classifier
    output = jax.eval_shape(lambda v, image: ResNet(depth).apply(v, image, train=False), variables, image)
    assert output.shape == (1, features)


def test_bottleneck_strides_on_its_3x3_convolution():
    block = Block(4, 2, True, convolution, lambda **options: nn.BatchNorm(use_running_average=True, **options))
    run = functools.partial(block.init_with_output, capture_intermediates=True, mutable=True)
    _, state = jax.eval_shape(run, jax.random.key(0), jnp.ones((1, 8, 8, 16)))
    sizes = {
        name: value["__call__"][0].shape[1] for name, value in state["intermediates"].items() if name != "__call__"
    }
    assert sizes["conv1"] == 8
    assert sizes["conv2"] == 4


def test_strided_convolution_samples_where_pytorch_does():
    # PyTorch pads a 3x3 evenly: the first window is centred on the first pixel. "SAME" would centre it on the second.
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[0, 0, 0] = 1
    layer = convolution(1, 3, 2)
    centre = np.zeros((3, 3, 1, 1), np.float32)
    centre[1, 1] = 1
    output = layer.apply({"params": {"kernel": centre}}, image)
    np.testing.assert_array_equal(output[0, :, :, 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolution_and_its_gradients_are_those_of_xlas_convolution(stride):
    draw = np.random.default_rng(stride).normal
    x, kernel = draw(size=(2, 5, 6, 3)).astype(np.float32), draw(size=(1, 1, 3, 4)).astype(np.float32)
    layer = convolution(4, 1, stride)
    assert jax.eval_shape(layer.init, jax.random.key(0), x)["params"]["kernel"].shape == kernel.shape

    def published(x, kernel):
        strides, numbers = (stride, stride), ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=numbers)

    def with_gradients(function):
        value, pull = jax.vjp(function, x, kernel)
        return value, *pull(jnp.sin(value))

    found = with_gradients(jax.jit(lambda x, kernel: layer.apply({"params": {"kernel": kernel}}, x)))
    for ours, expected in zip(found, with_gradients(published), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("platform", "products"), [("cpu", 3), ("cuda", 0), ("tpu", 0)])
def test_pointwise_convolutions_are_products_on_cpus_alone(platform, products):
    layer, x = convolution(4, 1, 2), jnp.ones((2, 4, 4, 3))
    variables = {"params": {"kernel": jnp.ones((1, 1, 3, 4))}}
    gradient = jax.jit(jax.grad(lambda variables, x: jnp.sum(layer.apply(variables, x) ** 2), argnums=(0, 1)))
    program = gradient.trace(variables, x).lower(lowering_platforms=(platform,)).as_text()
    assert program.count("stablehlo.dot_general") == products
    assert program.count("stablehlo.convolution") == 3 - products


@pytest.mark.parametrize("size", [(66, 66), (9, 12), (3, 4)])
def test_maximum_of_the_stem_and_its_gradient_are_those_of_xlas_windows(size):
    draw = np.random.default_rng(0).normal
    x = jnp.asarray(draw(size=(2, *size, 3)), jnp.float32)

    def with_gradient(function):
        value, pull = jax.vjp(function, x)
        return value, *pull(jnp.sin(value))

    windows = with_gradient(lambda x: nn.max_pool(x, (3, 3), strides=(2, 2)))
    for ours, expected in zip(with_gradient(jax.jit(maximum)), windows, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_backbone_accepts_the_smallest_image():
    network = ResNet(10, 4)
    image = jnp.zeros((2, 8, 8, 3))
    output, _ = jax.eval_shape(lambda key: network.init_with_output(key, image, train=True), jax.random.key(0))
    assert output.shape == (2, 32)


def test_normalised_imagenet_mean_is_zero():
    image = np.full((1, 2, 2, 3), 0, np.uint8) + np.array([124, 116, 104], np.uint8)
    assert np.abs(normalise(jnp.asarray(image))).max() < 0.02
    white = normalise(jnp.full((1, 1, 1, 3), 255, jnp.uint8))
    np.testing.assert_allclose(
        white[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-6
    )


def test_prediction_is_in_pixels_and_scale_units():
    network, variables = initialised()
    prediction = predictor(network)(variables)
    assert prediction.joints_2d.shape == (3, 21, 2)
    assert prediction.relative_depth.shape == (3, 21)
    assert np.all(prediction.relative_depth[:, hand.WRIST] == 0)
    np.testing.assert_allclose(prediction.joints_3d[:, hand.WRIST, 2], prediction.refined_root_depth, rtol=1e-6)
    depth = prediction.refined_root_depth[:, None] + prediction.relative_depth
    np.testing.assert_allclose(prediction.joints_3d[..., 2], depth, rtol=1e-6)
    np.testing.assert_allclose(camera.project(prediction.joints_3d, BATCH.intrinsics), prediction.joints_2d, atol=1e-3)
    assert {leaf.dtype for leaf in jax.tree.leaves(prediction)} == {jnp.dtype("float32")}


def test_zero_output_is_the_centre_of_the_crop():
    network, variables = initialised()
    params = dict(variables["params"])
    params["head"] = jax.tree.map(jnp.zeros_like, params["head"])
    prediction = predictor(network)(variables | {"params": params})
    np.testing.assert_array_equal(prediction.joints_2d, np.full((3, 21, 2), (examples.SIZE - 1) / 2))


def test_untrained_refiner_returns_the_root_depth_unchanged():
    depth, rays, root_depth = jnp.ones((2, 21)), jnp.ones((2, 21, 3)), jnp.array([7.0, 90.0])
    refined, _ = Refiner(16).init_with_output(jax.random.key(0, impl="rbg"), depth, rays, root_depth)
    np.testing.assert_array_equal(refined, root_depth)


def test_refiner_has_85_inputs_and_three_layers():
    shapes = jax.eval_shape(
        lambda key: Refiner(16).init(key, jnp.zeros((2, 21)), jnp.zeros((2, 21, 3)), jnp.zeros(2)), jax.random.key(0)
    )["params"]
    assert [shapes[f"Dense_{i}"]["kernel"].shape for i in range(3)] == [(85, 16), (16, 16), (16, 1)]


@pytest.mark.parametrize("detached", [True, False])
def test_detached_root_depth_gives_the_backbone_no_gradient_but_trains_the_refiner(detached):
    network, variables = initialised(detach_root_depth=detached)

    def refined(params):
        return jnp.sum(predictor(network)(variables | {"params": params}).refined_root_depth)

    # The last layer of the refiner starts at zero, so the gradients of the others are taken after a change of it.
    params = jax.tree.map(lambda leaf: leaf + 0.01, variables["params"])
    gradient = jax.jit(jax.grad(refined))(params)
    assert all(np.any(leaf["kernel"] != 0) for leaf in gradient["refiner"].values())
    assert np.any(gradient["head"]["kernel"] != 0) == (not detached)


def test_lifted_joints_have_gradients_with_a_detached_root_depth():
    network, variables = initialised()

    def spread(params):
        prediction = predictor(network)(variables | {"params": params})
        return jnp.sum(jnp.square(prediction.joints_3d))

    assert np.any(jax.jit(jax.grad(spread))(variables["params"])["head"]["kernel"] != 0)


@pytest.mark.parametrize("detached", [True, False])
def test_detached_pixels_have_no_gradient_from_the_3d_pose(detached):
    network, variables = initialised(detach_pixels=detached)

    def spread(params):
        prediction = predictor(network)(variables | {"params": params})
        return jnp.sum(jnp.square(prediction.joints_3d))

    gradient = jax.jit(jax.grad(spread))(variables["params"])["head"]["kernel"].reshape(-1, hand.NUM_JOINTS, 3)
    assert np.any(gradient[..., :2] != 0) == (not detached)
    assert np.any(gradient[..., 2] != 0)


def test_bfloat16_computes_the_backbone_and_keeps_weights_and_geometry_in_float32():
    network, variables = initialised(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    mutable = ["batch_stats", "intermediates"]
    prediction, state = jax.eval_shape(
        lambda image: network.apply(
            variables, image, BATCH.intrinsics, train=True, mutable=mutable, capture_intermediates=True
        ),
        BATCH.image,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(prediction)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state["batch_stats"])} == {jnp.dtype("float32")}
    inner = state["intermediates"]["backbone"]["layer4_0"]["__call__"][0]
    assert inner.dtype == jnp.bfloat16


def test_training_updates_the_running_statistics_and_evaluation_does_not():
    network, variables = initialised()
    for train in (True, False):
        apply = functools.partial(network.apply, train=train, mutable=["batch_stats"])
        _, state = jax.jit(apply)(variables, BATCH.image, BATCH.intrinsics)
        before, after = variables["batch_stats"]["backbone"]["bn1"], state["batch_stats"]["backbone"]["bn1"]
        assert np.any(before["mean"] != after["mean"]) == train


def test_peak_of_a_heatmap_gives_position_and_depth():
    generator = np.random.default_rng(1)
    depth = generator.normal(size=(2, 4, 8, hand.NUM_JOINTS)).astype(np.float32)
    row, column = generator.integers(0, 4, (2, hand.NUM_JOINTS)), generator.integers(0, 8, (2, hand.NUM_JOINTS))
    batch, joint = np.indices(row.shape)
    heat = np.zeros_like(depth)
    heat[batch, row, column, joint] = 50.0
    expected = [2 * (column + 0.5) / 8 - 1, 2 * (row + 0.5) / 4 - 1, depth[batch, row, column, joint]]
    np.testing.assert_allclose(soft_argmax(jnp.asarray(heat), jnp.asarray(depth)), np.stack(expected, -1), atol=1e-6)


def test_flat_heatmaps_give_the_centre_and_the_mean_depth():
    depth = np.random.default_rng(2).normal(size=(1, 3, 5, hand.NUM_JOINTS)).astype(np.float32)
    pose = soft_argmax(jnp.full(depth.shape, 7.0), jnp.asarray(depth))
    np.testing.assert_allclose(pose[..., :2], 0.0, atol=1e-6)
    np.testing.assert_allclose(pose[..., 2], depth.mean(axis=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_network_of_heatmaps_predicts_in_the_crop_in_float32(dtype):
    network, variables = initialised(pool="heatmaps", dtype=dtype)
    prediction = predictor(network)(variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(prediction)} == {jnp.dtype(jnp.float32)}
    size = BATCH.image.shape[-2]
    assert np.all((np.asarray(prediction.joints_2d) > -0.5) & (np.asarray(prediction.joints_2d) < size - 0.5))


def test_depths_of_the_second_stage_have_no_gradient_to_the_points():
    network = TwoStageNetwork(**TINY)
    variables = jax.eval_shape(
        lambda key: network.init(key, BATCH.image, BATCH.intrinsics, train=False), jax.random.key(0)
    )
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.uniform(0.01, 0.1, leaf.shape).astype(leaf.dtype), variables)

    def sums(params):
        told = network.apply(variables | {"params": params}, BATCH.image, BATCH.intrinsics, train=False)
        return jnp.stack([told.relative_depth.sum(), told.joints_2d.sum()])

    depths, places = (
        {name: max(np.abs(leaf[i]).max() for leaf in jax.tree.leaves(part)) for name, part in jacobian.items()}
        for jacobian in [jax.jit(jax.jacrev(sums))(variables["params"])]
        for i in (0, 1)
    )
    assert depths["backbone"] == depths["head"] == 0
    assert depths["lifting"] > 0
    assert places["backbone"] > 0
    assert places["head"] > 0
