"""Every loss against the loop transcription, on damaged hands, under masks, and on four devices as on one."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import compiling, hands, reference

from bmc_jax import hand, limits, losses, numerics
from bmc_jax.core.types import Batch, Prediction

ONES = losses.LossWeights(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def poses(count=200):
    return hands.in_scale_units(hands.sampled()[0])[:count]


@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-6), (True, 1e-12)], ids=["float32", "float64"])
def test_biomechanical_terms_agree_with_the_equations(x64, tolerance):
    with jax.enable_x64(x64):
        bounds = hands.narrow_limits(np.float64 if x64 else np.float32)
        found = jax.jit(losses.constraints)(jnp.asarray(poses(), jnp.float64 if x64 else jnp.float32), bounds)
    for name, expected in (
        ("bone_length", reference.bone_length_loss),
        ("palm", reference.palm_loss),
        ("joint_angle", reference.joint_angle_loss),
    ):
        values = np.array([expected(pose, hands.for_reference(bounds)) for pose in poses()])
        assert values.min() > 0
        np.testing.assert_allclose(found[name], values, atol=tolerance)


@pytest.mark.slow
def test_biomechanical_is_the_weighted_sum():
    weights = losses.LossWeights(bone_length=0.7, palm=1.3, joint_angle=0.2)
    found = jax.jit(losses.biomechanical)(jnp.asarray(poses(20), jnp.float32), hands.narrow_limits(), weights)
    bounds = hands.for_reference(hands.narrow_limits())
    expected = [reference.biomechanical_loss(pose, bounds, weights) for pose in poses(20)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_interval_and_its_gradient():
    value = jnp.array([-2.0, -1.0, 0.0, 2.0, 5.0])
    low, high = jnp.array(-1.0), jnp.array(2.0)
    np.testing.assert_array_equal(losses.interval(value, low, high), [1, 0, 0, 0, 3])
    gradient = jax.grad(lambda x: losses.interval(x, low, high).sum())(value)
    np.testing.assert_array_equal(gradient, [-1, 0, 0, 0, 1])


@functools.cache
def fitted():
    return limits.fit(natural() * np.float32(0.033), source="sampled right hands", left="keep")


def natural():
    return hands.in_scale_units(hands.sampled(300, (-0.1, 1.6), (-0.2, 0.2))[0]).astype(np.float32)


def jitted(function):
    return jax.jit(function, compiler_options=compiling.AS_USERS_COMPILE)


@pytest.mark.parametrize(
    "compiled",
    [
        pytest.param(jitted, id="as users compile"),
        pytest.param(lambda function: function, id="eager", marks=pytest.mark.slow),
    ],
)
def test_fitted_limits_give_zero_loss_and_zero_gradient_on_the_poses_that_made_them(compiled):
    def loss(joints, limits):
        return jnp.sum(losses.biomechanical(joints, limits, ONES))

    value, gradient = compiled(jax.value_and_grad(loss))(jnp.asarray(natural()), fitted())
    assert value == 0
    assert not np.asarray(gradient).any()


def test_other_penalties_are_squares_and_excesses_by_the_size_of_the_hull():
    bounds, joints = hands.narrow_limits(), jnp.asarray(poses(20), jnp.float32)
    excess = jax.tree.map(np.asarray, losses.excess(joints, bounds))
    squared = jax.jit(functools.partial(losses.constraints, penalty="squared"))(joints, bounds)
    np.testing.assert_allclose(squared["bone_length"], (excess.bone_length**2).mean(axis=(1, 2)) / 0.1, rtol=1e-5)
    np.testing.assert_allclose(squared["joint_angle"], (excess.angles**2).mean(axis=(1, 2)) / 0.1, rtol=1e-5)
    wide = dataclasses.replace(bounds, hull=np.array(bounds.hull))
    wide.hull[0, 0] = 3 * (wide.hull[0, 0] - wide.hull[0, 0].mean(axis=0)) + wide.hull[0, 0].mean(axis=0)
    relative = losses.constraints(joints, wide, penalty="relative")
    # Angles count by the reciprocal of the root of their hull's area, here three times as large for one joint.
    sizes = np.array([[_area(polygon) for polygon in finger] for finger in wide.hull]) ** 0.5
    beyond = np.asarray(losses.excess(joints, wide).angles) * sizes.mean() / np.maximum(sizes, 0.1 * sizes.mean())
    np.testing.assert_allclose(relative["joint_angle"], beyond.mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(relative["bone_length"], excess.bone_length.mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match="penalty"):
        losses.constraints(joints, bounds, penalty="cubed")


def _area(polygon):
    """By triangles from the first vertex."""
    edges = np.diff(polygon, axis=0)
    from_first = polygon[1:-1] - polygon[0]
    return np.abs(np.sum(from_first[:, 0] * edges[1:, 1] - from_first[:, 1] * edges[1:, 0])) / 2


def test_narrowed_limits_keep_their_middle():
    bounds = hands.narrow_limits()
    narrow = losses.narrowed(bounds, 0.25)
    low, high = np.moveaxis(np.asarray(bounds.spread), -1, 0)
    middle = (low + high) / 2
    np.testing.assert_allclose(narrow.spread[..., 0], middle - 0.75 * (middle - low), rtol=1e-5, atol=1e-7)
    assert _area(np.asarray(narrow.hull)[1, 2]) == pytest.approx(
        0.75**2 * _area(np.asarray(bounds.hull)[1, 2]), rel=1e-4
    )


@pytest.mark.parametrize(
    ("quantity", "seen", "allowed"),
    [
        ("bone_length", 1.1e-3 / 0.04463, 0.9e-3 / 0.04463),
        ("curvature", np.radians(2.1), np.radians(1.9)),
        ("spread", np.radians(2.1), np.radians(1.9)),
        ("angles", np.radians(2.1), np.radians(1.9)),
        ("angles", np.nan, 0.0),
    ],
)
def test_a_millimetre_of_an_adult_hand_and_two_degrees_count_as_nearly_within(quantity, seen, allowed):
    shapes = {"bone_length": (5, 4), "curvature": (4,), "spread": (4,), "angles": (5, 3)}
    for value, nearly in ((seen, False), (allowed, True)):
        excess = losses.Excess(**{name: np.zeros((2, *shape), np.float32) for name, shape in shapes.items()})
        getattr(excess, quantity).reshape(2, -1)[1, -1] = value
        assert excess.nearly_within().tolist() == [True, nearly]


@pytest.mark.slow
def test_excess_agrees_with_the_equations_and_decides_what_is_within():
    bounds = hands.narrow_limits()
    found = jax.jit(losses.excess)(jnp.asarray(poses(), jnp.float32), bounds)
    held = hands.for_reference(bounds)
    for i, pose in enumerate(poses()[:50]):
        angles = reference.frames_and_angles(pose)[1]
        expected = [
            reference.distance_to_polygon(angles[place], held.hull[place])
            for place in np.ndindex(*found.angles.shape[1:])
        ]
        np.testing.assert_allclose(found.angles[i].ravel(), expected, atol=1e-5)
        for name, value in (
            ("bone_length", reference.bone_lengths(pose)),
            ("curvature", reference.palm_curvature(pose)),
            ("spread", reference.palm_spread(pose)),
        ):
            low, high = np.moveaxis(np.asarray(getattr(held, name)), -1, 0)
            beyond = np.maximum(np.maximum(low - value, value - high), 0)
            np.testing.assert_allclose(getattr(found, name)[i], beyond, atol=1e-5, err_msg=name)
    leaves = [np.asarray(leaf).reshape(len(poses()), -1) for leaf in jax.tree.leaves(found)]
    largest = np.concatenate(leaves, axis=1).max(axis=1)
    np.testing.assert_array_equal(found.worst, largest)
    median = float(np.median(largest))
    np.testing.assert_array_equal(found.within(median), largest <= median)
    assert not np.asarray(found.within()).any()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["bone_length", "curvature", "spread", "angles"])
def test_one_quantity_beyond_the_tolerance_is_outside_whatever_the_means(part):
    inside = jax.tree.map(jnp.zeros_like, losses.excess(jnp.asarray(natural()[:3]), fitted()))
    values = np.zeros(getattr(inside, part).shape, np.float32)
    values.reshape(3, -1)[:, -1] = 0.0, 0.9 * numerics.LIMIT_TOLERANCE, 1.1 * numerics.LIMIT_TOLERANCE
    excess = dataclasses.replace(inside, **{part: jnp.asarray(values)})
    assert excess.within().tolist() == [True, True, False]
    assert max(np.asarray(term).max() for term in excess.terms.values()) < numerics.LIMIT_TOLERANCE
    unknown = dataclasses.replace(inside, **{part: jnp.full_like(values, jnp.nan)})
    assert not np.asarray(unknown.within()).any()


def with_longer_bone(joints):
    joints = joints.copy()
    joints[:, 6:9] += 0.5 * (joints[:, 6:7] - joints[:, 5:6])
    return joints


def turned_about(joints, fulcrum, moved, axis, angle):
    """The joints `moved` turned about an axis `[N, 3]` through the joint `fulcrum`."""
    joints = joints.copy()
    for pose, direction in zip(joints, axis, strict=True):
        turn = reference.rotation_about(reference.norm(direction), angle)
        pose[moved] = (pose[moved] - pose[fulcrum]) @ turn.T + pose[fulcrum]
    return joints


def with_bent_back_pip(joints):
    """The index beyond its PIP joint bent to 60 degrees of extension."""
    joints = joints.astype(np.float64)
    bent = []
    for pose in joints:
        frames, angles = reference.frames_and_angles(pose)
        turn = reference.rotation_about(frames[1, 1, 1], -np.radians(60) - angles[1, 1, 0])
        pose = pose.copy()
        pose[7:9] = (pose[7:9] - pose[6]) @ turn.T + pose[6]
        bent.append(pose)
    return np.stack(bent)


def with_twisted_finger(joints):
    """The ring finger turned by half a turn about its root bone: it bends to the back."""
    return turned_about(joints, 13, [14, 15, 16], joints[:, 13] - joints[:, 0], np.pi)


def with_crossed_palm(joints):
    """The index and the ring finger in each other's place."""
    joints = joints.copy()
    joints[:, 5:9], joints[:, 13:17] = joints[:, 13:17].copy(), joints[:, 5:9].copy()
    return joints


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "term"),
    [
        (with_longer_bone, "bone_length"),
        (with_bent_back_pip, "joint_angle"),
        (with_twisted_finger, "joint_angle"),
        (with_crossed_palm, "palm"),
    ],
)
@pytest.mark.parametrize("angles", [{}, {"mode": "circle_l1"}, {"independent": True}], ids=["hull", "circle", "box"])
def test_damage_is_punished_by_its_term(damage, term, angles):
    damaged = jnp.asarray(damage(natural()), jnp.float32)
    values = jax.jit(functools.partial(losses.constraints, **angles))(damaged, fitted())
    broken = np.asarray(values[term]) > 0
    # A twist about the finger's axis shows only as far as the finger is bent.
    assert broken.all() if damage is not with_twisted_finger else broken.mean() > 0.9
    if term == "bone_length":
        assert not np.asarray(values["joint_angle"]).any()
        assert not np.asarray(values["palm"]).any()
    if term == "joint_angle":
        assert not np.asarray(values["bone_length"] > 1e-6).any()


