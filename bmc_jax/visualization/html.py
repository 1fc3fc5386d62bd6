"""An HTML page that holds everything: no script, no font, no picture comes from elsewhere."""

import base64
import html
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from bmc_jax.runtime import files
from bmc_jax.visualization import draw

PAGE = Template((Path(__file__).parent / "templates" / "report.html").read_text())


def write(title: str, subtitle: str, body: Iterable[str], out: str | os.PathLike) -> Path:
    """A page of plain `title` and `subtitle` and of HTML parts, whole or not at all; folders are made."""
    page = PAGE.substitute(title=html.escape(title), subtitle=html.escape(subtitle), body="\n".join(body))
    files.write_text(out, page)
    return Path(out)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], ours: int = 0) -> str:
    """Of plain text; the first `ours` rows stand out."""
    cells = "".join(f"<th>{html.escape(word)}</th>" for word in head)
    lines = [
        f"<tr{' class=ours' if i < ours else ''}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for i, row in enumerate(rows)
    ]
    return f"<div class='scroll'><table><tr>{cells}</tr>{''.join(lines)}</table></div>"


def picture(figure: Figure, words: str) -> str:
    content = base64.b64encode(draw.png(figure)).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{content}">'


def markdown(text: str) -> Iterable[str]:
    """As HTML, what our own tables are written in: paragraphs, tables, `code` and **strong** words."""
    for part in re.split(r"\n{2,}", text.strip()):
        if not part.startswith("|"):
            yield f"<p>{_inline(part)}</p>"
            continue
        head, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in part.splitlines())
        lines = [f"<tr>{''.join(f'<th>{_inline(cell)}</th>' for cell in head)}</tr>"]
        lines += [f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rows]
        yield f"<div class='scroll dense'><table>{''.join(lines)}</table></div>"


def _inline(text: str) -> str:
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*(.+?)\*\*|\*(.+?)\*", lambda m: f"<b>{m[1]}</b>" if m[1] else f"<i>{m[2]}</i>", text)
