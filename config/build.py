"""From ``{"type": NAME, "args": {…}}`` to an object: check it against its signature, then make it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any
from urllib.error import URLError

from config.check.annotations import accepts, convert, readable
from config.check.slots import FLAT, SLOTS, Signature, Slot, inner_slot, own_frames, resolve
from config.read.source import SHOWN, ConfigError, Finding, Keys, Tree, join_keys, split_keys
from utils.download import downloading
from utils.errors import UserError, did_you_mean, one_line
from utils.options import find_dataclass, make_options


def is_node(value: Any) -> bool:
    """Whether ``value`` is a ``{type, args}`` (both, or the type alone)."""
    keys = {key for key in value if not is_comment(key)} if isinstance(value, dict) else set()
    return "type" in keys and isinstance(value["type"], str) and keys <= {"type", "args"}


def is_comment(key: str) -> bool:
    """Whether a key is a remark, as JSON has no other: ``"__comment"``."""
    return key.startswith("__comment")


class Checker:
    """Compares parts of a config with the signatures of what they name, and collects what does not fit.

    On the way a value from the command line whose parameter wants text gets its text back (``name=007``).
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.findings: list[Finding] = []
        self.own_loop = True  # what the trainer reads and logs is known only when it runs
        self.found: dict[Keys, Any] = {}  # what the names of the parts mean
        self.taken: dict[
            Keys, tuple[str, inspect.Parameter]
        ] = {}  # for every argument what takes it, given or not

    def fail(self, keys: Keys, message: str) -> None:
        overridden = [
            inside for inside in self.tree.raw if inside[: len(keys)] == keys
        ]  # an item of this list
        self.findings.append(
            Finding(self.tree.mark(overridden[-1] if overridden else keys), keys, message)
        )

    def near(self, word: str, choices: Iterable[str]) -> str:
        """``nearest``, as long as the finding will be shown."""
        return did_you_mean(word, choices) if len(self.findings) < SHOWN else ""

    def ask(self, keys: Keys, call: Callable[..., Any], *args: Any) -> Any:
        """Returns ``call(*args)``; if it raises UserError, notes its problems, with keys inside ``keys``."""
        try:
            return call(*args)
        except UserError as error:
            for problem in error.problems:
                self.fail((*keys, *split_keys(problem.key)), problem.message)
            return None

    def takes(self, taker: str, parameters: dict[str, inspect.Parameter], keys: Keys) -> None:
        self.taken |= {(*keys, name): (taker, parameter) for name, parameter in parameters.items()}

    def node(self, node: Any, slot: Slot, keys: Keys) -> None:
        """Checks ``{type, args}``; in a callback slot a name alone stands for it."""
        if isinstance(node, str) and slot.callback:
            node = {"type": node}
        shape = 'must be {"type": NAME, "args": {…}}' + (" or a name" if slot.callback else "")
        if not isinstance(node, dict):
            self.fail(keys, f"{shape}, not {node!r}")
            return
        known = ("type", "args", "name") if keys[0] == "metrics" else ("type", "args")
        hints = {
            key: self.near(key, known) for key in node if key not in known and not is_comment(key)
        }
        for key, hint in hints.items():
            self.fail((*keys, key), f"unknown key{hint}; a part has 'type' and 'args'")
        if not isinstance(node.get("type"), str):
            if "type" in node:
                self.fail((*keys, "type"), f"must be a name, not {node['type']!r}")
            elif not any("'type'" in hint for hint in hints.values()):
                self.fail(keys, shape)
            return
        try:
            found = self.found[keys] = resolve(node["type"], slot)
        except UserError as error:
            self.fail((*keys, "type"), str(error))
            return
        args = node.get("args")
        if args is not None and not isinstance(args, dict):
            self.fail(
                (*keys, "args"), f"must be a mapping of argument names to values, not {args!r}"
            )
            return
        given = 0 if slot.callback and inspect.isclass(found) else len(slot.given)
        signature = Signature.of(found, given)
        self.args(signature, args or {}, (*keys, "args"), node["type"], slot)

    def args(
        self, signature: Signature, args: dict[str, Any], keys: Keys, owner: str, slot: Slot
    ) -> None:
        """Checks keyword arguments: unknown, missing, of the wrong type; nested parts at any depth."""
        parameters = signature.parameters
        self.takes(signature.taker, parameters, keys)
        meant = []
        for key, value in args.items():
            where = (*keys, key)
            if is_comment(key):
                continue
            if key in parameters:
                if value is None and parameters[key].default is None:
                    continue  # `x: int = None`, as many write it
                self.value(parameters[key].annotation, value, where, slot, args)
            elif key in slot.given:
                self.fail(where, f"'{key}' is given by the program; take it out of the config")
            elif not signature.open_ended:
                hint = self.near(key, sorted(parameters, key=lambda name: name in args))
                meant.append(hint)
                self.fail(
                    where,
                    f"{owner} takes no '{key}'{hint or _choices(parameters)}{self._inherited(where)}",
                )
            else:
                self.inner(value, where, inner_slot(key, slot))
        for name, parameter in parameters.items():
            needed = parameter.default is parameter.empty and name not in (
                *args,
                *slot.given,
                *slot.beside,
            )
            if needed and not any(
                f"'{name}'" in hint for hint in meant
            ):  # that one is told already
                self.fail(keys[:-1] if not args else keys, f"{owner} needs '{name}'")

    def _inherited(self, keys: Keys) -> str:
        """What to do with an argument of the type that stood here before another file, or an override, changed it."""
        marks, arg = (
            [mark for mark, _ in self.tree.replaced.get((*keys[:-2], "type"), [])],
            self.tree.mark(keys),
        )
        foreign = any(mark and arg and mark.source == arg.source for mark in marks)
        return f"; it was for another type, and ~{join_keys(keys)} takes it away" if foreign else ""

    def section(self, kind: Any, section: Any, keys: Keys) -> Any:
        """Checks a flat section, whose schema is the dataclass ``kind``, and those inside it; the object, or None."""
        if not isinstance(section, dict):
            names = ", ".join(Signature.of(kind).parameters)
            return self.fail(keys, f"must be a mapping of {names}, not {section!r}")
        before = len(self.findings)
        self.args(Signature.of(kind), section, keys, join_keys(keys), FLAT)
        return self.ask(keys, make_options, kind, section) if len(self.findings) == before else None

    def value(
        self, annotation: Any, value: Any, keys: Keys, slot: Slot, holder: dict[str, Any]
    ) -> None:
        kind, is_list = find_dataclass(annotation)
        if kind is not None and value is not None and slot in (FLAT, SLOTS["trainer"]):
            if is_list and not isinstance(value, list):
                self.fail(keys, f"must be a list, not {value!r}")
            for index, item in enumerate(value if isinstance(value, list) else [value]):
                self.section(kind, item, (*keys, index) if is_list else keys)
            return
        name = str(keys[-1])
        inner = inner_slot(name, slot, annotation)
        if isinstance(value, str) and inner.callback:
            self.node(value, inner, keys)
            return
        items = value if isinstance(value, list) else [value]
        has_part = any(
            is_node(item) or (inner.is_part and isinstance(item, dict)) for item in items
        )
        if has_part and annotation is not dict:
            self.inner(value, keys, inner)
            return
        if not accepts(annotation, value):
            raw = self.tree.raw.get(keys)
            text = raw if raw is None or "${" not in raw else str(value)
            if text is not None and value is not None and accepts(annotation, text):
                holder[name] = text
                return
            self.fail(keys, f"wants {readable(annotation)}, not {value!r}")

    def inner(self, value: Any, keys: Keys, slot: Slot) -> None:
        if is_node(value) or (slot.is_part and isinstance(value, dict)):
            self.node(value, slot, keys)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.inner(item, (*keys, index), slot)
        elif isinstance(keys[-1], int) and slot.is_part:  # beside other parts
            self.node(value, slot, keys)


