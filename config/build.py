"""Makes the objects that a config describes as ``{"type": NAME, "args": {…}}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any
from urllib.error import URLError

from config.check.annotations import convert
from config.check.checker import get_metric_name, is_comment, is_component
from config.check.project import get_user_frames, locate_in_project
from config.check.schema import Schema
from config.check.signature import Signature
from config.check.slots import Slot, resolve
from config.check.trainer_section import N_POSITIONAL, get_constructor_parameters, resolve_trainer
from config.read.tree import ConfigError, Finding, Keys, Tree, split_keys
from utils.download import downloading
from utils.errors import UserError, did_you_mean, one_line

# What a class raises for arguments that it does not accept.
_REFUSALS = (TypeError, ValueError, RuntimeError, OSError, ImportError)
# What libraries also raise for such arguments. In the user's own code they are bugs.
_POSSIBLE_REFUSALS = (OverflowError, AssertionError, AttributeError, LookupError)


class Builder:
    """Makes components. It neither changes the config nor keeps what it makes.

    Args:
        tree: the config. It gives an error its position in the files.
        schema: what the names in it mean.
    """

    def __init__(self, tree: Tree, schema: Schema) -> None:
        self.tree = tree
        self.schema = schema

    def build(
        self, node: Any, slot: Slot, keys: Keys, /, *args: Any, dataset: Any = None, **kwargs: Any
    ) -> Any:
        """Makes the object that ``node`` describes, after the components inside its ``args``.

        Args:
            node: a ``{type, args}``, or a name alone.
            slot: what the key accepts.
            keys: of ``node``.
            args: what the program passes by position.
            dataset: the neighbouring dataset, for a sampler that takes one.
            kwargs: what the program passes by name; the config may not give the same again.

        Raises:
            ConfigError: a name or an argument does not fit.
        """
        node = {"type": node} if isinstance(node, str) else node
        try:
            found = resolve(node["type"], slot)
        except UserError as error:
            raise self.tree.error((*keys, "type"), str(error)) from None
        values = self._make_args(node, found, slot, (*keys, "args"), dataset)
        for key in sorted(values.keys() & kwargs):
            message = f"'{key}' is given by the program; remove it from the config"
            raise self.tree.error((*keys, "args", key), message)
        if slot.is_callback and not inspect.isclass(found):
            return _fix_args(found, values)
        return call(self.tree, found, keys, *args, **kwargs, **values)

    def build_metrics(self, nodes: list[Any]) -> list[Any]:
        """Makes the metrics, each with the ``__name__`` under which it is logged."""
        metrics = []
        for index, node in enumerate(nodes):
            metric: Any = self.build(node, self.schema.slots["metrics"], ("metrics", index))
            name = get_metric_name(node)
            if getattr(metric, "__name__", "") != name:
                # A partial gets the name: another metric may use the function itself.
                metric = partial(metric) if inspect.isfunction(metric) else metric
                metric.__name__ = name
            metrics.append(metric)
        return metrics

    def build_trainer(self, section: dict[str, Any], given: dict[str, Any]) -> Any:
        """Makes the trainer; see ``ConfigParser.build_trainer``."""
        found, signature = resolve_trainer(section, self.schema)
        leading = self.schema.slots["trainer"].given[:N_POSITIONAL]
        positional = [given[name] for name in leading if name in given]
        by_name = {
            name: value
            for name, value in given.items()
            if name in signature.parameters and name not in leading
        }
        names = get_constructor_parameters(signature, self.schema)
        values = {name: section[name] for name in names if name in section}
        return found(*positional, **by_name, **values)

    def _make_args(
        self, node: dict[str, Any], found: Any, slot: Slot, keys: Keys, dataset: Any
    ) -> dict[str, Any]:
        """Returns the arguments of a component as its signature wants them."""
        parameters = Signature.from_callable(found).parameters
        values = get_component_args(node)
        for key in slot.dataset_parameters:
            if key in parameters and key not in values and dataset is not None:
                values[key] = dataset
        for key in sorted(values, key=lambda key: key != "dataset"):  # first: a sampler may want it
            annotation = parameters[key].annotation if key in parameters else Any
            if annotation is not dict:
                inner = self.schema.get_inner_slot(key, slot, annotation)
                neighbour = values.get("dataset", dataset)
                values[key] = self._make_nested(values[key], inner, (*keys, key), neighbour)
            values[key] = convert(annotation, values[key])
        return values

    def _make_nested(self, value: Any, slot: Slot, keys: Keys, dataset: Any) -> Any:
        if is_component(value) or (isinstance(value, str) and slot.is_callback):
            return self.build(value, slot, keys, dataset=dataset)
        if isinstance(value, list):
            return [
                self._make_nested(item, slot, (*keys, index), dataset)
                for index, item in enumerate(value)
            ]
        return value


def get_component_args(node: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of the ``args`` of a component, without comments."""
    args = node.get("args") or {}
    return {key: value for key, value in args.items() if not is_comment(key)}


