"""`bmc limits personalise`, `compare` and `motion`: limits of one person, beside other limits, and over time."""

import argparse
from pathlib import Path
from typing import Any

from bmc_jax.cli.arguments import verb
from bmc_jax.cli.pose_arguments import announce, conventions, converted


def add(limits: Any) -> None:
    parser = verb(limits, "personalise", _personalise, "limits of one person from few poses, drawn to a preset", """\
The preset counts as 5 poses for bones and palm and as 100 for joint angles: after n poses a limit is the mean of the
fit to them, of weight n / (n + 5) or n / (n + 100), and of the preset.

example:
  bmc limits personalise mine.npy --prior clinical --out mine.json
""")  # fmt: skip
    parser.add_argument("poses", metavar="POSES", help="npy, npz, json or csv: [N, 21, 3] of one person")
    parser.add_argument("--prior", default="clinical", metavar="LIMITS", help="preset or file (default: clinical)")
    parser.add_argument("--source", metavar="NAME", help="whose poses, for the record (default: the file)")
    parser.add_argument("--out", default="mine.json", metavar="FILE", help="(default: mine.json)")
    conventions(parser)

    parser = verb(limits, "compare", _compare, "two limits beside each other, in numbers and in a picture", """\
example:
  bmc limits compare clinical mine.json --out compare.png
""")  # fmt: skip
    parser.add_argument("first", metavar="A", help="a preset or a limits file")
    parser.add_argument("second", metavar="B", help="a preset or a limits file")
    parser.add_argument("--out", default="compare.png", metavar="PNG", help="(default: compare.png)")

    parser = verb(limits, "motion", _motion, "a sequence's range of motion, beside clinical norms", """\
example:
  bmc limits motion sequence.npy --fps 30 --out motion.html
""")  # fmt: skip
    parser.add_argument("poses", metavar="SEQUENCE", help="npy, npz, json or csv: [N, 21, 3], NaN where no hand is")
    parser.add_argument("--fps", type=float, default=30.0, metavar="RATE", help="frames a second (default: 30)")
    parser.add_argument("--out", default="motion.html", metavar="HTML", help="(default: motion.html)")
    conventions(parser)


def _personalise(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.limits import personal

    prior, poses = limits.load(options.prior), converted(options)
    source = options.source or Path(options.poses).name
    # The side is settled by now.
    made = personal.personalise(prior, poses.joints[poses.there], source=source, left="keep")
    limits.save(made, options.out)
    announce(poses)
    print(limits.describe(made))
    print(f"written to {options.out}")


def _compare(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.limits import comparison, plots
    from bmc_jax.visualization import draw

    names = options.first, options.second
    both = limits.load(options.first), limits.load(options.second)
    rows = comparison.compare(*both)
    print(comparison.table(rows, names, both))
    captions = [f"{row.shared_percent:.0f} % shared" for row in rows]
    draw.save(plots.compared(*both, names, captions), options.out)
    print(f"hulls drawn in {options.out}")


def _motion(options: argparse.Namespace) -> None:
    from bmc_jax.limits import range_of_motion, report

    poses = converted(options)
    found = range_of_motion.measure(poses.joints, options.fps)
    report.motion(options.out, Path(options.poses).name, poses, found)
    announce(poses)
    print(range_of_motion.table(found))
    print(f"written to {options.out}")
