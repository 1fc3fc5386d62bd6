"""Generation of the preset `clinical`: limits from joint ranges in the literature, without data.

    python -m bmc_jax.limits.presets.clinical

The ranges, their sources and the hand model are in `synthesis.skeleton`; the limits are fitted to hands that cover the
ranges. Bone lengths vary independently by two standard deviations of adults.

The margins are for labels, because the joint centres of datasets differ from those of anatomy: fingertips and wrist by
up to a third of a bone, and a few millimetres at the end of a phalanx are ten degrees.
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
    """Returns the limits of the preset from `count` sampled hands."""
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
    print(f"wrote {FILE}\n{comparison.describe(io.load(FILE))}")
