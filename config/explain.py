"""``python -m config explain``: what keys mean, their values, and where these come from."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from config.check.annotations import describe_annotation
from config.check.checker import Checker, get_name
from config.check.json_values import LIST_MEMBERS, describe_parameter, get_first_line
from config.check.preflight import PLAIN, examine
from config.check.schema import Schema
from config.check.signature import Signature
from config.check.slots import get_names
from config.read.merge import get_value
from config.read.text import MAX_CELL_CHARS, flatten, to_cell, to_text
from config.read.tree import ConfigError, Finding, Keys, Tree, join_keys, split_keys
from utils.errors import UserError, did_you_mean, shorten
from utils.options import find_dataclass
from utils.tables import BOLD, paint, print_table

HEAD = ("key", "value", "from", "taken by")
DEFAULT = "default"
NOT_SET = "(not set)"
MISSING = "(missing)"
LIST_MEMBER_TYPES = {
    "name": "str",
    "on": "'train' or 'valid'",
    "params": "str | list[str]",
    "weight": "float",
}


class Entry(NamedTuple):
    """What is known about one key.

    Attributes:
        value: as text.
        source: where it was written, or ``default``.
        taken_by: the class or function with the parameter, or its type.
        meaning: the parameter's description; empty if there is none.
    """

    value: str
    source: str
    taken_by: str = ""
    meaning: str = ""

    @property
    def first_sentence(self) -> str:
        return re.split(r"(?<=\.) (?=[A-Z])", self.meaning)[0]


def print_explanation(tree: Tree, schema: Schema, key: str) -> None:
    """Prints the key and everything below it. A section shows the first sentence about each key.

    Raises:
        UserError: neither the config nor the schema has such a key.
    """
    wanted = split_keys(key) if key else ("",)
    checker = examine(tree, schema)
    entries = dict(_find_entries(checker, wanted))
    shown = {keys: entry for keys, entry in entries.items() if _is_below(keys, tree, wanted)}
    if not shown:
        names = dict.fromkeys([*map(join_keys, entries), *schema.slots, *schema.sections])
        raise UserError(f"the config has no such key{did_you_mean(key, names)}", key=key)
    rows = [(join_keys(keys), *entry[:3]) for keys, entry in shown.items()]
    notes = [entry.first_sentence for entry in shown.values()]
    if len(shown) == 1:
        notes = [entry.meaning for entry in shown.values()]
    print_table([HEAD, *rows], ["", *notes])
    if [entry.source for entry in shown.values()] == [DEFAULT]:
        print("It is not set in the config, so its default counts.")
    option = schema.section_slots.get(join_keys(wanted[:2]))
    slot = option if wanted[2:] in ((), ("type",)) else None
    if wanted[1:] == ("type",):
        slot = schema.slots.get(str(wanted[0]))
    if slot is not None:
        print(f"Names without a path: {', '.join([*slot.words, *get_names(slot)])}")
    _print_findings([item for item in checker.findings if _is_below(item.keys, tree, wanted)])


def print_overview(tree: Tree, schema: Schema) -> None:
    """Prints the top-level keys, with the names of the classes and functions in the sections."""
    rows, notes = [HEAD[:3]], [""]
    for key in dict.fromkeys([*tree.data, *PLAIN, *schema.slots, *schema.sections]):
        node = tree.data.get(key)
        if isinstance(node, dict):
            value = str(node.get("type", f"{len(node)} keys"))
        elif isinstance(node, list):
            value = ", ".join(get_name(item) for item in node)
        else:
            value = to_text(node) if key in tree.data else NOT_SET
        source = str(tree.mark((key,)) or "the program") if key in tree.data else ""
        rows.append((key, shorten(value, MAX_CELL_CHARS), source))
        notes.append(schema.meanings.get(key, ""))
    print_table(rows, notes)
    _print_findings(examine(tree, schema).findings)


def _print_findings(findings: list[Finding]) -> None:
    """Prints what is wrong with the values that are shown."""
    if findings:
        print(f"{paint('This is wrong:', BOLD)}\n{ConfigError(findings)}")


def _find_entries(checker: Checker, wanted: Keys) -> Iterator[tuple[Keys, Entry]]:
    """Yields the keys of the config, then those with a default value that it may set."""
    tree, schema = checker.tree, checker.schema
    written = flatten(tree.data)
    for keys, value in written.items():
        history = [f"(was {to_text(old)} in {mark})" for mark, old in tree.replaced.get(keys, [])]
        source = " ".join([str(tree.mark(keys) or "the program"), *history])
        yield keys, Entry(to_cell(value), source, *_describe(keys, checker, schema))
    for keys, (_, parameter) in _list_parameters(checker, schema, wanted).items():
        if not any(other[: len(keys)] == keys for other in written):
            is_required = parameter.default is inspect.Parameter.empty
            value = _describe_missing(keys, schema) if is_required else to_cell(parameter.default)
            source = NOT_SET if is_required else DEFAULT
            yield keys, Entry(value, source, *_describe(keys, checker, schema))
    for key in (*PLAIN, *schema.slots):
        if key not in tree.data:
            yield (key,), Entry(NOT_SET, "", *_describe((key,), checker, schema))
    for keys, value, source in _list_unset_members(tree, schema):
        yield keys, Entry(value, source, *_describe(keys, checker, schema))


def _describe_missing(keys: Keys, schema: Schema) -> str:
    """Says that a value is missing, or that the program gives it, such as the run's length."""
    slot = schema.slots.get(str(keys[0]))
    is_filled = slot is not None and keys[-1] in slot.filled_parameters
    return "(that of the run)" if is_filled else MISSING


