"""Text files are UTF-8 in any locale: all calls that open a text file state the encoding."""

import ast

import pytest
from support import paths


def unstated(source):
    """Returns the lines of calls that use the encoding of the locale."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or any(keyword.arg == "encoding" for keyword in call.keywords):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = ast.unparse(call.func).rpartition(".")[0]
        words = [word.value for word in call.args if isinstance(word, ast.Constant)]
        text = name in ("read_text", "write_text") and owner != "files" and "utf-8" not in words
        opens = (
            name == "open" and not owner.endswith(("Image", "os", "av", "archive")) and ast.unparse(call.func) != "open"
        )
        opens = (opens or ast.unparse(call.func) == "open") and not any("b" in str(word) for word in words[-1:])
        if (text and owner) or opens:
            found.append((call.lineno, ast.unparse(call)))
    return found


@pytest.mark.parametrize("folder", ["bmc_jax", "configs"])
def test_encoding_is_stated_by_every_call_that_opens_a_text_file(folder):
    files = sorted((paths.ROOT / folder).rglob("*.py"))
    assert files
    assert {str(file): found for file in files if (found := unstated(file.read_text(encoding="utf-8")))} == {}


def test_call_without_an_encoding_is_found():
    source = "a.read_text()\nopen(a)\na.open('w')\nopen(a, 'rb')\na.write_text(b, encoding='utf-8')\nos.open(a)"
    assert [line for line, _ in unstated(source)] == [1, 2, 3]
