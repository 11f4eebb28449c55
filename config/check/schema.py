"""Schema: a program's definition of the sections of a config, and of the names in them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from config.check.shapes import NONE, Member, get_choices, get_class, wants_component
from config.check.slots import Slot, get_base_class
from utils.options import SectionOptions


@dataclass(frozen=True)
class Schema:
    """The sections of a config, and what each of them accepts.

    Attributes:
        slots: for every top-level key that takes a component, its slot.
        inner_slots: for components inside ``args``, the slot by the name of the parameter, or by
            the end of its name: ``dataset`` serves ``train_dataset`` too. The first match counts.
        nested_slots: for components in any other parameter, the slot by the ``folder`` of the
            outer slot. A folder that is missing here gives the outer slot's homes, and any class.
        sections: for every flat section, the dataclass whose fields are its schema.
        section_slots: for options of flat sections that take a component, by the dotted key of the
            option, the slot.
        meanings: a line about each top-level key.
    """

    slots: Mapping[str, Slot]
    inner_slots: Mapping[str, Slot] = field(default_factory=dict)
    nested_slots: Mapping[str, Slot] = field(default_factory=dict)
    sections: Mapping[str, type[SectionOptions]] = field(default_factory=dict)
    section_slots: Mapping[str, Slot] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)

    def get_inner_slot(self, parameter: str, outer: Slot, annotation: Any = None) -> Slot:
        """Returns the slot of a component inside the ``args`` of another.

        Args:
            parameter: the name of the parameter that takes the component.
            outer: the slot of the component around it.
            annotation: of the parameter. If it is a class, the component must be an instance of it.
        """
        kinds = _list_classes(annotation) if outer.nests else []
        fits = [self.find_nesting_slot(kind) == outer.nests for kind in kinds]
        name = self.get_inner_name(parameter)
        if name is not None and not any(fits):
            slot = self.inner_slots[name]
            is_component = slot.is_component or wants_component(annotation)
            return slot._replace(is_component=is_component)
        usual = Slot(outer.folder, outer.homes, "", is_duck_typed=True)
        slot = self.nested_slots.get(outer.folder, usual)
        if outer.nests and (any(fits) or not kinds):
            is_component = bool(fits) and all(fits)
            same = {**self.slots, **self.section_slots}[outer.nests]
            return same._replace(is_duck_typed=True, is_component=is_component)
        choices = [choice for choice in get_choices(annotation) if choice not in NONE]
        kind: Any = get_class(choices[0]) if len(choices) == 1 else None
        is_class = kind is not None and kind is choices[0] and kind.__module__ != "builtins"
        if is_class and "." not in kind.__qualname__:
            slot = slot._replace(base_class=f"{kind.__module__}.{kind.__name__}")
        return slot._replace(is_component=wants_component(annotation))

    def get_member_slot(self, member: Member, slot: Slot) -> Slot:
        """Returns the slot of a component that is a member of a list, a mapping or a dataclass.

        Args:
            member: a field of a dataclass is like a parameter; any other member is like its list.
            slot: of the list, the mapping or the dataclass.
        """
        if not member.is_field:
            is_component = slot.is_component or wants_component(member.annotation)
            return slot._replace(is_component=is_component)
        return self.get_inner_slot(member.key, slot, member.annotation)

    def find_nesting_slot(self, kind: Any) -> str:
        """Returns the key of the slot that nests and makes instances of a class, or ``""``."""
        for key, slot in {**self.slots, **self.section_slots}.items():
            # Nothing derives from a class of a module that was not imported.
            is_known = slot.base_class.rpartition(".")[0] in sys.modules
            if not slot.nests or not is_known or not inspect.isclass(kind):
                continue
            if issubclass(kind, get_base_class(slot)):
                return key
        return ""

    def get_inner_name(self, parameter: str) -> str | None:
        """Returns the key of ``inner_slots`` that serves a parameter, or None."""
        for name in self.inner_slots:
            if parameter == name or parameter.endswith(f"_{name}"):
                return name
        return None


def _list_classes(annotation: Any) -> list[type]:
    """Lists the classes that an annotation names: of its alternatives, or of their items."""
    choices = [choice for choice in get_choices(annotation) if choice not in NONE]
    items = [item for choice in choices for item in get_args(choice) or (choice,)]
    return [kind for kind in map(get_class, items) if kind is not None]
