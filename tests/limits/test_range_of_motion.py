"""The range of motion of a sequence with gaps."""

import numpy as np
import pytest
from support import hands, reference

from bmc_jax.limits import range_of_motion
from bmc_jax.synthesis import skeleton

PIP = 1


@pytest.fixture(scope="module")
def sequence():
    return hands.bending_sequence()


def test_motion_gives_every_angles_range_and_keeps_gaps(sequence):
    found = range_of_motion.measure(sequence.astype(np.float32), 30.0)
    there = np.isfinite(sequence[:, 0, 0])
    angles = np.degrees([reference.frames_and_angles(pose)[1] for pose in sequence[there]])
    np.testing.assert_allclose(found.degrees[there], angles, atol=0.02)
    assert np.isnan(found.degrees[~there]).all()
    assert (found.gaps, found.longest_gap) == (11, 10)
    assert "90 frames, 3.00 s; 11 frames without a hand, the longest gap 0.33 s" in found.sentence()
    rows = {(row.joint, row.angle): row for row in found.rows}
    assert len(rows) == 30
    bent = rows["index PIP", "flexion"]
    curve = angles[:, 1, PIP, 0]
    assert (bent.lowest, bent.highest) == pytest.approx((curve.min(), curve.max()), abs=0.02)
    assert bent.range == pytest.approx(np.ptp(curve), abs=0.02)
    assert bent.range == pytest.approx(np.degrees(0.6), abs=1)
    assert bent.highest_at == pytest.approx(np.flatnonzero(there)[curve.argmax()] / 30, abs=1 / 30 + 1e-9)
    assert bent.norm == (skeleton.JOINT_RANGES["pip_flexion"].low, skeleton.JOINT_RANGES["pip_flexion"].high)
    assert bent.functional == (23, 87)
    assert rows["thumb CMC", "flexion"].norm is None
    assert rows["ring DIP", "flexion"].range == pytest.approx(0, abs=0.01)


def test_motion_refuses_what_is_none(sequence):
    with pytest.raises(ValueError, match="expected frames with a hand, got none in 10 frames"):
        range_of_motion.measure(sequence[30:40], 30.0)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps: expected a positive finite number"):
            range_of_motion.measure(sequence, rate)


def test_runs_are_found_at_both_ends():
    assert range_of_motion.runs(np.array([1, 1, 0, 1, 0, 1], bool)) == [(0, 2), (3, 4), (5, 6)]
    assert range_of_motion.runs(np.zeros(3, bool)) == []
