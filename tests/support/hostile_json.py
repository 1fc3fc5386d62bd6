"""JSON that programs write by mistake or by intent: every value replaced by values of other types and sizes."""

import copy
import json
import random

#: Values of every type, beside what numbers and names usually are.
VALUES = (
    *(None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**400, -(1 << 63), 2**31),
    *("", "a", "\0", "é" * 3, "1", [], {}, [[]], [None], [0, [1]], {"": None}, {"x": []}, [[[[[]]]]], list(range(50))),
)


def texts(content, count, seed=0):
    """Yields some texts that are no JSON or deeply nested, and the content `count` times with up to three changes."""
    generator = random.Random(seed)
    yield from (
        "",
        "\0",
        "[" * 100_000,
        "[" * 500 + "]" * 500,
        '{"a":' * 300 + "1" + "}" * 300,
        "null",
        "1e999",
        '"\\u0000"',
    )
    for number in range(count):
        changed = copy.deepcopy(content)
        for _ in range(1 + number % 3):
            changed = _changed(changed, generator)
        yield json.dumps(changed)


def _changed(content, generator):
    """The content with a value at a random place replaced, left out or there twice."""
    node, places = content, []
    while isinstance(node, dict | list) and node and generator.random() < 0.85:
        key = generator.choice(list(node) if isinstance(node, dict) else range(len(node)))
        places.append((node, key))
        node = node[key]
    value = copy.deepcopy(generator.choice(VALUES))
    if not places:
        return value
    parent, key = places[-1]
    kind = generator.random()
    if kind < 0.1:
        del parent[key]
    elif kind < 0.2 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = value
    return content
