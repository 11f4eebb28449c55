"""Compares components of a config with the signatures of the classes and functions they name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from config.check.annotations import accepts, choose, describe_annotation, find_wrong_keys
from config.check.findings import Findings, suggests
from config.check.plain_types import is_path_name
from config.check.schema import Schema
from config.check.shapes import (
    Member,
    get_class,
    get_fields,
    get_members,
    is_comment,
    is_path,
    means_component,
    takes_list,
    takes_mapping,
    takes_words,
)
from config.check.signature import Signature
from config.check.slots import FLAT, Slot, get_signature, resolve
from config.read.given import MARKER
from config.read.tree import Keys, Tree, join_keys
from utils.errors import UserError
from utils.files import expand_home
from utils.options import SectionOptions, find_dataclass, make_options

MAX_CHOICES_SHOWN = 8


def get_name(node: Any) -> str:
    """Returns the name of a metric or loss in a list: its ``name``, else the end of its type."""
    if isinstance(node, dict):
        name = node.get("name")
        return str(name) if name else str(node.get("type")).rpartition(".")[2]
    return str(node).rpartition(".")[2]


class Checker(Findings):
    """Collects everything in a config that does not fit the signatures of its components.

    The check changes two things in the config. If a parameter wants text, an override becomes the
    text of the command line again, so that ``name=007`` is a name. In a path, ``~`` becomes the
    home folder, and ``$NAME`` a variable of the environment.

    Attributes:
        resolved: for every component, the class or function that its ``type`` names.
        has_custom_loop: whether only a run can show what the trainer reads and logs.
    """

    def __init__(self, tree: Tree, schema: Schema) -> None:
        super().__init__(tree)
        self.schema = schema
        self.resolved: dict[Keys, Any] = {}
        self.has_custom_loop = True

    # -- components --------------------------------------------------------------------------------

    def check_component(self, node: Any, slot: Slot, keys: Keys) -> None:
        """Checks a ``{type, args}``, or just a name where the slot allows that."""
        if isinstance(node, str) and (slot.is_callback or slot.allows_name):
            node = {"type": node}
        if not self._check_component_keys(node, slot, keys):
            return
        try:
            found = resolve(node["type"], slot)
        except UserError as error:
            self.fail((*keys, "type"), str(error))
            return
        self.resolved[keys] = found
        args = node.get("args")
        if args is not None and not isinstance(args, dict):
            message = f"must be a mapping of argument names to values, not {args!r}"
            self.fail((*keys, "args"), message)
            return
        owner = node["type"].removeprefix(MARKER)
        self.check_args(get_signature(found, slot), args or {}, (*keys, "args"), owner, slot)

    def _check_component_keys(self, node: Any, slot: Slot, keys: Keys) -> bool:
        """Checks the keys of a component. Returns whether its ``type`` is a name."""
        shape = 'must be {"type": NAME, "args": {…}}'
        shape += " or a name" if slot.is_callback or slot.allows_name else ""
        if not isinstance(node, dict):
            self.fail(keys, f"{shape}, not {node!r}")
            return False
        known = ("type", "args", *(slot.list_keys if isinstance(keys[-1], int) else ()))
        unknown = [key for key in node if key not in known and not is_comment(key)]
        hints = [self.suggest(key, known) for key in unknown]
        for key, hint in zip(unknown, hints, strict=True):
            self.fail((*keys, key), f"unknown key{hint}; a component has 'type' and 'args'")
        if isinstance(node.get("type"), str):
            return True
        if "type" in node:
            self.fail((*keys, "type"), f"must be a name, not {node['type']!r}")
        elif not suggests(hints, "type"):
            self.fail(keys, shape)
        return False

    def check_args(
        self, signature: Signature, args: dict[str, Any], keys: Keys, owner: str, slot: Slot
    ) -> None:
        """Checks keyword arguments: unknown, missing, or of a wrong type; nested ones too.

        Args:
            signature: of the class or function that takes them.
            args: the arguments; the text of an override replaces its value where it fits better.
            keys: of ``args``.
            owner: the name of the class or function, for messages.
            slot: of the component.
        """
        parameters = signature.parameters
        self.add_takers(signature.owner, parameters, keys)
        hints = []
        for key, value in args.items():
            where = (*keys, key)
            if is_comment(key):
                continue
            if key in parameters:
                if value is not None or parameters[key].default is not None:  # `x: int = None`
                    self.check_value(parameters[key].annotation, value, where, slot, args)
            elif key in slot.program_parameters:
                self.fail(where, f"'{key}' is given by the program; remove it from the config")
            elif signature.is_open and signature.others is not Any:
                self.check_value(signature.others, value, where, slot, args)
            elif signature.is_open:
                self.check_nested(value, where, self.schema.get_inner_slot(key, slot))
            else:
                hints.append(self._fail_unknown(key, parameters, args, where, owner))
        for name, parameter in parameters.items():
            given = (*slot.program_parameters, *slot.dataset_parameters, *slot.filled_parameters)
            is_required = parameter.default is parameter.empty
            if is_required and name not in (*args, *given) and not suggests(hints, name):
                is_absent = not args and (keys[-1] == "args" or slot == FLAT)
                self.fail(keys[:-1] if is_absent else keys, f"{owner} needs '{name}'")

    def _fail_unknown(
        self, key: str, parameters: Iterable[str], args: dict[str, Any], keys: Keys, owner: str
    ) -> str:
        """Notes an unknown argument. Returns the "did you mean" hint, which may be empty."""
        names = list(parameters)
        hint = self.suggest(key, sorted(names, key=lambda name: name in args))
        choices = ""
        if not hint and 0 < len(names) <= MAX_CHOICES_SHOWN:
            choices = f"; it takes {', '.join(names)}"
        self.fail(keys, f"{owner} takes no '{key}'{hint}{choices}{self._explain_inherited(keys)}")
        return hint

    def _explain_inherited(self, keys: Keys) -> str:
        """Returns advice if the argument belongs to a ``type`` that was replaced later."""
        replaced = self.tree.replaced.get((*keys[:-2], "type"), [])
        mark = self.tree.mark(keys)
        if mark is None or mark.source not in [old.source for old, _ in replaced if old]:
            return ""
        return f"; it belongs to the type that was replaced, and ~{join_keys(keys)} removes it"

    # -- values ------------------------------------------------------------------------------------

    def check_section(
        self, kind: type[SectionOptions], section: Any, keys: Keys
    ) -> SectionOptions | None:
        """Checks a flat section against a dataclass.

        Returns:
            The options, or None if something is wrong with them.
        """
        if not isinstance(section, dict):
            names = ", ".join(Signature.from_callable(kind).parameters)
            self.fail(keys, f"must be a mapping of {names}, not {section!r}")
            return None
        n_before = len(self.findings)
        self.check_args(Signature.from_callable(kind), section, keys, join_keys(keys), FLAT)
        if len(self.findings) > n_before:
            return None
        return self.collect_problems(keys, make_options, kind, section)

    def check_value(
        self, annotation: Any, value: Any, keys: Keys, slot: Slot, holder: dict[str, Any]
    ) -> None:
        """Checks one value against the annotation of its parameter.

        Args:
            annotation: of the parameter.
            value: what the config gives.
            keys: of the value.
            slot: of the component, or FLAT, that takes the value.
            holder: the mapping that holds the value.
        """
        kind, is_list = find_dataclass(annotation) if slot == FLAT else (None, False)
        if kind is not None and value is not None:
            self._check_sections(kind, value, keys, is_list)
            return
        inner = slot
        if slot != FLAT:
            inner = self.schema.get_inner_slot(str(keys[-1]), slot, annotation)
        self._check_inner(annotation, value, keys, inner, holder)

    def _check_inner(
        self, annotation: Any, value: Any, keys: Keys, slot: Slot, holder: Any
    ) -> None:
        """Checks a value, or a member of one. ``slot`` is for a component at this position."""
        is_name = isinstance(value, str | int | float) and slot.is_callback
        if isinstance(value, str) and slot.is_component and not takes_words(annotation):
            is_name = is_name or not accepts(annotation, value)
        if is_name:
            self.check_component(value, slot, keys)
        elif slot != FLAT and _holds_component(annotation, value, slot):
            self.check_nested(value, keys, slot)
            if isinstance(value, list) and not takes_list(annotation):
                self.fail(keys, f"wants {describe_annotation(annotation)}, not a list")
        else:
            self._check_typed(annotation, value, keys, slot, holder)

    def _check_typed(
        self, annotation: Any, value: Any, keys: Keys, slot: Slot, holder: Any
    ) -> None:
        """Checks the fields of a dataclass, the items of a container, or else the value itself."""
        choice = choose(annotation, value)
        members, fields = get_members(choice, value), get_fields(choice)
        if members is None or not (isinstance(value, dict) or self._has_deep_items(value, keys)):
            self._check_type(annotation, value, keys, holder)
        elif isinstance(value, dict) and fields is not None:
            kind = get_class(choice)
            signature = Signature(fields, False, f"{kind.__module__}.{kind.__qualname__}")
            slot = slot._replace(program_parameters=(), dataset_parameters=(), filled_parameters=())
            self.check_args(signature, value, keys, kind.__name__, slot)
        elif isinstance(value, dict):
            for key, problem in find_wrong_keys(choice, value).items():
                self.fail((*keys, key), problem)
            self._check_each(members, keys, slot, value)
        else:
            n_before = len(self.findings)
            self._check_each(members, keys, slot, value)
            if len(self.findings) == n_before:
                self._check_type(annotation, value, keys, holder)  # the number of items

    def _has_deep_items(self, items: list[Any], keys: Keys) -> bool:
        """Whether the items of a list are checked one by one; else one error shows all of them."""
        has_paths = any(isinstance(item, str) and item.startswith(("~", "$")) for item in items)
        is_nested = any(isinstance(item, dict | list) for item in items)
        is_overridden = any(path[: len(keys)] == keys and path != keys for path in self.tree.raw)
        return is_nested or has_paths or is_overridden

    def _check_each(self, members: list[Member], keys: Keys, slot: Slot, holder: Any) -> None:
        for member in members:
            inner = slot if slot == FLAT else self.schema.get_member_slot(member, slot)
            self._check_inner(member.annotation, member.value, (*keys, member.key), inner, holder)

    def _check_sections(self, kind: Any, value: Any, keys: Keys, is_list: bool) -> None:
        """Checks the flat section, or the list of them, that a parameter takes."""
        if not is_list:
            self.check_section(kind, value, keys)
        elif not isinstance(value, list):
            self.fail(keys, f"must be a list, not {value!r}")
        else:
            for index, item in enumerate(value):
                self.check_section(kind, item, (*keys, index))

    def _check_type(self, annotation: Any, value: Any, keys: Keys, holder: Any) -> None:
        """Checks a value. It becomes the text of an override, or a path, where that is wanted."""
        text = self.tree.raw.get(keys)
        if text is not None and "${" in text:
            text = str(value)
        if not accepts(annotation, value):
            if text is None or not accepts(annotation, text):
                self.fail(keys, f"wants {describe_annotation(annotation)}, not {value!r}")
                return
            value = holder[keys[-1]] = text
        if isinstance(value, str) and value.startswith(("~", "$")):
            name = next(str(key) for key in reversed(keys) if isinstance(key, str))
            if is_path(annotation) or is_path_name(name):
                path = self.collect_problems(keys, expand_home, value)
                holder[keys[-1]] = value if path is None else path

    def check_nested(self, value: Any, keys: Keys, slot: Slot) -> None:
        """Checks the components in ``value``, which may be a list. Plain values are not checked."""
        if means_component(value, slot.is_component):
            self.check_component(value, slot, keys)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.check_nested(item, (*keys, index), slot)
        elif isinstance(keys[-1], int) and slot.is_component:  # a plain value between components
            self.check_component(value, slot, keys)


def _holds_component(annotation: Any, value: Any, slot: Slot) -> bool:
    """Whether a value is a component, or a list with one."""
    pairs = [(annotation, value)]
    if isinstance(value, list):
        members = get_members(choose(annotation, value), value)
        known = [Any] * len(value) if members is None else [member.annotation for member in members]
        pairs = list(zip(known, value, strict=True))
    return any(
        (isinstance(item, str) and slot.is_callback)
        or (means_component(item, slot.is_component) and not takes_mapping(kind))
        for kind, item in pairs
    )
