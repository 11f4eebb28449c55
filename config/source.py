"""Text to tree: JSON and YAML files become plain values, and every key keeps the line it was written on."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from json.decoder import scanstring
from pathlib import Path
from typing import Any, NamedTuple

from utils.errors import UserError, one_line

Keys = tuple[str | int, ...]  # the way to a value: ("optimizer", "args", "lr")

MAX_DEPTH = 64  # deeper is an attack or an accident, and would end in a RecursionError
MAX_VALUES = 100_000  # YAML aliases can unfold a small file to gigabytes


class Mark(NamedTuple):
    """Where a key or value was written; ``line`` and ``col`` count from 1. An override has only its text."""

    source: str
    line: int = 0
    col: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.col}" if self.line else self.source


class Finding(NamedTuple):
    """One thing wrong with a config."""

    mark: Mark | None
    keys: Keys
    message: str

    def __str__(self) -> str:
        parts = [str(self.mark) if self.mark else "", dotted(self.keys), self.message]
        return one_line(ValueError(": ".join(part for part in parts if part)), 500)


class ConfigError(UserError):
    """Everything found wrong with a config, a line each."""

    def __init__(self, findings: list[Finding], limit: int = 20) -> None:
        self.findings = findings
        lines = [str(finding) for finding in findings[:limit]]
        if len(findings) > limit:
            lines.append(f"and {len(findings) - limit} more")
        super().__init__("\n".join(lines))


@dataclass
class Tree:
    """A config's values, where each stands, and the text of the values that came from the command line."""

    data: dict[str, Any]
    marks: dict[Keys, Mark] = field(default_factory=dict)
    raw: dict[Keys, str] = field(default_factory=dict)

    def mark(self, keys: Keys) -> Mark | None:
        """The mark of ``keys``, or of the nearest section around it."""
        while keys and keys not in self.marks:
            keys = keys[:-1]
        return self.marks.get(keys)

    def error(self, keys: Keys, message: str) -> ConfigError:
        return ConfigError([Finding(self.mark(keys), keys, message)])


def dotted(keys: Keys) -> str:
    return ".".join(str(key) for key in keys)


def read_tree(path: Path) -> Tree:
    """Reads one file, without following ``extends``. Raises ConfigError with line and column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([Finding(Mark(str(path)), (), f"not UTF-8 text (byte {error.start})")]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = "is a folder" if path.is_dir() else getattr(error, "strerror", None) or one_line(error)
        raise ConfigError([Finding(Mark(str(path)), (), f"cannot be read: {reason}")]) from None
    parse = _Json if path.suffix == ".json" else _Yaml
    reader = parse(text, str(path))
    data = reader.read() if text.strip() else None
    if not isinstance(data, dict):
        kind = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise ConfigError([Finding(Mark(str(path)), (), f"{kind}; a config is a mapping of keys to values")])
    return Tree(data, reader.marks)


def parse_value(text: str) -> Any:
    """The value that a command-line word stands for, by YAML's rules: ``3e-4``, ``true``, ``[1, 2]``, ``text``."""
    try:
        return _Yaml(text, "the value").read()
    except ConfigError:
        return text


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.marks: dict[Keys, Mark] = {}
        self.values = 0

    def mark_at(self, pos: int) -> Mark:
        line_start = self.text.rfind("\n", 0, pos) + 1
        return Mark(self.source, self.text.count("\n", 0, pos) + 1, pos - line_start + 1)

    def fail(self, mark: Mark, keys: Keys, message: str) -> ConfigError:
        return ConfigError([Finding(mark, keys, message)])

    def enter(self, mark: Mark, keys: Keys) -> None:
        self.values += 1
        if len(keys) > MAX_DEPTH:
            raise self.fail(mark, keys[:3], f"nested deeper than {MAX_DEPTH} levels")
        if self.values > MAX_VALUES:
            raise self.fail(mark, keys[:3], f"more than {MAX_VALUES:,} values (aliases count each time)")
        self.marks.setdefault(keys, mark)


