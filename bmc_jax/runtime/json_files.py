"""Reading of JSON files, with a check of their structure."""

import contextlib
import json
import math
import os
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a 64-bit integer",
    float: "a finite number",
    types.NoneType: "null",
}
"""Names of JSON's types in messages, by Python type."""
SHOWN = 80
"""Largest number of characters of a wrong value in a message."""


def read(path: str | os.PathLike, kind: Any, remedy: str = "") -> Any:
    """Returns the content of a JSON file.

    Args:
      path: the file.
      kind: expected type: a type of `WORDS`, `dict[str, ...]`, `list[...]`, `tuple[..., ...]` for a list of this
        length, a `TypedDict` (the file may have further fields), a union of these, or `Any`.
      remedy: remedy for a damaged file, for the message.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if the content is not JSON or not of the expected type. The message names file, field and value.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        json.dumps(content, ensure_ascii=False).encode()  # raises for unpaired surrogates, which cannot be printed
        fault = next(_faults(content, kind, ""), "")
    except (ValueError, RecursionError) as error:
        fault, content = str(error), None
    if fault:
        raise ValueError(f"{path} is damaged: {fault}{remedy and f'; {remedy}'}")
    return content


@contextlib.contextmanager
def agreement(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Raises ValueError in place of a LookupError, for files whose parts refer to missing names or indices."""
    try:
        yield
    except LookupError as error:
        raise ValueError(f"{path} is damaged: its parts do not agree ({error!r}); {remedy}") from error


def _faults(value: Any, kind: Any, at: str) -> Iterator[str]:
    """Yields descriptions of where and how a value differs from the expected type."""
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if kind is Any:
        return
    if origin in (typing.Union, types.UnionType):
        firsts = [next(_faults(value, choice, at), "") for choice in arguments]
        if all(firsts):
            yield firsts[0]
        return
    where, record = f" at {at}" if at else "", typing.is_typeddict(kind)
    plain = dict if record else list if origin is tuple else origin
    if not _is_a(value, plain):
        yield f"expected {WORDS[plain]}{where}, got {shown(value)}"
    elif record:
        for name, field in typing.get_type_hints(kind).items():
            if name in value:
                yield from _faults(value[name], field, f"{at}.{name}".lstrip("."))
            elif name in kind.__required_keys__:
                yield f"expected the field {f'{at}.{name}'.lstrip('.')}, got none"
    elif origin is dict and arguments:
        for name, item in value.items():
            yield from _faults(item, arguments[1], f"{at}.{name}".lstrip("."))
    elif origin is list and arguments:
        for number, item in enumerate(value):
            yield from _faults(item, arguments[0], f"{at}[{number}]")
    elif origin is tuple:
        if len(value) != len(arguments):
            yield f"expected a list of {len(arguments)}{where}, got {shown(value)}"
        for number, (item, argument) in enumerate(zip(value, arguments, strict=False)):
            yield from _faults(item, argument, f"{at}[{number}]")


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf and abs(value) <= 2**1023
    return type(value) is kind and (kind is not int or abs(value) < 2**63)


def shown(value: Any) -> str:
    """Returns a short text of a value of any size or depth, for a message."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
