"""`bmc limits`: what a hand can do, fitted, shown and checked."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bmc_jax.cli.arguments import positive, verb
from bmc_jax.cli.pose_arguments import PRESETS, announce, conventions, converted

if TYPE_CHECKING:
    import numpy as np


def add(limits: Any) -> None:
    poses = "array [N, 21, 3]: metres, camera frame, FreiHAND order, right hands"
    known = f"a preset ({', '.join(PRESETS)}) or a limits file"
    parser = verb(limits, "fit", _fit, "fit limits to poses", """\
examples:
  bmc limits fit poses.npy --out limits.json
  bmc limits fit me.npy --personalize clinical --source "my own hand" --out mine.json
  bmc limits fit annotations.npy --percentiles 0.5 99.5 --left mirror
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES.npy", help=poses)
    parser.add_argument("--out", default="limits.json", metavar="FILE", help="(default: limits.json)")
    parser.add_argument(
        "--source", metavar="NAME", help="where the poses come from, for the record (default: the file)"
    )
    parser.add_argument(
        "--percentiles", nargs=2, type=float, default=(0.0, 100.0), metavar=("LOW", "HIGH"), help="(default: 0 100)"
    )
    parser.add_argument("--angle-margin", type=float, metavar="DEG", help="widen angle limits by so many degrees")
    parser.add_argument(
        "--left",
        default="error",
        choices=("error", "drop", "mirror", "keep"),
        help="what to do with poses that look like left hands (default: error, which counts them)",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--merge", metavar="LIMITS", help="a preset or a limits file to allow as well")
    other.add_argument(
        "--personalize",
        metavar="LIMITS",
        help="take the bones and the palm from these few poses of one person, and the angles from a preset or a limits "
        "file as well (default margins: 5 degrees, 5 %% of lengths)",
    )

    parser = verb(limits, "show", _show, "print limits, and draw their 15 angle hulls", """\
examples:
  bmc limits show clinical
  bmc limits show limits.json --samples poses.npy --out hulls.png
""")  # fmt: skip
    parser.add_argument("limits", metavar="LIMITS", help=known)
    parser.add_argument("--samples", metavar="POSES.npy", help=f"draw these poses' angles too; {poses}")
    parser.add_argument("--out", default="hulls.png", metavar="PNG", help="(default: hulls.png)")

    parser = verb(limits, "check", _check, "say which joints violate which limit, and by how much", """\
With --limits, a report for each joint on poses of any named joint order, in m, cm or mm, of right or left hands: what
is not said is detected, and an error tells where it cannot be. NaN frames are gaps. With LIMITS instead, a list of the
violations of poses in metres, FreiHAND order, right hands.

examples:
  bmc limits check predictions.npz --limits clinical --out report.html
  bmc limits check hands.csv --limits mine.json --order mediapipe --unit mm --side left --json
  bmc limits check pose.npy clinical
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help="npy, npz, json or csv: [N, 21, 3], or one pose [21, 3]")
    parser.add_argument("limits", metavar="LIMITS", nargs="?", help=f"{known}: list every violation")
    parser.add_argument("--count", type=positive, default=30, metavar="N", help="violations to list (default: 30)")
    parser.add_argument("--limits", dest="report", metavar="LIMITS", help=f"{known}: report on each joint")
    conventions(parser)
    parser.add_argument("--out", metavar="HTML", help="write the report as a page, with pictures of the worst poses")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _fit(options: argparse.Namespace) -> None:
    from bmc_jax import limits

    poses, source = _poses(options.poses), options.source or Path(options.poses).name
    arguments = {"source": source, "left": options.left}
    if options.angle_margin is not None:
        arguments["angle_margin"] = options.angle_margin
    if options.personalize:
        fitted = limits.personalize(limits.load(options.personalize), poses, **arguments)
    else:
        fitted = limits.fit(poses, percentiles=tuple(options.percentiles), **arguments)
    if options.merge:
        fitted = limits.merge(fitted, limits.load(options.merge))
    limits.save(fitted, options.out)
    print(limits.describe(fitted))
    print(f"written to {options.out}")


def _show(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.core import validation
    from bmc_jax.visualization import draw

    shown, angles = limits.load(options.limits), None
    if options.samples is not None:
        angles = limits.measure(validation.validate(_poses(options.samples)))["angles"]
    print(limits.describe(shown))
    draw.save(draw.angle_hulls(shown, angles, title=f"limits: {options.limits}"), options.out)
    print(f"hulls drawn in {options.out}")


def _check(options: argparse.Namespace) -> None:
    if (options.limits is None) == (options.report is None):
        raise ValueError("give limits once: --limits LIMITS for a report, or LIMITS for a list of violations")
    if options.report is not None:
        return _report(options)
    if options.order or options.unit or options.side or options.out or options.json:
        raise ValueError(
            "--order, --unit, --side, --out and --json are of the report: give the limits as --limits LIMITS"
        )
    from bmc_jax import limits

    poses = _poses(options.poses)
    violations = limits.check(poses, limits.load(options.limits))
    print(limits.violations_table(violations, len(poses), lines=options.count))


def _report(options: argparse.Namespace) -> None:
    import dataclasses
    import json

    from bmc_jax import limits
    from bmc_jax.limits import report
    from bmc_jax.limits import summary as limits_summary

    held = limits.load(options.report)
    poses = converted(options)
    rows = poses.there
    summary = limits_summary.summarise(poses.joints[rows], held, indices=rows)
    if options.out:
        report.check(options.out, Path(options.poses).name, poses, held, summary)
    if options.json:
        content = {
            "file": options.poses,
            "limits": options.report,
            "conventions": [dataclasses.asdict(finding) for finding in poses.findings],
            "frames": len(poses.joints),
            "gaps": poses.gaps.tolist(),
            "impossible": poses.impossible.tolist(),
        }
        print(json.dumps(content | summary.to_dict(), indent=2, allow_nan=False))
        return
    announce(poses)
    print(limits_summary.table(summary))
    if options.out:
        print(f"written to {options.out}")


def _poses(path: str) -> "np.ndarray":
    """The array of a .npy file, one pose as an array of one; what it holds is for `limits` to judge."""
    import numpy as np

    if not Path(path).is_file():
        raise FileNotFoundError(f"no pose file {path}")
    try:
        poses = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array saved by numpy.save: {error}") from error
    if not isinstance(poses, np.ndarray):
        raise ValueError(f"{path} holds several arrays; save one with numpy.save")
    return poses[None] if poses.ndim == 2 else poses
