"""Progress bars on terminals and plain lines in log files."""

import sys
from typing import Any

import jax
from tqdm import tqdm

from bmc_jax.runtime.quiet import is_quiet

SECONDS = 30.0
"""Seconds between two lines if standard error is not a terminal."""


class Progress(tqdm):
    """Progress bar with the arguments of tqdm, shown by process 0 unless `--quiet` is given.

    A nested bar is removed when it is done. If standard error is not a terminal, lines replace the bar: one every
    `SECONDS` and one at the end.
    """

    TERMINAL: str | None = None
    """Format of the bar; None for tqdm's format."""
    PLAIN = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt}{unit} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    """Format of a line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options = {"leave": None, "dynamic_ncols": True, "disable": jax.process_index() > 0 or is_quiet()} | options
        self._plain = not sys.stderr.isatty()
        if not self._plain:
            options |= {"bar_format": self.TERMINAL, "mininterval": 0.5}
        else:
            options |= {"bar_format": self.PLAIN, "mininterval": SECONDS, "maxinterval": SECONDS, "delay": 1e-9}
            options["file"] = _Lines()
        super().__init__(*arguments, **options)

    def close(self) -> None:
        """Ends the bar, without repeating the last line."""
        if self._plain and not self.disable and self.n == self.last_print_n:
            self.leave = False
        super().close()


class _Lines:
    """Standard error, with a line for each update of a bar."""

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
