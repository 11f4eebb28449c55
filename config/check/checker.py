"""Compares components of a config with the signatures of the classes and functions they name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from config.check.annotations import accepts, describe_annotation
from config.check.schema import Schema
from config.check.signature import Signature
from config.check.slots import FLAT, Slot, resolve
from config.read.tree import MAX_FINDINGS_SHOWN, Finding, Keys, Tree, join_keys, split_keys
from utils.errors import UserError, did_you_mean, is_typo_of
from utils.options import SectionOptions, find_dataclass, make_options

MAX_CHOICES_SHOWN = 8
T = TypeVar("T")


def is_component(value: Any) -> bool:
    """Whether ``value`` is a ``{"type": NAME}``, with or without ``args``."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    return {key for key in value if not is_comment(key)} <= {"type", "args"}


def is_comment(key: str) -> bool:
    """Whether a key is a comment, ``"__comment…"``: JSON has no other way to write one."""
    return key.startswith("__comment")


def get_metric_name(node: Any) -> str:
    """Returns the name under which a metric is logged: its ``name``, else the end of its type."""
    if isinstance(node, dict):
        name = node.get("name")
        return str(name) if name else str(node.get("type")).rpartition(".")[2]
    return str(node).rpartition(".")[2]


def find_typo(key: str, known: Iterable[str]) -> str:
    """Returns a hint if ``key`` looks like a misspelt known key.

    A project's own key, such as ``optimizer_D``, gives no hint.
    """
    for choice in known:
        rest = key.removeprefix(choice) if key.startswith(choice) else key.removesuffix(choice)
        is_extended = rest != key and (not rest.islower() or "_" in rest)
        if not is_extended and is_typo_of(key, choice):
            return did_you_mean(key, known)
    return ""


