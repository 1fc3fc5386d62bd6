"""Execution of the Python blocks in README.md and docs/, for the tests and for updates of their printed output.

The Python blocks of a page run in order and share their names. `<!-- python ... -->` is a hidden block. A `text` block
directly below a Python block is its printed output. A block that cannot run has the first line
`# Not run in the tests: ...`.

    python docs/pages.py docs/tutorial.md    # runs the page, and updates its printed output and figures
"""

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = tuple(path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
NOT_RUN = "# Not run in the tests: "

_FENCED = r"^```python\n(?P<shown>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?"
_HIDDEN = r"^<!-- python\n(?P<hidden>.*?)^-->\n"
_PYTHON = re.compile(f"(?:{_FENCED}|{_HIDDEN})", re.DOTALL | re.MULTILINE)
_SHELL = re.compile(r"^```sh\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A Python block of a page."""

    source: str
    line: int
    """First line of the source in the page."""
    printed: str | None
    """Printed output in the page; None without output."""
    place: tuple[int, int]
    """Start and end of `printed` in the text of the page."""


def python_blocks(text: str) -> list[Block]:
    """Returns the Python blocks of a page, including hidden blocks, in order."""
    found = []
    for match in _PYTHON.finditer(text):
        kind = "shown" if match["shown"] is not None else "hidden"
        line = text.count("\n", 0, match.start(kind)) + 1
        found.append(Block(match[kind], line, match["printed"], match.span("printed")))
    return found


def shell_lines(text: str) -> list[tuple[int, str]]:
    """Returns (line of the page, command) of the `sh` blocks, with continued lines joined."""
    found = []
    for match in _SHELL.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        for command in re.split(r"(?<!\\)\n", match[1]):
            found.append((line, command.replace("\\\n", " ")))
            line += command.count("\n") + 1
    return found


def run(page: str, text: str) -> Iterator[tuple[Block, str]]:
    """Runs the blocks of a page that can run, in the current folder, and yields each with its output."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in python_blocks(text):
        if block.source.startswith(NOT_RUN):
            continue
        # With these empty lines, errors name the line of the page.
        program = compile("\n" * (block.line - 1) + block.source, page, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(program, names)
        yield block, printed.getvalue()


def fill(page: str) -> None:
    """Updates the printed output in a page, and the figures in docs/images that its blocks draw."""
    path = ROOT / page
    text = path.read_text()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        ran = list(run(page, text))
        for picture in Path(folder).glob("*.png"):
            if f"images/{picture.name}" in text:
                shutil.copy(picture, ROOT / "docs/images")
    for block, printed in reversed(ran):
        if block.printed is not None:
            text = text[: block.place[0]] + printed + text[block.place[1] :]
    path.write_text(text)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        fill(os.path.relpath(given, ROOT))
