"""Declaration of verbs, and arguments that several verbs share."""

import argparse
import collections
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bmc_jax.core import choices
from bmc_jax.core.plural import counted, plural

if TYPE_CHECKING:
    import numpy as np

    from bmc_jax.core.types import Limits
    from bmc_jax.poses.conventions import Poses

BEST = "best"
"""Value of --step that selects the checkpoint with the best value of `training.best`."""
COCO = "coco:"
"""Prefix of a COCO keypoint file, which replaces the name of a set of images."""
FORMATS = "npy, npz, json, jsonl, csv, mat or pkl: [N, 21, 3]"
"""Formats of pose files, for help texts."""
TEXT = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
"""Options of every parser."""


def add_group(verbs: Any, name: str, words: str) -> Any:
    """Declares a verb with sub-verbs, and returns the object that declares them."""
    parser = verbs.add_parser(name, help=words, description=words, **TEXT)
    return parser.add_subparsers(title="verbs", required=True, metavar="VERB")


def add_verb(verbs: Any, name: str, run: Any, words: str, epilog: str = "") -> argparse.ArgumentParser:
    """Declares a verb that calls `run` with the parsed options, and returns its parser."""
    parser = verbs.add_parser(name, help=words, description=words, epilog=epilog, **TEXT)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print results, warnings and errors, but no progress",
    )
    amount.add_argument(
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="also print the log messages of JAX, Orbax and other libraries",
    )
    parser.add_argument(
        "--no-compilation-cache",
        dest="compilation_cache",
        action="store_false",
        default=argparse.SUPPRESS,
        help="do not load or store compiled programs in the user's cache folder",
    )
    return parser


def whole(low: int, high: int) -> Callable[[str], int]:
    """Returns the type of an argument that is a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low:,} to {high:,}, got {text!r}")
        return number

    return parse


def between(low: float, high: float) -> Callable[[str], float]:
    """Returns the type of an argument that is a number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"expected a number from {low:g} to {high:g}, got {text!r}")
        return number

    return parse


def numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    """Returns the type of an argument that is `count` finite numbers separated by commas."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            parts = tuple(float(part) for part in text.split(","))
        except ValueError:
            parts = ()
        if len(parts) != count or not all(map(math.isfinite, parts)):
            raise argparse.ArgumentTypeError(f"expected {count} finite numbers separated by commas, got {text!r}")
        return parts

    return parse


positive = whole(1, 1_000_000)
"""Type of an argument that is a number of images, poses, processes or other items."""


def add_step(parser: argparse.ArgumentParser) -> None:
    """Declares the argument that selects a checkpoint of a run."""
    parser.add_argument("--step", type=_step, metavar="N|best", help="step of the checkpoint (default: the newest)")


def add_network_use(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments that select a checkpoint and the crops of an image."""
    add_step(parser)
    group = parser.add_argument_group("test-time averaging")
    group.add_argument(
        "--passes", type=int, choices=(1, 2), default=1, help="2: predict again in a crop around the predicted hand"
    )
    group.add_argument(
        "--turns",
        type=whole(1, choices.MOST_TURNS),
        default=1,
        metavar="N",
        help=f"number of rotated crops whose predictions are averaged, up to {choices.MOST_TURNS} (default: 1)",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the results: size of the hands, formats, and replacement."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--scale",
        type=float,
        metavar="METRES",
        help="length of the bone from middle MCP to middle PIP (default: that of a hand with 0.092 m from wrist to "
        "middle MCP)",
    )
    group.add_argument(
        "--format",
        nargs="+",
        choices=choices.PREDICTION_FORMATS,
        default=["json"],
        metavar="F",
        help=f"formats: {', '.join(choices.PREDICTION_FORMATS)} (default: json)",
    )
    group.add_argument(
        "--rerun",
        action="store_true",
        help="also write hands.rrd, a recording for the Rerun viewer: pip install 'bmc-jax[rerun]'",
    )
    group.add_argument("--force", action="store_true", help="replace earlier results in DIR")


def formats(options: argparse.Namespace) -> list[str]:
    """Returns the formats of the results that `add_results` declares."""
    return options.format + ["rrd"] * options.rerun


def add_conventions(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments that state order, unit and side of poses."""
    group = parser.add_argument_group("conventions of the poses (detected by default; the evidence is printed)")
    group.add_argument(
        "--order",
        choices=choices.JOINT_ORDERS,
        help="joint order; mediapipe = openpose = coco-wholebody = freihand",
    )
    group.add_argument("--unit", choices=choices.LENGTH_UNITS)
    group.add_argument("--side", choices=choices.SIDES, help="left hands are mirrored")


def read_poses(options: argparse.Namespace, allowed: "Limits | None" = None, *, sequence: bool = False) -> "Poses":
    """Returns the poses in the file `options.poses`, as right hands in metres and FreiHAND order.

    Args:
      options: the parsed options, with those of `add_conventions`.
      allowed: limits that may decide the side, see `conventions.convert`.
      sequence: whether each frame must have at most one hand.

    Raises:
      ValueError: if the poses cannot be read or converted, or a frame of a sequence has several hands.
    """
    from bmc_jax.data import pose_files
    from bmc_jax.poses import conventions

    found = pose_files.read(options.poses)
    if sequence and found.frames is not None:
        frame, count = max(collections.Counter(found.frames.tolist()).items(), key=lambda item: item[1])
        raise ValueError(
            f"{options.poses}: expected one hand in each frame of a sequence, got {count} in frame {frame}; give a "
            "file with one hand"
        )
    stated = {"order": options.order or found.order, "unit": options.unit or found.unit, "side": options.side}
    poses = conventions.convert(
        found.joints, options.poses, **stated, left=found.left, frames=found.frames, allowed=allowed
    )
    return dataclasses.replace(poses, notes=found.notes)


def print_findings(poses: "Poses") -> None:
    """Prints the detected conventions of poses, and the poses that are left out."""
    for line in (*poses.notes, *poses.findings):
        print(line)
    if len(poses.gaps):
        some = f"{poses.partial:,} with some joints"
        many = f"{counted(len(poses.gaps), 'gap')} in {counted(len(poses.joints), 'frame')}"
        print(f"{many}, {some}: {_first(poses.gaps)}")
    if len(poses.impossible):
        many = f"{counted(len(poses.impossible), 'pose')} {plural(len(poses.impossible), 'is')}"
        print(f"{many} left out, not having the size of a hand: {_first(poses.impossible)}")


def _first(indices: "np.ndarray") -> str:
    return ", ".join(map(str, indices[:5])) + ", ..." * (len(indices) > 5)


def _step(text: str) -> int | str:
    if text != BEST and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected the number of a step or {BEST!r}, got {text!r}")
    return text if text == BEST else int(text)