class Checker:
    """Collects everything in a config that does not fit the signatures of its components.

    The check changes one thing in the config: if a parameter wants text, an override becomes the
    text of the command line again, so that ``name=007`` is a name.

    Attributes:
        findings: the errors, in the order of the checks.
        resolved: for every component, the class or function that its ``type`` names.
        takers: for every argument, given or not, the owner's dotted name and the parameter.
        has_custom_loop: whether only a run can show what the trainer reads and logs.
    """

    def __init__(self, tree: Tree, schema: Schema) -> None:
        self.tree = tree
        self.schema = schema
        self.findings: list[Finding] = []
        self.resolved: dict[Keys, Any] = {}
        self.takers: dict[Keys, tuple[str, inspect.Parameter]] = {}
        self.has_custom_loop = True

    def fail(self, keys: Keys, message: str) -> None:
        """Notes a finding at ``keys``."""
        # If an override has set a value below `keys`, that is the likely cause.
        overrides = [inner for inner in self.tree.raw if inner[: len(keys)] == keys]
        mark = self.tree.mark(overrides[-1] if overrides else keys)
        self.findings.append(Finding(mark, keys, message))

    def suggest(self, word: str, choices: Iterable[str]) -> str:
        """Returns ``did_you_mean(word, choices)``; empty for a finding that is not shown."""
        return did_you_mean(word, choices) if len(self.findings) < MAX_FINDINGS_SHOWN else ""

    def collect_problems(self, keys: Keys, function: Callable[..., T], *args: Any) -> T | None:
        """Returns ``function(*args)``, or None if it raises UserError, whose problems are noted.

        The keys of the problems are relative to ``keys``.
        """
        try:
            return function(*args)
        except UserError as error:
            for problem in error.problems:
                self.fail((*keys, *split_keys(problem.key)), problem.message)
            return None

    def add_takers(
        self, owner: str, parameters: Mapping[str, inspect.Parameter], keys: Keys
    ) -> None:
        """Notes that ``owner`` takes the arguments below ``keys``."""
        self.takers |= {(*keys, name): (owner, item) for name, item in parameters.items()}

    # -- components --------------------------------------------------------------------------------

    def check_component(self, node: Any, slot: Slot, keys: Keys) -> None:
        """Checks a ``{type, args}``. A callback may be just a name."""
        if isinstance(node, str) and slot.is_callback:
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
        n_given = 0 if slot.is_callback and inspect.isclass(found) else len(slot.given)
        signature = Signature.from_callable(found, n_given)
        self.check_args(signature, args or {}, (*keys, "args"), node["type"], slot)

    def _check_component_keys(self, node: Any, slot: Slot, keys: Keys) -> bool:
        """Checks the keys of a component. Returns whether its ``type`` is a name."""
        shape = 'must be {"type": NAME, "args": {…}}' + (" or a name" if slot.is_callback else "")
        if not isinstance(node, dict):
            self.fail(keys, f"{shape}, not {node!r}")
            return False
        known = ("type", "args", "name") if keys[0] == "metrics" else ("type", "args")
        unknown = [key for key in node if key not in known and not is_comment(key)]
        hints = [self.suggest(key, known) for key in unknown]
        for key, hint in zip(unknown, hints, strict=True):
            self.fail((*keys, key), f"unknown key{hint}; a component has 'type' and 'args'")
        if isinstance(node.get("type"), str):
            return True
        if "type" in node:
            self.fail((*keys, "type"), f"must be a name, not {node['type']!r}")
        elif not any("'type'" in hint for hint in hints):
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
            elif key in slot.given:
                self.fail(where, f"'{key}' is given by the program; remove it from the config")
            elif signature.is_open:
                self.check_nested(value, where, self.schema.get_inner_slot(key, slot))
            else:
                hints.append(self._fail_unknown(key, parameters, args, where, owner))
        for name, parameter in parameters.items():
            is_passed = name in (*args, *slot.given, *slot.dataset_parameters)
            is_misspelt = any(f"'{name}'" in hint for hint in hints)  # reported above
            if parameter.default is parameter.empty and not is_passed and not is_misspelt:
                self.fail(keys if args else keys[:-1], f"{owner} needs '{name}'")

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
        kind, is_list = find_dataclass(annotation) if slot.is_flat else (None, False)
        if kind is not None and value is not None:
            self._check_sections(kind, value, keys, is_list)
            return
        inner = self.schema.get_inner_slot(str(keys[-1]), slot, annotation)
        if isinstance(value, str) and inner.is_callback:
            self.check_component(value, inner, keys)
        elif slot != FLAT and annotation is not dict and _holds_component(value, inner):
            self.check_nested(value, keys, inner)
        else:
            self._check_type(annotation, value, keys, holder)

    def _check_sections(self, kind: Any, value: Any, keys: Keys, is_list: bool) -> None:
        """Checks the flat section, or the list of them, that a parameter takes."""
        if not is_list:
            self.check_section(kind, value, keys)
        elif not isinstance(value, list):
            self.fail(keys, f"must be a list, not {value!r}")
        else:
            for index, item in enumerate(value):
                self.check_section(kind, item, (*keys, index))

    def _check_type(self, annotation: Any, value: Any, keys: Keys, holder: dict[str, Any]) -> None:
        if accepts(annotation, value):
            return
        text = self.tree.raw.get(keys)
        if text is not None and "${" in text:
            text = str(value)
        if text is not None and value is not None and accepts(annotation, text):
            holder[str(keys[-1])] = text
            return
        self.fail(keys, f"wants {describe_annotation(annotation)}, not {value!r}")

    def check_nested(self, value: Any, keys: Keys, slot: Slot) -> None:
        """Checks the components in ``value``, which may be a list. Plain values are not checked."""
        is_list_item = isinstance(keys[-1], int)
        if is_component(value) or (slot.is_component and isinstance(value, dict)):
            self.check_component(value, slot, keys)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.check_nested(item, (*keys, index), slot)
        elif is_list_item and slot.is_component:  # a plain value between components
            self.check_component(value, slot, keys)


def _holds_component(value: Any, slot: Slot) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(
        is_component(item) or (slot.is_component and isinstance(item, dict)) for item in items
    )
