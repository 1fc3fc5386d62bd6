"""The official protocols compared with `official`, which evaluates one pose and one joint at a time."""

import functools

import numpy as np
import pytest
from support import official, reference

from bmc_jax import metrics

ALIGN = {
    "absolute": lambda true, predicted: predicted,
    "root": official.root,
    "root_scale": functools.partial(official.scaled_to, start=9, end=10),
    "scale_translation": functools.partial(official.scaled_to, start=0, end=9),
    "centroid": functools.partial(official.centroid, scale=False),
    "centroid_scale": functools.partial(official.centroid, scale=True),
    "procrustes": official.procrustes,
}


@functools.cache
def hands(count=60):
    """True hands in metres, half a metre away."""
    generator = np.random.default_rng(3)
    return np.stack([reference.sample_hand(generator)[0] for _ in range(count)]) * 0.03 + [0.0, 0.1, 0.5]


def sets(count=1000):
    """Predictions and ground truth of 1 to 4 hands: near and far ones, and degenerate ones."""
    generator, kinds = np.random.default_rng(4), (near, mirrored, zero, constant, huge, tiny, flat, unrelated, outlier)
    for number in range(count):
        true = hands()[generator.choice(60, generator.integers(1, 5), replace=False)]
        yield kinds[number % len(kinds)](true, generator), true, generator


def near(true, generator):
    return true + generator.normal(size=true.shape) * 10 ** generator.uniform(-4, -1)


def mirrored(true, generator):
    return true * [-1, 1, 1] + generator.normal(size=true.shape) * 0.003


def zero(true, generator):
    return np.zeros_like(true)


def constant(true, generator):
    return np.broadcast_to(generator.normal(size=(21, 3)), true.shape)


def huge(true, generator):
    return near(true, generator) * 1e6


def tiny(true, generator):
    return near(true, generator) * 1e-7


def flat(true, generator):
    return near(true, generator) * [1, 1, 0]


def unrelated(true, generator):
    return generator.normal(size=true.shape)


def outlier(true, generator):
    moved = near(true, generator)
    moved[0, generator.integers(21)] += 100.0
    return moved


def agree(found, name, expected, errors, low, high):
    assert found[f"{name}_mean_mm"] == pytest.approx(expected["mean"], rel=1e-9, abs=1e-10)
    assert found[f"{name}_median_mm"] == pytest.approx(expected["median"], rel=1e-9, abs=1e-10)
    # An error on a threshold, by rounding, may count as below it or not.
    thresholds = np.linspace(low, high, 100)
    if np.abs(errors.reshape(-1, 1) - thresholds).min() > 1e-13:
        area = f"{name}_auc_{1000 * low:.0f}_{1000 * high:.0f}mm"
        assert found[area] == pytest.approx(expected["auc"], rel=1e-9, abs=1e-12)
        return 1
    return 0


def test_protocols_agree_with_the_official_formulas_on_a_thousand_sets():
    areas = 0
    for number, (predicted, true, generator) in enumerate(sets()):
        protocol = ("freihand", "ho3d", "rhd", "dexter_object", "hands19")[number % 5]
        about = metrics.PROTOCOLS[protocol]
        found = getattr(metrics, protocol)(predicted, true)
        alignment = about.alignments[generator.integers(len(about.alignments))]
        if protocol == "dexter_object":
            seen = np.ones((len(true), 21), bool)
            seen[:, generator.choice(official.TIPS, 2, replace=False)] = generator.random(2) < 0.5
            found = metrics.dexter_object(predicted, true, seen)
            expected, errors = official.fingertips(true, predicted, seen, ALIGN[alignment])
        else:
            expected, errors = official.evaluate(true, predicted, ALIGN[alignment], *about.range)
        areas += agree(found, f"{about.points}_{alignment}", expected, errors, *about.range)
    assert areas > 800