def _choices(names: Iterable[str], limit: int = 8) -> str:
    """What there is to choose from, if it is no long list."""
    names = list(names)
    return f"; it takes {', '.join(names)}" if 0 < len(names) <= limit else ""


def build(
    tree: Tree, node: Any, slot: Slot, keys: Keys, /, *args: Any, dataset: Any = None, **kwargs: Any
) -> Any:
    """Makes what ``node`` describes; parts inside its ``args`` first.

    Args:
        args, kwargs: what the program gives; the config may not give the same again.
        dataset: what stands beside this part, for a sampler that wants it.

    Raises:
        ConfigError: the name or the arguments do not fit, with the key path.
    """
    node = {"type": node} if isinstance(node, str) else node
    try:
        found = resolve(node["type"], slot)
    except UserError as error:
        raise tree.error((*keys, "type"), str(error)) from None
    own = own_args(node)
    annotations = Signature.of(found).parameters
    own |= {
        key: dataset
        for key in slot.beside
        if key in annotations and key not in own and dataset is not None
    }
    for key in sorted(own, key=lambda key: key != "dataset"):  # the dataset first: samplers want it
        value, annotation = own[key], annotations[key].annotation if key in annotations else Any
        if annotation is not dict:
            beside = own.get("dataset", dataset)
            value = _build_inner(
                tree, value, inner_slot(key, slot, annotation), (*keys, "args", key), beside
            )
        own[key] = convert(annotation, value)
    for key in sorted(own.keys() & kwargs):
        raise tree.error(
            (*keys, "args", key), f"'{key}' is given by the program; take it out of the config"
        )
    if slot.callback and not inspect.isclass(found):
        return with_args(found, own)
    return call(tree, found, keys, *args, **kwargs, **own)


