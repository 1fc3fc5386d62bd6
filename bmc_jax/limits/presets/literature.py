"""Generation of the presets `eaton`, `functional` and `lin2000`: joint ranges of single sources.

    python -m bmc_jax.limits.presets.literature

`clinical` has the widest ranges of several sources and of the hands in RHD. These presets are tighter, with the ranges
of one source each. Ranges that a source does not state are those of `clinical`, marked by `TAKEN` in the references of
the file, and so are bones and palm. The angles are those of hands of adults as varied as in `clinical`, in which one
joint at a time moves over its whole range, with the margin of `clinical` for labels.
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
STEPS = 7
"""Number of values of each angle in its range: a range is not always convex in the paper's angles, as a hull is."""
PEOPLE, SEED = 100, 0
"""Number of adults, each with all poses, and their seed."""


def literature(name: str) -> Limits:
    """Returns the limits of the preset `name`."""
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
    """Returns hands `[N, 21, 3]` of `PEOPLE` adults, metres.

    Each joint takes all combinations of its angles, while the other joints are in the middle of their ranges.
    """
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
    """Returns a random hand of an adult, with bones and palm distributed as in `skeleton.clinical_poses`."""
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
        print(f"wrote {name}.json\n{comparison.describe(made)}")