@pytest.mark.parametrize("protocol", ["freihand", "ho3d"])
@pytest.mark.parametrize("vertices", [60, 40], ids=["the same vertices", "other vertices"])
def test_meshes_agree_with_the_official_formulas(protocol, vertices):
    generator = np.random.default_rng(5)
    true = hands()[:3]
    predicted = near(true, generator)
    true_mesh = true[:, generator.integers(21, size=60)] + generator.normal(size=(3, 60, 3)) * 0.005
    mesh = true_mesh[:, :vertices] + generator.normal(size=(3, vertices, 3)) * 0.004
    found = getattr(metrics, protocol)(predicted, true, mesh, true_mesh)
    aligned = {
        "absolute": mesh,
        "procrustes": [
            official.procrustes(one, other) if vertices == 60 else official.by_joints(other, joints, guess)
            for one, other, joints, guess in zip(true_mesh, mesh, true, predicted, strict=True)
        ],
    }
    for name, meshes in aligned.items():
        if vertices == 60:
            expected, errors = official.evaluate(true_mesh, mesh, ALIGN[name])
            agree(found, f"mesh_{name}", expected, errors, 0.0, 0.05)
        for threshold in (5, 15):
            scores = [official.f_score(a, b, threshold / 1000) for a, b in zip(true_mesh, meshes, strict=True)]
            assert found[f"mesh_{name}_f_{threshold}mm"] == pytest.approx(np.mean(scores), rel=1e-9)
    assert ("mesh_procrustes_mean_mm" in found) == (vertices == 60)


def test_the_zero_predictor_is_the_official_one():
    true = hands()
    found = metrics.ho3d(np.zeros_like(true), true, np.zeros((60, 30, 3)), true[:, np.arange(30) % 21])
    from_camera, from_middle = (
        np.linalg.norm(true, axis=-1),
        np.linalg.norm(true - true.mean(1, keepdims=True), axis=-1),
    )
    assert found["joints_absolute_mean_mm"] == pytest.approx(1000 * from_camera.mean(), rel=1e-12)
    assert found["joints_procrustes_mean_mm"] == pytest.approx(1000 * from_middle.mean(), rel=1e-12)
    from_wrist = np.linalg.norm(true - true[:, :1], axis=-1)
    assert found["joints_scale_translation_mean_mm"] == pytest.approx(1000 * from_wrist.mean(), rel=1e-12)
    assert found["joints_absolute_auc_0_50mm"] == 0
    assert found["mesh_absolute_f_15mm"] == 0


def test_mirrored_hand_has_no_error_after_procrustes_alignment_only():
    found = metrics.freihand(hands() * [-1, 1, 1], hands())
    assert found["joints_procrustes_mean_mm"] == pytest.approx(0, abs=1e-3)
    assert found["joints_absolute_mean_mm"] > 10


def test_each_alignment_removes_only_its_own_transform():
    true = hands()
    moved = true + np.array([0.1, 0.2, 0.3])
    turn = reference.rotation_about(np.array([0.0, 0.0, 1.0]), 0.4)
    out = {
        "root": (moved, true * 1.2),
        "centroid": (moved, true * 1.2),
        "root_scale": (moved * 1.2, moved @ turn.T),
        "scale_translation": (moved * 1.2, moved @ turn.T),
        "centroid_scale": (moved * 1.2, moved @ turn.T),
        "procrustes": (moved @ turn.T * 1.2, moved * [1, 1.2, 1]),
    }
    for name, (taken, left) in out.items():
        assert metrics.joint_errors(metrics.align(name, taken, true), true).max() < 1e-6, name
        assert metrics.joint_errors(metrics.align(name, left, true), true).mean() > 1e-3, name
    np.testing.assert_array_equal(metrics.align("absolute", moved, true), moved)


def test_visible_fingertips_count_in_frames_with_two_or_more():
    true = hands()[:4].copy()
    true[0, [4, 8, 12, 16]] = np.nan  # one tip is left
    true[1, [4, 8]] = np.nan
    predicted = hands()[:4] + np.array([0.03, 0.0, 0.0])
    predicted[0] += 1.0
    predicted[1, [4, 8]] += 1.0
    found = metrics.dexter_object(predicted, true, alignments=["absolute", "centroid"])
    assert found["tips_absolute_mean_mm"] == pytest.approx(30.0)
    assert found["tips_centroid_mean_mm"] == pytest.approx(0.0, abs=1e-9)
    assert not any("procrustes" in name for name in found)
    tips = metrics.dexter_object(
        predicted[:, official.TIPS], true[:, official.TIPS], alignments=["absolute", "centroid"]
    )
    assert tips == found


