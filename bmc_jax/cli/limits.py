"""`bmc limits`: fitting, showing, personalizing and comparing limits of a hand, and checking poses against them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bmc_jax.cli.arguments import FORMATS, add_conventions, add_verb, positive, print_findings, read_poses
from bmc_jax.core.choices import LEFT_HANDS, PRESETS
from bmc_jax.core.plural import counted

if TYPE_CHECKING:
    import numpy as np

DEFAULT = "clinical"
"""Limits that are used by default."""
KNOWN = f"a preset ({', '.join(PRESETS)}) or a limits file"
TRAINING_POSES = 8_192
"""Largest number of poses to which `depths` fits limits by default."""


def add(limits: Any) -> None:
    poses = f"{FORMATS}, metres, FreiHAND order, right hands"
    parser = add_verb(limits, "fit", _fit, "fit limits to poses", """\
examples:
  bmc limits fit poses.npy --out limits.json
  bmc limits fit annotations.npy --percentiles 0.5 99.5 --left mirror
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help=poses)
    parser.add_argument("--out", default="limits.json", metavar="FILE", help="(default: limits.json)")
    parser.add_argument("--source", metavar="NAME", help="origin of the poses, for the record (default: the file)")
    parser.add_argument(
        "--percentiles", nargs=2, type=float, default=(0.0, 100.0), metavar=("LOW", "HIGH"), help="(default: 0 100)"
    )
    parser.add_argument(
        "--angle-margin", type=float, default=0.0, metavar="DEG", help="widen angle limits by this angle, degrees"
    )
    parser.add_argument(
        "--left",
        default="error",
        choices=LEFT_HANDS,
        help="treatment of poses that look like left hands (default: error, which counts them)",
    )
    parser.add_argument("--merge", metavar="LIMITS", help="a preset or a limits file to merge into the limits")

    parser = add_verb(limits, "show", _show, "print limits, and draw their 15 angle hulls", """\
examples:
  bmc limits show clinical
  bmc limits show limits.json --samples poses.npy --out hulls.png
""")  # fmt: skip
    parser.add_argument("limits", metavar="LIMITS", help=KNOWN)
    parser.add_argument("--samples", metavar="POSES", help=f"also draw the angles of these poses; {poses}")
    parser.add_argument("--out", default="hulls.png", metavar="PNG", help="(default: hulls.png)")

    parser = add_verb(limits, "check", _check, "list the joints that violate limits, and by how much", """\
The poses may have any named joint order, in m, cm or mm, of right or left hands. Conventions that are not given are
detected; if this is not possible, an error names the option to give. NaN frames are gaps.

examples:
  bmc limits check predictions.npz --out report.html
  bmc limits check hands.csv --limits mine.json --order mediapipe --unit mm --side left --json
  bmc limits check pose.npy --limits clinical --list --fail
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help=f"{FORMATS}, or one pose [21, 3]")
    parser.add_argument("positional", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--limits", default=DEFAULT, metavar="LIMITS", help=f"{KNOWN} (default: {DEFAULT})")
    parser.add_argument(
        "--list", type=positive, nargs="?", const=30, metavar="N", help="list the first N violations (default: 30)"
    )
    parser.add_argument("--fail", action="store_true", help="exit with status 1 if any limit is violated")
    add_conventions(parser)
    parser.add_argument("--out", metavar="HTML", help="write the report as a page, with pictures of the worst poses")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")

    parser = add_verb(limits, "personalize", _personalize, "fit limits of one person to few poses and a preset", """\
The preset counts as 5 poses for bones and palm and as 100 for joint angles: with n poses, a limit is the weighted mean
of the fit to them, with weight n / (n + 5) or n / (n + 100), and of the preset.

example:
  bmc limits personalize mine.npy --prior clinical --out mine.json
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help=f"{FORMATS} of one person")
    parser.add_argument("--prior", default=DEFAULT, metavar="LIMITS", help=f"preset or file (default: {DEFAULT})")
    parser.add_argument("--source", metavar="NAME", help="origin of the poses, for the record (default: the file)")
    parser.add_argument("--out", default="mine.json", metavar="FILE", help="(default: mine.json)")
    add_conventions(parser)

    parser = add_verb(limits, "compare", _compare, "compare two limits in a table and a picture", """\
example:
  bmc limits compare clinical mine.json --out compare.png
""")  # fmt: skip
    parser.add_argument("first", metavar="A", help="a preset or a limits file")
    parser.add_argument("second", metavar="B", help="a preset or a limits file")
    parser.add_argument("--out", default="compare.png", metavar="PNG", help="(default: compare.png)")

    parser = add_verb(limits, "motion", _motion, "measure a sequence's range of motion, with clinical norms", """\
example:
  bmc limits motion sequence.npy --fps 30 --out motion.html
""")  # fmt: skip
    parser.add_argument("poses", metavar="SEQUENCE", help=f"{FORMATS}, NaN for frames without a hand")
    parser.add_argument("--fps", type=float, default=30.0, metavar="RATE", help="frames per second (default: 30)")
    parser.add_argument("--out", default="motion.html", metavar="HTML", help="(default: motion.html)")
    add_conventions(parser)

    parser = add_verb(limits, "depths", _depths, "measure how well limits determine the depth of 2D poses", """\
examples:
  bmc limits depths --out figure4.png
  bmc limits depths clinical --on real_like
  bmc limits depths runs/mine/limits.json --on joints.npy --count 1000

Perturbs the depths of poses, and moves the joints along their rays to lower the biomechanical losses: bone lengths,
then also the palm, then also the joint angles. Prints the mean errors, and draws a typical pose as in the paper's
Figure 4.
""")  # fmt: skip
    parser.add_argument(
        "limits", nargs="?", metavar="LIMITS", help="a preset or a limits file (default: fitted to training poses)"
    )
    parser.add_argument(
        "--on",
        default="mannequin",
        metavar="DOMAIN|JOINTS.npy",
        help="test poses: a rendered domain, or a file of 3D joints in the camera frame (default: mannequin)",
    )
    parser.add_argument("--count", type=positive, default=512, metavar="N", help="poses (default: 512)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the depth errors (default: 0)")
    parser.add_argument("--out", default="depths.png", metavar="PNG", help="(default: depths.png)")


