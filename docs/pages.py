"""The pages as they are tested: what of README.md and docs/ runs, and what it printed when it ran.

A page's Python blocks run in order and share their names. `<!-- python ... -->` is one that readers need not see. A
`text` block right below a Python block is what that block prints. A block that cannot run says so in its first line,
`# Not run in the tests: ...`.

    python docs/pages.py docs/tutorial.md    # run the page, and take over what its blocks print and draw
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
    """A piece of Python in a page."""

    source: str
    line: int
    """Of the page, where the source begins."""
    printed: str | None
    """What the page says that it prints; None if it says nothing."""
    place: tuple[int, int]
    """Of `printed` in the page's text."""


def python_blocks(text: str) -> list[Block]:
    """The Python blocks of a page, hidden ones included, in order."""
    found = []
    for match in _PYTHON.finditer(text):
        kind = "shown" if match["shown"] is not None else "hidden"
        line = text.count("\n", 0, match.start(kind)) + 1
        found.append(Block(match[kind], line, match["printed"], match.span("printed")))
    return found


def shell_lines(text: str) -> list[tuple[int, str]]:
    """(line of the page, command) of the `sh` blocks, continued lines joined."""
    found = []
    for match in _SHELL.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        for command in re.split(r"(?<!\\)\n", match[1]):
            found.append((line, command.replace("\\\n", " ")))
            line += command.count("\n") + 1
    return found


def run(page: str, text: str) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in the current folder; each with what it printed. Those that cannot run are left out."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in python_blocks(text):
        if block.source.startswith(NOT_RUN):
            continue
        # Errors then name the page and its line.
        program = compile("\n" * (block.line - 1) + block.source, page, "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(program, names)
        yield block, printed.getvalue()


def fill(page: str) -> None:
    """Put what a page's blocks print into it, and the pictures that they draw for it into docs/images."""
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
