"""Generation of the preset `people`: limits of whole hands, fitted to rendered people.

    python -m bmc_jax.limits.presets.people

The hands are those of the training people of the domain `any_view`. The other presets are from ranges of motion: they
allow all that a joint can do, and all bone lengths of adults. This preset allows the usual poses of hands, and the
lengths of bones relative to the scale bone of the same hand.

Narrower percentiles make repair better on noisy poses and worse on exact poses. With these percentiles, repair moves
exact poses of other rendered people by a quarter of a millimetre (`benchmarks/RESULTS.md`).
"""

from pathlib import Path

import numpy as np

from bmc_jax import synthesis
from bmc_jax.core.types import Limits
from bmc_jax.limits import comparison, fitting, io

FILE = Path(__file__).parent / "people.json"
DOMAIN, SPLIT = "any_view", "train"
COUNT, SEED = 40_000, 0
CHUNK = 4096
PERCENTILES = (1.0, 99.0)


def people(count: int = COUNT, seed: int = SEED, percentiles: tuple[float, float] = PERCENTILES) -> Limits:
    """Returns the limits of the preset, fitted to the first `count` poses of rendered people."""
    chunks = (
        synthesis.poses(seed, DOMAIN, SPLIT, np.arange(start, min(start + CHUNK, count)))
        for start in range(0, count, CHUNK)
    )
    return fitting.fit(
        chunks,
        source=f"people of the rendered domain {DOMAIN}, split {SPLIT}, seed {seed}",
        references=(
            "shapes, poses and views: bmc_jax.synthesis.domains and gestures, from published bones and ranges",
        ),
        percentiles=percentiles,
    )


if __name__ == "__main__":
    io.save(people(), FILE)
    print(f"wrote {FILE}\n{comparison.describe(io.load(FILE))}")