class _Json(_Reader):
    """JSON by the standard, as ``json`` reads it, but keeping positions. Duplicate keys and NaN are refused."""

    number = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?(?![\w.])")
    space = re.compile(r"[ \t\r\n]*")
    constants = {"true": True, "false": False, "null": None}

    def read(self) -> Any:
        value, pos = self.value(self.skip(0), ())
        if pos < len(self.text):
            raise self.fail(self.mark_at(pos), (), "text after the end of the config")
        return value

    def skip(self, pos: int) -> int:
        match = self.space.match(self.text, pos)
        return match.end() if match else pos

    def value(self, pos: int, keys: Keys) -> tuple[Any, int]:
        self.enter(self.mark_at(pos), keys)
        char = self.text[pos : pos + 1]
        if char == '"':
            value, pos = self.string(pos, keys)
        elif char == "{":
            value, pos = self.items(pos, keys, "}")
        elif char == "[":
            pairs, pos = self.items(pos, keys, "]")
            value = list(pairs.values())
        elif match := self.number.match(self.text, pos):
            is_float = match[1] or match[2]
            value, pos = (float(match[0]) if is_float else int(match[0])), match.end()
            if is_float and math.isinf(value):
                raise self.fail(self.mark_at(match.start()), keys, f"{match[0]} is too large for a number")
        else:
            word = re.compile(r"-?\w*").match(self.text, pos)
            name = word[0] if word else ""
            if name not in self.constants:
                raise self.fail(self.mark_at(pos), keys, self.unexpected(name or char))
            value, pos = self.constants[name], pos + len(name)
        return value, self.skip(pos)

    @staticmethod
    def unexpected(text: str) -> str:
        hints = {"": "the file ends too early", "}": "a value is missing before '}'", "'": "JSON strings take \"\"",
                 "]": "a value is missing before ']'", "/": "JSON has no comments; write the config as YAML to have them"}
        return hints.get(text, f"JSON has no value '{text}' (a string wants \"…\")")

    def string(self, pos: int, keys: Keys) -> tuple[str, int]:
        try:
            return scanstring(self.text, pos + 1, True)
        except json.JSONDecodeError as error:
            raise self.fail(self.mark_at(error.pos), keys, error.msg.split(" starting")[0]) from None

    def items(self, pos: int, keys: Keys, close: str) -> tuple[dict[Any, Any], int]:
        """The members of an object, or of an array under their indices."""
        members: dict[Any, Any] = {}
        pos = self.skip(pos + 1)
        if self.text[pos : pos + 1] == close:
            return members, pos + 1
        while True:
            key: str | int = len(members)
            if close == "}":
                start = pos
                if self.text[pos : pos + 1] != '"':
                    hint = "a comma before '}' is one too many" if self.text[pos : pos + 1] == "}" else 'expected "key"'
                    raise self.fail(self.mark_at(pos), keys, hint)
                key, pos = self.string(pos, keys)
                if key in members:
                    first = self.marks[(*keys, key)]
                    raise self.fail(self.mark_at(start), (*keys, key), f"given twice (first on line {first.line})")
                self.marks[(*keys, key)] = self.mark_at(start)
                pos = self.skip(pos)
                if self.text[pos : pos + 1] != ":":
                    raise self.fail(self.mark_at(pos), (*keys, key), "expected ':' after the key")
                pos = self.skip(pos + 1)
            members[key], pos = self.value(pos, (*keys, key))
            end = self.text[pos : pos + 1]
            if end == close:
                return members, pos + 1
            if end != ",":
                raise self.fail(self.mark_at(pos), (*keys, key), f"expected ',' or '{close}' after this value")
            pos = self.skip(pos + 1)


class _Yaml(_Reader):
    """YAML with the 1.2 core rules for scalars: ``1e-3`` is a number, ``on`` a string, ``012`` twelve."""

    scalars: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
        (re.compile(r"~|null|Null|NULL|"), lambda text: None),
        (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
        (re.compile(r"[-+]?[0-9]+"), int),
        (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
        (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
        (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
    )

    def read(self) -> Any:
        import yaml

        try:
            node = yaml.compose(self.text, Loader=yaml.BaseLoader)  # no objects, no 1.1 scalars
        except yaml.MarkedYAMLError as error:
            spot = error.problem_mark or error.context_mark
            mark = Mark(self.source, spot.line + 1, spot.column + 1) if spot else Mark(self.source)
            raise self.fail(mark, (), one_line(ValueError(error.problem or error.context))) from None
        except yaml.YAMLError as error:
            raise self.fail(Mark(self.source), (), one_line(error)) from None
        except RecursionError:
            raise self.fail(Mark(self.source), (), f"nested deeper than {MAX_DEPTH} levels") from None
        return None if node is None else self.value(node, ())

    def value(self, node: Any, keys: Keys) -> Any:
        mark = Mark(self.source, node.start_mark.line + 1, node.start_mark.column + 1)
        self.enter(mark, keys)
        if node.id == "scalar":
            return self.scalar(node, mark, keys)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise self.fail(mark, keys, f"the tag {node.tag} is not allowed here")
        if node.id == "sequence":
            return [self.value(child, (*keys, index)) for index, child in enumerate(node.value)]
        members: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, child in node.value:
            mark = Mark(self.source, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key_node.id != "scalar":
                raise self.fail(mark, keys, "a key must be a plain word")
            key = key_node.value
            if key == "<<" and key_node.style is None:
                bases = child.value if child.id == "sequence" else [child]
                for base in reversed([self.value(base, keys) for base in bases]):
                    merged |= base if isinstance(base, dict) else {}
                continue
            if key in members:
                first = self.marks[(*keys, key)]
                raise self.fail(mark, (*keys, key), f"given twice (first on line {first.line})")
            self.marks[(*keys, key)] = mark
            members[key] = self.value(child, (*keys, key))
        return merged | members

    def scalar(self, node: Any, mark: Mark, keys: Keys) -> Any:
        known = ("str", "null", "bool", "int", "float")
        if node.tag not in [f"tag:yaml.org,2002:{name}" for name in known]:
            raise self.fail(mark, keys, f"the tag {node.tag} is not allowed here")
        if node.style is not None:
            return node.value
        for pattern, convert in self.scalars:
            if pattern.fullmatch(node.value):
                value = convert(node.value)
                if isinstance(value, float) and math.isinf(value) and "inf" not in node.value.lower():
                    raise self.fail(mark, keys, f"{node.value} is too large for a number")
                return value
        return node.value
