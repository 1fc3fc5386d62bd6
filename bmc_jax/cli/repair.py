"""`bmc limits repair`: the nearest poses that a hand can take, in the order, unit and side that came."""

import argparse
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import verb
from bmc_jax.cli.pose_arguments import PRESETS, announce, conventions, converted


def add(limits: Any) -> None:
    parser = verb(limits, "repair", _repair, "move poses to the nearest ones within limits", """\
Poses of any named joint order, in m, cm or mm, of right or left hands, and written as they came. NaN frames are gaps.

examples:
  bmc limits repair poses.npy --limits clinical --out repaired.npy
  bmc limits repair poses.npz --limits limits.json --keep projection
  bmc limits repair sequence.csv --limits mine.json --smooth 8 --unit mm
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help="npy, npz, json or csv: [N, 21, 3], or one pose [21, 3]")
    known = f"a preset ({', '.join(PRESETS)}) or a limits file"
    parser.add_argument("--limits", required=True, metavar="LIMITS", help=known)
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
    conventions(parser)
    parser.add_argument("--out", default="repaired.npy", metavar="NPY", help="(default: repaired.npy)")


def _repair(options: argparse.Namespace) -> None:
    import numpy as np

    from bmc_jax import limits
    from bmc_jax.poses import files, repair

    if Path(options.out).suffix != ".npy":
        raise ValueError(f"--out {options.out}: repaired poses are written as .npy; name such a file")
    held = limits.load(options.limits)
    poses = converted(options)
    try:
        found = repair.repaired(poses.joints, held, keep=options.keep, smooth=options.smooth)
    except ValueError as error:
        raise ValueError(f"{options.poses}: {error}") from error
    gaps = ~np.isfinite(found.violation)
    given, joints = files.read(options.poses).joints, poses.as_they_came(np.asarray(found.joints))
    np.save(options.out, np.where(gaps[:, None, None], given, joints))
    announce(poses)
    changed = found.moved > 0
    print(f"{len(joints):,} poses: {changed.sum():,} changed, {(~changed & ~gaps).sum():,} not, {gaps.sum():,} gaps")
    if changed.any():
        millimetres = 1000 * found.moved[changed]
        print(f"changed ones moved by {millimetres.mean():.1f} mm a joint, at most {millimetres.max():.1f} mm")
    left = ~found.converged & ~gaps
    if left.any():
        worst = int(np.argmax(np.where(left, found.violation, -1)))
        print(
            f"{left.sum():,} are not within the limits to {repair.TOLERANCE:g} rad or share of a length; the worst, "
            f"pose {worst}, is {found.violation[worst]:.2g} beyond"
        )
    print(f"written to {options.out}")
