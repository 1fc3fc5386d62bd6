"""Depth from limits alone: joints stay on their rays, losses fall, and the summary is of what happened."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from support import hands

from bmc_jax import cli, limits
from bmc_jax.limits import depth_ambiguity, plots

COUNT, STEPS = 12, 60


@pytest.fixture(scope="module")
def truth():
    """Hands of 4 cm a scale unit, half a metre away."""
    poses = hands.in_scale_units(hands.sampled(100)[0]) * 0.04
    return (poses + np.array([0.02, 0.01, 0.5])).astype(np.float32)


@pytest.fixture(scope="module")
def known(truth):
    return limits.fit(truth, source="these hands", left="keep")


@pytest.fixture(scope="module")
def found(truth, known):
    return depth_ambiguity.resolve(truth[:COUNT], known, seed=3, steps=STEPS)


def test_every_stage_has_the_projection_of_the_truth_and_other_depths(truth, found):
    rays = truth[:COUNT, :, :2] / truth[:COUNT, :, 2:]
    assert list(found) == [depth_ambiguity.START, *depth_ambiguity.STAGES]
    for joints in found.values():
        np.testing.assert_allclose(joints[..., :2] / joints[..., 2:], rays, atol=1e-6)
        assert np.abs(joints[..., 2] - truth[:COUNT, :, 2]).max() > 0.01


def test_the_losses_of_a_stage_are_far_below_their_start_and_depths_nearer_with_all(truth, found, known):
    start = depth_ambiguity.violations(found[depth_ambiguity.START], truth[:COUNT], known)
    for stage, terms in depth_ambiguity.STAGES.items():
        after = depth_ambiguity.violations(found[stage], truth[:COUNT], known)
        assert all(after[term].mean() < 0.35 * start[term].mean() for term in terms), stage
    mean = {stage: depth_ambiguity.depth_errors(joints, truth[:COUNT]).mean() for stage, joints in found.items()}
    assert mean["L_BL + L_RB + L_A"] < 0.8 * mean[depth_ambiguity.START]


def test_a_pose_within_the_limits_stays_where_it_is(truth, known):
    for joints in depth_ambiguity.resolve(truth[:COUNT], known, deviation=0.0, steps=STEPS).values():
        np.testing.assert_allclose(joints, truth[:COUNT], atol=1e-6)


def test_depths_are_off_by_the_seed_and_whatever_other_poses_there_are(truth):
    one, same = (depth_ambiguity.perturb_depths(truth[:count], seed=5) for count in (3, 7))
    np.testing.assert_array_equal(one, same[:3])
    assert np.abs(depth_ambiguity.perturb_depths(truth[:3], seed=6) - one).max() > 1e-3
    off = depth_ambiguity.perturb_depths(truth)[..., 2] - truth[..., 2]
    assert off.std() == pytest.approx(depth_ambiguity.DEVIATION, rel=0.05)


def test_a_joint_that_is_not_before_the_camera_is_named(truth):
    behind = truth[:2].copy()
    behind[1, 4, 2] = -0.1
    with pytest.raises(ValueError, match=r"pose 1, joint 4: expected a depth in front of the camera, got -0.1 m"):
        depth_ambiguity.perturb_depths(behind)


def test_errors_are_of_depths_with_the_wrists_joined(truth):
    moved = truth[:2].copy()
    moved[0, :, 2] += 0.3
    moved[1, 8, 2] += 0.021
    np.testing.assert_allclose(depth_ambiguity.depth_errors(moved, truth[:2]), [0.0, 1.0], atol=1e-3)


def test_summary_has_means_and_changes_and_what_limits_say_of_the_truth(truth, found, known):
    rows = depth_ambiguity.summarize(found, truth[:COUNT], known)
    errors = []
    for joints in found.values():
        depth = joints[..., 2] - joints[:, :1, 2] - truth[:COUNT, :, 2] + truth[:COUNT, :1, 2]
        errors.append(1000 * np.abs(depth).mean(axis=1))
    np.testing.assert_allclose(
        [row["depth_mm"] for row in list(rows.values())[:-1]], np.mean(errors, axis=1), rtol=1e-4
    )
    changes = [row["change"] for row in rows.values() if "change" in row]
    np.testing.assert_allclose(changes, np.diff(np.mean(errors, axis=1)), atol=1e-3)
    assert rows[depth_ambiguity.TRUTH] == dict.fromkeys(depth_ambiguity.WEIGHTS, 0.0)
    cells = depth_ambiguity.cells(rows)
    assert {len(row) for row in cells} == {len(depth_ambiguity.HEAD)}
    assert cells[-1][:5] == (depth_ambiguity.TRUTH, "", "", "", "")


def test_the_typical_pose_is_the_one_nearest_to_the_medians(truth):
    """Poses whose middle fingertips are off by 1, 2, ... 5 times as much."""
    stages = {}
    for stage in ("one", "two"):
        stages[stage] = truth[:5].copy()
        stages[stage][:, 12, 2] += 0.01 * np.array([1, 5, 3, 2, 4])
    assert depth_ambiguity.typical(stages, truth[:5]) == 2


def test_the_picture_shows_one_projection_and_the_numbers_of_each_stage(truth, found, known):
    stages = {stage: joints[0] for stage, joints in found.items()}
    figure = plots.depth_stages(stages, truth[0], known)
    grid = np.reshape(figure.axes, (3, 5))
    for column in grid[0]:
        for line, first in zip(column.lines, grid[0, 0].lines, strict=True):
            np.testing.assert_allclose(line.get_xydata(), first.get_xydata(), atol=1e-6)
    words = [axes.get_xlabel() for axes in grid[2]]
    for stage, text in zip(stages, words, strict=False):
        error = depth_ambiguity.depth_errors(found[stage][:1], truth[:1])[0]
        assert f"Z error {error:.1f} mm" in text
    assert "Z error 0.0 mm" in words[-1]


def test_command_says_how_much_and_draws(truth, known, found, tmp_path, monkeypatch, capsys):
    def cut(poses, known, seed):
        return {stage: joints[: len(poses)] for stage, joints in found.items()}

    np.save(tmp_path / "joints.npy", np.repeat(truth[:COUNT], 5, axis=0))
    limits.save(known, tmp_path / "limits.json")
    monkeypatch.setattr(depth_ambiguity, "resolve", cut)
    monkeypatch.setattr(plots, "depth_stages", lambda stages, truth, known: Figure(figsize=(1, 1)))
    command = ["limits", "depths", str(tmp_path / "limits.json"), "--on", str(tmp_path / "joints.npy"), "--count", "9"]
    assert cli.main([*command, "--out", str(tmp_path / "new/figure4.png")]) == 0
    said = capsys.readouterr().out
    assert "9 test poses" in said
    assert "L_BL + L_RB + L_A" in said
    assert (tmp_path / "new/figure4.png").read_bytes()[:4] == b"\x89PNG"
    assert cli.main(["limits", "depths", "--on", str(tmp_path / "none.npy")]) == 2
