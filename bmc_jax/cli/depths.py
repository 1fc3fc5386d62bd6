"""`bmc limits depths`: how much of the depth limits know where only 2D is known."""

import argparse
from typing import TYPE_CHECKING, Any

from bmc_jax.cli.arguments import positive, verb

if TYPE_CHECKING:
    import numpy as np

#: Poses that limits are fitted to where none are given, at most.
TRAINING = 8_192


def add(limits: Any) -> None:
    parser = verb(limits, "depths", _run, "say how much of the depth of poses limits know, if their 2D is known", """\
examples:
  bmc limits depths --out figure4.png
  bmc limits depths clinical --on real_like
  bmc limits depths runs/mine/limits.json --on joints.npy --count 1000

Depths of poses are put off, and joints then moved along their rays to lower the biomechanical losses: bone lengths,
then the palm too, then the joint angles too. Prints the mean errors, and draws a typical pose: the paper's Figure 4.
""")  # fmt: skip
    parser.add_argument(
        "limits", nargs="?", metavar="LIMITS", help="a preset or a limits file (default: fitted to training poses)"
    )
    parser.add_argument(
        "--on",
        default="mannequin",
        metavar="DOMAIN|JOINTS.npy",
        help="test poses of rendered hands or of a file of 3D joints, in their camera's frame (default: mannequin)",
    )
    parser.add_argument("--count", type=positive, default=512, metavar="N", help="poses (default: 512)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the depths' errors (default: 0)")
    parser.add_argument("--out", default="depths.png", metavar="PNG", help="(default: depths.png)")


def _run(options: argparse.Namespace) -> None:
    from bmc_jax import limits
    from bmc_jax.limits import depth_ambiguity, plots
    from bmc_jax.visualization import draw

    if options.limits:
        known = limits.load(options.limits)
    else:
        known = limits.fit(_poses(options.on, "train", TRAINING), source=f"training poses of {options.on}")
    truth = _poses(options.on, "test", options.count)
    found = depth_ambiguity.resolve(truth, known, seed=options.seed)
    rows = depth_ambiguity.summarise(found, truth, known)
    pose = depth_ambiguity.typical(found, truth)
    one = {stage: joints[pose] for stage, joints in found.items()}
    draw.save(plots.figure(one, truth[pose], known), options.out)
    print(f"{len(truth):,} test poses of {options.on}; limits: {known.meta.source}, {known.meta.count:,} poses")
    for first, *rest in (depth_ambiguity.HEAD, *depth_ambiguity.cells(rows)):
        print(f"  {first:<18}" + "".join(f"{cell:>16}" if i in (1, 3) else f"{cell:>9}" for i, cell in enumerate(rest)))
    print(f"pose {pose}, the nearest to the medians, drawn in {options.out}")


def _poses(name: str, split: str, count: int) -> "np.ndarray":
    import numpy as np

    from bmc_jax import synthesis
    from bmc_jax.data import joints_file

    if joints_file.is_one(name):
        return joints_file.poses(name, split)[:count]
    return synthesis.poses(0, name, split, np.arange(count))
