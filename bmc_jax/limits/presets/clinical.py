"""Makes the preset `clinical`: limits from joint ranges in the literature, with no data at all.

    python -m bmc_jax.limits.presets.clinical

The ranges, their sources and the hand that they move are in `synthesis.skeleton`; the limits are fitted to hands all
over those ranges. Bones vary by two standard deviations of adults, each on its own.

The margins are for labels: joint centres of a data set are not the anatomist's. Fingertips and wrist lie up to a third
of a bone away from theirs, and a few millimetres at the end of a phalanx are ten degrees.
"""

from pathlib import Path

from bmc_jax.core.types import Limits
from bmc_jax.limits import comparison, fitting, io
from bmc_jax.synthesis import skeleton

FILE = Path(__file__).parent / "clinical.json"
COUNT, SEED = 200_000, 0
CHUNK = 20_000
ANGLE_MARGIN, LENGTH_MARGIN = 10.0, 0.3


def clinical(count: int = COUNT, seed: int = SEED) -> Limits:
    """The preset's limits from so many sampled hands."""
    ranges = (
        f"{name}: {r.low:g} to {r.high:g} degrees. {r.source}"
        for name, r in skeleton.JOINT_RANGES.items()
        if name[:5] != "wrist"
    )
    bones = "bones: mean and two standard deviations of adults. Buryanov and Kotiuk 2010, Int J Morphol 28(3):755-758"
    chunks = (skeleton.clinical_poses(min(CHUNK, count - start), seed + start) for start in range(0, count, CHUNK))
    return fitting.fit(
        chunks,
        source="clinical joint ranges, sampled",
        references=(bones, *ranges),
        angle_margin=ANGLE_MARGIN,
        length_margin=LENGTH_MARGIN,
        left="keep",
    )


if __name__ == "__main__":
    io.save(clinical(), FILE)
    print(f"{FILE} written\n{comparison.describe(io.load(FILE))}")
