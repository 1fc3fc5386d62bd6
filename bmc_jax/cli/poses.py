"""`bmc limits repair` and `bmc limits sample`: the nearest poses within limits, and random ones."""

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
    parser = add_verb(limits, "repair", _repair, "move poses to the nearest ones within limits", """\
Poses of any named joint order, in m, cm or mm, of right or left hands, and written as they came. NaN frames are gaps.

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
        help="projection: move joints along their viewing rays only, of poses in the camera's frame; bones: keep all "
        "bone lengths (default: neither)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        metavar="FRAMES",
        help="the poses are a sequence: damp motion of that period by half, quicker ones more, before the repair",
    )
    add_conventions(parser)
    parser.add_argument("--out", default="repaired.npy", metavar="NPY", help="(default: repaired.npy)")

    parser = add_verb(limits, "sample", _sample, "random poses within limits that do not cut through themselves", """\
Bone lengths, the palm's spread and curvature are uniform in their intervals and the angles in their hulls; hands that
cut through themselves are drawn again. Written are metres, FreiHAND order, right hands: the wrist at the origin, x out
of the palm, z along the middle finger's metacarpal.

examples:
  bmc limits sample --limits clinical --count 1000 --seed 0
  bmc limits sample --limits mine.json --count 50 --scale 0.041 --out mine.npy
""")  # fmt: skip
    parser.add_argument("--limits", default="clinical", metavar="LIMITS", help="preset or file (default: clinical)")
    parser.add_argument("--count", type=positive, default=1000, metavar="N", help="poses (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed, the same poses (default: 0)")
    parser.add_argument(
        "--scale",
        type=float,
        metavar="METRES",
        help="length of the bone from the middle finger's MCP to its PIP (default: a mean adult's, 0.0446)",
    )
    parser.add_argument(
        "--out", default="poses.npz", metavar="NPZ|NPY", help="an .npz says the side too (default: poses.npz)"
    )


def _repair(options: argparse.Namespace) -> None:
    import numpy as np

    from bmc_jax import limits
    from bmc_jax.core import hand
    from bmc_jax.data import pose_files
    from bmc_jax.poses import repair

    if Path(options.out).suffix != ".npy":
        raise ValueError(f"--out {options.out}: repaired poses are written as .npy; name such a file")
    allowed = limits.load(options.limits)
    # The side is decided by what any hand can do, which noisy poses exceed less than the limits of repair.
    poses = read_poses(options, limits.load("clinical"), sequence=options.smooth is not None)
    try:
        result = repair.repair_poses(poses.joints, allowed, keep=options.keep, smooth=options.smooth)
    except ValueError as error:
        raise ValueError(f"{options.poses}: {error}") from error
    gaps, changed = ~np.isfinite(result.excess), result.moved > 0
    given, joints = pose_files.read(options.poses), poses.to_source(np.asarray(result.joints))
    # Poses that are not changed stay what they are, bit for bit.
    np.save(options.out, np.where(changed[:, None, None], joints, given.joints).astype(given.dtype))
    print_findings(poses)
    many = f"{counted(len(joints), 'pose')}: {changed.sum():,} changed, {(~changed & ~gaps).sum():,} not"
    print(f"{many}, {counted(int(gaps.sum()), 'gap')}")
    if changed.any():
        moves = 1000 * np.linalg.norm(np.asarray(result.joints) - poses.joints, axis=-1)
        pose, joint = np.unravel_index(np.argmax(np.where(changed[:, None], moves, -1)), moves.shape)
        print(
            f"changed ones moved by {moves[changed].mean():.1f} mm a joint in the mean, the farthest joint, "
            f"{hand.JOINTS[joint]} of pose {pose}, by {moves[pose, joint]:.1f} mm"
        )
    outside = ~result.converged & ~gaps
    if outside.any():
        usual = ", as is usual: with every joint on its viewing ray, hardly a hand fits exactly"
        print(
            f"{counted(int(outside.sum()), 'pose')} partly beyond the limits"
            f"{usual if options.keep == 'projection' else ''}; "
            f"what remains: {_remaining(np.asarray(result.joints)[outside], allowed, options.keep)}"
        )
    print(f"written to {options.out}")


def _remaining(joints: "np.ndarray", allowed: "Limits", keep: str) -> str:
    """Returns how far joints in metres are beyond limits, in words."""
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
        raise FileNotFoundError(f"no folder {Path(options.out).parent} to write {options.out} to")
    if Path(options.out).suffix not in (".npz", ".npy"):
        raise ValueError(f"--out {options.out}: poses are written as .npz or .npy; name such a file")
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
