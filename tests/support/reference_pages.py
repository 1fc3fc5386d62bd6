"""Functions that the pages of docs/reference document, by the directive and options of each page."""

import re
from collections.abc import Callable

import yaml

import bmc_jax
from support import paths

FOLDER = paths.ROOT / "docs/reference"
PAGES = sorted(page.stem for page in FOLDER.glob("*.md") if page.stem != "index")


def functions(page: str) -> dict[str, Callable]:
    """Returns the functions that the page of a public module lists, by name."""
    text = (FOLDER / f"{page}.md").read_text()
    directive = re.search(r"^::: bmc_jax\.(\w+)\n    options:(.*(?:\n      .*)*)", text, re.MULTILINE)
    name, options = directive[1], yaml.safe_load(directive[2])
    module = getattr(bmc_jax, name)
    if name == "load":
        return {name: module}
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    names = options.get("members", getattr(module, "__all__", own))
    left_out = [rule.removeprefix("!") for rule in options.get("filters", ["!^_"])]
    values = {key: getattr(module, key) for key in names if not any(re.search(rule, key) for rule in left_out)}
    return {key: value for key, value in values.items() if callable(value) and not isinstance(value, type)}
