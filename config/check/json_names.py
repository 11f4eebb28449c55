"""The names that a slot takes, for a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.check.json_values import REFERENCE, Json, get_first_line, make_enum, make_ref
from config.check.project import ROOT, get_trusted_packages, import_module
from config.check.signature import get_module_name
from config.check.slots import Slot, get_names, get_refusal


def find_candidates(slot: Slot) -> Iterator[tuple[str, Any]]:
    """Yields each name that works in this slot without a library's path, and its object."""
    yield from get_names(slot).items()
    for file in sorted((ROOT / slot.folder).glob("[!_]*.py")):
        module = import_module(f"{slot.folder}.{file.stem}")
        if module.__name__ in slot.homes:
            continue
        for name, found in sorted(vars(module).items()):
            is_defined_here = get_module_name(found) == module.__name__
            if is_defined_here and not name.startswith("_") and not get_refusal(found, slot):
                yield f"{file.stem}.{name}", found


def make_names(slot: Slot) -> Json:
    """Returns the schema of a ``type``: a known name, or a path in a trusted library."""
    known = [
        {"const": name, "description": get_first_line(found)}
        for name, found in find_candidates(slot)
    ]
    libraries = "|".join(sorted({*get_trusted_packages(), slot.folder}))
    path = {"type": "string", "pattern": rf"^({libraries})\.|{REFERENCE}"}
    return {"anyOf": [*known, path]}


def make_option(slot: Slot, key: str) -> Json:
    """Returns the schema of an option of a flat section that takes a component.

    Args:
        slot: of the option.
        key: of its definitions.
    """
    choices = [make_enum(slot.words)] if slot.words else []
    choices += [make_ref(f"{key} names")] if slot.allows_name else []
    return {"anyOf": [*choices, make_ref(key), {"type": "null"}]}
