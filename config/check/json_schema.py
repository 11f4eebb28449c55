"""``config/schema.json``: what the signatures say, for an editor that completes and checks a config as it is typed."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from config.check.preflight import (
    KNOWN,
    OPTIONS,
    PLAIN,
    REQUIRED,
    SECTIONS,
    class_named,
    own_options,
    trainer_options,
)
from config.check.slots import (
    FLAT,
    INNER,
    ROOT,
    SLOTS,
    Signature,
    Slot,
    import_module,
    misfit,
    names_in,
    trusted_packages,
)
from config.read.merge import CONFIG_DIR, SCHEMA
from utils.files import atomic_write

PATH = CONFIG_DIR / SCHEMA
KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}
REMARKS = {"^__comment": True, "^~": True}
Json = dict[str, Any]


def write(path: Path = PATH) -> Path:
    """Writes the schema of today's code. Returns its path."""
    with atomic_write(path) as file:
        file.write(text_of(schema()).encode())
    return path


def text_of(schema: Json) -> str:
    """The schema as JSON with a line for each definition, so that a change shows as one."""
    members = [
        f'"$defs": {{\n{_lines(value)}\n}}' if key == "$defs" else _lines({key: value})
        for key, value in schema.items()
    ]
    return "{\n" + ",\n".join(members) + "\n}\n"


def _lines(members: Json) -> str:
    return ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in members.items()
    )


def schema() -> Json:
    """The schema (JSON Schema 2020-12) of a config: of each slot the names in its homes, of each name its arguments."""
    args: Json = {}
    names: Json = {}
    slots: Json = {}
    first: dict[Slot, str] = {}
    for key, slot in {**SLOTS, **{f"inner {name}": slot for name, slot in INNER.items()}}.items():
        if (same := first.setdefault(slot, key)) != key:  # as valid_data_loader is like data_loader
            slots[key] = {"anyOf": [_ref(same), {"type": "null"}]}
            continue
        names[f"{key} names"] = _names(slot)
        slots[key] = _part(slot, key, args)
    slots["trainer"] = _trainer()
    properties: Json = {key: _typed(kind) for key, kind in PLAIN.items()}
    properties |= {
        "$schema": True,
        "extends": {"type": ["string", "array"], "description": "Configs to start from."},
    }
    properties |= {key: _ref(key) for key in SLOTS}
    properties |= {key: _section(class_named(place)) for key, place in SECTIONS.items()}
    properties["loss"] = {"anyOf": [_ref("loss names"), _ref("loss")]}
    properties["metrics"] = _or_reference("array") | {
        "items": {"anyOf": [_ref("metrics names"), _ref("metrics")]}
    }
    values: Json = {kind: _or_reference(kind) for kind in (*KINDS.values(), "array")}
    values["string"] = {"type": "string"}
    values["number"]["pattern"] = r"\$\{|^-?\.inf$"
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "torchvision", "torchmetrics")
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Written by `python -m config schema` from the signatures of this project and of {libraries}.",
        "type": "object",
        "properties": properties,
        "patternProperties": REMARKS | {_typos(list(KNOWN)): False},
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": list(REQUIRED)},
        "$defs": {**values, **slots, **names, **dict(sorted(args.items()))},
    }


