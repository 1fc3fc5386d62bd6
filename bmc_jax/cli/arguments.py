"""How the command line's verbs are declared."""

import argparse
from typing import Any

BEST = "best"
COCO = "coco:"
"""Before a COCO keypoint file where the name of a set of images is expected."""

TEXT = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}


def group(verbs: Any, name: str, words: str) -> Any:
    parser = verbs.add_parser(name, help=words, description=words, **TEXT)
    return parser.add_subparsers(title="verbs", required=True, metavar="VERB")


def verb(verbs: Any, name: str, run: Any, words: str, examples: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=words, description=words, epilog=examples, **TEXT)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def looks(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint, and how it looks at an image."""
    step(parser)
    group = parser.add_argument_group("looks at each hand")
    group.add_argument("--passes", type=int, choices=(1, 2), default=1, help="2: look again, at the hand found first")
    group.add_argument("--turns", type=positive, default=1, metavar="N", help="turned looks to average (default: 1)")


def step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--step", type=_step, metavar="N|best", help="which checkpoint (default: the newest)")


def _step(text: str) -> int | str:
    if text != BEST and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither a step nor {BEST!r}")
    return text if text == BEST else int(text)
