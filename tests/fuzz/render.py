"""Configs as text in JSON and YAML. The line of every key is known."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

Keys = tuple[str | int, ...]

PLAIN_TEXT = re.compile(r"[A-Za-z][\w./ -]*[\w./]")
NOT_PLAIN = ("true", "false", "null", "yes", "no", "on", "off")
MAX_COMPACT_CHARS = 60  # of a mapping that compact text keeps on one line


class Page(NamedTuple):
    """A config's text, and the line (from 1) of every key and list item."""

    text: str
    lines: dict[Keys, int]


class _Writer:
    def __init__(self, suffix: str, compact: bool) -> None:
        self.json, self.compact = suffix == ".json", compact
        self.text = ""
        self.lines: dict[Keys, int] = {}

    def note_line(self, keys: Keys) -> None:
        self.lines[keys] = self.text.count("\n") + 1

    def format_key(self, key: str) -> str:
        return json.dumps(key) if self.json else key

    def format_scalar(self, value: Any) -> str:
        if not self.json and isinstance(value, float) and not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf"
        is_plain = (
            isinstance(value, str)
            and PLAIN_TEXT.fullmatch(value)
            and value.lower() not in NOT_PLAIN
        )
        return value if is_plain and not self.json else json.dumps(value, ensure_ascii=False)

    def fits_on_one_line(self, value: Any) -> bool:
        if not isinstance(value, dict | list) or not value:
            return True
        is_flat = not any(isinstance(item, dict | list) for item in value)
        return (isinstance(value, list) and is_flat) or (
            self.compact and len(json.dumps(value)) < MAX_COMPACT_CHARS
        )

    def write_on_one_line(self, value: Any, keys: Keys) -> None:
        if not isinstance(value, dict | list):
            self.text += self.format_scalar(value)
            return
        self.text += "{" if isinstance(value, dict) else "["
        for index, (key, item) in enumerate(list_members(value)):
            self.text += ", " if index else ""
            self.note_line((*keys, key))
            self.text += f"{self.format_key(key)}: " if isinstance(value, dict) else ""
            self.write_on_one_line(item, (*keys, key))
        self.text += "}" if isinstance(value, dict) else "]"

    def write_json(self, value: Any, keys: Keys, depth: int) -> None:
        if keys and self.fits_on_one_line(value):
            self.write_on_one_line(value, keys)
            return
        self.text += "{" if isinstance(value, dict) else "["
        for index, (key, item) in enumerate(list_members(value)):
            self.text += ("," if index else "") + "\n" + "    " * (depth + 1)
            self.note_line((*keys, key))
            self.text += f"{self.format_key(key)}: " if isinstance(value, dict) else ""
            self.write_json(item, (*keys, key), depth + 1)
        self.text += "\n" + "    " * depth + ("}" if isinstance(value, dict) else "]")

    def write_yaml(self, value: Any, keys: Keys, depth: int) -> None:
        """Writes the members of a mapping or list.

        The first key of a mapping in a list stands beside the dash.
        """
        is_beside_dash = bool(keys) and isinstance(keys[-1], int)
        for index, (key, item) in enumerate(list_members(value)):
            is_first = not self.text or (is_beside_dash and index == 0)
            self.text += "" if is_first else "\n" + "  " * depth
            self.note_line((*keys, key))
            self.text += f"{key}:" if isinstance(value, dict) else "-"
            if self.fits_on_one_line(item):
                self.text += " "
                self.write_on_one_line(item, (*keys, key))
            else:
                self.text += "" if isinstance(value, dict) else " "
                self.write_yaml(item, (*keys, key), depth + 1)


def list_members(value: Any) -> list[tuple[Any, Any]]:
    """Returns the keys or indices of a mapping or list, with their values."""
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def render(data: dict[str, Any], suffix: str, compact: bool) -> Page:
    """Returns a config as text.

    Args:
        data: its values.
        suffix: ``.json`` or ``.yaml``.
        compact: keep short mappings on one line, as the shipped configs do.
    """
    writer = _Writer(suffix, compact)
    (writer.write_json if writer.json else writer.write_yaml)(data, (), 0)
    return Page(writer.text + "\n", writer.lines)


def has_line_to_itself(page: Page, keys: Keys) -> bool:
    """Returns whether a key and its full value stand on one line, and nothing else does."""
    line = page.lines[keys]
    text = page.text.splitlines()[line - 1].strip()
    is_first = text.startswith((f'"{keys[-1]}":', f"{keys[-1]}:"))
    return is_first and text.rstrip(",")[-1] not in "{[:"


def double_line(page: Page, keys: Keys) -> str:
    """Returns the text with the line of ``keys`` written twice, one below the other."""
    lines = page.text.splitlines()
    index = page.lines[keys] - 1
    comma = "," if page.text.startswith("{") and not lines[index].endswith(",") else ""
    return "\n".join([*lines[:index], lines[index] + comma, *lines[index:]]) + "\n"
