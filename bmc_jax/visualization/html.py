"""Self-contained HTML pages and Markdown files from the templates in `templates/`.

HTML templates escape every value. Their Content-Security-Policy forbids network access and every script except the
template's, which is identified by its hash.
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from bmc_jax.runtime import files
from bmc_jax.visualization import draw

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("bmc_jax.visualization"),
    autoescape=lambda name: name is None or not name.endswith(".md"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["source_hash"] = lambda script: (
    f"'sha256-{base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()}'"
)
_TEMPLATES.policies["json.dumps_kwargs"] = {"allow_nan": False}


class Picture(NamedTuple):
    """An image of a page."""

    alt: str
    """Alternative text."""
    source: str
    """Content as a data URI."""


def picture(figure: Figure, alt: str, dpi: int = 130) -> Picture:
    """Returns the figure as an image of a page."""
    return Picture(alt, f"data:image/png;base64,{base64.b64encode(draw.png(figure, dpi)).decode()}")


def render(template: str, **values: Any) -> str:
    """Returns the text of a template, with every value escaped unless the template is Markdown."""
    return _TEMPLATES.get_template(template).render(values)


def write(out: str | os.PathLike, template: str, **values: Any) -> Path:
    """Writes the text of a template atomically, creating parent folders, and returns its path."""
    files.write_text(out, render(template, **values))
    return Path(out)
