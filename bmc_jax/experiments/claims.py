"""What an experiment is to show, as data beside its arms, and whether its results show it: no verdict is by hand.

Seeds are paired: a seed is the same hands and the same first weights in every arm, so what is tested is the mean, over
the seeds, of what each shows, by Student's t-test, two-sided.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bmc_jax.metrics import evaluation

#: Of the test.
LEVEL = 0.05

HOLDS, UNCERTAIN, FAILS, UNKNOWN = "holds", "not significant", "does not hold", "not run"


@dataclass(frozen=True)
class Claim:
    """One arm is better than another by a measure, or better by so much."""

    words: str
    arm: str
    than: str
    measure: str = "joints_3d_mm"
    by: float = 0.0
    """Percent of the other's that it is better by at least; negative: it may be worse by that much."""
    gap_to: str = ""
    """An arm. `by` is then in percent of the gap from `than` to it."""
    on: str = ""
    """The test images, as `data.test` names them; by default the last of them, the target's."""


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim."""

    verdict: str
    """`HOLDS`, significantly; `UNCERTAIN`: on the mean, by no more than chance may; `FAILS`; or `UNKNOWN`."""
    reached: float | None = None
    """What `by` asks for, in percent."""
    p: float | None = None
    """Of the difference from what is asked for; none of one seed, or if all seeds agree to the bit."""
    seeds: int = 0


def judge(claim: Claim, values: Mapping[str, Mapping[int, float]]) -> Finding:
    """Whether a claim holds, by the values of its measure, by arm and seed."""
    involved = [claim.arm, claim.than, *([claim.gap_to] if claim.gap_to else [])]
    seeds = sorted(set.intersection(*(set(values.get(arm, {})) for arm in involved)))
    if not seeds:
        return Finding(UNKNOWN)
    arm, than, *end = (np.array([values[name][seed] for seed in seeds]) for name in involved)
    sign = 1 if evaluation.METRICS[claim.measure][3] else -1
    better = sign * (than - arm)
    whole = sign * (than - end[0]) if end else np.abs(than)
    beyond = better - claim.by / 100 * whole
    p = float(stats.ttest_rel(beyond, np.zeros_like(beyond)).pvalue) if len(seeds) > 1 and np.ptp(beyond) > 0 else None
    reached = float(100 * better.mean() / whole.mean()) if whole.mean() else None
    if beyond.mean() <= 0:
        return Finding(FAILS, reached, p, len(seeds))
    return Finding(HOLDS if p is not None and p < LEVEL else UNCERTAIN, reached, p, len(seeds))
