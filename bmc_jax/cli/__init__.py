"""The `bmc` command: every verb reads its arguments, calls its room, and prints or writes what comes back.

Rooms are imported by the verb that needs them, so that help and wrong arguments answer at once.
"""

import argparse
import importlib.metadata
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from bmc_jax import __version__
from bmc_jax.cli import data, experiment, export, poses, predict, runs, score
from bmc_jax.cli import limits as limits_verbs
from bmc_jax.cli.arguments import TEXT, group

DESCRIPTION = """\
3D hand pose from single images, weakly supervised through biomechanical constraints.

A run lives in a folder: train makes it, evaluate measures it, report shows it.
"""
EXAMPLES = """\
examples:
  bmc train --config=configs/quickstart.py --workdir=runs/quickstart
  bmc evaluate runs/quickstart
  bmc report runs/quickstart
  bmc experiment lifting --seeds 5
  bmc predict runs/quickstart photographs --out predicted
  bmc score pred.json FreiHAND_pub_v2_eval --protocol freihand
  bmc limits fit poses.npy --out limits.json
  bmc data build freihand --source FreiHAND_pub_v2 --out data
  bmc data preview data/freihand --out preview.png

bmc VERB --help says more of each.
"""

#: Verbs that take --config.FIELD=VALUE.
CONFIGURED = (runs.train, experiment.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `bmc` with these arguments, by default the process's. Exit status 0, 1 if part of the work was left out
    or another process was lost, or 2 after a user's error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(arguments)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run not in CONFIGURED:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides, options.typed = rest, list(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = options.run(options)
        except (ValueError, OSError, ArithmeticError, MemoryError) as error:
            if options.debug:
                raise
            print(f"bmc: error: {error}", file=sys.stderr)
            # The same command would meet any other error again.
            return 1 if isinstance(error, ConnectionError) else 2
    return status or 0


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        python = ".".join(map(str, sys.version_info[:3]))
        print(f"bmc-jax {__version__} (jax {importlib.metadata.version('jax')}, Python {python})")
        parser.exit()


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"bmc: warning: {message}", file=sys.stderr)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bmc", description=DESCRIPTION, epilog=EXAMPLES, **TEXT)
    parser.set_defaults(debug=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions of bmc-jax, JAX and Python")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    runs.add(verbs)
    experiment.add(verbs)
    export.add(verbs)
    predict.add(verbs)
    score.add(verbs)
    limits = group(verbs, "limits", "fit, show, check and compare biomechanical limits")
    limits_verbs.add(limits)
    poses.add(limits)
    data.add(group(verbs, "data", "build, verify, list and look at data"), arguments)
    return parser
