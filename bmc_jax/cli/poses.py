"""`bmc limits repair` and `bmc limits sample`: the nearest poses within limits, and random poses."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bmc_jax.cli.arguments import FORMATS, add_conventions, add_verb, positive, print_findings, read_poses
from bmc_jax.core.choices import LIFT_LIMITS, PRESETS
from bmc_jax.core.plural import counted, plural

if TYPE_CHECKING:
    import numpy as np

    from bmc_jax.core.types import Limits


def add(limits: Any) -> None:
    parser = add_verb(limits, "repair", _repair, "move poses to the nearest poses within limits", """\
The poses may have any named joint order, in m, cm or mm, of right or left hands. The output has the same conventions.
NaN frames are gaps.

examples:
  bmc limits repair poses.npy --out repaired.npy
  bmc limits repair poses.npz --limits limits.json --keep projection
  bmc limits repair sequence.csv --limits mine.json --smooth 8 --unit mm
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help=f"{FORMATS}, or one pose")
    known = f"a preset ({', '.join(PRESETS)}) or a limits file (default: {LIFT_LIMITS})"
    parser.add_argument("--limits", default=LIFT_LIMITS, metavar="LIMITS", help=known)
    parser.add_argument(
        "--keep",
        default="",
        choices=("projection", "bones"),
        help="projection: move joints only along their viewing rays, for poses in the camera frame; bones: keep all "
        "bone lengths (default: neither)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        metavar="FRAMES",
        help="smooth the sequence before the repair: motion with this period is halved, faster motion is reduced more",
    )
    add_conventions(parser)
    parser.add_argument("--out", default="repaired.npy", metavar="NPY", help="(default: repaired.npy)")

    parser = add_verb(limits, "sample", _sample, "sample random poses within limits without self-intersection", """\
Bone lengths and the palm's spread and curvature are uniform in their intervals, and the angles in their hulls. Hands
that intersect themselves are rejected. The poses are in metres, FreiHAND order, of right hands: the wrist is at the
origin, x points out of the palm, z along the metacarpal of the middle finger.

examples:
  bmc limits sample --limits clinical --count 1000 --seed 0
  bmc limits sample --limits mine.json --count 50 --scale 0.041 --out mine.npy
""")  # fmt: skip
    parser.add_argument("--limits", default="clinical", metavar="LIMITS", help="preset or file (default: clinical)")
    parser.add_argument("--count", type=positive, default=1000, metavar="N", help="poses (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the poses (default: 0)")
    parser.add_argument(
        "--scale",
        type=float,
        metavar="METRES",
        help="length of the bone from middle MCP to middle PIP (default: the mean of adults, 0.0446)",
    )
    parser.add_argument(
        "--out", default="poses.npz", metavar="NPZ|NPY", help="an .npz also has the side (default: poses.npz)"
    )


def _repair(options: argparse.Namespace) -> None:
    import numpy as np

    from bmc_jax import limits
    from bmc_jax.core import hand
    from bmc_jax.data import pose_files
    from bmc_jax.poses import repair

    if Path(options.out).suffix != ".npy":
        raise ValueError(f"--out: expected a file name ending in .npy, got {options.out}; change the suffix")
    allowed = limits.load(options.limits)
    # The side is detected with the wider clinical limits, which noisy poses exceed less.
    poses = read_poses(options, limits.load("clinical"), sequence=options.smooth is not None)
    try:
        result = repair.repair_poses(poses.joints, allowed, keep=options.keep, smooth=options.smooth)
    except ValueError as error:
        raise ValueError(f"{options.poses}: {error}") from error
    gaps, changed = ~np.isfinite(result.excess), result.moved > 0
    given, joints = pose_files.read(options.poses), poses.to_source(np.asarray(result.joints))
    # Unchanged poses are written bit for bit.
    np.save(options.out, np.where(changed[:, None, None], joints, given.joints).astype(given.dtype))
    print_findings(poses)
    many = f"{counted(len(joints), 'pose')}: {changed.sum():,} changed, {(~changed & ~gaps).sum():,} not"
    print(f"{many}, {counted(int(gaps.sum()), 'gap')}")
    if changed.any():
        moves = 1000 * np.linalg.norm(np.asarray(result.joints) - poses.joints, axis=-1)
        pose, joint = np.unravel_index(np.argmax(np.where(changed[:, None], moves, -1)), moves.shape)
        print(
            f"joints of changed poses moved by {moves[changed].mean():.1f} mm on average, by at most "
            f"{moves[pose, joint]:.1f} mm ({hand.JOINTS[joint]} of pose {pose})"
        )
    outside = ~result.converged & ~gaps
    if outside.any():
        usual = " (with all joints on their viewing rays, few hands are exactly within them)"
        print(
            f"{counted(int(outside.sum()), 'pose')} still beyond the limits"
            f"{usual if options.keep == 'projection' else ''}: "
            f"{_remaining(np.asarray(result.joints)[outside], allowed, options.keep)}"
        )
    print(f"written to {options.out}")


def _remaining(joints: "np.ndarray", allowed: "Limits", keep: str) -> str:
    """Returns a description of how far joints, in metres, are beyond the limits."""
    import numpy as np

    from bmc_jax import limits
    from bmc_jax.core import hand

    start, end = hand.SCALE_BONE
    scale = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)[:, None, None]
    excess = limits.assess(joints / np.where(scale > 0, scale, 1), allowed).excess
    quantities = [
        ("joint angles", np.degrees(excess.angles), "degrees"),
        ("bones", 1000 * scale * excess.bone_length * (keep != "bones"), "mm"),
        ("the palm's spread", np.degrees(excess.spread), "degrees"),
        ("the palm's curvature", excess.curvature, "per scale unit"),
    ]
    return ", ".join(
        f"{name} by {np.median(values[values > 0]):.2g} {unit} (median of {(values > 0).sum():,}; "
        f"{values.max():.2g} at most)"
        for name, values, unit in quantities
        if (values > 0).any()
    )


def _sample(options: argparse.Namespace) -> None:
    import jax
    import numpy as np

    from bmc_jax import limits
    from bmc_jax.poses import sampling

    if not Path(options.out).parent.is_dir():
        raise FileNotFoundError(f"--out: expected an existing folder, got {Path(options.out).parent}; create it")
    if Path(options.out).suffix not in (".npz", ".npy"):
        raise ValueError(f"--out: expected a file name ending in .npz or .npy, got {options.out}; change the suffix")
    scale = sampling.ADULT_SCALE if options.scale is None else options.scale
    allowed = limits.load(options.limits)
    sample = sampling.sample(jax.random.key(options.seed), allowed, options.count, scale=scale)
    with open(options.out, "wb") as file:
        if options.out.endswith(".npz"):
            left = np.zeros(len(sample.poses), bool)
            np.savez(file, joints=sample.poses, left=left, order="freihand", unit="m")
        else:
            np.save(file, sample.poses)
    feasible = f"{sample.kept:,} of {counted(sample.drawn, 'drawn hand')} {plural(sample.kept, 'is')} feasible"
    print(f"{feasible}, {100 * sample.acceptance:.1f} %")
    print(f"the first {options.count} written to {options.out}")
