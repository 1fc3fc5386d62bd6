"""Claims that an experiment tests, and their outcomes.

Seeds are paired, because a seed determines the same hands and initial weights in every arm: the differences per seed
are tested with Student's two-sided t-test.
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
    """A claim that one arm is better than another. The field names are the keys in results files."""

    words: str
    arm: str
    than: str
    measure: str = "joints_3d_mm"
    by: float = 0.0
    """Smallest improvement, in percent of the value of `than`; negative for a tolerated loss."""
    gap_to: str = ""
    """Arm that ends the gap from `than`; if given, `by` is in percent of this gap."""
    on: str = ""
    """Test images, an entry of `data.test`; empty for the last entry, the target."""


@dataclass(frozen=True)
class Result:
    """Outcome of a claim."""

    outcome: str
    """`HOLDS` if the difference has the claimed sign and is significant, `UNCERTAIN` if it has this sign and is not
    significant, `FAILS` if it has the other sign, `UNKNOWN` without results."""
    reached: float | None = None
    """Improvement in the unit of `Claim.by`, percent."""
    p: float | None = None
    """p-value of the difference from `Claim.by`, see `p_value`."""
    seeds: int = 0


def evaluate(claim: Claim, values: Mapping[str, Mapping[int, float]]) -> Result:
    """Returns the outcome of a claim, given the values of its metric by arm and seed."""
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
    """Returns the p-value of the paired t-test that the mean is 0; None for one pair or equal differences."""
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    return float(cast(Any, stats.ttest_1samp(differences, 0.0)).pvalue)
