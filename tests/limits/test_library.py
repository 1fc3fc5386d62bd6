"""Poses held against limits in numbers and pages, limits drawn to a person, compared, and motion over time."""

import dataclasses
import json
import re

import numpy as np
import pytest
from support import hands, reference

from bmc_jax import cli, hull, limits
from bmc_jax.limits import checking, comparison, fitting, plots, range_of_motion
from bmc_jax.limits.presets import literature
from bmc_jax.synthesis import skeleton
from bmc_jax.visualization import draw

PIP = 1
#: Degrees.
TOLERANCE = np.degrees(1e-4)


@pytest.fixture(scope="module")
def clinical():
    return limits.load("clinical")


@pytest.fixture(scope="module")
def poses():
    return hands.adults().astype(np.float32)


def polygon(low, high):
    """A box of limits in degrees, counter-clockwise, as a file's 16 vertices."""
    (a, b), (c, d) = low, high
    return hull.simplify(np.radians([[a, b], [c, b], [c, d], [a, d]]), 16)


@pytest.fixture(scope="module")
def boxes(clinical):
    """Limits that allow flexion from -10 to 50 and abduction from -15 to 15 degrees, in every joint."""
    return dataclasses.replace(
        clinical, hull=np.broadcast_to(polygon((-10, -15), (50, 15)), (5, 3, 16, 2)).astype(np.float32)
    )


@pytest.fixture(scope="module")
def summary(poses, boxes):
    return limits.summarize(poses, boxes, indices=np.arange(len(poses)) * 10)


def test_the_summary_counts_as_a_loop_over_poses_does(poses, summary):
    angles = np.degrees([reference.frames_and_angles(pose)[1] for pose in poses])
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
        assert row.within_percent == pytest.approx(100 * (1 - row.outside / len(poses)))
        assert not row.outside or row.worst_pose == 10 * beyond.argmax()
        sides = [(far > np.abs(aside)).sum(), (-far > np.abs(aside)).sum()]
        sides += [(aside > np.abs(far)).sum(), (-aside > np.abs(far)).sum()]
        assert list(row.sides.values()) == [int(side) for side in sides]
    assert summary.angles_within <= summary.poses == len(poses)


def test_the_worst_poses_come_first(summary):
    totals = [one.degrees for one in summary.worst]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] == pytest.approx(summary.beyond.sum(axis=(1, 2)).max())
    assert summary.worst[0].pose == 10 * summary.beyond.sum(axis=(1, 2)).argmax()
    assert all(one.joints for one in summary.worst)


def test_bones_and_palm_are_summarised_where_they_violate(poses, clinical):
    changed = poses[:50].copy()
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


def test_poses_within_the_limits_are_said_to_be(poses):
    fitted = limits.fit(poses, source="test", left="keep")
    found = limits.summarize(poses, fitted)
    assert found.within == found.angles_within == len(poses)
    assert not found.worst
    assert not found.intervals
    assert "200 of 200 poses are within every limit" in checking.table(found)


def test_no_pose_gives_the_prior_and_many_the_fit(poses, clinical):
    assert limits.personalize(clinical, poses[:0], source="nobody") is clinical
    fitted = limits.fit(poses, source="me", angle_margin=5.0, length_margin=0.05, left="keep")
    crowd = np.tile(poses, (50, 1, 1))
    many = limits.personalize(clinical, crowd, source="me", left="keep")
    for name in fitting.INTERVALS:
        np.testing.assert_allclose(getattr(many, name), getattr(fitted, name), atol=5e-3)
    apart = comparison.compare(many, fitted)
    assert max(max(row.first_beyond, row.second_beyond) for row in apart) < 1.5