def test_one_long_bone_costs_its_excess_over_twenty():
    joints = natural()[:1]
    longest = np.asarray(fitted().bone_length)[1, 3, 1]
    tip = joints[0, 8] - joints[0, 7]
    joints[0, 8] = joints[0, 7] + tip / np.linalg.norm(tip) * (longest + 0.4)
    found = losses.bone_length(jnp.asarray(joints), fitted())
    np.testing.assert_allclose(found, [0.4 / 20], rtol=1e-4)


@pytest.mark.slow
def test_box_is_never_stricter_than_the_hull():
    joints = jnp.asarray(poses(), jnp.float32)
    hull = jax.jit(losses.joint_angle)(joints, hands.narrow_limits())
    box = jax.jit(functools.partial(losses.joint_angle, independent=True))(joints, hands.narrow_limits())
    assert (box <= hull + 1e-6).all()
    assert (box < hull - 1e-3).any()


def examples(count=16, size=128, seed=0):
    """A batch whose examples have all kinds of labels, and a prediction of it. Labels that are masked are NaN."""
    generator = np.random.default_rng(seed)
    joints, scale = hands.sampled()[0][:count] * 0.033, np.full(count, 0.033)
    valid_2d = generator.uniform(size=(count, 21)) < 0.7
    valid_3d = generator.uniform(size=(count, 21)) < 0.7
    valid_3d[:, hand.WRIST] = True
    valid_2d[1] = valid_3d[1] = False  # no label at all
    valid_3d[2:5] = False  # 2D alone
    valid_3d[5, hand.WRIST] = False  # the root unknown
    scale[6], scale[7] = 0.0, np.nan  # the scale unknown
    present = np.ones(count, bool)
    present[[3, count - 1]] = False
    pixels = generator.uniform(0, size - 1, (count, 21, 2))
    batch = Batch(
        image=jnp.zeros((count, 8, size, 3), jnp.uint8),
        intrinsics=jnp.full((count, 3, 3), jnp.nan),
        joints_2d=jnp.asarray(np.where(valid_2d[..., None], pixels, np.nan), jnp.float32),
        joints_2d_valid=jnp.asarray(valid_2d),
        joints_3d=jnp.asarray(np.where(valid_3d[..., None], joints, np.nan), jnp.float32),
        joints_3d_valid=jnp.asarray(valid_3d),
        scale=jnp.asarray(scale, jnp.float32),
        source=jnp.zeros(count, jnp.int32),
        index=jnp.arange(count, dtype=jnp.int32),
        present=jnp.asarray(present),
    )
    depth = joints[..., 2] / 0.033
    prediction = Prediction(
        joints_2d=jnp.asarray(pixels + generator.normal(size=(count, 21, 2)) * 5, jnp.float32),
        relative_depth=jnp.asarray(depth - depth[:, :1] + generator.normal(size=(count, 21)), jnp.float32),
        root_depth=jnp.asarray(depth[:, 0], jnp.float32),
        refined_root_depth=jnp.asarray(depth[:, 0] + generator.normal(size=count), jnp.float32),
        joints_3d=jnp.asarray(poses(count), jnp.float32),
    )
    return prediction, batch


