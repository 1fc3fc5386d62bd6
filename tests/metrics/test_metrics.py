"""Metrics compared with FreiHAND's published formulas, one pose at a time, and with cases computed by hand."""

import itertools

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from support import reference

from bmc_jax import metrics


@pytest.fixture(scope="module")
def poses():
    """True hands in metres and predictions about 15 mm off."""
    generator = np.random.default_rng(0)
    target = np.stack([reference.sample_hand(generator)[0] for _ in range(40)]) * 0.03
    return target + generator.normal(size=target.shape) * 0.01, target


def aligned_one_by_one(prediction, target):
    """Returns FreiHAND's alignment, step by step as its page describes it."""
    found = []
    for pose, true in zip(prediction, target, strict=True):
        centred, true_centred = pose - pose.mean(axis=0), true - true.mean(axis=0)
        size, true_size = np.linalg.norm(centred) + 1e-8, np.linalg.norm(true_centred) + 1e-8
        turn, scale = orthogonal_procrustes(true_centred / true_size, centred / size)
        found.append((centred / size @ turn.T) * scale * true_size + true.mean(axis=0))
    return np.stack(found)


def area_by_joint(errors, low, high, count):
    thresholds, areas = np.linspace(low, high, count), []
    for joint in range(errors.shape[1]):
        curve = [sum(error <= threshold for error in errors[:, joint]) / len(errors) for threshold in thresholds]
        steps = [(a + b) / 2 * (high - low) / (count - 1) for a, b in itertools.pairwise(curve)]
        areas.append(sum(steps) / (high - low))
    return sum(areas) / len(areas)


def test_procrustes_agrees_with_the_official_one(poses):
    np.testing.assert_allclose(metrics.procrustes(*poses), aligned_one_by_one(*poses), atol=1e-14)


def test_procrustes_undoes_a_similarity(poses):
    _, target = poses
    turn = reference.rotation_about(reference.norm(np.array([1.0, -2.0, 0.5])), 2.0)
    np.testing.assert_allclose(metrics.procrustes(target @ turn.T * 3.7 + [1, 2, 3], target), target, atol=1e-8)


def test_procrustes_undoes_a_reflection_as_the_official_one_does(poses):
    _, target = poses
    np.testing.assert_allclose(metrics.procrustes(target * [-1, 1, 1], target), target, atol=1e-8)


def test_procrustes_never_increases_the_squared_error(poses):
    prediction, target = poses
    before = np.sum((prediction - target) ** 2, axis=(1, 2))
    after = np.sum((metrics.procrustes(prediction, target) - target) ** 2, axis=(1, 2))
    assert (after < before).all()


@pytest.mark.parametrize(
    "pose", [np.zeros((21, 3)), np.full((21, 3), 0.7), np.eye(21, 3)], ids=["zero", "same", "axes"]
)
def test_procrustes_of_a_degenerate_prediction_is_the_official_one(poses, pose):
    _, target = poses
    prediction = np.broadcast_to(pose, target.shape)
    aligned = metrics.procrustes(prediction, target)
    errors = metrics.joint_errors(aligned, target)
    assert np.isfinite(errors).all()
    np.testing.assert_allclose(errors, metrics.joint_errors(aligned_one_by_one(prediction, target), target), atol=1e-9)


def test_procrustes_of_coincident_joints_is_the_centre(poses):
    _, target = poses
    aligned = metrics.procrustes(np.zeros_like(target), target)
    np.testing.assert_allclose(aligned, np.broadcast_to(target.mean(axis=1, keepdims=True), target.shape), atol=1e-14)


def test_procrustes_accepts_any_batch_shape(poses):
    prediction, target = poses
    several = metrics.procrustes(prediction.reshape(5, 8, 21, 3), target.reshape(5, 8, 21, 3))
    np.testing.assert_array_equal(several.reshape(40, 21, 3), metrics.procrustes(prediction, target))


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.05), (0.02, 0.05)])
def test_area_under_pck_is_the_mean_over_joints_of_the_official_area(poses, low, high):
    errors = metrics.joint_errors(*poses)
    assert metrics.pck_auc(errors, low, high) == pytest.approx(area_by_joint(errors, low, high, 100), abs=1e-12)


