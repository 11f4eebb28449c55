"""Text to tree: JSON and YAML files become plain values, and every key keeps the line it was written on."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from utils.errors import Problem, UserError, one_line

Keys = tuple[str | int, ...]  # the way to a value: ("optimizer", "args", "lr")

PLAIN = "plain"  # the tag of a scalar without quotes or tag
MAX_DEPTH = 64  # deeper is an attack or an accident, and would end in a RecursionError
MAX_VALUES = 100_000  # YAML aliases can unfold a small file to gigabytes
SHOWN = 20  # findings
MAX_BYTES = 500_000


class Mark(NamedTuple):
    """Where a key or value was written; ``line`` and ``col`` count from 1. An override has only its text."""

    source: str
    line: int = 0
    col: int = 0

    def __str__(self) -> str:
        if self.line:
            return f"{self.source}:{self.line}:{self.col}"
        return (
            self.source
            if len(self.source) <= 120 or "=" not in self.source
            else self.source[:119] + "…"
        )


class Finding(NamedTuple):
    """One thing wrong with a config."""

    mark: Mark | None
    keys: Keys
    message: str

    def __str__(self) -> str:
        parts = [str(self.mark) if self.mark else "", join_keys(self.keys), self.message]
        return one_line(ValueError(": ".join(part for part in parts if part)), 500)


class ConfigError(UserError):
    """Everything found wrong with a config, a line each."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(Problem(join_keys(keys), message) for _, keys, message in findings)
        self.findings = findings
        lines = [str(finding) for finding in findings[:SHOWN]]
        if len(findings) > SHOWN:
            lines.append(f"and {len(findings) - SHOWN} more")
        self.args = ("\n".join(lines),)

    @classmethod
    def at(cls, mark: Mark | None, message: str, keys: Keys = ()) -> ConfigError:
        """Of one finding."""
        return cls([Finding(mark, keys, message)])


@dataclass
class Tree:
    """A config's values, where each stands, the text of the overrides, and what values stand in place of."""

    data: dict[str, Any]
    marks: dict[Keys, Mark] = field(default_factory=dict)
    raw: dict[Keys, str] = field(default_factory=dict)
    replaced: dict[Keys, list[tuple[Mark | None, Any]]] = field(default_factory=dict)

    def replace(self, keys: Keys, value: Any) -> None:
        """Notes that ``value`` stood at ``keys`` before."""
        if not isinstance(value, dict | list):
            self.replaced.setdefault(keys, []).append((self.mark(keys), value))

    def mark(self, keys: Keys) -> Mark | None:
        """The mark of ``keys``, or of the nearest section around it."""
        while keys and keys not in self.marks:
            keys = keys[:-1]
        return self.marks.get(keys)

    def error(self, keys: Keys, message: str) -> ConfigError:
        return ConfigError.at(self.mark(keys), message, keys)


def join_keys(keys: Keys) -> str:
    """Returns the key as it is written, such as ``thaw.0.epoch``."""
    return ".".join(str(key) for key in keys)


def split_keys(key: str) -> Keys:
    """Splits ``thaw.0.epoch`` into ``("thaw", 0, "epoch")``; an empty key into nothing."""
    words = key.split(".") if key else []
    return tuple(int(word) if word.isdecimal() else word for word in words)


def read_tree(path: Path) -> Tree:
    """Reads one file, without following ``extends``. Raises ConfigError with line and column of all that is wrong."""
    try:
        is_long = path.stat().st_size > MAX_BYTES
        text = "" if is_long else path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError.at(Mark(str(path)), f"not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (
            "is a folder" if path.is_dir() else getattr(error, "strerror", None) or one_line(error)
        )
        raise ConfigError.at(Mark(str(path)), f"cannot be read: {reason}") from None
    if is_long:
        raise ConfigError.at(
            Mark(str(path)), f"is longer than a config may be ({MAX_BYTES:,} bytes)"
        )
    reader = _Reader(text, str(path))
    data = reader.read(strict_json=path.suffix == ".json") if text.strip() else None
    if not isinstance(data, dict):
        kind = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise ConfigError.at(Mark(str(path)), f"{kind}; a config is a mapping of keys to values")
    if reader.findings:
        raise ConfigError(reader.findings)
    return Tree(data, reader.marks)


def parse_value(text: str) -> Any:
    """The value that a command-line word stands for, by YAML's rules: ``3e-4``, ``true``, ``[1, 2]``, ``text``."""
    reader = _Reader(text, "the value")
    try:
        value = reader.read()
    except ConfigError:
        return text
    return text if reader.findings else value