def supervised_by_hand(prediction, batch, i):
    """L_2D, L_Zr and L_Zroot of example i, None where it has no label for it."""
    errors_2d, errors_z = [], []
    for j in range(21):
        if batch.joints_2d_valid[i, j]:
            errors_2d += [abs(float(prediction.joints_2d[i, j, k] - batch.joints_2d[i, j, k])) / 64 for k in range(2)]
    root = None
    if batch.joints_3d_valid[i, 0] and float(batch.scale[i]) > 0:
        label = np.asarray(batch.joints_3d[i, :, 2], float) / float(batch.scale[i])
        root = abs(float(prediction.refined_root_depth[i]) - label[0])
        for j in np.flatnonzero(batch.joints_3d_valid[i]):
            errors_z.append(abs(float(prediction.relative_depth[i, j]) - (label[j] - label[0])))
    return [np.mean(errors_2d) if errors_2d else None, np.mean(errors_z) if errors_z else None, root]


@pytest.mark.slow
def test_supervised_terms_are_means_over_an_examples_own_labels():
    prediction, batch = examples()
    found = losses.pose(prediction, batch)
    expected = [supervised_by_hand(prediction, batch, i) for i in range(16)]
    for name, values in zip(("joints_2d", "relative_depth", "root_depth"), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(found[name], [value or 0.0 for value in values], rtol=1e-4, err_msg=name)
        has = losses.labelled(batch)[name]
        np.testing.assert_array_equal(has, [value is not None for value in values])
        assert 0 < np.sum(has) < 16


@pytest.mark.slow
def test_total_is_the_weighted_sum_of_means_over_the_examples_that_count():
    prediction, batch = examples()
    weights = losses.LossWeights(2.0, 3.0, 5.0, 7.0, 11.0, 13.0)
    value, terms = jax.jit(losses.total)(prediction, batch, hands.narrow_limits(), weights)
    assert set(terms) == set(vars(weights)) - {"heatmaps", "density"}
    rows = [supervised_by_hand(prediction, batch, i) for i in range(16)]
    here = [i for i in range(16) if batch.present[i]]
    for name, column in (("joints_2d", 0), ("relative_depth", 1), ("root_depth", 2)):
        labels = [rows[i][column] for i in here if rows[i][column] is not None]
        np.testing.assert_allclose(terms[name], np.mean(labels), rtol=1e-5, err_msg=name)
    for name, per_example in losses.constraints(prediction.joints_3d, hands.narrow_limits()).items():
        np.testing.assert_allclose(terms[name], np.mean(np.asarray(per_example)[here]), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(value, sum(getattr(weights, name) * float(terms[name]) for name in terms), rtol=1e-5)


def divergence_by_hand(heat, pixel, size):
    """KL divergence of a heatmap, `[row, column]` logits, from the Gaussian of one cell about a pixel (u, v)."""
    rows, columns = heat.shape
    target = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            u, v = ((np.array([column, row]) + 0.5) * np.array([size[0] / columns, size[1] / rows])) - 0.5
            off = (pixel - [u, v]) / np.array([size[0] / columns, size[1] / rows])
            target[row, column] = np.exp(-0.5 * np.sum(off**2))
    target /= target.sum()
    found = np.exp(heat) / np.exp(heat).sum()
    return np.sum(target * np.log(target / found))


@pytest.mark.slow
def test_heatmaps_cost_their_divergence_from_a_gaussian_about_each_label_inside_the_crop():
    prediction, batch = examples()
    outside = batch.joints_2d.at[0, 3].set(jnp.array([-9.0, 4.0]))
    batch = dataclasses.replace(batch, joints_2d=outside)
    height, width = batch.image.shape[1:3]
    heat = jnp.asarray(np.random.default_rng(5).normal(size=(16, 4, 6, 21)), jnp.float32)
    found = jax.jit(losses.heatmaps)(heat, batch)
    for i in range(16):
        pixels = np.asarray(batch.joints_2d[i], float)
        counted = np.flatnonzero(((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=1))
        expected = [divergence_by_hand(np.asarray(heat[i, ..., j], float), pixels[j], (width, height)) for j in counted]
        np.testing.assert_allclose(found[i], np.mean(expected) if len(counted) else 0.0, rtol=1e-4, err_msg=str(i))
    # As one term of the whole, over the examples that are present and have labels; others may hold anything.
    heat = jnp.where(batch.present[:, None, None, None], heat, jnp.nan)
    weights = losses.LossWeights(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, heatmaps=2.0)

    def total(heat):
        return losses.total(prediction, batch, hands.narrow_limits(), weights, heat=heat)[0]

    value, gradient = jax.jit(jax.value_and_grad(total))(heat)
    counts = np.asarray(batch.present & losses.labelled(batch)["joints_2d"])
    np.testing.assert_allclose(value, 2 * np.mean(np.asarray(found)[counts]), rtol=1e-5)
    assert np.isfinite(gradient).all()


@jax.jit
def compiled_gradient(prediction, batch, limits, weights):
    return jax.value_and_grad(losses.total, has_aux=True)(prediction, batch, limits, weights)


def gradient_of_total(prediction, batch, weights=ONES):
    (value, _), gradient = compiled_gradient(prediction, batch, hands.narrow_limits(), weights)
    return value, gradient


@pytest.mark.slow
def test_masked_labels_of_nan_change_neither_value_nor_gradient():
    prediction, batch = examples()
    zeroed = jax.tree.map(
        lambda leaf: jnp.where(jnp.isnan(leaf), 0.0, leaf) if leaf.dtype == jnp.float32 else leaf, batch
    )
    value, gradient = gradient_of_total(prediction, batch)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))
    chex.assert_trees_all_equal((value, gradient), gradient_of_total(prediction, zeroed))


@pytest.mark.slow
def test_gradient_is_zero_where_nothing_is_labelled_or_present():
    prediction, batch = examples()
    _, gradient = gradient_of_total(prediction, batch)
    assert not np.asarray(gradient.joints_2d)[~np.asarray(batch.joints_2d_valid)].any()
    assert not np.asarray(gradient.relative_depth)[~np.asarray(losses.labelled(batch)["relative_depth"])].any()
    assert not np.asarray(gradient.refined_root_depth)[~np.asarray(losses.labelled(batch)["root_depth"])].any()
    for leaf in jax.tree.leaves(gradient):
        assert not np.asarray(leaf)[~np.asarray(batch.present)].any()
    assert np.asarray(gradient.joints_3d)[np.asarray(batch.present)].any(axis=(1, 2)).all()


@pytest.mark.slow
def test_examples_that_are_not_present_may_hold_anything():
    prediction, batch = examples()
    absent = ~batch.present

    def spoil(leaf):
        mask = absent.reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(mask, jnp.asarray(1e30, leaf.dtype), leaf)

    spoilt = jax.tree.map(spoil, prediction)
    np.testing.assert_array_equal(gradient_of_total(spoilt, batch)[0], gradient_of_total(prediction, batch)[0])
    assert np.isfinite(jax.tree.leaves(gradient_of_total(spoilt, batch))[1]).all()


@pytest.mark.slow
def test_batch_without_any_label_costs_only_what_anatomy_does():
    prediction, batch = examples()
    nothing = jnp.zeros((16, 21), bool)
    batch = dataclasses.replace(batch, joints_2d_valid=nothing, joints_3d_valid=nothing)
    (_, terms), _ = compiled_gradient(prediction, batch, hands.narrow_limits(), ONES)
    assert [float(terms[name]) for name in ("joints_2d", "relative_depth", "root_depth")] == [0, 0, 0]
    assert terms["joint_angle"] > 0


@pytest.mark.slow
def test_batch_with_no_example_present_costs_nothing():
    prediction, batch = examples()
    value, gradient = gradient_of_total(prediction, dataclasses.replace(batch, present=jnp.zeros(16, bool)))
    assert value == 0
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_prediction_that_hits_its_labels_has_no_supervised_loss_and_no_gradient():
    prediction, batch = examples()
    batch = dataclasses.replace(
        batch, joints_2d=prediction.joints_2d, joints_2d_valid=jnp.ones((16, 21), bool), present=jnp.ones(16, bool)
    )
    value, gradient = gradient_of_total(prediction, batch, losses.LossWeights(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert value == 0
    assert not np.asarray(gradient.joints_2d).any()


@pytest.mark.slow
def test_losses_are_float32_for_a_bfloat16_prediction():
    prediction, batch = examples()
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), prediction)
    value, terms = jax.jit(losses.total)(rounded, batch, hands.narrow_limits(), losses.LossWeights())
    assert all(term.dtype == jnp.float32 for term in (value, *terms.values()))
    exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), rounded)
    expected, _ = gradient_of_total(exact, batch, losses.LossWeights())
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.slow
def test_changing_weights_does_not_compile_again():
    prediction, batch = examples()
    compiled = jax.jit(chex.assert_max_traces(lambda *arguments: losses.total(*arguments), n=1))
    for ramp in (0.0, 0.5, 1.0):
        weights = losses.LossWeights(*[jnp.float32(ramp)] * 6)
        value, terms = compiled(prediction, batch, hands.narrow_limits(), weights)
        np.testing.assert_allclose(value, ramp * sum(terms.values()), rtol=1e-6)