def test_area_under_pck_of_known_errors():
    assert metrics.pck_auc(np.zeros((3, 21))) == pytest.approx(1)
    assert metrics.pck_auc(np.full((3, 21), 0.0501)) == 0
    # With a step at half the range, the area is one half, to half a threshold's width.
    assert metrics.pck_auc(np.full((3, 21), 0.025)) == pytest.approx(0.5, abs=0.5 / 99)
    half = np.where(np.arange(21) < 7, 0.0, 1.0) * np.ones((3, 1))
    assert metrics.pck_auc(half) == pytest.approx(1 / 3)


def test_a_threshold_includes_errors_equal_to_it():
    np.testing.assert_array_equal(
        metrics.pck(np.array([[0.01], [0.03]]), np.array([0.01, 0.02, 0.03])), [[0.5], [0.5], [1]]
    )


def test_median_is_the_mean_of_the_joints_medians():
    errors = np.array([[1.0, 10.0], [2.0, 10.0], [9.0, 40.0]])
    assert metrics.median_error(errors) == 6.0
    assert metrics.mean_error(errors) == 12.0


def test_summary_of_a_translated_hand_is_zero_except_for_the_absolute_error(poses):
    _, target = poses
    pixels = np.zeros((40, 21, 2))
    found = metrics.summary(target + np.array([0.03, 0.0, 0.04]), target, pixels + np.array([3.0, 4.0]), pixels)
    assert found["joints_2d_px"] == pytest.approx(5.0)
    assert found["absolute_mm"] == pytest.approx(50.0)
    for name in ("depth_mm", "joints_3d_mm", "joints_3d_median_mm", "aligned_mm"):
        assert found[name] == pytest.approx(0, abs=1e-4), name
    # Rounding lifts some errors above the first threshold, which is zero: half a step of the curve is lost at most.
    assert found["joints_3d_auc"] == pytest.approx(1, abs=0.5 / 99)


def test_summary_separates_depth_from_the_image_plane(poses):
    _, target = poses
    moved = target.copy()
    moved[:, 1:, 0] += 0.021
    pixels = np.zeros((40, 21, 2))
    across = metrics.summary(moved, target, pixels, pixels)
    assert across["depth_mm"] == pytest.approx(0)
    assert across["joints_3d_mm"] == pytest.approx(20.0)
    assert across["joints_3d_median_mm"] == pytest.approx(20.0)
    moved = target.copy()
    moved[:, 1:, 2] += 0.021
    assert metrics.summary(moved, target, pixels, pixels)["depth_mm"] == pytest.approx(20.0)


def test_summary_equals_its_definition_joint_by_joint(poses):
    prediction, target = poses
    found = metrics.summary(prediction, target, prediction[..., :2], target[..., :2])
    relative, aligned = [], aligned_one_by_one(prediction, target)
    for pose, true in zip(prediction, target, strict=True):
        relative.append([np.linalg.norm((pose[j] - pose[0]) - (true[j] - true[0])) for j in range(21)])
    assert found["joints_3d_mm"] == pytest.approx(1000 * np.mean(relative))
    assert found["aligned_mm"] == pytest.approx(1000 * np.mean(np.linalg.norm(aligned - target, axis=-1)))
    assert found["aligned_auc"] == pytest.approx(area_by_joint(np.linalg.norm(aligned - target, axis=-1), 0, 0.05, 100))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_value_that_is_not_finite_is_named(poses, value):
    prediction, target = poses[0].copy(), poses[1]
    prediction[7, 3, 2] = value
    with pytest.raises(ValueError, match=r"predicted joint \[7, 3\]"):
        metrics.joint_errors(prediction, target)


def test_shapes_that_differ_are_refused(poses):
    with pytest.raises(ValueError, match=r"predicted joints: expected the shape \[39, 21, 3\] .*, got \[40, 21, 3\]"):
        metrics.joint_errors(poses[0], poses[1][:39])
