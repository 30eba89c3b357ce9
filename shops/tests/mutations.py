"""Broken and hostile variants of what shops send."""

import json
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.1, 1e308, -0.0),
    *("", " ", "x", "0", "-1", "1e9", "NaN", "１２", "\0", "\ud800", "\u202e", "é" * 300, "9" * 400, "a@b", "paid"),
    *("2026-02-30", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59+23:59", "XXX", "../..", "'; DROP TABLE x", "{KEY}"),
    *([], {}, [[]], [None], {"a": {"b": []}}, [1] * 200, {"id": "1"}),
]


def mutate(random: Random, body: bytes) -> bytes:
    """Return the JSON or form with one to three changes: values, missing, moved or repeated parts, broken bytes."""
    if random.random() < 0.1:
        return _break_bytes(random, body)
    try:
        document = json.loads(body)
    except ValueError:
        return _mutate_form(random, body)
    for _ in range(random.randint(1, 3)):
        document = _mutate(random, document)
    return json.dumps(document).encode()


def _mutate(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(list(value))
        kind = random.random()
        if kind < 0.15:
            return {other: inner for other, inner in value.items() if other != name}
        if kind < 0.25:
            return value | {name: value[random.choice(list(value))]}
        return value | {name: _mutate(random, value[name])}
    if isinstance(value, list) and value and random.random() < 0.85:
        position = random.randrange(len(value))
        if random.random() < 0.2:
            return [*value, value[position]]
        return [_mutate(random, inner) if index == position else inner for index, inner in enumerate(value)]
    return random.choice(VALUES)


def _mutate_form(random: Random, body: bytes) -> bytes:
    fields = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    if not fields:
        return _break_bytes(random, body)
    position = random.randrange(len(fields))
    value = random.choice([text for text in VALUES if isinstance(text, str) and text != "\ud800"])
    changed = [(name, value if index == position else text) for index, (name, text) in enumerate(fields)]
    return urlencode(changed if random.random() < 0.8 else changed[:position] + changed[position + 1 :]).encode()


def _break_bytes(random: Random, body: bytes) -> bytes:
    position = random.randrange(len(body) + 1)
    return body[:position] + random.randbytes(random.randrange(4)) + body[position + random.randrange(20) :]
