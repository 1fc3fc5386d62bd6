"""The lifting network for points: its inputs, outputs and hands, and a whole run."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import examples, hands

from bmc_jax import camera, limits, synthesis
from bmc_jax import config as configuration
from bmc_jax.core import validation
from bmc_jax.data import sources
from bmc_jax.inference import evaluate
from bmc_jax.models import LiftingNetwork, points
from bmc_jax.training import config_io, forward, run_folder, step, train


def without_images(count=8, **fields):
    batch = examples.examples(count, **fields)
    return dataclasses.replace(batch, image=batch.image[..., :0])


def on_device(count=8):
    return jax.tree.map(jnp.asarray, without_images(count))


@functools.cache
def said(refine=True):
    """Returns weights that differ from the initial weights, and their outputs for some pixels and K."""
    network, batch = LiftingNetwork(hidden=16, refine=refine), on_device()
    shapes = jax.eval_shape(
        functools.partial(network.init, train=False), jax.random.key(0), batch.joints_2d, batch.intrinsics
    )
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
    return variables, jax.jit(functools.partial(network.apply, train=False))


def metres(count=40):
    """Returns right hands in front of a camera, metres."""
    joints = 0.03 * hands.in_scale_units(hands.sampled()[0]) + np.array([0.1, -0.05, 0.6])
    return validation.screen(joints, left="drop").poses[:count]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hands.npy"
    np.save(path, metres())
    return str(path)


def lifting(**fields):
    tiny = examples.tiny_config()
    network = dataclasses.replace(tiny.network, input="points")
    return dataclasses.replace(tiny, network=network, **fields)


def test_before_training_the_pixels_are_those_told_and_the_hand_is_flat():
    batch, network = on_device(), LiftingNetwork(hidden=16)
    initialise = jax.jit(functools.partial(network.init, train=False))
    variables = initialise(jax.random.key(0, impl="rbg"), batch.joints_2d, batch.intrinsics)
    prediction = said()[1](variables, batch.joints_2d, batch.intrinsics)
    np.testing.assert_allclose(prediction.joints_2d, batch.joints_2d, atol=1e-3)
    np.testing.assert_array_equal(prediction.relative_depth, 0)


def test_the_pose_does_not_hang_on_the_crop():
    batch, (variables, say) = on_device(), said()
    zoom = jnp.array([[2.0, 0, 5], [0, 2.0, -3], [0, 0, 1]])
    near = say(variables, batch.joints_2d, batch.intrinsics)
    far = say(variables, camera.warp_pixels(zoom, batch.joints_2d), camera.warp_intrinsics(zoom, batch.intrinsics))
    assert np.ptp(near.relative_depth) > 0.01
    np.testing.assert_allclose(near.joints_3d, far.joints_3d, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(camera.warp_pixels(zoom, near.joints_2d), far.joints_2d, atol=1e-2)


def test_without_the_refiner_the_quadratics_depth_is_taken():
    batch, (variables, say) = on_device(), said(refine=False)
    assert "refiner" not in variables["params"]
    prediction = say(variables, batch.joints_2d, batch.intrinsics)
    np.testing.assert_array_equal(prediction.refined_root_depth, prediction.root_depth)
    variables, say = said()
    prediction = say(variables, batch.joints_2d, batch.intrinsics)
    assert np.abs(prediction.refined_root_depth - prediction.root_depth).min() > 1e-4


def test_points_are_off_by_the_noise_and_every_time_by_the_same():
    batch = without_images(200)
    off = np.asarray(points(batch, noise=2.0, seed=1) - batch.joints_2d)
    assert off.std() == pytest.approx(2.0, rel=0.03)
    assert abs(off.mean()) < 0.1
    assert np.abs(np.corrcoef(off[:100].ravel(), off[100:].ravel())[0, 1]) < 0.05
    part = jax.tree.map(lambda leaf: leaf[150:160], batch)
    np.testing.assert_array_equal(points(part, noise=2.0, seed=1) - part.joints_2d, off[150:160])
    assert np.abs(points(batch, noise=2.0, seed=2) - batch.joints_2d - off).min(axis=(1, 2)).max() > 0
    np.testing.assert_array_equal(points(batch, noise=0.0, seed=1), batch.joints_2d)


def test_a_joint_without_a_label_is_told_at_the_centre_whatever_it_holds():
    batch = without_images(2)
    batch.joints_2d_valid[0, 3] = False
    batch.joints_2d[0, 3] = np.nan
    told = np.asarray(points(batch, noise=0.0, seed=0))
    assert (told[0, 3] == (examples.SIZE - 1) / 2).all()
    assert np.isfinite(told).all()


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"'points' expects a batch without images, got images"):
        points(examples.examples(2), noise=0.0, seed=0)


@pytest.mark.slow
def test_labels_are_those_of_the_rendered_hands():
    index = np.array([3, 0])
    made = synthesis.labels(0, "synthetic", "test", index, 64)
    assert made.image.shape == (2, 64, 64, 0)
    np.testing.assert_array_equal(made.joints_3d, synthesis.poses(0, "synthetic", "test", index, 64))
    pixels = np.einsum("bij,bkj->bki", made.intrinsics, made.joints_3d / made.joints_3d[..., 2:])[..., :2]
    np.testing.assert_allclose(made.joints_2d, pixels, atol=1e-3)
    np.testing.assert_array_equal(made.index, index)
    assert made.joints_3d_valid.all()
    assert made.present.all()


def test_sources_must_suit_the_network(file):
    of_file = (configuration.Source(file, labels="3d", share=1.0),)
    data = dataclasses.replace(examples.tiny_config().data, train=of_file, test=(file,))
    assert sources.resolve(lifting(data=data)).data.train[0].count == 32
    with pytest.raises(
        ValueError,
        match=r"expected a source with images for network\.input 'image', got .*, a file of joints without images",
    ):
        sources.resolve(dataclasses.replace(examples.tiny_config(), data=data))
    dataset = (configuration.Source("freihand", labels="2d", share=1.0),)
    with pytest.raises(
        ValueError,
        match=r"data\.train\[0\]\.name: expected a rendered domain .* for network\.input 'points', got 'freihand'",
    ):
        sources.resolve(lifting(data=dataclasses.replace(data, train=dataset)))
    with pytest.raises(ValueError, match=r"limits\.source: expected .* got 'nothing'"):
        sources.resolve(lifting(data=data, limits=configuration.Limits(source="fit:nothing")))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augment=True", "data.augment: expected false for network.input 'points', .* got True"),
        ("data.train[0].fresh=True", "fresh: expected false for network.input 'points', .* got True"),
        ("network.pretrained=some.pth", "network.pretrained: expected a run's folder .* got 'some.pth'"),
        ("network.input=image", "network.noise: expected 0 unless .* got 1.0"),
    ],
)
def test_settings_of_images_are_refused_for_points(override, message):
    with pytest.raises(ValueError, match=message):
        config_io.load("configs/lifting.py", [override])


def test_the_whole_way_from_points_to_measures(tmp_path, file):
    data = dataclasses.replace(
        examples.tiny_config().data,
        train=(configuration.Source(file, labels="3d", count=16), configuration.Source(file, labels="2d", count=16)),
        test=(file,),
    )
    margins = configuration.Limits(source=f"fit:{file}", angle_margin=5.0)
    options = lifting(data=data, limits=margins)
    options = dataclasses.replace(options, network=dataclasses.replace(options.network, noise=0.5))
    folder = tmp_path / "run"
    train.train(options, folder)
    fitted = limits.load(folder / limits.FILE)
    assert fitted.meta.source == f"training poses of {file}"
    assert fitted.meta.count == 32
    assert json.loads((folder / run_folder.DATA_FILE).read_text())[0]["hash"] == sources.kind(file).content_hash("")
    measured = evaluate.evaluate(folder)["domains"][file]
    assert measured["count"] == 8
    assert measured["network"]["joints_2d_px"] < 3.0
    assert np.isfinite(list(measured["network"].values())).all()
    with pytest.raises(ValueError, match=r"expected passes 1 and turns 1 for network\.input 'points'"):
        evaluate.evaluate(folder, passes=2)
    again = step.create(
        dataclasses.replace(options, network=dataclasses.replace(options.network, pretrained=str(folder)))
    )
    jax.tree.map(np.testing.assert_array_equal, again.params, forward.load(folder).saved["params"])
