"""Reads JSON and YAML: a file becomes plain values, and every key keeps its line and column."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.read.flow import protect_references, restore_references
from config.read.tree import ConfigError, Finding, Keys, Mark, Tree
from utils.errors import one_line

# A config beyond these limits is an accident or an attack: deep nesting ends in a RecursionError,
# and YAML's aliases can unfold a small file to gigabytes.
MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_BYTES = 500_000
MAX_INT_BITS = 4000

_TOO_LONG = "this number is too long"
PLAIN = "plain"  # the tag of a scalar that has neither quotes nor a tag
_STR = "tag:yaml.org,2002:str"
_TAGS = (
    PLAIN,
    _STR,
    *(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "map", "seq")),
)
_SCALARS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
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


def read_tree(path: Path) -> Tree:
    """Reads one file, without following ``extends``.

    Raises:
        ConfigError: the file has mistakes; the error lists all of them, with line and column.
    """
    text = _read_text(path)
    reader = _Reader(text, str(path))
    data = reader.read(strict_json=path.suffix == ".json") if text.strip() else None
    if not isinstance(data, dict):
        kind = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise ConfigError.at(Mark(str(path)), f"{kind}; a config is a mapping of keys to values")
    if reader.findings:
        raise ConfigError(reader.findings)
    return Tree(data, reader.marks)


def _read_text(path: Path) -> str:
    mark = Mark(str(path))
    try:
        is_too_large = path.stat().st_size > MAX_BYTES
        text = "" if is_too_large else path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError.at(mark, f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        reason = error.strerror if error.strerror else one_line(error)
        reason = "is a folder" if path.is_dir() else reason
        raise ConfigError.at(mark, f"cannot be read: {reason}") from None
    except ValueError as error:  # a NUL in the path
        raise ConfigError.at(mark, f"cannot be read: {one_line(error)}") from None
    if is_too_large:
        raise ConfigError.at(mark, f"is larger than a config may be ({MAX_BYTES:,} bytes)")
    return text


def parse_value(text: str) -> Any:
    """Parses a word of the command line by the rules of YAML: ``3e-4``, ``true``, ``[1, 2]``.

    One word holds no comment, anchor or tag: ``run #3`` is text as typed. A word that is not valid
    YAML is text, too.
    """
    reader = _Reader(text, "the value")
    try:
        node = _parse(text, "the value", strict_json=False)
        is_collection = node is not None and node.id != "scalar"
        value = reader.read() if is_collection else reader.read_word(text, node)
    except ConfigError:
        return text
    return text if reader.findings else value


class _Reader:
    """Reads YAML 1.2, and JSON as a subset of it.

    In YAML 1.2, ``1e-3`` is a number, ``on`` is text and ``012`` is twelve. The standard library
    checks the syntax of JSON. Then the text is read as YAML, which gives the lines of its keys.

    Attributes:
        marks: where each key was written.
        findings: mistakes that do not stop the reading.
    """

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.marks: dict[Keys, Mark] = {}
        self.findings: list[Finding] = []
        self._n_values = 0
        self._is_json = False

    def read(self, strict_json: bool = False) -> Any:
        """Returns the values. Raises ConfigError if the text cannot be parsed."""
        self._is_json = strict_json
        node = _parse(self.text, self.source, strict_json)
        return None if node is None else self._read_node(node, ())

    def read_word(self, text: str, node: Any) -> Any:
        """Returns the value of a word that PyYAML takes for one scalar ``node``, or for nothing."""
        word = text.strip()
        is_quoted = word[:1] in ("'", '"') and node.end_mark.index == len(text.rstrip())
        value = node.value if is_quoted else self._read_scalar(word, Mark(self.source), ())
        return text if value == word else value

    def _note(self, mark: Mark, keys: Keys, message: str) -> None:
        self.findings.append(Finding(mark, keys, message))

    def _read_node(self, node: Any, keys: Keys) -> Any:
        mark = _to_mark(self.source, node.start_mark)
        self.marks.setdefault(keys, mark)
        self._n_values += 1
        if len(keys) > MAX_DEPTH or self._n_values > MAX_VALUES:
            message = f"over {MAX_DEPTH} levels or {MAX_VALUES:,} values (aliases count too)"
            raise ConfigError.at(mark, message, keys[:3])
        if node.tag not in _TAGS:
            self._note(mark, keys, f"the tag {node.tag} is not allowed here")
            return None
        if node.id == "mapping":
            return self._read_mapping(node, keys)
        if node.id == "sequence":
            return [
                self._read_node(child, (*keys, index)) for index, child in enumerate(node.value)
            ]
        # JSON has no other way to write an infinite number than as text.
        is_infinite = self._is_json and node.value in (".inf", "-.inf")
        if node.tag == _STR and not is_infinite:
            return node.value
        return self._read_scalar(node.value, mark, keys)

    def _read_mapping(self, node: Any, keys: Keys) -> dict[str, Any]:
        members: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, child in node.value:
            mark = _to_mark(self.source, key_node.start_mark)
            key = key_node.value
            if key_node.id != "scalar":
                self._note(mark, keys, "a key must be a plain word")
            elif key == "<<" and key_node.style is None:
                merged |= self._read_merge(child, mark, keys, members)
            else:
                if key in members:
                    first = self.marks[(*keys, key)].line
                    self._note(mark, (*keys, key), f"given twice (first on line {first})")
                self.marks[(*keys, key)] = mark
                members[key] = self._read_node(child, (*keys, key))
        return merged | members

    def _read_merge(
        self, node: Any, mark: Mark, keys: Keys, members: dict[str, Any]
    ) -> dict[str, Any]:
        """Reads the value of ``<<``: a mapping, or several, of which earlier ones win."""
        merged: dict[str, Any] = {}
        for base in reversed(node.value if node.id == "sequence" else [node]):
            if base.id != "mapping":
                self._note(mark, keys, "'<<' takes mappings")
                continue
            inherited = self._read_node(base, (*keys, "<<"))
            merged |= inherited
            for name in inherited.keys() - members.keys():
                self.marks[(*keys, name)] = self.marks[(*keys, "<<", name)]
        return merged

    def _read_scalar(self, text: str, mark: Mark, keys: Keys) -> Any:
        if self._is_json and text in ("NaN", "Infinity", "-Infinity"):
            hint = "" if text == "NaN" else ', only ".inf"'
            self._note(mark, keys, f"JSON has no {text}{hint}")
            return None
        for pattern, convert in _SCALARS:
            if pattern.fullmatch(text):
                try:
                    value = convert(text)
                    problem = _find_problem(value, text)
                except ValueError:  # Python refuses thousands of digits
                    problem = _TOO_LONG
                if problem:
                    self._note(mark, keys, problem)
                    return None
                return value
        return text


def _parse(text: str, source: str, strict_json: bool) -> Any:
    """Returns PyYAML's node for ``text``. Raises ConfigError."""
    import yaml  # not needed for `--help`

    class Loader(yaml.BaseLoader):  # makes no objects, and leaves the scalars to _Reader
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is yaml.ScalarNode and implicit[0]:
                return PLAIN
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

        def compose_scalar_node(self, anchor: Any) -> Any:
            node = super().compose_scalar_node(anchor)  # type: ignore[no-untyped-call]
            node.value = restore_references(node.value) if protected != text else node.value
            return node

    try:
        if strict_json:
            text = _check_json(text)
        protected = protect_references(text)
        return yaml.compose(protected, Loader=Loader)
    except json.JSONDecodeError as error:
        mark = Mark(source, error.lineno, error.colno)
        raise ConfigError.at(mark, f"not JSON: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        position = error.problem_mark if error.problem_mark is not None else error.context_mark
        mark = _to_mark(source, position)
        problem = error.problem or error.context or ""
        is_at_block_end = "<block end>" in problem
        odd = _explain_indentation(text.splitlines()[: mark.line]) if is_at_block_end else ""
        raise ConfigError.at(mark, odd if odd else one_line(ValueError(problem))) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
        message = f"the control character #x{error.character:04x} is not allowed"
        raise ConfigError.at(mark, message) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: thousands of digits
        raise ConfigError.at(Mark(source), one_line(error)) from None
    except RecursionError:
        message = f"nested deeper than {MAX_DEPTH} levels"
        raise ConfigError.at(Mark(source), message) from None


def _check_json(text: str) -> str:
    """Returns JSON text as equivalent YAML. Raises JSONDecodeError.

    JSON is YAML, with two exceptions: YAML allows no tabs between values and no surrogate pairs.
    """
    json.loads(text)
    pairs = re.compile(r"\\ud[89ab]..\\ud[c-f]..", re.IGNORECASE)
    return pairs.sub(lambda pair: json.loads(f'"{pair[0]}"'), text.replace("\t", " "))


def _to_mark(source: str, position: Any) -> Mark:
    return Mark(source, position.line + 1, position.column + 1) if position else Mark(source)


def _find_problem(value: Any, text: str) -> str:
    """Returns why a config may not hold a number, or an empty string."""
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        return _TOO_LONG
    if isinstance(value, float) and math.isnan(value):
        return "NaN is not allowed"
    if isinstance(value, float) and math.isinf(value) and "inf" not in text.lower():
        return f"{text} is too large for a number"
    return ""


def _explain_indentation(lines: list[str]) -> str:
    """Describes an indentation of the last line that fits none of the blocks around it.

    An empty string if it fits one of them.
    """
    levels = [
        (len(line) - len(line.lstrip()), number)
        for number, line in enumerate(lines, 1)
        if line.strip(" -") and not line.lstrip().startswith("#")
    ]
    level = levels.pop()[0]
    outer = max((number for other, number in levels if other <= level), default=0)
    inner = min(((other, number) for other, number in levels if number > outer), default=None)
    if not outer or inner is None or (level, outer) in levels:
        return ""
    outer_level = len(lines[outer - 1]) - len(lines[outer - 1].lstrip())
    return (
        f"is indented by {level}: more than line {outer} ({outer_level}), "
        f"less than line {inner[1]} ({inner[0]})"
    )
