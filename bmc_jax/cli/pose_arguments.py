"""Files of poses on the command line: what is said of them, and how they are read with it."""

import argparse
from typing import TYPE_CHECKING

from bmc_jax.core import choices

if TYPE_CHECKING:
    from bmc_jax.poses.conventions import Poses


def conventions(parser: argparse.ArgumentParser) -> None:
    """What poses are; detected where it is not said."""
    group = parser.add_argument_group("what the poses are (detected if not given, with the evidence)")
    group.add_argument(
        "--order",
        choices=choices.JOINT_ORDERS,
        help="joint order; mediapipe = openpose = coco-wholebody = freihand",
    )
    group.add_argument("--unit", choices=choices.LENGTH_UNITS)
    group.add_argument("--side", choices=choices.SIDES, help="left hands are mirrored")


def converted(options: argparse.Namespace) -> "Poses":
    """The poses of the file `options.poses`, as right hands in metres and FreiHAND order."""
    from bmc_jax.data.readers import pose_files
    from bmc_jax.poses import conventions as pose_convention

    found = pose_files.read(options.poses)
    said = {"order": options.order, "unit": options.unit, "side": options.side}
    return pose_convention.convert(found.joints, options.poses, **said, left=found.left)


def announce(poses: "Poses") -> None:
    """Print what the poses were taken as, and what of them is left out."""
    for finding in poses.findings:
        print(finding)
    if len(poses.gaps):
        print(f"{len(poses.gaps):,} of {len(poses.joints):,} frames are gaps, {poses.partial:,} with some joints")
    if len(poses.impossible):
        shown = ", ".join(map(str, poses.impossible[:5])) + ", ..." * (len(poses.impossible) > 5)
        print(f"{len(poses.impossible):,} poses are of no hand's size and left out: {shown}")