def _or_reference(*kinds: str) -> Json:
    """One of these kinds, or a text with a ``${key.path}``."""
    return {"type": [*kinds, "string"], "pattern": r"\$\{"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


def _candidates(slot: Slot) -> Iterator[tuple[str, Any]]:
    """Every name that may stand in a slot without the path of its library, and what it means."""
    yield from names_in(slot).items()
    for file in sorted((ROOT / slot.folder).glob("[!_]*.py")):
        module = import_module(f"{slot.folder}.{file.stem}")
        for name, found in sorted(vars(module).items()):
            own = getattr(found, "__module__", "") == module.__name__ and not name.startswith("_")
            if own and module.__name__ not in slot.homes and not misfit(found, slot):
                yield f"{file.stem}.{name}", found


def _names(slot: Slot) -> Json:
    """A ``type``: the names with their first lines, or the path of something in a trusted library."""
    known = [
        {"const": name, "description": _first_line(found)} for name, found in _candidates(slot)
    ]
    libraries = "|".join(sorted({*trusted_packages(), slot.folder}))
    return {"anyOf": [*known, {"type": "string", "pattern": rf"^({libraries})\.|\$\{{"}]}


def _part(slot: Slot, key: str, parts: Json) -> Json:
    """A ``{type, args}``; adds the ``args`` of every name to ``parts``."""
    cases = []
    for name, found in _candidates(slot):
        given = 0 if slot.callback and inspect.isclass(found) else len(slot.given)
        signature = Signature.of(found, given)
        parts[signature.taker] = _args(signature, found, slot)
        then = {"properties": {"args": _ref(signature.taker)}}
        names = [name, *(f"{home}.{name}" for home in slot.homes if "." not in name)]
        cases.append(
            {"if": {"properties": {"type": {"enum": names}}, "required": ["type"]}, "then": then}
        )
    members: Json = {"type": _ref(f"{key} names"), "args": _or_reference("object", "null")}
    if key == "metrics":
        members["name"] = {"type": "string", "description": "What it is logged as."}
    optional = key in SLOTS and key not in REQUIRED
    return {
        **_or_reference("object", *["null"] * optional),
        "properties": members,
        "patternProperties": REMARKS,
        "additionalProperties": False,
        "allOf": cases,
    }


def _args(signature: Signature, found: Any, slot: Slot) -> Json:
    parameters = {name: p for name, p in signature.parameters.items() if name not in slot.given}
    return {
        **_or_reference("object", "null"),
        "properties": _properties(parameters, found),
        "patternProperties": REMARKS,
        "additionalProperties": signature.open_ended,
    }


def _trainer() -> Json:
    """The flat section: the options of every trainer, and what the constructors of those there are take."""
    options = class_named(OPTIONS)
    members = _properties(trainer_options(), options)
    for _, found in _candidates(SLOTS["trainer"]):
        members |= _properties(own_options(Signature.of(found)), found)
    members["type"] = _ref("trainer names")
    return _or_reference("object") | {
        "properties": members,
        "patternProperties": REMARKS | {_typos(list(members)): False},
    }


def _section(kind: Any) -> Json:
    """A flat section, whose schema is a dataclass."""
    return _args(Signature.of(kind), kind, FLAT)


def _properties(parameters: dict[str, inspect.Parameter], owner: Any) -> Json:
    return {name: _property(name, parameter, owner) for name, parameter in parameters.items()}


def _property(name: str, parameter: inspect.Parameter, owner: Any) -> Json:
    """An argument: its type, default, and the first line that its owner's docstring says about it."""
    inner = next((key for key in INNER if name == key or name.endswith(f"_{key}")), None)
    result = _typed(parameter.annotation)
    if inner is not None and not (result and parameter.annotation in KINDS):
        part = _ref(f"inner {inner}")
        result = {"anyOf": [part, {"type": "array", "items": part}, {"type": ["null", "string"]}]}
    default = parameter.default
    if default is None and result:  # `x: int = None`, as many write it
        result = {"anyOf": [result, {"type": "null"}]}
    if (
        type(default) in (*KINDS, tuple, list) and default == default
    ):  # a NaN is none that could be written
        result |= (
            {"default": list(default) if isinstance(default, tuple) else default}
            if _is_plain(default)
            else {}
        )
    if line := _line_about(name, owner):
        result |= {"description": line}
    return result


def _is_plain(value: Any) -> bool:
    return all(
        type(item) in KINDS for item in (value if isinstance(value, list | tuple) else [value])
    )


def _typed(annotation: Any) -> Json:
    """What JSON fits an annotation; ``{}``, anything, where that cannot be said."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return {"type": "null"}
    if origin is Literal:
        return _one_of(choices)
    if origin in (Union, types.UnionType):
        members = [
            _typed(choice) for choice in choices if getattr(choice, "__name__", "") != "Tensor"
        ]
        return {"anyOf": members} if all(members) else {}
    if inspect.isclass(annotation) and is_dataclass(annotation):
        return _section(annotation)
    if origin is list and is_dataclass(choices[0]):
        return _or_reference("array") | {"items": _section(choices[0])}
    if (origin or annotation) in (list, tuple, Sequence):
        return _ref("array")
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return _one_of(
            [
                *annotation.__members__,
                *(member.value for member in annotation if _is_plain(member.value)),
            ]
        )
    if annotation in KINDS:
        return _ref(KINDS[annotation])
    return {}


def _one_of(values: Iterable[Any]) -> Json:
    return {"anyOf": [{"enum": list(values)}, {"type": "string", "pattern": r"\$\{"}]}


def _first_line(found: Any) -> str:
    return (inspect.getdoc(found) or "").strip().partition("\n")[0]


def _line_about(name: str, owner: Any) -> str:
    """The first line about a parameter in a docstring of Google's style or of torch's; of the class or its parents."""
    for kind in inspect.getmro(owner) if inspect.isclass(owner) else (owner,):
        text = f"{kind.__doc__ or ''}\n{getattr(kind.__init__, '__doc__', '') if inspect.isclass(kind) else ''}"
        if match := re.search(
            rf"^\s+(?:\w+, )*\*{{0,2}}{name}(?:, \w+)*(?: ?\([^\n]*?\))?: *(\S[^\n]*)", text, re.M
        ):
            return match[1]
    return ""


def _typos(words: list[str]) -> str:
    """A pattern for words that are one letter away from one of ``words``."""
    any_letter, wrong = "[a-z_]", set()
    for word in map(re.escape, (word for word in words if word.isidentifier())):
        for i in range(len(word) + 1):
            a, b = word[:i], word[i:]
            wrong |= {
                a + any_letter + b,
                a + b[1:],
                a + any_letter + b[1:],
                a + b[1:2] + b[:1] + b[2:],
            }
    return f"^(?!({'|'.join(words)})$)({'|'.join(sorted(wrong))})$".replace("$schema", r"\$schema")
