"""Configs as text in JSON and YAML, with the line of every key known to the one who writes it."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

Keys = tuple[str | int, ...]

PLAIN_TEXT = re.compile(r"[A-Za-z][\w./ -]*[\w./]")
NOT_PLAIN = ("true", "false", "null", "yes", "no", "on", "off")
SHORT = 60  # characters of a mapping that compact text keeps on one line


class Page(NamedTuple):
    """A config's text, and the line (from 1) of every key and list item."""

    text: str
    lines: dict[Keys, int]


class _Writer:
    def __init__(self, suffix: str, compact: bool) -> None:
        self.json, self.compact = suffix == ".json", compact
        self.text = ""
        self.lines: dict[Keys, int] = {}

    def place(self, keys: Keys) -> None:
        self.lines[keys] = self.text.count("\n") + 1

    def key(self, key: str) -> str:
        return json.dumps(key) if self.json else key

    def scalar(self, value: Any) -> str:
        if not self.json and isinstance(value, float) and not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf"
        plain = (
            isinstance(value, str)
            and PLAIN_TEXT.fullmatch(value)
            and value.lower() not in NOT_PLAIN
        )
        return value if plain and not self.json else json.dumps(value, ensure_ascii=False)

    def on_one_line(self, value: Any) -> bool:
        if not isinstance(value, dict | list) or not value:
            return True
        flat = not any(isinstance(item, dict | list) for item in value)
        return (isinstance(value, list) and flat) or (
            self.compact and len(json.dumps(value)) < SHORT
        )

    def line(self, value: Any, keys: Keys) -> None:
        """Writes what stands on one line."""
        if not isinstance(value, dict | list):
            self.text += self.scalar(value)
            return
        self.text += "{" if isinstance(value, dict) else "["
        for index, (key, item) in enumerate(members(value)):
            self.text += ", " if index else ""
            self.place((*keys, key))
            self.text += f"{self.key(key)}: " if isinstance(value, dict) else ""
            self.line(item, (*keys, key))
        self.text += "}" if isinstance(value, dict) else "]"

    def write_json(self, value: Any, keys: Keys, depth: int) -> None:
        if keys and self.on_one_line(value):
            self.line(value, keys)
            return
        self.text += "{" if isinstance(value, dict) else "["
        for index, (key, item) in enumerate(members(value)):
            self.text += ("," if index else "") + "\n" + "    " * (depth + 1)
            self.place((*keys, key))
            self.text += f"{self.key(key)}: " if isinstance(value, dict) else ""
            self.write_json(item, (*keys, key), depth + 1)
        self.text += "\n" + "    " * depth + ("}" if isinstance(value, dict) else "]")

    def write_yaml(self, value: Any, keys: Keys, depth: int) -> None:
        """Writes the members of a mapping or list; the first of a mapping in a list stands beside its dash."""
        beside_dash = bool(keys) and isinstance(keys[-1], int)
        for index, (key, item) in enumerate(members(value)):
            start = not self.text or (beside_dash and index == 0)
            self.text += "" if start else "\n" + "  " * depth
            self.place((*keys, key))
            self.text += f"{key}:" if isinstance(value, dict) else "-"
            if self.on_one_line(item):
                self.text += " "
                self.line(item, (*keys, key))
            else:
                self.text += "" if isinstance(value, dict) else " "
                self.write_yaml(item, (*keys, key), depth + 1)


def members(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def render(data: dict[str, Any], suffix: str, compact: bool) -> Page:
    """``data`` as a ``.json`` or ``.yaml`` text; a compact one keeps short mappings on one line, as the shipped do."""
    writer = _Writer(suffix, compact)
    (writer.write_json if writer.json else writer.write_yaml)(data, (), 0)
    return Page(writer.text + "\n", writer.lines)


def own_line(page: Page, keys: Keys) -> bool:
    """Whether ``keys`` and its whole value stand on one line, and nothing else does."""
    line = page.lines[keys]
    text = page.text.splitlines()[line - 1].strip()
    starts = text.startswith((f'"{keys[-1]}":', f"{keys[-1]}:"))
    return starts and text.rstrip(",")[-1] not in "{[:"


def double_line(page: Page, keys: Keys) -> str:
    """The text with the line of ``keys`` written twice; the second is on the line after."""
    lines = page.text.splitlines()
    at = page.lines[keys] - 1
    comma = "," if page.text.startswith("{") and not lines[at].endswith(",") else ""
    return "\n".join([*lines[:at], lines[at] + comma, *lines[at:]]) + "\n"