def _list_parameters(
    checker: Checker, schema: Schema, wanted: Keys
) -> Mapping[Keys, tuple[str, inspect.Parameter]]:
    """Lists all parameters, with those of the wanted sections that the config does not have."""
    takers = checker.takers
    for name, options in schema.sections.items():
        if checker.tree.data.get(name) is None:
            _add_fields(takers, options, (name,))
    for length in range(1, len(wanted) + 1):
        keys = wanted[:length]
        kind, is_list = find_dataclass(takers[keys][1].annotation) if keys in takers else (None, 0)
        if kind is None:
            continue
        if is_list and not isinstance((*wanted, 0)[length], int):
            continue
        inner = (*wanted, 0)[: length + 1] if is_list else keys
        if not any(other[: len(inner)] == inner != other for other in takers):
            _add_fields(takers, kind, inner)
    return takers


def _add_fields(takers: dict[Keys, Any], kind: Any, keys: Keys) -> None:
    signature = Signature.from_callable(kind)
    for name, parameter in signature.parameters.items():
        takers[*keys, name] = signature.owner, parameter


def _list_unset_members(tree: Tree, schema: Schema) -> Iterator[tuple[Keys, str, str]]:
    """Yields the unset keys of components in lists, beside ``type`` and ``args``.

    Each comes with its default and its source.
    """
    for key, slot in schema.slots.items():
        nodes = tree.data.get(key)
        for index, node in enumerate(nodes if isinstance(nodes, list) else []):
            defaults = {"name": get_name(node), "weight": "1"}
            for name in slot.list_keys:
                if not isinstance(node, dict) or name not in node:
                    source = DEFAULT if name in defaults else NOT_SET
                    yield (key, index, name), defaults.get(name, MISSING), source


def _describe(keys: Keys, checker: Checker, schema: Schema) -> tuple[str, str]:
    """Returns what takes the value at ``keys``, and the description of the parameter."""
    if keys in checker.takers:
        owner, parameter = checker.takers[keys]
        return f"{owner}({parameter})", describe_parameter(parameter.name, _find_object(owner))
    if len(keys) == 1:
        annotation = PLAIN.get(str(keys[0]))
        kind = "" if annotation is None else describe_annotation(annotation)
        return kind, schema.meanings.get(str(keys[0]), "")
    if keys[-1] == "type" and keys[:-1] in checker.resolved:
        return "", get_first_line(checker.resolved[keys[:-1]])
    if keys in checker.resolved:  # just a name, as of a metric
        return "", get_first_line(checker.resolved[keys])
    if keys[-1] in LIST_MEMBERS and len(keys) == 3 and isinstance(keys[1], int):
        name = str(keys[-1])
        return LIST_MEMBER_TYPES[name], str(LIST_MEMBERS[name]["description"])
    return "", ""


def _find_object(dotted: str) -> Any:
    """Returns the class or function with this dotted name, which has been imported; else None."""
    words = dotted.split(".")
    for length in range(len(words) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(words[:length]))
        if found is not None:
            for word in words[length:]:
                found = getattr(found, word, None)
            return found
    return None


def _is_below(keys: Keys, tree: Tree, wanted: Keys) -> bool:
    """Whether ``keys`` lead to the wanted value, to one inside it, or to the list that holds it."""
    if keys[: len(wanted)] == wanted:
        return True
    if keys != wanted[:-1] or not isinstance(wanted[-1], int):
        return False
    try:
        return isinstance(get_value(tree.data, wanted), str | int | float | bool | None)
    except KeyError:
        return False