@pytest.mark.parametrize("count", [1, 20])
def test_limits_are_weighted_means_in_every_direction(poses, clinical, count):
    mine = limits.personalize(clinical, poses[:count], source="me", left="keep")
    fitted = limits.fit(poses[:count], source="me", angle_margin=5.0, length_margin=0.05, left="keep")
    share, angle_share = count / (count + 5), count / (count + 100)
    for name in fitting.INTERVALS:
        wanted = (1 - share) * np.asarray(getattr(clinical, name)) + share * np.asarray(getattr(fitted, name))
        np.testing.assert_allclose(getattr(mine, name), wanted, atol=1e-5)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    directions = np.stack([np.cos(around), np.sin(around)])

    def reach(of):
        """How far the supports with their margins, a square's, reach in each direction."""
        far = (np.asarray(of.support, np.float64) @ directions).max(axis=2)
        return far + np.radians(of.meta.margin_degrees) * np.abs(directions).sum(axis=0)

    np.testing.assert_allclose(
        reach(mine), (1 - angle_share) * reach(clinical) + angle_share * reach(fitted), atol=1e-4
    )
    # And the hull is that, simplified from outside.
    assert (reach(mine) < (np.asarray(mine.hull, np.float64) @ directions).max(axis=2) + 1e-4).all()


def test_personal_limits_are_kept_in_a_file_and_remember_their_weight(poses, clinical, tmp_path):
    mine = limits.personalize(clinical, poses[:20], source="me", left="keep")
    limits.save(mine, tmp_path / "mine.json")
    read = limits.load(tmp_path / "mine.json")
    assert read.meta.count == 20
    assert "weight: 0.800 for bones and palm, 0.167 for angles" in read.meta.screening
    np.testing.assert_allclose(read.hull, mine.hull, atol=1e-6)


def test_hulls_are_compared_by_area_and_by_reach(clinical, boxes):
    shifted = dataclasses.replace(
        clinical, hull=np.broadcast_to(polygon((20, -15), (80, 5)), (5, 3, 16, 2)).astype(np.float32)
    )
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


@pytest.fixture(scope="module")
def sequence():
    """90 frames of one hand whose little fingers bend as a sine, without a hand in frames 30 to 39 and 70."""
    pose = hands.adults()[0]
    frames = np.repeat(pose[None], 90, axis=0)
    axis = np.cross(pose[6] - pose[5], pose[7] - pose[6])
    axis /= np.linalg.norm(axis)
    for frame, turn in enumerate(0.3 * np.sin(np.arange(90) / 10)):
        for joint in (7, 8):
            arm = pose[joint] - pose[6]
            turned = arm * np.cos(turn) + np.cross(axis, arm) * np.sin(turn) + axis * (axis @ arm) * (1 - np.cos(turn))
            frames[frame, joint] = pose[6] + turned
    frames[30:40], frames[70] = np.nan, np.nan
    return frames


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
    with pytest.raises(ValueError, match="none of 10 frames has a hand"):
        range_of_motion.measure(sequence[30:40], 30.0)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a positive number of frames a second"):
            range_of_motion.measure(sequence, rate)


def test_runs_are_found_at_both_ends():
    assert range_of_motion.runs(np.array([1, 1, 0, 1, 0, 1], bool)) == [(0, 2), (3, 4), (5, 6)]
    assert range_of_motion.runs(np.zeros(3, bool)) == []


def test_literature_presets_are_what_their_command_makes(monkeypatch):
    monkeypatch.setattr(literature, "PEOPLE", 4)
    for name, ranges in literature.SOURCES.items():
        preset = limits.load(name)
        assert any(next(iter(ranges.values())).source in reference for reference in preset.meta.references)
        flexion = np.degrees(np.asarray(preset.hull))[1:, PIP, :, 0]
        wanted = ranges["pip_flexion"]
        np.testing.assert_allclose(flexion.min(axis=1), wanted.low - literature.ANGLE_MARGIN, atol=3)
        np.testing.assert_allclose(flexion.max(axis=1), wanted.high + literature.ANGLE_MARGIN, atol=3)
    # Fewer people reach less far: within, but for what each hull adds when it is simplified from outside.
    for row in comparison.compare(literature.literature("eaton"), limits.load("eaton")):
        assert row.first_beyond < 3
        assert row.shared_percent > 65


def run(capsys, *arguments):
    status = cli.main(list(map(str, arguments)))
    found = capsys.readouterr()
    return status, found.out, found.err