class _Reader:
    """Reads YAML by the 1.2 core rules for scalars (``1e-3`` is a number, ``on`` a string, ``012`` twelve), and JSON,
    which is checked by the standard library and then read as the YAML that it is: one walk keeps the lines of both.
    """

    scalars: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
        (re.compile(r"~|null|Null|NULL|"), lambda _: None),
        (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
        (re.compile(r"[-+]?[0-9]+"), int),
        (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
        (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
        (
            re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
            lambda text: float(text.replace(".", "")),
        ),
    )
    tags = (
        PLAIN,
        *[
            f"tag:yaml.org,2002:{name}"
            for name in ("str", "null", "bool", "int", "float", "map", "seq")
        ],
    )

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.marks: dict[Keys, Mark] = {}
        self.findings: list[Finding] = []  # what does not keep the rest from being read
        self.values = 0
        self.is_json = False

    def note(self, mark: Mark, keys: Keys, message: str) -> None:
        self.findings.append(Finding(mark, keys, message))

    def mark(self, spot: Any) -> Mark:
        return Mark(self.source, spot.line + 1, spot.column + 1) if spot else Mark(self.source)

    def read(self, strict_json: bool = False) -> Any:
        import yaml

        class Loader(yaml.BaseLoader):  # makes nodes: no objects, no 1.1 scalars
            def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
                if kind is yaml.ScalarNode and implicit[0]:
                    return PLAIN
                return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

        text, self.is_json = self.text, strict_json
        try:
            if strict_json:
                json.loads(text)
                # YAML knows no tabs and half characters; outside of them the two write strings alike.
                pairs = re.compile(r"\\ud[89ab]..\\ud[c-f]..", re.IGNORECASE)
                text = pairs.sub(lambda pair: json.loads(f'"{pair[0]}"'), text.replace("\t", " "))
            node = yaml.compose(text, Loader=Loader)
        except json.JSONDecodeError as error:
            raise ConfigError.at(
                Mark(self.source, error.lineno, error.colno), f"not JSON: {error.msg}"
            ) from None
        except yaml.MarkedYAMLError as error:
            mark = self.mark(error.problem_mark or error.context_mark)
            problem = error.problem or error.context or ""
            odd = (
                _between_levels(text.splitlines()[: mark.line]) if "<block end>" in problem else ""
            )
            raise ConfigError.at(mark, odd or one_line(ValueError(problem))) from None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            mark = Mark(self.source, before.count("\n") + 1, len(before) - before.rfind("\n"))
            raise ConfigError.at(
                mark, f"the control character #x{error.character:04x} is not allowed"
            ) from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: thousands of digits
            raise ConfigError.at(Mark(self.source), one_line(error)) from None
        except RecursionError:
            raise ConfigError.at(
                Mark(self.source), f"nested deeper than {MAX_DEPTH} levels"
            ) from None
        return None if node is None else self.value(node, ())

    def value(self, node: Any, keys: Keys) -> Any:
        mark = self.mark(node.start_mark)
        self.marks.setdefault(keys, mark)
        self.values += 1
        if len(keys) > MAX_DEPTH or self.values > MAX_VALUES:
            message = f"over {MAX_DEPTH} levels or {MAX_VALUES:,} values (aliases count too)"
            raise ConfigError.at(mark, message, keys[:3])
        if node.tag not in self.tags:
            return self.note(mark, keys, f"the tag {node.tag} is not allowed here")
        if node.id == "scalar":
            is_text = node.tag == "tag:yaml.org,2002:str"
            is_infinite = self.is_json and node.value in (
                ".inf",
                "-.inf",
            )  # as JSON has no other way to write it
            return (
                node.value if is_text and not is_infinite else self.scalar(node.value, mark, keys)
            )
        if node.id == "sequence":
            return [self.value(child, (*keys, index)) for index, child in enumerate(node.value)]
        return self.mapping(node, keys)

    def mapping(self, node: Any, keys: Keys) -> dict[str, Any]:
        members: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, child in node.value:
            mark, key = self.mark(key_node.start_mark), key_node.value
            if key_node.id != "scalar":
                self.note(mark, keys, "a key must be a plain word")
                continue
            if key == "<<" and key_node.style is None:
                for base in reversed(child.value if child.id == "sequence" else [child]):
                    if base.id != "mapping":
                        self.note(mark, keys, "'<<' takes mappings")
                        continue
                    inherited = self.value(base, (*keys, key))
                    merged |= inherited
                    for name in inherited.keys() - members.keys():
                        self.marks[(*keys, name)] = self.marks[(*keys, key, name)]
                continue
            if key in members:
                first = self.marks[(*keys, key)].line
                self.note(mark, (*keys, key), f"given twice (first on line {first})")
            self.marks[(*keys, key)] = mark
            members[key] = self.value(child, (*keys, key))
        return merged | members

    def scalar(self, text: str, mark: Mark, keys: Keys) -> Any:
        if self.is_json and text in ("NaN", "Infinity", "-Infinity"):
            return self.note(mark, keys, f"JSON has no {text}" + ', only ".inf"' * (text != "NaN"))
        for pattern, convert in self.scalars:
            if pattern.fullmatch(text):
                try:
                    value = convert(text)
                except ValueError:  # thousands of digits
                    return self.note(mark, keys, "this number is too long")
                if isinstance(value, int) and value.bit_length() > 4000:
                    return self.note(mark, keys, "this number is too long")
                if isinstance(value, float) and math.isnan(value):
                    return self.note(mark, keys, "a NaN is no value for anything")
                if isinstance(value, float) and math.isinf(value) and "inf" not in text.lower():
                    return self.note(mark, keys, f"{text} is too large for a number")
                return value
        return text


def _between_levels(lines: list[str]) -> str:
    """What is odd about the last line's indentation, if it is none of those of the blocks around it."""
    levels = [
        (len(line) - len(line.lstrip()), n) for n, line in enumerate(lines, 1) if line.strip(" -")
    ]
    levels = [(level, n) for level, n in levels if not lines[n - 1].lstrip().startswith("#")]
    level = levels.pop()[0]
    outer = max((n for above, n in levels if above <= level), default=0)
    inner = min(((above, n) for above, n in levels if n > outer), default=None)
    if not outer or inner is None or (level, outer) in levels:
        return ""
    around = len(lines[outer - 1]) - len(lines[outer - 1].lstrip())
    return f"is indented by {level}: more than line {outer} ({around}), less than line {inner[1]} ({inner[0]})"
