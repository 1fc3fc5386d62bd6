"""JSON that is not what it should be: values of other types, missing and added fields, and no JSON at all."""

import copy
import json
import random

VALUES = (
    None,
    True,
    0,
    -1,
    2.5,
    10**30,
    10**400,
    float("nan"),
    float("-inf"),
    1e308,
    "",
    "\0",
    "../../x",
    "\ud800",
    [],
    [[]],
    [None, "x"],
    {},
    {"": {"": []}},
)
DEEP = 100_000
BYTES = (
    b"",
    b"\0" * 64,
    b"\xff\xfe\x00",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b"9" * 5_000,
    b"null",
    b"NaN",
    b'"text"',
    b"[]",
    b"{}",
    b"[{}]",
    b"{} {}",
)


def places(content, path=()):
    """The path of every value in it."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def variants(content, count):
    """`BYTES`, and `count` times the content with a value replaced or left out, as bytes; the same each time."""
    yield from BYTES
    chosen = random.Random(0)
    paths = [path for path in places(content) if path]
    for _ in range(count):
        changed, path = copy.deepcopy(content), chosen.choice(paths)
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        if chosen.random() < 0.2:
            del inside[path[-1]]
        else:
            inside[path[-1]] = nested(400) if chosen.random() < 0.1 else chosen.choice(VALUES)
        yield json.dumps(changed).encode()


def nested(depth):
    inner = []
    for _ in range(depth):
        inner = [inner]
    return inner
