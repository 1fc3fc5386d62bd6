"""How the command line's verbs are declared."""

import argparse
from typing import Any

SPLITS = ("train", "validation", "test")
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
