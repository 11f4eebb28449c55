"""Writes ``config/schema.json``: the signatures as a JSON Schema, for completion in editors."""

from __future__ import annotations

import enum
import inspect
import json
import types
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from config.check.annotations import describe_annotation
from config.check.json_names import find_candidates, make_names, make_option
from config.check.json_values import (
    COMMENTS,
    JSON_TYPES,
    LIST_MEMBERS,
    Json,
    allow_reference,
    allow_sets,
    describe_parameter,
    is_plain,
    make_enum,
    make_ref,
    make_typo_pattern,
    make_value_types,
)
from config.check.plain_types import unwrap
from config.check.preflight import PLAIN, REQUIRED, get_known_keys
from config.check.schema import Schema
from config.check.shapes import get_class, get_fields, wants_list
from config.check.signature import Signature
from config.check.slots import FLAT, Slot, get_signature
from config.check.trainer_section import get_constructor_parameters, get_option_parameters
from config.read.merge import CONFIG_DIR, SCHEMA_FILE
from utils.files import atomic_write

PATH = CONFIG_DIR / SCHEMA_FILE
LIBRARIES = ("torch", "torchvision", "torchmetrics")


def write(schema: Schema, path: Path = PATH) -> Path:
    """Writes the JSON Schema of the current code. Returns its path."""
    with atomic_write(path) as file:
        file.write(to_text(make_json_schema(schema)).encode())
    return path


def to_text(json_schema: Json) -> str:
    """Returns JSON with a line for each definition, so that a change shows as one line."""
    members = [
        f'"$defs": {{\n{_to_lines(value)}\n}}' if key == "$defs" else _to_lines({key: value})
        for key, value in json_schema.items()
    ]
    return "{\n" + ",\n".join(members) + "\n}\n"


def _to_lines(members: Json) -> str:
    return ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in members.items()
    )


def make_json_schema(schema: Schema) -> Json:
    """Returns the JSON Schema (draft 2020-12) of a config.

    It lists the names in the homes of every slot, and the arguments of every name.
    """
    return _Generator(schema).make()