def test_hands19_has_metrics_of_interpolation_and_extrapolation():
    true = hands()[:5]
    predicted = true + np.array([0.01, 0.01, 0.02, 0.03, 0.5])[:, None, None] * [1, 0, 0]
    found = metrics.hands19(predicted, true, ["INTERP", "INTERP", "EXTRAP", "EXTRAP", ""])
    assert found["interp_joints_absolute_mean_mm"] == pytest.approx(10.0)
    assert found["extrap_joints_absolute_mean_mm"] == pytest.approx(25.0)
    assert found["joints_absolute_mean_mm"] == pytest.approx(114.0)
    assert found["extrap_joints_root_mean_mm"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="subsets: expected 5, one per pose, got 4"):
        metrics.hands19(predicted, true, ["INTERP"] * 4)


@pytest.mark.parametrize("protocol", ["freihand", "ho3d", "rhd", "hands19", "dexter_object"])
def test_every_metric_states_its_alignment_unit_and_count(protocol):
    about = metrics.PROTOCOLS[protocol]
    found = metrics.protocol_metrics(protocol, hands() + 0.01, hands(), seed=0)
    assert {figure.alignment for figure in found.values()} == set(about.alignments)
    for name, figure in found.items():
        assert name == f"{about.points}_{figure.alignment}_{figure.statistic}" + ("_mm" if figure.unit == "mm" else "")
        assert figure.unit == ("share" if "auc" in name else "mm")
        assert figure.count == 60
        assert (figure.interval is None) == ("median" in name)
        if figure.interval:
            low, high = figure.interval
            assert low - 1e-9 <= figure.value <= high + 1e-9


@pytest.mark.parametrize("protocol", ["freihand", "ho3d", "rhd", "hands19", "dexter_object"])
def test_bad_poses_are_named(protocol):
    function = getattr(metrics, protocol)
    broken = hands().copy()
    broken[7, 12] = np.inf
    with pytest.raises(ValueError, match=r"predicted joint \[7, \d+\].*: expected finite .*, got \[inf, inf, inf\]"):
        function(broken, hands())
    with pytest.raises(ValueError, match=r"predicted joints: expected .*60.*got .*\[59, 21, 3\]"):
        function(hands()[:59], hands())
    with pytest.raises(ValueError, match=r"expected one pose or more, got none|got none in 0 frames"):
        function(hands()[:0], hands()[:0])
    with pytest.raises(ValueError, match=r"true joints: expected the shape .* got \[60, 20, 3\]"):
        function(hands()[:, :20], hands()[:, :20])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"alignment: expected one of absolute, root, .* got 'rigid'"):
        metrics.protocol_metrics("rhd", hands(), hands(), alignments=["rigid"])
    with pytest.raises(ValueError, match=r"protocol: expected one of freihand, .* got 'stb'"):
        metrics.protocol_metrics("stb", hands(), hands())
    with pytest.raises(ValueError, match="'root': expected all 21 joints"):
        metrics.dexter_object(hands(), hands(), alignments=["root"])
    with pytest.raises(ValueError, match="vertices: expected those of both the prediction and the ground truth"):
        metrics.freihand(hands(), hands(), hands())


def test_interval_is_that_of_the_normal_distribution_for_many_images():
    generator = np.random.default_rng(6)
    values = generator.normal(3.0, 2.0, size=(2000, 1)) + generator.normal(size=(2000, 5)) * 0.1
    low, high = metrics.bootstrap(values, seed=1)
    half = 1.96 * values.mean(axis=1).std() / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert metrics.bootstrap(values, seed=1) == (low, high) != metrics.bootstrap(values, seed=2)


def test_interval_of_an_area_resamples_images_and_leaves_out_unseen_joints():
    errors = np.random.default_rng(7).exponential(0.02, size=(200, 5))
    valid = np.random.default_rng(8).random((200, 5)) < 0.6
    shares = metrics.areas(errors, 0.02, 0.05)
    low, high = metrics.bootstrap(shares, valid, seed=0)
    drawn, generator = [], np.random.default_rng(0)
    for _ in range(1000):
        rows = generator.integers(0, 200, 200)
        drawn.append(metrics.pck_auc(errors[rows], 0.02, 0.05, valid=valid[rows]))
    np.testing.assert_allclose([low, high], np.percentile(drawn, [2.5, 97.5]), rtol=1e-12)
    np.testing.assert_array_equal(metrics.bootstrap(np.where(valid, shares, np.nan), valid), [low, high])