def test_check_writes_a_page_that_stands_alone(capsys, tmp_path, poses):
    file, page = tmp_path / "hands.npy", tmp_path / "out" / "report.html"
    raw = 1000 * poses.copy()
    raw[5] = np.nan
    np.save(file, raw)
    status, text, _ = run(capsys, "limits", "check", file, "--limits", "functional", "--out", page)
    assert status == 0
    assert "unit mm (detected)" in text
    assert "1 of 200 frames are gaps" in text
    assert re.search(r"index PIP +\d+ +\d", text)
    content = page.read_text()
    assert not re.search(r"https?://|<script|<link", content)
    assert content.count("data:image/png;base64,") == 2
    assert "prefers-color-scheme: dark" in content
    assert "1 gaps are left out" in content
    assert list(page.parent.iterdir()) == [page]


def test_check_prints_json(capsys, tmp_path, poses):
    np.save(tmp_path / "one.npy", poses[0])
    status, text, _ = run(capsys, "limits", "check", tmp_path / "one.npy", "--limits", "clinical", "--json")
    content = json.loads(text)
    assert status == 0
    assert (content["frames"], content["poses"], content["gaps"]) == (1, 1, [])
    assert [joint["joint"] for joint in content["joints"]][:4] == ["thumb CMC", "thumb MCP", "thumb IP", "index MCP"]
    assert [of["convention"] for of in content["conventions"]] == ["order", "unit", "side"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "POSES"], "run: bmc limits check poses.npy --limits clinical"),
        (["check", "POSES", "eaton"], "run: bmc limits check poses.npy --limits eaton"),
        (["check", "POSES", "eaton", "--limits", "clinical"], "expected limits as an option"),
        (["check", "POSES", "--limits", "clinic"], "no limits file and no preset 'clinic'"),
        (["check", "none.csv", "--limits", "clinical"], "no pose file none.csv"),
        (["check", "EMPTY", "--limits", "clinical"], "is empty: there is no pose in it"),
        (["motion", "POSES", "--fps", "0"], "expected a positive number of frames a second, got 0"),
        (["personalize", "EMPTY"], "is empty"),
        (["compare", "clinical", "none.json"], "no limits file"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, poses, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("poses.npy", poses[:3])
    np.save("empty.npy", poses[:0])
    files = {"POSES": "poses.npy", "EMPTY": "empty.npy"}
    status, text, error = run(capsys, "limits", *(files.get(word, word) for word in arguments))
    assert status == 2
    assert not text
    assert message in error
    assert error.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.npy", "poses.npy"]


def test_personalize_compare_and_motion_write_their_files(capsys, tmp_path, monkeypatch, poses, sequence):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", poses[:20] * [-1, 1, 1])
    np.save("sequence.npy", sequence)
    status, text, _ = run(capsys, "limits", "personalize", "mine.npy", "--out", "mine.json")
    assert status == 0
    assert "side left (detected)" in text
    assert limits.load("mine.json").meta.source.startswith("mine.npy, drawn to clinical")
    status, text, _ = run(capsys, "limits", "compare", "clinical", "mine.json", "--out", "compare.png")
    assert status == 0
    assert re.search(r"little DIP +-?\d+ to \d+", text)
    assert (tmp_path / "compare.png").read_bytes()[1:4] == b"PNG"
    status, text, _ = run(capsys, "limits", "motion", "sequence.npy", "--fps", "30", "--out", "motion.html")
    assert status == 0
    assert "11 of 90 frames are gaps" in text
    content = (tmp_path / "motion.html").read_text()
    assert content.count("data:image/png;base64,") == 1
    assert "clinical norm" in content


def test_rings_stand_around_the_joints_that_violate(poses, summary):
    figure = plots.hands(poses[:2], summary.beyond[:2], ["a", "b"])
    rings = [len(axes.collections) - 1 for axes in figure.axes if axes.collections]
    expected = (summary.beyond[:2] > 0).sum(axis=(1, 2))
    assert rings == [expected[0], expected[0], expected[1], expected[1]]
    assert draw.png(figure)[1:4] == b"PNG"
