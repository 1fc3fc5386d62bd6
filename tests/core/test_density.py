"""The joint density of lengths, palm and angles against numpy, at degenerate hands, and in limits files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import hands, reference

from bmc_jax import config, hull, limits
from bmc_jax.core import density
from bmc_jax.training import run_folder

_distance = jax.jit(density.distance)
_excess = jax.jit(density.excess)
_gradient = jax.jit(jax.grad(lambda joints, of: jnp.sum(density.excess(joints, of))))


@pytest.fixture(scope="module")
def adults():
    """In scale units."""
    return hands.in_scale_units(hands.adults()).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return limits.fit(hands.adults(), source="test", left="keep", density=True)


def by_loops(pose):
    """The 58 quantities of a hand in scale units."""
    angles = reference.frames_and_angles(pose)[1].copy()
    angles[..., 0] = (angles[..., 0] - hull.FLEXION_CUT) % (2 * np.pi) + hull.FLEXION_CUT
    palm = reference.palm_curvature(pose), reference.palm_spread(pose)
    return np.concatenate([reference.bone_lengths(pose).ravel(), *palm, angles.ravel()])


def test_distance_is_mahalanobis_by_the_root_of_the_number_of_quantities(adults, fitted):
    values = np.array([by_loops(pose) for pose in adults[:40]])
    mean, factor = (np.asarray(part, np.float64) for part in (fitted.density.mean, fitted.density.factor))
    away = values - mean
    squares = np.einsum("ni,ij,nj->n", away, factor @ factor.T, away)
    np.testing.assert_allclose(_distance(adults[:40], fitted.density), np.sqrt(squares / 58), rtol=2e-4)


def test_one_hand_in_a_hundred_of_those_fitted_to_is_beyond_the_limit(adults, fitted):
    beyond = np.asarray(_excess(adults, fitted.density))
    assert 0.005 <= (beyond > 0).mean() <= 0.02
    assert beyond.min() == 0


def test_hands_that_no_interval_excludes_may_be_beyond_the_limit(fitted):
    """A hand with the longest and the shortest bones at once."""
    mixed = np.asarray(fitted.density.mean).copy()
    low, high = np.moveaxis(np.asarray(fitted.bone_length).reshape(20, 2), -1, 0)
    mixed[:20] = np.where(np.arange(20) % 2, low, high)
    away = (mixed - np.asarray(fitted.density.mean)) @ np.asarray(fitted.density.factor)
    assert np.sqrt(np.mean(away**2)) > fitted.density.threshold


def test_gradients_agree_with_differences_and_are_finite_at_degenerate_hands(adults, fitted):
    with jax.enable_x64(True):
        of = jax.tree.map(lambda part: jnp.asarray(part, jnp.float64), fitted.density)
        pose = jnp.asarray(adults[0], jnp.float64)
        check_grads(
            lambda joints: _distance(jnp.asarray(joints), of), (pose,), order=1, modes=["rev"], rtol=1e-5, eps=1e-5
        )
    degenerate = np.zeros((2, 21, 3), np.float32)
    degenerate[1, :, 2] = np.arange(21)
    gradient = np.asarray(_gradient(degenerate, fitted.density))
    assert np.isfinite(gradient).all()
    assert np.isnan(np.asarray(_distance(np.full((1, 21, 3), np.nan, np.float32), fitted.density))).all()


def test_limits_files_keep_the_density_and_refuse_a_damaged_one(fitted, tmp_path):
    limits.save(fitted, tmp_path / "whole.json")
    again = limits.load(tmp_path / "whole.json").density
    for name in ("mean", "factor", "threshold"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted.density, name))
    text = (tmp_path / "whole.json").read_text()
    (tmp_path / "damaged.json").write_text(text.replace('"threshold"', '"limit"'))
    with pytest.raises(ValueError, match=r"damaged\.json: 'density\.threshold' is missing"):
        limits.load(tmp_path / "damaged.json")
    assert limits.load("clinical").density is None
    assert limits.widen(fitted, degrees=1.0).density is None


def test_a_weight_of_the_density_needs_limits_that_have_one(tmp_path):
    options = config.Config(weights=config.Weights(density=1.0), limits=config.Limits(source="clinical"))
    with pytest.raises(ValueError, match=r"weights\.density.*'clinical'.*density=True"):
        run_folder.load_limits(tmp_path, options, [])
