"""Makes the objects that a config describes as ``{"type": NAME, "args": {…}}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from config.call import call, get_component_args
from config.check.annotations import convert
from config.check.checker import get_metric_name, is_component
from config.check.schema import Schema
from config.check.signature import Signature
from config.check.slots import Slot, resolve
from config.check.trainer_section import N_POSITIONAL, get_constructor_parameters, resolve_trainer
from config.read.tree import Keys, Tree
from utils.errors import UserError


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


def _fix_args(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    """Returns ``function`` with ``args`` fixed, under its own name."""
    if not args:
        return function
    fixed = partial(function, **args)
    fixed.__name__ = function.__name__  # type: ignore[attr-defined]
    return fixed
