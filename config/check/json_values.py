"""Helpers for a JSON Schema: types, references, descriptions, and patterns of typos."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from config.check.shapes import PHASES

Json = dict[str, Any]
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
REFERENCE = r"\$\{"  # a text with a ${key.path} may stand for any value


def allow_reference(*types: str) -> Json:
    """Returns a schema for these JSON types, or text with a ``${key.path}``."""
    return {"type": [*types, "string"], "pattern": REFERENCE}


COMMENTS = {"^__comment": True, "^~": True}
LIST_MEMBERS: dict[str, Json] = {  # of a component in a list
    "name": {"type": "string", "description": "What it is logged as."},
    "on": {"enum": [*PHASES], "description": "Only in training, or only in evaluations."},
    "params": {"type": ["string", "array"], "description": "Patterns of names, or `rest`."},
    "weight": allow_reference("number") | {"description": "Its factor in the sum; 1 by default."},
}


def allow_sets(component: Json) -> Json:
    """Allows a mapping of names to components, which is no component itself."""
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": ["type", "args"]}},
        "additionalProperties": component,
        "patternProperties": COMMENTS,
    }


def make_ref(name: str) -> Json:
    """Returns a reference to a definition."""
    return {"$ref": f"#/$defs/{name}"}


def make_enum(values: Iterable[Any]) -> Json:
    """Returns a schema for these values, or text with a ``${key.path}``."""
    return {"anyOf": [{"enum": list(values)}, {"type": "string", "pattern": REFERENCE}]}


def is_plain(value: Any) -> bool:
    """Whether JSON can hold ``value``: a plain value, or a list or tuple of them."""
    items = value if isinstance(value, list | tuple) else [value]
    return all(type(item) in JSON_TYPES for item in items)


def make_value_types() -> Json:
    """Returns the definitions of the plain types and of ``array``."""
    values: Json = {kind: allow_reference(kind) for kind in (*JSON_TYPES.values(), "array")}
    values["string"] = {"type": "string"}
    values["number"]["pattern"] = rf"{REFERENCE}|^-?\.inf$"
    return values


def get_first_line(found: Any) -> str:
    """Returns the first line of a docstring."""
    return (inspect.getdoc(found) or "").strip().partition("\n")[0]


def describe_parameter(name: str, owner: Any) -> str:
    """Returns a parameter's description in a docstring, without the breaks of its lines.

    It knows the styles of Google, torch, NumPy and Sphinx, and searches the class, its constructor
    and its parents. The description ends at an empty line, or at one that is not indented more than
    its first. A description that only refers to a parent, as in "as for BaseModel", is the last
    choice.
    """
    names = rf"(?:\w+, )*\*{{0,2}}{name}(?:, \w+)*"
    patterns = (
        rf"^([ \t]+){names}(?: ?\([^\n]*?\))?: *(?:\n\1[ \t]+)?(\S[^\n]*(?:\n\1[ \t]+\S[^\n]*)*)",
        rf"^([ \t]*){names} : [^\n]*\n(\1[ \t]+\S[^\n]*(?:\n\1[ \t]+\S[^\n]*)*)",
        rf"^([ \t]*):param (?:[^:\n]+ )?{name}: *(\S[^\n]*(?:\n\1[ \t]+\S[^\n]*)*)",
    )
    reference = ""
    for kind in inspect.getmro(owner) if inspect.isclass(owner) else (owner,):
        texts = [kind.__doc__, kind.__init__.__doc__ if inspect.isclass(kind) else None]
        text = "\n".join(text for text in texts if text is not None)
        matches = (re.search(pattern, text, re.MULTILINE) for pattern in patterns)
        if match := next(filter(None, matches), None):
            found = " ".join(match[2].split())
            if not found.startswith("as for "):
                return found
            reference = reference or found
    return reference


def make_typo_pattern(words: Iterable[str]) -> str:
    """Returns a pattern for the words that are one letter away from one of ``words``."""
    any_letter = "[a-z_]"
    words = list(words)
    typos: set[str] = set()
    for word in map(re.escape, (word for word in words if word.isidentifier())):
        for i in range(len(word) + 1):
            start, end = word[:i], word[i:]
            typos |= {
                start + any_letter + end,
                start + end[1:],
                start + any_letter + end[1:],
                start + end[1:2] + end[:1] + end[2:],
            }
    pattern = f"^(?!({'|'.join(words)})$)({'|'.join(sorted(typos))})$"
    return pattern.replace("$schema", r"\$schema")
