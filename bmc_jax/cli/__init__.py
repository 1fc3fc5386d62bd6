"""The `bmc` command. Each verb parses its arguments, calls the package, and prints or writes the result.

A verb imports its modules when it runs, so that help and argument errors appear without delay.
"""

import argparse
import contextlib
import importlib.metadata
import logging
import os
import select
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from bmc_jax import __version__
from bmc_jax.cli import checkpoint, configs, data, doctor, experiment, lift, poses, runs, score
from bmc_jax.cli import limits as limits_verbs
from bmc_jax.cli.arguments import TEXT, add_group
from bmc_jax.runtime import compilation_cache, files, quiet

DESCRIPTION = """\
3D hand pose from single images, weakly supervised through biomechanical constraints.

A run is a folder: train creates it, evaluate measures its checkpoints, report shows it as a page.
"""
EXAMPLES = """\
examples:
  bmc train --config=quickstart --workdir=runs/quickstart
  bmc evaluate runs/quickstart
  bmc report runs/quickstart
  bmc experiment lifting --seeds 5
  bmc predict runs/quickstart photographs --out predicted
  bmc predict photographs --landmarks mediapipe --out lifted
  bmc lift landmarks.json --out lifted
  bmc score pred.json FreiHAND_pub_v2_eval --protocol freihand
  bmc limits fit poses.npy --out limits.json
  bmc data build freihand --source FreiHAND_pub_v2 --out data
  bmc data preview data/freihand --out preview.png

bmc VERB --help has examples of each.
"""

CLOSED_OUTPUT = 141
"""Exit status that shells report for a process ended by SIGPIPE."""
CONFIGURED = (runs.train, experiment.run)
"""Verbs that accept --config.FIELD=VALUE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `bmc` with `arguments`, by default those of the process.

    Returns:
      The exit status: 0 for success; 1 if part of the work was left out, a check failed or another process was lost; 2
      for other errors.

    Raises:
      BrokenPipeError: if the reader of standard output is closed.
      SystemExit: for help, wrong arguments, and interruption.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    with warnings.catch_warnings(), quiet.quiet() if options.quiet else contextlib.nullcontext():
        warnings.showwarning = _show_warning
        try:
            if options.compilation_cache:
                compilation_cache.enable()
            status = options.run(options)
        except (ValueError, OSError, ArithmeticError, MemoryError, ImportError) as error:
            if options.debug or (isinstance(error, BrokenPipeError) and _output_is_closed()):
                raise
            print(f"bmc: error: {error}", file=sys.stderr)
            # A retry may succeed after a lost connection, but not after the other errors.
            return 1 if isinstance(error, ConnectionError) else 2
    return status or 0


def run_process() -> NoReturn:
    """Runs `bmc` with the arguments of the process, and ends the process with the exit status.

    After an error the process ends without waiting for threads, because a thread of a failed library may wait forever.
    A closed output, as in `bmc data list | head -1`, is not an error; the exit status is `CLOSED_OUTPUT`.
    """
    try:
        status = main()
    except Exception as error:
        status = 1
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            status = CLOSED_OUTPUT
        else:
            traceback.print_exc()
    finally:
        if _output_is_closed():
            # The interpreter flushes standard output when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if status == 0:
        sys.exit()
    with contextlib.suppress(Exception):
        if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
            sys.modules["jax"].distributed.shutdown()  # otherwise the other processes count this one as lost
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of a command line; `overrides` has its --config.FIELD=VALUE.

    Raises:
      SystemExit: for help and for wrong arguments, including URLs: all paths are on this machine.
    """
    parser = make_parser(arguments)
    options, rest = parser.parse_known_args(arguments)
    # Options of Beam may have URLs.
    values = [value for name, value in vars(options).items() if name != "beam"]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    try:
        for text in (*texts, *rest):
            if isinstance(text, str):
                files.require_local(text)
    except ValueError as error:
        parser.error(str(error))
    if rest and options.run not in CONFIGURED:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides = rest
    return options


def _output_is_closed() -> bool:
    """Returns whether standard output is a pipe whose reader is closed."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):  # Windows, or no file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        python = ".".join(map(str, sys.version_info[:3]))
        print(f"bmc-jax {__version__} (jax {importlib.metadata.version('jax')}, Python {python})")
        parser.exit()


class _PrintCompletion(argparse.Action):
    """Prints the completion script of a shell. For free-text arguments, the shell completes file names."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, __: Any = None) -> None:
        import shtab

        parser = make_parser(["build"])
        parsers = [parser]
        for parser_of_verb in parsers:
            for action in parser_of_verb._actions:
                if isinstance(action, argparse._SubParsersAction):
                    parsers.extend(action.choices.values())
                elif action.choices is None and action.type is None and action.nargs != 0:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell))
        parser.exit()


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"bmc: warning: {message}", file=sys.stderr)


def make_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Returns the parser of `bmc`. It has the options of the datasets only if `arguments` build a dataset."""
    parser = argparse.ArgumentParser("bmc", description=DESCRIPTION, epilog=EXAMPLES, **TEXT)
    parser.set_defaults(debug=False, compilation_cache=True, quiet=False, verbose=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions of bmc-jax, JAX and Python")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh"),
        help="print a completion script to be sourced by the shell",
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    runs.add(verbs)
    experiment.add(verbs)
    checkpoint.add(verbs)
    lift.add(verbs)
    score.add(verbs)
    limits = add_group(verbs, "limits", "fit, show, check and compare biomechanical limits")
    limits_verbs.add(limits)
    poses.add(limits)
    configs.add(add_group(verbs, "configs", "list and copy the project's configurations and launch files"))
    doctor.add(verbs)
    data.add(add_group(verbs, "data", "build, verify, list and preview data"), arguments)
    return parser
