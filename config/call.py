"""Calls the classes and functions that a config names. Refused arguments become ConfigErrors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple
from urllib.error import URLError

from config.check.annotations import accepts, convert
from config.check.checker import get_name
from config.check.project import get_user_frames, locate_in_project
from config.check.shapes import get_phase, is_comment
from config.check.signature import Signature, get_positional_only
from config.check.slots import FLAT, Slot, arrange
from config.read.section import copy_values
from config.read.tree import ConfigError, Finding, Keys, Tree, split_keys
from utils.download import downloading
from utils.errors import UserError, did_you_mean, one_line
from utils.failure import user_error_from

# Exceptions that mean: these arguments are not accepted.
_REFUSALS = (TypeError, ValueError, RuntimeError, OSError, ImportError)
# Libraries also raise these for such arguments. From the user's own code they mean a bug.
_POSSIBLE_REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError)


class Outer(NamedTuple):
    """Values that a component may get from the component that holds it.

    Attributes:
        dataset: the dataset beside it, for a sampler that takes one.
        values: those that the program passed to the outer component.
    """

    dataset: Any = None
    values: tuple[Any, ...] = ()

    def pass_to(self, slot: Slot) -> tuple[Any, ...]:
        """Returns the program's values that an inner component of this slot gets too."""
        return self.values if slot.nests else ()


def get_component_args(node: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of the ``args`` of a component in plain dicts and lists, without comments."""
    args = copy_values(node.get("args") or {})
    return {key: value for key, value in args.items() if not is_comment(key)}


def bind(tree: Tree, name: str, module: Any, kwargs: dict[str, Any]) -> partial[Any]:
    """Binds the arguments of the section ``name`` to ``module.TYPE``, without calling it.

    Args:
        tree: the config.
        name: of a top-level section ``{type, args}``.
        module: where TYPE is looked up, without a slot.
        kwargs: arguments from the program; the config may not give them too.

    Raises:
        ConfigError: there is no such TYPE, or an argument is given twice.
    """
    section = tree.data[name]
    if isinstance(section, list):
        raise tree.error((name,), "is a list, and this trainer takes one {type, args}")
    args = get_component_args(section)
    kind = section["type"]
    for key in sorted(args.keys() & kwargs):
        message = "is given by the program; remove it from the config"
        raise tree.error((name, "args", key), message)
    if not hasattr(module, kind):
        hint = did_you_mean(kind, (key for key in dir(module) if not key.startswith("_")))
        message = f"no '{kind}' in {getattr(module, '__name__', module)}{hint}"
        raise tree.error((name, "type"), message)
    found = getattr(module, kind)
    for key, parameter in Signature.from_callable(found).parameters.items():
        # Nothing has checked this class. An old project may pass values that do not fit it.
        if key in args and accepts(parameter.annotation, args[key]):
            with errors_at(tree, (name, "args", key), ()):
                args[key] = convert(parameter.annotation, args[key])
    return partial(call, tree, found, FLAT, (name,), **kwargs, **args)


def fix_args(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    """Binds ``args`` to ``function``. The result keeps the name."""
    if not args:
        return function
    fixed = partial(function, **args)
    fixed.__name__ = function.__name__  # type: ignore[attr-defined]
    return fixed


def call(
    tree: Tree, found: Callable[..., Any], slot: Slot, keys: Keys, /, *args: Any, **kwargs: Any
) -> Any:
    """Returns ``found(*args, **kwargs)``, with the values of the program as ``arrange`` says.

    Raises:
        ConfigError: ``found`` refuses its arguments. If it raises a UserError, the key is the name
            of a parameter, and becomes a key of the component's ``args``.
    """
    is_download = kwargs.get("download") and "root" in kwargs
    download = downloading(found, kwargs["root"]) if is_download else nullcontext()
    with errors_at(tree, keys, ("args",), f"{getattr(found, '__name__', found)}: "), download:
        leading, named = arrange(found, slot, args)
        return _call_by_name(found, leading, kwargs | named)


def _call_by_name(found: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls ``found``; parameters that it takes by position only are passed in this way."""
    by_position = get_positional_only(found)[len(args) :]
    while by_position and by_position[-1].name not in kwargs:
        by_position.pop()
    values = [kwargs.pop(item.name, item.default) for item in by_position]
    return found(*args, *values, **kwargs)


@contextmanager
def errors_at(tree: Tree, keys: Keys, below: Keys, start: str = "") -> Iterator[None]:
    """Turns errors of the code inside, which mean refused arguments, into ConfigErrors.

    Args:
        tree: the config.
        keys: where the arguments, or the component, were written.
        below: the keys from there to the arguments.
        start: of the message.
    """
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        raise _locate(error, tree, keys, below) from None
    except Exception as error:
        is_possible = isinstance(error, _POSSIBLE_REFUSALS) and not get_user_frames(error)
        if not isinstance(error, _REFUSALS) and not is_possible:
            vars(error).setdefault("config_keys", keys)
            raise  # a bug: its traceback helps
        message = f"{start}{one_line(error)}{locate_in_project(error)}"
        if isinstance(error, ImportError) and (known := user_error_from(error)) is not None:
            message = known.problems[0].message
        if isinstance(error, URLError):
            message += "; download the file to the path above by hand, or load weights from a file"
            message += " with transfer.init_from"
        override = tree.find_override((*keys, *below), one_line(error))
        raise tree.error(keys if override is None else override, message) from error


def _locate(error: UserError, tree: Tree, keys: Keys, below: Keys) -> ConfigError:
    findings = []
    for key, message in error.problems:
        args = (*keys, *below)
        override = None if key else tree.find_override(args, message)
        path = keys if override is None else override
        path = (*args, *split_keys(key)) if key else path
        findings.append(Finding(tree.mark(path), path, message))
    return ConfigError(findings)


def name_metrics(metrics: Sequence[Any], section: Sequence[Any]) -> list[Any]:
    """Returns the metrics of the config's list, each with the name under which it is logged."""
    return [_give_name(*pair) for pair in zip(metrics, section, strict=True)]


def _give_name(metric: Any, node: Any) -> Any:
    """Gives a metric its ``__name__`` and, if it is limited to one, its ``phase``."""
    name, phase = get_name(node), get_phase(node)
    if getattr(metric, "__name__", "") != name or phase:
        # The partial carries the name, because another metric may use the same function.
        metric = partial(metric) if inspect.isfunction(metric) else metric
        metric.__name__ = name
    if phase:
        metric.phase = phase
    return metric
