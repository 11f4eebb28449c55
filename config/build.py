"""Makes the objects that a config describes as ``{"type": NAME, "args": {…}}``."""

from __future__ import annotations

import inspect
from typing import Any

from config.call import Outer, call, errors_at, fix_args, get_component_args, name_metrics
from config.check.annotations import convert
from config.check.shapes import Member, is_mapping_of_sets, is_wanted_component, list_set_names
from config.check.signature import Signature
from config.check.slots import Slot, resolve
from config.check.trainer_section import N_POSITIONAL, get_constructor_parameters, resolve_trainer
from config.read.tree import Keys
from config.values import ConfigValues
from utils.errors import UserError


class Builder(ConfigValues):
    """Makes the objects that a config describes. It keeps none of them."""

    def build(
        self, name: str, *args: Any, changed_args: Any = None, index: Any = None, **kwargs: Any
    ) -> Any:
        """Makes the component of the section ``name``, those in it, or only the one at ``index``.

        Args:
            args, kwargs: arguments from the program; the config may not give them too.
            changed_args: replace the section's ``args``.
            index: of the one in the list; None for all.

        Raises:
            ConfigError: a name or an argument does not fit.
        """
        node, slot = self[name], self.get_schema().slots[name]
        if index is not None:
            return self._build_node(node[index], slot, (name, index), *args, **kwargs)
        if isinstance(node, list):
            return [self._build_node(item, slot, (name, i)) for i, item in enumerate(node)]
        if slot.takes_sets and is_mapping_of_sets(node):
            return {x: self._build_node(node[x], slot, (name, x)) for x in list_set_names(node)}
        if changed_args is not None:
            node = {"type": node["type"], "args": changed_args}
        return self._build_node(node, slot, (name,), *args, **kwargs)

    def build_loaders(self) -> list[Any]:
        """Makes the training and the validation loader; the second may be None."""
        loader = self.build("data_loader")
        if self.get("valid_data_loader"):
            return [loader, self.build("valid_data_loader")]
        split = getattr(loader, "split_validation", None)  # torch's own DataLoader has none
        return [loader, split() if split is not None else None]

    def build_metrics(self) -> list[Any]:
        """Makes the metrics, each with the ``__name__`` under which it is logged."""
        metrics = self.build("metrics") if "metrics" in self.config else []
        return name_metrics(metrics, self.get("metrics", []))

    def build_trainer(self, **kwargs: Any) -> Any:
        """Makes the trainer with this config and those of ``kwargs`` that it takes.

        The first four go by position, as pytorch-template's ``train.py`` passes them.
        """
        section, schema = self["trainer"], self.get_schema()
        kind, signature = resolve_trainer(section, schema)
        leading = schema.slots["trainer"].program_parameters[:N_POSITIONAL]
        positional = [kwargs.pop(name) for name in leading if name in kwargs]
        kwargs["config"] = self
        by_name = {name: kwargs[name] for name in kwargs if name in signature.parameters}
        names = get_constructor_parameters(signature, schema)
        node = {"args": {name: section[name] for name in names if name in section}}
        values = self._make_args(node, kind, schema.slots["trainer"], ("trainer",), Outer())
        return kind(*positional, **by_name, **values)

    def trainer_class(self) -> Any:
        """Returns the class that the ``trainer`` section names."""
        return resolve_trainer(self["trainer"], self.get_schema())[0]

    # -- components --------------------------------------------------------------------------------

    def _build_node(
        self, node: Any, slot: Slot, keys: Keys, /, *args: Any, dataset: Any = None, **kwargs: Any
    ) -> Any:
        """Makes the components inside the ``args`` of ``node``, then the object itself.

        Args:
            node: a ``{type, args}``, or a name, at ``keys`` of the config.
            slot: what ``node`` may name.
            dataset: the neighbouring dataset, for a sampler that takes one.
        """
        node = {"type": node} if isinstance(node, str) else node
        try:
            found = resolve(node["type"], slot)
        except UserError as error:
            raise self.tree.error((*keys, "type"), str(error)) from None
        values = self._make_args(node, found, slot, (*keys, "args"), Outer(dataset, args))
        for key in sorted(values.keys() & kwargs):
            message = f"'{key}' is given by the program; remove it from the config"
            raise self.tree.error((*keys, "args", key), message)
        if slot.is_callback and not inspect.isclass(found):
            return fix_args(found, values)
        return call(self.tree, found, slot, keys, *args, **kwargs, **values)

    def _make_args(
        self, node: dict[str, Any], found: Any, slot: Slot, keys: Keys, outer: Outer
    ) -> dict[str, Any]:
        """Returns the arguments of a component, converted as its signature asks."""
        signature = Signature.from_callable(found)
        values = get_component_args(node)
        for key in slot.dataset_parameters:
            if key in signature.parameters and key not in values and outer.dataset is not None:
                values[key] = outer.dataset
        # The dataset comes first, because a sampler may need it.
        for key in sorted(values, key=lambda key: key != "dataset"):
            annotation = signature.get_annotation(key)
            inner = self.get_schema().get_inner_slot(key, slot, annotation)
            inside = outer._replace(dataset=values.get("dataset", outer.dataset))
            values[key] = self._make_value(annotation, values[key], inner, (*keys, key), inside)
        return values

    def _make_value(self, annotation: Any, value: Any, slot: Slot, keys: Keys, outer: Outer) -> Any:
        is_name = isinstance(value, str) and slot.is_callback
        if is_name or is_wanted_component(annotation, value):
            return self._build_node(value, slot, keys, *outer.pass_to(slot), dataset=outer.dataset)

        def make_member(member: Member) -> Any:
            inner = self.get_schema().get_member_slot(member, slot)
            return self._make_value(
                member.annotation, member.value, inner, (*keys, member.key), outer
            )

        with errors_at(self.tree, keys, ()):
            return convert(annotation, value, make_member)
