"""Makes the presets `eaton`, `functional` and `lin2000`: joint ranges as single sources give them.

    python -m bmc_jax.limits.presets.literature

`clinical` is the widest of several sources and of what RHD's hands need; these are one source's word each, and tighter.
What a source does not say of a joint is `clinical`'s: `TAKEN` names it in the file's references. Bones and palm are
`clinical`'s throughout. Angles are those of as different adults' hands as in `clinical`, of which one joint at a time
moves over its whole range, with `clinical`'s margin for labels.
"""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bmc_jax.core.types import Limits
from bmc_jax.limits import comparison, fitting, io
from bmc_jax.limits.presets.clinical import ANGLE_MARGIN
from bmc_jax.synthesis import skeleton
from bmc_jax.synthesis.skeleton import JointRange

FOLDER = Path(__file__).parent
EATON = "Eaton, e-hand.com: normal range of motion, reference values"
LIN = "Lin, Wu and Huang 2000, Modeling the constraints of human hand motion; read in transcriptions"
BAIN = "Bain et al. 2015, J Hand Surg Eur 40(4):406-411: range in which 90 % of twenty daily activities are done"
#: Preset -> joint -> range.
SOURCES = {
    "eaton": {
        "mcp_flexion": JointRange(-45, 90, EATON),
        "pip_flexion": JointRange(0, 100, EATON),
        "dip_flexion": JointRange(0, 80, EATON),
        "thumb_radial": JointRange(0, 60, EATON),
        "thumb_palmar": JointRange(0, 45, EATON),
        "thumb_mcp_flexion": JointRange(-10, 55, EATON),
        "thumb_ip_flexion": JointRange(-15, 80, EATON),
    },
    "functional": {
        "mcp_flexion": JointRange(19, 71, BAIN),
        "pip_flexion": JointRange(23, 87, BAIN),
        "dip_flexion": JointRange(10, 64, BAIN),
    },
    "lin2000": {
        "mcp_flexion": JointRange(0, 90, LIN),
        "mcp_abduction": JointRange(-15, 15, LIN),
        "pip_flexion": JointRange(0, 110, LIN),
        "dip_flexion": JointRange(0, 90, LIN),
    },
}
TAKEN = "as in the preset clinical"
#: Values of each angle from end to end: a hull is convex in the paper's angles, a range is not always.
STEPS = 7
#: Adults, each with all of the poses.
PEOPLE, SEED = 100, 0


def literature(name: str) -> Limits:
    """The preset's limits, from the ranges alone."""
    said = SOURCES[name]
    ranges = {
        joint: said.get(joint, JointRange(known.low, known.high, TAKEN))
        for joint, known in skeleton.JOINT_RANGES.items()
        if not joint.startswith("wrist")
    }
    clinical = io.load("clinical")
    fitted = fitting.fit(_poses(ranges), source=name, angle_margin=ANGLE_MARGIN, left="keep")
    references = tuple(f"{joint}: {of.low:g} to {of.high:g} degrees. {of.source}" for joint, of in ranges.items())
    meta = dataclasses.replace(
        fitted.meta,
        source=f"{name}: joint ranges of one source",
        references=(f"bones and palm: {TAKEN}", *references),
        margin_fraction=clinical.meta.margin_fraction,
    )
    return dataclasses.replace(clinical, hull=fitted.hull, support=fitted.support, meta=meta)


def _poses(ranges: dict[str, JointRange]) -> np.ndarray:
    """Returns hands `[N, 21, 3]` in metres of `PEOPLE` adults. Each joint takes every combination of its angles, while
    the others stay in the middle of their ranges."""
    values = {joint: np.deg2rad(np.linspace(of.low, of.high, STEPS)) for joint, of in ranges.items()}
    middle = {joint: of[STEPS // 2] for joint, of in values.items()}
    joints = (
        ("mcp_flexion", "mcp_abduction"),
        ("pip_flexion",),
        ("dip_flexion",),
        ("thumb_radial", "thumb_palmar", "thumb_roll"),
        ("thumb_mcp_flexion", "thumb_mcp_abduction"),
        ("thumb_ip_flexion",),
    )
    rows = [
        middle | dict(zip(names, mixture, strict=True))
        for names in joints
        for mixture in itertools.product(*(values[name] for name in names))
    ]
    fingers = ("mcp", "pip", "dip")
    angles = {
        joint: jnp.array([np.full(4, row[joint]) if joint[:3] in fingers else row[joint] for row in rows], jnp.float32)
        for joint in values
    }
    still = jnp.zeros(len(rows))
    forward = jax.jit(jax.vmap(skeleton.forward, in_axes=(0, None)))
    people = np.random.default_rng(SEED)
    hands = []
    for _ in range(PEOPLE):
        pose = skeleton.Pose(**angles, wrist_flexion=still, wrist_deviation=still, arch=still + people.uniform())
        hands.append(np.asarray(forward(pose, _adult(people)).joints))
    return np.concatenate(hands)


def _adult(random: np.random.Generator) -> skeleton.Shape:
    """A hand of any adult, of bones and palm as `skeleton.clinical_poses` draws them."""
    spread = {
        "bones": 1 + 2 * skeleton.BONE_DEVIATIONS / skeleton.BONES * random.uniform(-1, 1, (5, 4)),
        "palm_width": random.uniform(0.88, 1.12),
        "fan": np.deg2rad(random.uniform(-3.6, 3.6, 4)),
        "drop": np.deg2rad(random.uniform(-2.9, 2.9, 4)),
        "thumb_base": random.uniform(-5, 5, 3),
        "size": 1.0,
        "thickness": 1.0,
    }
    return skeleton.Shape(**{name: jnp.asarray(value, jnp.float32) for name, value in spread.items()})


if __name__ == "__main__":
    for name in SOURCES:
        made = literature(name)
        io.save(made, FOLDER / f"{name}.json")
        print(f"{name}.json written\n{comparison.describe(made)}")