def test_interval_needs_two_images_and_finite_values():
    with pytest.raises(ValueError, match="expected 2 images or more for an interval, got 1"):
        metrics.bootstrap(np.ones((1, 21)))
    with pytest.raises(ValueError, match=r"value \[1, 0\]: expected a finite number, got (nan|inf)"):
        metrics.bootstrap(np.array([1.0, np.nan]))
    assert (
        metrics.protocol_metrics("freihand", hands()[:1], hands()[:1], seed=0)["joints_absolute_mean_mm"].interval
        is None
    )


def test_tables_name_every_joint_and_finger():
    errors = np.tile(np.arange(21.0), (3, 1))
    joints, fingers = metrics.by_joint(errors), metrics.by_finger(errors)
    assert joints["wrist"] == fingers["wrist"] == 0
    assert joints["little TIP"] == 20
    assert fingers == {"wrist": 0, "thumb": 2.5, "index": 6.5, "middle": 10.5, "ring": 14.5, "little": 18.5}
    seen = np.ones((3, 5), bool)
    seen[:, 1], seen[0, 2] = False, False
    tips = metrics.by_joint(np.array([[1.0, 2, 3, 4, 5]] * 2 + [[1, 2, 9, 4, 5]]), seen)
    assert tips == {"thumb TIP": 1, "middle TIP": 6, "ring TIP": 4, "little TIP": 5}


def test_pinhole_errors_separate_translations_along_each_axis():
    true = hands() + np.array([0, 0, 0.5])
    k = np.tile(np.array([[500.0, 0, 112], [0, 480, 112], [0, 0, 1]]), (60, 1, 1))
    beside = true.copy()
    beside[..., 0] += 0.01 * true[..., 2]
    found = metrics.pinhole(beside, true, k)
    assert found["joints_2d_absolute_mean_px"] == pytest.approx(5.0)
    assert found["depth_absolute_mean_mm"] == found["depth_root_mean_mm"] == 0
    deeper = metrics.pinhole(true * 1.1, true, k)
    assert deeper["joints_2d_absolute_mean_px"] == pytest.approx(0, abs=1e-9)
    assert deeper["depth_absolute_mean_mm"] == pytest.approx(100 * true[..., 2].mean())
    with pytest.raises(ValueError, match=r"predicted joint \[0, 0\]: expected a depth above 0, got -\d.* behind"):
        metrics.pinhole(-true, true, k)
    with pytest.raises(ValueError, match=r"intrinsics: expected the shape .* got \[3, 3\]"):
        metrics.pinhole(true, true, k[0])


def test_f_scores_of_meshes_that_touch_at_the_threshold():
    mesh = np.zeros((1, 4, 3)) + np.arange(4.0)[:, None] * [1, 0, 0]
    found = metrics.f_scores(mesh + np.array([0, 0.25, 0]), mesh, (0.25, 0.26))
    np.testing.assert_array_equal(found, [[0, 1]])
    with pytest.raises(ValueError, match=r"predicted vertices: expected the shape .* got \[2, 4, 3\]"):
        metrics.f_scores(np.zeros((2, 4, 3)), mesh)


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.04])
def test_rhd_reports_the_area_of_hand3d(noise):
    generator = np.random.default_rng(7)
    true = hands()
    predicted = true + generator.normal(size=true.shape) * noise
    found = metrics.rhd(predicted, true)
    for name in ("absolute", "root", "root_scale", "procrustes"):
        expected = official.hand3d_area(true, predicted, ALIGN[name])
        assert found[f"joints_{name}_auc_hand3d"] == pytest.approx(expected, rel=1e-9)
        assert found[f"joints_{name}_auc_hand3d"] > found[f"joints_{name}_auc_20_50mm"]


def test_area_of_hand3d_begins_at_its_ninth_threshold():
    """An error of 21 mm is below all 12 thresholds of hand3d, and above those from 20 to 21 mm."""
    true = hands(1)
    found = metrics.rhd(true + np.array([0.0, 0.0, 0.021]), true)
    assert found["joints_absolute_auc_hand3d"] == pytest.approx(1.0)
    assert found["joints_absolute_auc_20_50mm"] == pytest.approx(1 - 1 / 30, abs=0.01)