def own_args(node: dict[str, Any]) -> dict[str, Any]:
    """The ``args`` of a part, without remarks."""
    return {key: value for key, value in (node.get("args") or {}).items() if not is_comment(key)}


_REFUSALS = (TypeError, ValueError, RuntimeError, OSError, ImportError)
_BUGS = (
    OverflowError,
    AssertionError,
    AttributeError,
    LookupError,
)  # of the project's, if it is its code


def with_args(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    """``function`` with ``args`` fixed, under its own name."""
    if not args:
        return function
    fixed = partial(function, **args)
    fixed.__name__ = function.__name__  # type: ignore[attr-defined]
    return fixed


def _build_inner(tree: Tree, value: Any, slot: Slot, keys: Keys, dataset: Any) -> Any:
    if is_node(value) or (isinstance(value, str) and slot.callback):
        return build(tree, value, slot, keys, dataset=dataset)
    if isinstance(value, list):
        return [
            _build_inner(tree, item, slot, (*keys, index), dataset)
            for index, item in enumerate(value)
        ]
    return value


def call(tree: Tree, found: Callable[..., Any], keys: Keys, /, *args: Any, **kwargs: Any) -> Any:
    """``found(*args, **kwargs)``; arguments that it refuses are an error of the config, with its key path."""
    try:
        with (
            downloading(found, kwargs["root"])
            if kwargs.get("download") and "root" in kwargs
            else nullcontext()
        ):
            return found(*args, **kwargs)
    except ConfigError:
        raise
    except UserError as error:
        raise tree.error(keys, str(error)) from None
    except Exception as error:
        own = own_frames(error)
        if not isinstance(error, _REFUSALS) and (own or not isinstance(error, _BUGS)):
            error.config_keys = keys  # type: ignore[attr-defined]
            raise  # a fault in the code: its traceback helps
        place = f" ({own[-1].path}:{own[-1].line})" if own else ""
        if isinstance(error, URLError):
            place += "; put the file into the place above by hand, or take weights from a file by transfer.init_from"
        raise tree.error(
            keys, f"{getattr(found, '__name__', found)}: {one_line(error)}{place}"
        ) from error