class _Generator:
    """Makes the JSON Schema of a Schema.

    Attributes:
        args: the definitions of the arguments of every class and function, by dotted name.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.args: Json = {}

    def make(self) -> Json:
        schema = self.schema
        libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        source = f"the signatures of this project and of {libraries}"
        definitions = make_value_types() | self._make_slots()
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$comment": f"Written by `python -m config schema` from {source}.",
            "type": "object",
            "properties": self._make_top_level(),
            "patternProperties": COMMENTS | {make_typo_pattern(get_known_keys(schema)): False},
            "if": {"not": {"required": ["extends"]}},
            "then": {"required": list(REQUIRED)},
            "$defs": definitions | dict(sorted(self.args.items())),
        }

    def _make_top_level(self) -> Json:
        properties: Json = {key: self._make_type(kind) for key, kind in PLAIN.items()}
        properties["$schema"] = True
        extends = {"type": ["string", "array"], "description": "Configs to start from."}
        properties["extends"] = extends
        properties |= {key: make_ref(key) for key in self.schema.slots}
        for key, kind in self.schema.sections.items():
            if key not in self.schema.slots:
                properties[key] = self._make_args(Signature.from_callable(kind), kind, FLAT)
        for dotted, slot in self.schema.section_slots.items():
            key, _, option = dotted.partition(".")
            properties[key]["properties"][option] |= make_option(slot, dotted)
        metric = {"anyOf": [make_ref("metrics names"), make_ref("metrics")]}
        for key, meaning in self.schema.meanings.items():
            if key in properties:  # not the section of an optional room that was removed
                properties[key] = {"description": meaning} | properties[key]
        properties["metrics"] = allow_reference("array") | {"items": metric}
        loss: Json = {"anyOf": [make_ref("loss names"), make_ref("loss")]}
        properties["loss"] = self._allow_list("loss", loss, loss)
        optimizer = make_ref("optimizer")
        several = {"allOf": [optimizer], "required": ["params"]}
        properties["optimizer"] = self._allow_list("optimizer", optimizer, several)
        return properties

    def _allow_list(self, key: str, single: Json, item: Json) -> Json:
        """Allows one component, without the keys of those in a list, or a list of them."""
        keys = self.schema.slots[key].list_keys
        is_item = {"anyOf": [{"type": "object", "required": [name]} for name in keys]}
        items = {"type": "array", "items": item, "minItems": 1}
        return {"anyOf": [single | {"not": is_item}, items]}

    def _make_slots(self) -> Json:
        """Returns the definitions of all slots, then those of the names in them."""
        inner = {f"inner {name}": slot for name, slot in self.schema.inner_slots.items()}
        names: Json = {}
        slots: Json = {}
        keys_by_slot: dict[Slot, str] = {}
        for key, slot in {**self.schema.slots, **inner, **self.schema.section_slots}.items():
            same = keys_by_slot.setdefault(slot._replace(takes_sets=False), key)
            if same != key:  # as valid_data_loader is like data_loader
                choices: list[Json] = [make_ref(same), {"type": "null"}]
                choices += [allow_sets(make_ref(same))] if slot.takes_sets else []
                slots[key] = {"anyOf": choices}
                continue
            names[f"{key} names"] = make_names(slot)
            slots[key] = self._make_trainer() if slot.is_flat else self._make_component(slot, key)
        return slots | names

    def _make_component(self, slot: Slot, key: str) -> Json:
        """Returns the schema of a ``{type, args}``. Adds the arguments of each name to ``args``."""
        cases = []
        for name, found in find_candidates(slot):
            signature = get_signature(found, slot)
            self.args[signature.owner] = self._make_args(signature, found, slot)
            names = [name, *(f"{home}.{name}" for home in slot.homes if "." not in name)]
            is_named = {"properties": {"type": {"enum": names}}, "required": ["type"]}
            cases.append(
                {"if": is_named, "then": {"properties": {"args": make_ref(signature.owner)}}}
            )
        members: Json = {
            "type": make_ref(f"{key} names"),
            "args": allow_reference("object", "null"),
        }
        members |= {name: LIST_MEMBERS[name] for name in slot.list_keys}
        is_optional = key in self.schema.slots and key not in REQUIRED
        return {
            **(allow_reference("object", "null") if is_optional else allow_reference("object")),
            "properties": members,
            "patternProperties": COMMENTS,
            "additionalProperties": False,
            "allOf": cases,
        }

    def _make_args(self, signature: Signature, found: Any, slot: Slot) -> Json:
        parameters = {
            name: parameter
            for name, parameter in signature.parameters.items()
            if name not in slot.program_parameters
        }
        return {
            **allow_reference("object", "null"),
            "properties": self._make_properties(parameters, found),
            "patternProperties": COMMENTS,
            "additionalProperties": signature.is_open,
        }

    def _make_trainer(self) -> Json:
        """Returns the schema of the flat section: the options, and every trainer's arguments."""
        kind = self.schema.sections["trainer"]
        members = self._make_properties(get_option_parameters(self.schema), kind)
        for _, found in find_candidates(self.schema.slots["trainer"]):
            signature = Signature.from_callable(found)
            parameters = get_constructor_parameters(signature, self.schema)
            members |= self._make_properties(parameters, found)
        members["type"] = make_ref("trainer names")
        return allow_reference("object") | {
            "properties": members,
            "patternProperties": COMMENTS | {make_typo_pattern(members): False},
        }

    def _make_properties(self, parameters: Mapping[str, inspect.Parameter], owner: Any) -> Json:
        return {
            name: self._make_property(parameter, owner) for name, parameter in parameters.items()
        }

    def _make_property(self, parameter: inspect.Parameter, owner: Any) -> Json:
        """Returns the schema of one argument: its type, default and description."""
        result = self._make_type(parameter.annotation)
        inner = self.schema.get_inner_name(parameter.name)
        is_plain_type = bool(result) and parameter.annotation in JSON_TYPES
        if inner is not None and not is_plain_type:
            component = make_ref(f"inner {inner}")
            items = {"type": "array", "items": component}
            result = {"anyOf": [component, items, {"type": ["null", "string"]}]}
        default = parameter.default
        if default is None and result:  # `x: int = None`, as many write it
            result = {"anyOf": [result, {"type": "null"}]}
        is_nan = default != default
        if type(default) in (*JSON_TYPES, tuple, list) and not is_nan and is_plain(default):
            value = list(default) if isinstance(default, tuple) else default
            result = result | {"default": value}
        if line := describe_parameter(parameter.name, owner):
            result = result | {"description": line}
        return result

    def _make_type(self, annotation: Any) -> Json:
        """Returns the schema of the JSON that fits an annotation; ``{}`` (anything) if unknown."""
        annotation = unwrap(annotation)
        origin = get_origin(annotation)
        choices = get_args(annotation)
        if annotation is None or annotation is type(None):
            return {"type": "null"}
        if origin is Literal:
            return make_enum(item.name if isinstance(item, enum.Enum) else item for item in choices)
        if origin in (Union, types.UnionType):
            kinds = [choice for choice in choices if getattr(choice, "__name__", "") != "Tensor"]
            members = [self._make_type(kind) for kind in kinds]
            return {"anyOf": members} if all(members) else {}
        return self._make_class(annotation) if get_class(annotation) is not None else {}

    def _make_class(self, annotation: Any) -> Json:
        """Returns the schema of the JSON for a class, which may have types in brackets."""
        kind, items = get_class(annotation), get_args(annotation)
        fields = get_fields(annotation)
        if fields is not None:
            record = self._make_record(annotation, fields)
            return {"anyOf": [record, make_ref("array")]} if wants_list(kind) else record
        if nesting := self.schema.find_nesting_slot(kind):
            return make_ref(nesting)
        if wants_list(annotation):
            item_kind = get_class(items[0]) if len(items) == 1 else None
            has_schema = get_fields(item_kind) is not None or self.schema.find_nesting_slot(
                item_kind
            )
            if not has_schema:
                return make_ref("array")
            return allow_reference("array") | {"items": self._make_type(items[0])}
        if issubclass(kind, Mapping):
            result = allow_reference("object")
            values = self._make_type(items[1]) if len(items) > 1 else {}
            return result | {"additionalProperties": values} if values else result
        if issubclass(kind, enum.Enum):
            plain = [member.value for member in kind if is_plain(member.value)]
            return make_enum([*kind.__members__, *plain])
        return make_ref(JSON_TYPES[kind]) if kind in JSON_TYPES else {}

    def _make_record(self, annotation: Any, fields: dict[str, inspect.Parameter]) -> Json:
        """Returns a reference to the schema of a dataclass. Its fields may hold others of it."""
        kind, items = get_class(annotation), get_args(annotation)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if items:  # `Box[int]` and `Box[str]` have different fields
            name = f"{name} of {', '.join(map(describe_annotation, items))}"
        signature = Signature(fields, False, name)
        if signature.owner not in self.args:
            self.args[signature.owner] = {}
            self.args[signature.owner] = self._make_args(signature, kind, FLAT)
        return make_ref(signature.owner)