def _fit(options: argparse.Namespace) -> None:
    from bmc_jax import limits

    fitted = limits.fit(
        _read_metres(options.poses),
        source=options.source or Path(options.poses).name,
        percentiles=tuple(options.percentiles),
        angle_margin=options.angle_margin,
        left=options.left,
    )
    if options.merge:
        fitted = limits.merge(fitted, limits.load(options.merge))
    limits.save(fitted, options.out)
    print(limits.describe(fitted))
    print(f"written to {options.out}")


def _read_metres(path: str) -> "np.ndarray":
    """Returns the poses of a file. Raises ValueError if it states a unit or order other than metres and FreiHAND's."""
    from bmc_jax.core import hand
    from bmc_jax.data import pose_files

    found = pose_files.read(path)
    for name, value, needed in (("unit", found.unit, "m"), ("order", found.order, hand.JOINT_ORDER)):
        if value not in (None, needed):
            raise ValueError(f"{path}: expected poses of the {name} {needed}, got {value}; convert them first")
    return found.joints


def _show(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.core import validation
    from bmc_jax.visualization import draw

    loaded, angles = limits.load(options.limits), None
    if options.samples is not None:
        angles = limits.measure(validation.validate(_read_metres(options.samples)))["angles"]
    print(limits.describe(loaded))
    draw.save(draw.angle_hulls(loaded, angles, title=f"limits: {options.limits}"), options.out)
    print(f"hulls drawn in {options.out}")


def _check(options: argparse.Namespace) -> int:
    import dataclasses
    import json

    from bmc_jax import limits
    from bmc_jax.limits import checking
    from bmc_jax.poses import report

    if options.positional is not None:
        name = options.positional if options.limits == DEFAULT else options.limits
        raise ValueError(
            f"expected limits as an option, got {options.positional!r}; run: bmc limits check {options.poses} "
            f"--limits {name}"
        )
    allowed = limits.load(options.limits)
    poses = read_poses(options, allowed)
    rows = poses.present
    summary = limits.summarize(poses.joints[rows], allowed, indices=rows)
    if options.out:
        report.check(options.out, Path(options.poses).name, poses, allowed, summary)
    if options.json:
        content = {
            "file": options.poses,
            "limits": options.limits,
            "conventions": [dataclasses.asdict(finding) for finding in poses.findings],
            "frames": len(poses.joints),
            "notes": list(poses.notes),
            "gaps": poses.gaps.tolist(),
            "impossible": poses.impossible.tolist(),
        }
        print(json.dumps(content | summary.to_dict(), indent=2, allow_nan=False))
    else:
        print_findings(poses)
        print(f"limits {options.limits}: {allowed.meta.source}\n\n{checking.table(summary)}")
        if options.list:
            violations = limits.check(poses.joints[rows], allowed, indices=rows)
            print("", counted(len(violations), "violation"), *violations[: options.list], sep="\n")
        if options.out:
            print(f"written to {options.out}")
    return int(options.fail and summary.within < summary.poses)


def _personalize(options: argparse.Namespace) -> None:
    from bmc_jax import limits

    prior = limits.load(options.prior)
    poses = read_poses(options, prior)
    source = options.source or Path(options.poses).name
    # `read_poses` has mirrored left hands.
    personal = limits.personalize(prior, poses.joints[poses.present], source=source, left="keep")
    limits.save(personal, options.out)
    print_findings(poses)
    print(limits.describe(personal))
    print(f"written to {options.out}")


def _compare(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.limits import comparison, plots
    from bmc_jax.visualization import draw

    names = options.first, options.second
    both = limits.load(options.first), limits.load(options.second)
    rows = limits.compare(*both)
    print(comparison.table(rows, names, both))
    captions = [f"{row.shared_percent:.0f} % shared" for row in rows]
    draw.save(plots.comparison(*both, names, captions), options.out)
    print(f"hulls drawn in {options.out}")


def _motion(options: argparse.Namespace) -> None:
    from bmc_jax.limits import checking, range_of_motion
    from bmc_jax.poses import report

    poses = read_poses(options, sequence=True)
    motion = range_of_motion.measure(poses.joints, options.fps)
    report.motion(options.out, Path(options.poses).name, poses, motion)
    print_findings(poses)
    print(f"{motion.sentence()}\n\n{checking.aligned(range_of_motion.HEAD, range_of_motion.cells(motion))}")
    print(f"written to {options.out}")


def _depths(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.limits import checking, depth_ambiguity, plots
    from bmc_jax.visualization import draw

    if options.limits:
        allowed = limits.load(options.limits)
    else:
        poses = _domain_poses(options.on, "train", TRAINING_POSES)
        allowed = limits.fit(poses, source=f"training poses of {options.on}")
    truth = _domain_poses(options.on, "test", options.count)
    stages = depth_ambiguity.resolve(truth, allowed, seed=options.seed)
    rows = depth_ambiguity.summarize(stages, truth, allowed)
    pose = depth_ambiguity.typical(stages, truth)
    draw.save(
        plots.depth_stages({stage: joints[pose] for stage, joints in stages.items()}, truth[pose], allowed), options.out
    )
    fitted_to = f"{allowed.meta.source}, {counted(allowed.meta.count, 'pose')}"
    print(f"{counted(len(truth), 'test pose')} of {options.on}; limits: {fitted_to}")
    print(checking.aligned(depth_ambiguity.HEAD, depth_ambiguity.cells(rows)))
    print(f"pose {pose}, the nearest to the median errors, drawn in {options.out}")


def _domain_poses(name: str, split: str, count: int) -> "np.ndarray":
    from bmc_jax.config import Config
    from bmc_jax.data import sources

    return sources.kind(name).poses(Config(), split, count)