def bind(tree: Tree, name: str, module: Any, kwargs: dict[str, Any]) -> partial[Any]:
    """Returns ``module.TYPE`` with the arguments of the section ``name`` fixed, uncalled.

    Args:
        tree: the config.
        name: of a top-level section ``{type, args}``.
        module: where TYPE is looked up, without a slot.
        kwargs: what the program passes by name; the config may not give the same again.

    Raises:
        ConfigError: there is no such TYPE, or an argument is given twice.
    """
    section = tree.data[name]
    args = get_component_args(section)
    kind = section["type"]
    for key in sorted(args.keys() & kwargs):
        message = "is given by the program; remove it from the config"
        raise tree.error((name, "args", key), message)
    if not hasattr(module, kind):
        hint = did_you_mean(kind, (key for key in dir(module) if not key.startswith("_")))
        message = f"no '{kind}' in {getattr(module, '__name__', module)}{hint}"
        raise tree.error((name, "type"), message)
    return partial(call, tree, getattr(module, kind), (name,), **kwargs, **args)


def _fix_args(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    """Returns ``function`` with ``args`` fixed, under its own name."""
    if not args:
        return function
    fixed = partial(function, **args)
    fixed.__name__ = function.__name__  # type: ignore[attr-defined]
    return fixed


def call(tree: Tree, found: Callable[..., Any], keys: Keys, /, *args: Any, **kwargs: Any) -> Any:
    """Returns ``found(*args, **kwargs)``.

    Raises:
        ConfigError: ``found`` refuses its arguments. The keys of a UserError that it raises are
            those of its parameters; they become keys of the component's ``args``.
    """
    is_download = kwargs.get("download") and "root" in kwargs
    try:
        with downloading(found, kwargs["root"]) if is_download else nullcontext():
            return found(*args, **kwargs)
    except ConfigError:
        raise
    except UserError as error:
        raise _locate(error, tree, keys) from None
    except Exception as error:
        is_possible = isinstance(error, _POSSIBLE_REFUSALS) and not get_user_frames(error)
        if not isinstance(error, _REFUSALS) and not is_possible:
            error.config_keys = keys  # type: ignore[attr-defined]
            raise  # a bug: its traceback helps
        name = getattr(found, "__name__", found)
        message = f"{name}: {one_line(error)}{locate_in_project(error)}"
        if isinstance(error, URLError):
            message += "; download the file to the path above by hand, or load weights from a file"
            message += " with transfer.init_from"
        raise tree.error(keys, message) from error


def _locate(error: UserError, tree: Tree, keys: Keys) -> ConfigError:
    findings = []
    for key, message in error.problems:
        path = (*keys, "args", *split_keys(key)) if key else keys
        findings.append(Finding(tree.mark(path), path, message))
    return ConfigError(findings)
