"""Progress bars on terminals, and plain lines in log files."""

import sys
from typing import Any

import jax
from tqdm import tqdm

from bmc_jax.runtime.quiet import is_quiet

SECONDS = 30.0
"""Interval between two lines where standard error is no terminal."""


class Progress(tqdm):
    """tqdm's bar, with its arguments; shown by process 0 alone, and not with `--quiet`.

    A bar inside another is removed when it is done. Where standard error is no terminal, the bar is replaced by a line
    every `SECONDS` and one at the end.
    """

    TERMINAL: str | None = None
    """Format of the bar; None for tqdm's own."""
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
        """Ends the bar, without repeating a line that was the last one written."""
        if self._plain and not self.disable and self.n == self.last_print_n:
            self.leave = False
        super().close()


class _Lines:
    """Standard error with a separate line for each update of a bar."""

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
