"""Checks of poses against limits: single violations, and counts by joint."""

import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import hands, reference

from bmc_jax import anatomy, hull, limits
from bmc_jax.limits import checking, plots
from bmc_jax.visualization import draw

#: Degrees.
TOLERANCE = np.degrees(1e-4)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_chunks_have_one_shape_and_give_as_many_rows_as_there_are(count):
    shapes = set()

    def halves(rows):
        shapes.add(rows.shape)
        return {"half": jnp.asarray(rows) / 2, "first": rows[:, 0]}

    rows = np.arange(2.0 * count).reshape(count, 2)
    found = checking.in_chunks(halves, 4, rows)
    np.testing.assert_array_equal(found["half"], rows / 2)
    np.testing.assert_array_equal(found["first"], rows[:, 0])
    assert shapes == {(4, 2)}


def test_no_public_name_of_the_room_is_a_submodules_name():
    assert not {module.name for module in pkgutil.iter_modules(limits.__path__)} & set(limits.__all__)
    assert all(hasattr(limits, name) for name in limits.__all__)


def test_left_hands_are_assessed_as_their_mirror_images(adults, boxes):
    left = np.arange(20) % 2 == 0
    units = adults[:20] / np.linalg.norm(adults[:20, 10] - adults[:20, 9], axis=-1)[:, None, None]
    mixed = np.where(left[:, None, None], units * np.float32([-1, 1, 1]), units)
    found, expected = limits.assess(mixed, boxes, left=left), limits.assess(units, boxes)
    for one, other in zip(jax.tree.leaves(vars(found)), jax.tree.leaves(vars(expected)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert 0 < (expected.excess.angles > 0).mean() < 1


def test_check_says_which_joint_by_how_much(poses, fitted):
    pose = poses[10].copy()
    start, end = pose[6].copy(), pose[7].copy()
    pose[7:9] += end - start
    found = limits.check(pose, fitted)
    long_bone = next(v for v in found if v.quantity == "bone length" and (v.finger, v.bone) == ("index", "DIP"))
    length = 2000 * np.linalg.norm(end - start)
    scale = 1000 * np.linalg.norm(pose[10] - pose[9])
    assert long_bone.unit == "mm"
    assert long_bone.value[0] == pytest.approx(length, rel=1e-4)
    assert long_bone.limit[0] == pytest.approx(float(scale * fitted.bone_length[1, 2, 1]), rel=1e-4)
    assert long_bone.excess == pytest.approx(long_bone.value[0] - long_bone.limit[0], rel=1e-3)
    assert str(long_bone).startswith("pose 0: index DIP bone: length")


def test_check_gives_angles_in_degrees_and_the_nearest_allowed(poses, fitted):
    axis = np.asarray(jax.jit(anatomy.bone_frames)(jnp.asarray(poses[3])))[2, 1, 1]
    flexion = float(limits.measure(poses[3:4])["angles"][0, 2, 1, 0])
    pose = poses[3].copy()
    # Flexion turns z towards x, about y; the middle PIP joint ends 60 degrees bent backwards.
    pose[11:13] = pose[10] + hands.rotate(pose[11:13] - pose[10], axis, np.radians(-60) - flexion)
    found = [v for v in limits.check(np.stack([poses[3], pose]), fitted) if v.quantity == "joint angle"]
    (bent,) = [v for v in found if (v.finger, v.bone) == ("middle", "DIP")]
    assert bent.pose == 1
    assert bent.unit == "degrees"
    assert bent.value[0] == pytest.approx(-60, abs=3)
    assert bent.excess == pytest.approx(np.hypot(*np.subtract(bent.value, bent.limit)), rel=1e-3)
    edge = jax.jit(hull.distance)(jnp.asarray(np.radians(bent.limit), jnp.float32), fitted.hull[2, 1])
    assert edge < 1e-4
    assert "middle PIP joint: flexion, abduction" in str(bent)


def test_check_reports_the_palm(poses, fitted):
    pose = poses[0].copy()
    pose[5:9], pose[9:13] = poses[0, 9:13], poses[0, 5:9]
    quantities = {violation.quantity for violation in limits.check(pose, fitted)}
    assert {"palm curvature", "palm spread"} & quantities
    with pytest.raises(ValueError, match="divide millimetres by 1000"):
        limits.check(1000 * pose, fitted)


@pytest.fixture(scope="module")
def boxes():
    """Limits that allow flexion from -10 to 50 and abduction from -15 to 15 degrees in all joints."""
    return hands.box_limits((-10, -15), (50, 15))


@pytest.fixture(scope="module")
def summary(adults, boxes):
    return limits.summarize(adults, boxes, indices=np.arange(len(adults)) * 10)


def test_the_summary_counts_as_a_loop_over_poses_does(adults, summary):
    angles = np.degrees([reference.frames_and_angles(pose)[1] for pose in adults])
    for finger, level in np.ndindex(5, 3):
        flexion, abduction = angles[:, finger, level].T
        far = np.maximum(flexion - 50, 0) + np.minimum(flexion + 10, 0)
        aside = np.maximum(abduction - 15, 0) + np.minimum(abduction + 15, 0)
        beyond = np.hypot(far, aside)
        unsure = (np.abs(beyond - TOLERANCE) < 0.01).sum() - (beyond == 0).sum()
        far, aside, beyond = (np.where(beyond > TOLERANCE, x, 0) for x in (far, aside, beyond))
        row = summary.joints[3 * finger + level]
        assert row.joint == checking.joint_name(finger, level)
        # Angles within a hundredth of a degree of the tolerance may count either way.
        assert abs(row.outside - (beyond > 0).sum()) <= unsure
        assert row.outside == 0 or row.mean_degrees == pytest.approx(beyond[beyond > 0].mean(), abs=0.01)
        assert row.worst_degrees == pytest.approx(beyond.max(), abs=0.01)
        assert row.within_percent == pytest.approx(100 * (1 - row.outside / len(adults)))
        assert not row.outside or row.worst_pose == 10 * beyond.argmax()
        sides = [(far > np.abs(aside)).sum(), (-far > np.abs(aside)).sum()]
        sides += [(aside > np.abs(far)).sum(), (-aside > np.abs(far)).sum()]
        assert list(row.sides.values()) == [int(side) for side in sides]
    assert summary.angles_within <= summary.poses == len(adults)


def test_the_worst_poses_come_first(summary):
    totals = [one.degrees for one in summary.worst]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] == pytest.approx(summary.beyond.sum(axis=(1, 2)).max())
    assert summary.worst[0].pose == 10 * summary.beyond.sum(axis=(1, 2)).argmax()
    assert all(one.joints for one in summary.worst)


def test_bones_and_palm_are_summarized_where_they_violate(adults, clinical):
    changed = adults[:50].copy()
    changed[7:9, 8] += 3 * (changed[7:9, 8] - changed[7:9, 7])
    found = limits.summarize(changed, clinical)
    (bone,) = [part for part in found.intervals if part.quantity == "bone length"]
    assert (bone.where, bone.below, bone.above, bone.unit) == ("index TIP", 0, 2, "mm")
    length = 1000 * np.linalg.norm(changed[7:9, 8] - changed[7:9, 7], axis=-1)
    scale = 1000 * np.linalg.norm(changed[7:9, 10] - changed[7:9, 9], axis=-1)
    excess = length - scale * float(clinical.bone_length[1, 3, 1])
    assert bone.mean_excess == pytest.approx(excess.mean(), rel=1e-4)
    assert bone.worst_excess == pytest.approx(excess.max(), rel=1e-4)
    assert bone.within_percent == pytest.approx(96)


def test_poses_within_the_limits_are_said_to_be(adults):
    fitted = limits.fit(adults, source="test", left="keep")
    found = limits.summarize(adults, fitted)
    assert found.within == found.nearly_within == found.angles_within == len(adults)
    assert not found.worst
    assert not found.intervals
    assert "200 of 200 poses are within every limit" in checking.table(found)


def test_rings_stand_around_the_joints_that_violate(adults, summary):
    figure = plots.hands(adults[:2], summary.beyond[:2], ["a", "b"])
    rings = [len(axes.collections) - 1 for axes in figure.axes if axes.collections]
    expected = (summary.beyond[:2] > 0).sum(axis=(1, 2))
    assert rings == [expected[0], expected[0], expected[1], expected[1]]
    assert draw.png(figure)[1:4] == b"PNG"