@pytest.mark.slow
def test_four_devices_give_the_value_and_the_gradient_of_one():
    """The labels lie unevenly: the first device has none at all, the last has half of the padding."""
    prediction, batch = examples()
    order = jnp.argsort(jnp.where(jnp.arange(16) == 5, 4.5, jnp.abs(jnp.arange(16.0) - 2.5)))
    prediction, batch = jax.tree.map(lambda leaf: leaf[order], (prediction, batch))
    first = jnp.arange(16)[:, None] < 4
    batch = dataclasses.replace(
        batch, joints_2d_valid=batch.joints_2d_valid & ~first, joints_3d_valid=batch.joints_3d_valid & ~first
    )
    counts = np.asarray(losses.labelled(batch)["root_depth"] & batch.present).reshape(4, 4).sum(axis=1)
    assert len(set(counts.tolist())) > 2
    assert counts[0] == 0

    def on_a_device(prediction, batch):
        loss = functools.partial(losses.total, axis_name="batch")
        outputs, gradient = jax.value_and_grad(loss, has_aux=True)(prediction, batch, hands.narrow_limits(), ONES)
        return jax.lax.pmean(outputs, "batch"), gradient

    split = jax.tree.map(lambda leaf: leaf.reshape(4, 4, *leaf.shape[1:]), (prediction, batch))
    (value, terms), gradient = jax.pmap(on_a_device, axis_name="batch")(*split)
    # The mean over devices of a gradient that is zero but for one device's own examples is a quarter of it.
    gradient = jax.tree.map(lambda leaf: leaf.reshape(16, *leaf.shape[2:]) / 4, gradient)
    (expected, expected_terms), expected_gradient = compiled_gradient(prediction, batch, hands.narrow_limits(), ONES)
    for device in range(4):
        np.testing.assert_allclose(value[device], expected, rtol=1e-6)
        for name, term in expected_terms.items():
            np.testing.assert_allclose(terms[name][device], term, rtol=1e-5, err_msg=name)
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-4, atol=1e-7)


def test_unknown_distance_is_refused_by_name():
    with pytest.raises(ValueError, match="manhattan"):
        losses.joint_angle(jnp.asarray(poses(1), jnp.float32), hands.narrow_limits(), mode="manhattan")
