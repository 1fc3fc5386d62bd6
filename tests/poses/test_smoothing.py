"""Sequences are smoothed as their period says, across gaps that stay."""

import numpy as np
import pytest

from bmc_jax.poses.smoothing import smooth

FRAMES = np.arange(600)


def test_a_sine_of_the_period_is_damped_by_half_and_slow_ones_hardly():
    for period, gain in ((10, 0.5), (40, 0.99), (5, 0.08)):
        sine = np.sin(2 * np.pi * FRAMES / period)
        middle = slice(200, 400)
        found = smooth(sine, 10)[middle]
        assert np.linalg.norm(found) / np.linalg.norm(sine[middle]) == pytest.approx(gain, abs=0.02)


def test_it_is_the_least_of_the_squares_it_names():
    values = np.random.default_rng(0).normal(size=(30, 2, 3))
    values[7, 1, 2] = np.nan
    differences = np.diff(np.eye(30), n=2, axis=0)
    weights = np.diag(np.where(np.arange(30) == 7, 0.0, 1.0))
    dense = np.linalg.solve(
        weights + (2 * np.sin(np.pi / 6)) ** -4 * differences.T @ differences,
        weights @ np.where(np.isnan(values), 0.0, values).reshape(30, -1),
    ).reshape(values.shape)
    found = smooth(values, 6)
    kept = np.arange(30) != 7
    np.testing.assert_allclose(found[kept], dense[kept], atol=1e-10)
    np.testing.assert_array_equal(found[7], values[7])


def test_uniform_motion_is_left_alone_and_gaps_at_the_ends_stay():
    values = np.stack([FRAMES * 0.5, 3 - FRAMES * 0.1], axis=-1)[:40]
    values[:3] = np.nan
    values[-2:] = np.nan
    np.testing.assert_allclose(smooth(values, 20), values, atol=1e-9)


def test_few_frames_come_back_as_they_are():
    for count in range(3):
        values = np.random.default_rng(0).normal(size=(count, 21, 3))
        np.testing.assert_array_equal(smooth(values, 5), values)


def test_a_period_that_no_sequence_can_show_is_refused():
    with pytest.raises(ValueError, match="expected a period above 2 frames"):
        smooth(np.zeros((5, 3)), 2)
