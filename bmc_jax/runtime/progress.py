"""Progress bars, for terminals and for the log files of a cluster's jobs, where a bar would be one endless line."""

import sys
from typing import Any

import jax
from tqdm import tqdm

SECONDS = 30.0
"""Between two lines where there is no terminal."""


class Progress(tqdm):
    """A bar of tqdm, with its arguments. One that runs inside another goes when it is done.

    Where standard error is no terminal, there is a line every `SECONDS` and one at the end instead. Of several
    processes the first alone has bars.
    """

    TERMINAL: str | None = None
    """Format of the bar; None for tqdm's own."""
    PLAIN = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt}{unit} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    """Format of a line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options = {"leave": None, "dynamic_ncols": True, "disable": jax.process_index() > 0} | options
        self._plain = not sys.stderr.isatty()
        if not self._plain:
            options |= {"bar_format": self.TERMINAL, "mininterval": 0.5}
        else:
            options |= {"bar_format": self.PLAIN, "mininterval": SECONDS, "maxinterval": SECONDS, "delay": 1e-9}
            options["file"] = _Lines()
        super().__init__(*arguments, **options)

    def close(self) -> None:
        """End the bar; a line that stands there already is not written again."""
        if self._plain and not self.disable and self.n == self.last_print_n:
            self.leave = False
        super().close()


class _Lines:
    """Standard error, on which what would overwrite a bar is a line of its own."""

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
