"""Claims that an experiment tests, and the outcome of each from the results.

Seeds are paired, as a seed gives the same hands and initial weights in every arm: the differences of each seed are
tested by Student's t-test, two-sided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import stats

from bmc_jax.metrics import evaluation

LEVEL = 0.05
"""Significance level."""

HOLDS, UNCERTAIN, FAILS, UNKNOWN = "holds", "not significant", "does not hold", "not run"


@dataclass(frozen=True)
class Claim:
    """A claim that one arm is better than another. The fields are the keys in results files."""

    words: str
    arm: str
    than: str
    measure: str = "joints_3d_mm"
    by: float = 0.0
    """Least improvement, percent of the other arm's value; negative for a tolerated loss."""
    gap_to: str = ""
    """Arm; `by` is then in percent of the gap from `than` to it."""
    on: str = ""
    """Test images, an entry of `data.test`; empty for the last one, the target's."""


@dataclass(frozen=True)
class Result:
    """Outcome of a claim."""

    outcome: str
    """`HOLDS` if the difference is on the claimed side and significant, `UNCERTAIN` if it is there and not significant,
    `FAILS` if it is on the other side, `UNKNOWN` without results."""
    reached: float | None = None
    """Improvement in the unit of `Claim.by`, percent."""
    p: float | None = None
    """p-value of the difference from `Claim.by`, see `p_value`."""
    seeds: int = 0


def evaluate(claim: Claim, values: Mapping[str, Mapping[int, float]]) -> Result:
    """Returns the outcome of a claim from the values of its metric, by arm and seed."""
    involved = [claim.arm, claim.than, *([claim.gap_to] if claim.gap_to else [])]
    seeds = sorted(set.intersection(*(set(values.get(arm, {})) for arm in involved)))
    if not seeds:
        return Result(UNKNOWN)
    arm, than, *end = (np.array([values[name][seed] for seed in seeds]) for name in involved)
    sign = 1 if evaluation.METRICS[claim.measure][3] else -1
    better = sign * (than - arm)
    whole = sign * (than - end[0]) if end else np.abs(than)
    beyond = better - claim.by / 100 * whole
    p = p_value(beyond)
    reached = float(100 * better.mean() / whole.mean()) if whole.mean() else None
    if beyond.mean() <= 0:
        return Result(FAILS, reached, p, len(seeds))
    return Result(HOLDS if p is not None and p < LEVEL else UNCERTAIN, reached, p, len(seeds))


def p_value(differences: np.ndarray) -> float | None:
    """Returns p of the t-test that the mean of paired differences is 0; None for one pair, or if all are equal."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    return float(cast(Any, stats.ttest_1samp(differences, 0.0)).pvalue)
