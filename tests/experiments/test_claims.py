"""Outcomes of claims on invented results, compared with Student's formula."""

import numpy as np
import pytest
from scipy import stats

from bmc_jax.experiments.claims import FAILS, HOLDS, UNCERTAIN, UNKNOWN, Claim, evaluate

ERRORS = {"a": [20.0, 22.0, 21.0], "b": [15.0, 16.0, 15.2], "c": [10.0, 11.0, 10.8], "d": [19.0, 23.5, 20.0]}


def by_seed(**arms):
    return {arm: dict(enumerate(values)) for arm, values in arms.items()}


def test_a_lower_error_holds_only_if_it_is_more_than_chance():
    found = evaluate(Claim("", "b", than="a"), by_seed(**ERRORS))
    change = np.subtract(ERRORS["a"], ERRORS["b"])
    t = change.mean() / (change.std(ddof=1) / np.sqrt(3))
    assert found.outcome == HOLDS
    assert found.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert found.reached == pytest.approx(100 * change.mean() / np.mean(ERRORS["a"]))
    assert evaluate(Claim("", "d", than="a"), by_seed(**ERRORS)).outcome == UNCERTAIN
    assert evaluate(Claim("", "a", than="b"), by_seed(**ERRORS)).outcome == FAILS


def test_more_is_better_where_the_measure_says_so():
    shares = by_seed(a=[0.80, 0.81, 0.82], b=[0.90, 0.91, 0.921])
    assert evaluate(Claim("", "b", "a", "aligned_auc"), shares).outcome == HOLDS
    assert evaluate(Claim("", "a", "b", "aligned_auc"), shares).outcome == FAILS
    assert evaluate(Claim("", "b", "a", "aligned_auc"), shares).reached > 0


@pytest.mark.parametrize(("by", "outcome"), [(20.0, HOLDS), (26.5, UNCERTAIN), (30.0, FAILS)])
def test_a_share_is_of_the_other_arms_error(by, outcome):
    found = evaluate(Claim("", "b", than="a", by=by), by_seed(**ERRORS))
    assert (found.outcome, round(found.reached, 1)) == (outcome, 26.7)


@pytest.mark.parametrize(("by", "outcome"), [(40.0, HOLDS), (60.0, FAILS)])
def test_or_of_the_gap(by, outcome):
    found = evaluate(Claim("", "b", than="a", by=by, gap_to="c"), by_seed(**ERRORS))
    gap = np.mean(ERRORS["a"]) - np.mean(ERRORS["c"])
    assert found.reached == pytest.approx(100 * (np.mean(ERRORS["a"]) - np.mean(ERRORS["b"])) / gap)
    assert found.outcome == outcome


def test_no_worse_by_more_than_a_little():
    pixels = by_seed(a=[5.0, 5.2, 5.1], near=[5.04, 5.24, 5.13], far=[5.4, 5.5, 5.45])
    assert evaluate(Claim("", "near", than="a", by=-2.0), pixels).outcome == HOLDS
    assert evaluate(Claim("", "far", than="a", by=-2.0), pixels).outcome == FAILS


def test_one_seed_is_uncertain_and_none_unknown():
    found = evaluate(Claim("", "b", than="a"), by_seed(a=[2.0], b=[1.0]))
    assert (found.outcome, found.p, found.seeds) == (UNCERTAIN, None, 1)
    assert evaluate(Claim("", "b", than="a"), by_seed(a=[2.0], b=[3.0])).outcome == FAILS
    assert evaluate(Claim("", "b", than="x"), by_seed(**ERRORS)).outcome == UNKNOWN
    assert evaluate(Claim("", "b", than="a"), {"a": {0: 1.0}, "b": {1: 1.0}}).outcome == UNKNOWN


def test_only_seeds_that_all_arms_have_count():
    values = by_seed(a=[20.0, 22.0], b=[15.0, 16.0])
    values["b"] |= {2: 100.0}
    assert evaluate(Claim("", "b", than="a"), values).seeds == 2
