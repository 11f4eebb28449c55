"""Formats the values of a config as text for people."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from config.read.source import parse_value
from config.read.tree import Keys

_PLAIN_WORDS = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")


def to_text(value: Any) -> str:
    """Formats a value as YAML on one line. Text gets quotes only if it needs them."""
    if isinstance(value, list):
        return f"[{', '.join(map(to_text, value))}]"
    if isinstance(value, dict):
        items = [f"{to_text(key)}: {to_text(item)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    if _PLAIN_WORDS.fullmatch(value) and parse_value(value) == value:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)


def flatten(value: Any, keys: Keys = ()) -> dict[Keys, Any]:
    """Returns every value below ``value`` by its keys.

    An empty section and a list of plain values count as values.
    """
    if isinstance(value, dict) and value:
        members = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        members = list(enumerate(value))
    else:
        return {keys: value}
    flat: dict[Keys, Any] = {}
    for key, item in members:
        flat |= flatten(item, (*keys, key))
    return flat
