"""Values of a config as lines for people."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from config.read.source import Keys, parse_value


def to_text(value: Any) -> str:
    """A value as one writes it in YAML, on one line; text without quotes where it needs none."""
    if isinstance(value, list):
        return f"[{', '.join(map(to_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{to_text(key)}: {to_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    if re.fullmatch(r"[A-Za-z_][\w./-]*( [\w./-]+)*", value) and parse_value(value) == value:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)


def flatten(value: Any, keys: Keys = ()) -> dict[Keys, Any]:
    """Every value that is no section, under its key path."""
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    if not members or (
        isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)
    ):
        return {keys: value}
    return {
        path: item for key, part in members for path, item in flatten(part, (*keys, key)).items()
    }
