"""Formats the values of a config as text for people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from config.read.source import parse_value
from config.read.tree import Keys, join_keys
from utils.errors import shorten

MAX_CELL_CHARS = 48
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


def to_cell(value: Any) -> str:
    """Formats a value as text that fits a column of a table."""
    return shorten(to_text(value), MAX_CELL_CHARS)


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


def compare_configs(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Returns a row for every value that differs: its key, and the value in each config."""
    values = [flatten(dict(config)) for config in configs]
    rows = []
    for keys in dict.fromkeys(keys for flat in values for keys in flat):
        texts = [to_text(flat[keys]) if keys in flat else "-" for flat in values]
        if len(set(texts)) > 1:
            rows.append((join_keys(keys), *(shorten(text, MAX_CELL_CHARS) for text in texts)))
    return rows
