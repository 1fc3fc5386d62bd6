"""Notebooks of pages, made by jupytext and kept in docs/notebooks, so that Colab opens them at the tag of a release.

    python docs/notebooks.py          # writes the notebooks; a test checks that they are current

As a hook of MkDocs, it adds links to Colab behind the links to notebooks if mkdocs.yml has a `repo_url` on GitHub.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import bmc_jax

DOCS = Path(__file__).parent
#: What a page's notebook installs beside bmc-jax.
REQUIREMENTS = {"tutorial": (), "own_network": ("equinox", "torch")}
NOT_RUN = re.compile("^# Not run in the tests: .*\n")
PRINTED = re.compile(r"\A```text\n(.*?)^```\n*", re.DOTALL | re.MULTILINE)
FIGURE = re.compile(r"^!\[[^\]]*\]\(images/(\w+\.png)\)$", re.MULTILINE)
PAGE_LINK = re.compile(r"\]\((?=[\w/]+\.md)")
OF_ITSELF = re.compile(r"^This page is also a \[notebook\].*\n", re.MULTILINE)
NOTEBOOK_LINK = re.compile(r"\[[^\]]*\]\((notebooks/\w+\.ipynb)\)")


def repository() -> str | None:
    """Returns the `repo_url` of mkdocs.yml, if it has one."""
    found = re.search(r"^repo_url: (\S+)", (DOCS.parent / "mkdocs.yml").read_text(), re.MULTILINE)
    return found and found[1]


def at_release(repo_url: str | None) -> str | None:
    """Returns the address of this version's files on GitHub; None without a repository there."""
    if not (repo_url or "").startswith("https://github.com/"):
        return None
    return f"{repo_url.rstrip('/').removesuffix('.git')}/blob/v{bmc_jax.__version__}"


def notebook(text: str, requirements: tuple[str, ...] = (), repo_url: str | None = None) -> Any:
    """Returns a page as a notebook: a cell that installs, then the page's cells with their output and figures."""
    import jupytext
    from nbformat import v4

    release = at_release(repo_url)
    source = f"git+{repo_url}@v{bmc_jax.__version__}" if release else f"bmc-jax=={bmc_jax.__version__}"
    text = OF_ITSELF.sub("", text)
    text = FIGURE.sub(r'```python\nfrom IPython.display import Image\n\nImage("\1")\n```', text)
    text = PAGE_LINK.sub(f"]({release}/docs/" if release else "](../", text)
    install = v4.new_code_cell(" ".join(("%pip install --quiet", source, *requirements)))
    cells = [install, *jupytext.reads(text, "md").cells]
    for before, cell in pairwise(cells):
        cell.source = NOT_RUN.sub("", cell.source)
        if before.cell_type == "code" and (printed := PRINTED.match(cell.source)):
            before.outputs = [v4.new_output("stream", text=printed[1])]
            cell.source = cell.source[printed.end() :]
    cells = [cell for cell in cells if cell.source]
    for number, cell in enumerate(cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Adds a link to Colab behind each link to a notebook: a hook of MkDocs."""
    release = at_release(config["repo_url"])
    if release is None:
        return markdown
    colab = release.replace("https://github.com", "https://colab.research.google.com/github")
    return NOTEBOOK_LINK.sub(rf"\g<0> ([open in Colab]({colab}/docs/\1))", markdown)


if __name__ == "__main__":
    import nbformat

    (DOCS / "notebooks").mkdir(exist_ok=True)
    for page, requirements in REQUIREMENTS.items():
        made = notebook((DOCS / f"{page}.md").read_text(), requirements, repository())
        (DOCS / f"notebooks/{page}.ipynb").write_text(nbformat.writes(made) + "\n")
