"""Comparison of two limits, and description of limits."""

import numpy as np
import pytest
from support import hands

from bmc_jax import limits
from bmc_jax.limits import comparison


def test_hulls_are_compared_by_area_and_by_extension(clinical):
    boxes = hands.box_limits((-10, -15), (50, 15))
    shifted = hands.box_limits((20, -15), (80, 5))
    for row in comparison.compare(boxes, shifted):
        assert row.areas == pytest.approx((1800, 1200), rel=1e-3)
        assert row.shared_percent == pytest.approx(100 * 600 / 2400, rel=1e-3)
        assert row.flexion[0] == pytest.approx((-10, 50), abs=1e-3)
        assert row.abduction[1] == pytest.approx((-15, 5), abs=1e-3)
        assert row.first_beyond == pytest.approx(np.hypot(30, 10), abs=1e-2)
        assert row.second_beyond == pytest.approx(30, abs=1e-2)
    same = comparison.compare(clinical, clinical)
    assert all(row.shared_percent == pytest.approx(100, abs=0.1) for row in same)
    assert all(row.first_beyond < 0.01 for row in same)


def test_polygons_apart_share_nothing():
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert comparison.area(comparison.intersection(square, square + 3)) == 0
    assert comparison.area(comparison.intersection(square * 0.5 + 0.2, square)) == pytest.approx(0.25)


def test_limits_are_described_in_words(fitted):
    text = limits.describe(fitted)
    for word in ("limits of test: 600 poses", "left hands", "index-middle", "thumb", "spread, degrees"):
        assert word in text
