"""Weights that checkpoints leave out, because a resumed run makes them again.

With ``trainer.save: trainable``, these are the weights of the model that are not trained. Modules
of a trainer without a trained parameter, such as a teacher, are always left out. A checkpoint holds
digests of these weights as the constructors made them. A weight that has changed since is saved.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from base.checkpoint.digests import digest_state, digest_tensors
from base.parallel.strategy import Parallel
from utils.distributed import broadcast
from utils.dtensor import full_tensor
from utils.errors import UserError, abbreviate

KEY = "left_out"  # in a checkpoint: the digests of ``weights`` and of ``modules``, by name
AVERAGES = ("ema", "swa")
PREFIX = "module."  # of the weights in the state of an average
TRAINABLE = "trainable"  # the value of ``trainer.save``
ADVICE = "Restore the file of the start weights, the seed or the code, or train with trainer.save: "


class LeftOut:
    """Decides at each save which weights a checkpoint leaves out.

    Args:
        config: of the run; ``trainer.save`` decides about the model.
        model: as its constructor and its start weights made it.
        parallel: the strategy that has wrapped the model.
    """

    def __init__(self, config: Any, model: nn.Module, parallel: Parallel) -> None:
        self.parallel = parallel
        self._of_model: dict[str, int] = {}
        if config["trainer"].get("save") == TRAINABLE:
            self._of_model = digest_tensors(parallel.unwrap(model).state_dict())
        self._of_modules: dict[str, int] = {}
        self._has_noted = False
        self._logged: set[str] = set()

    # -- saving ---------------------------------------------------------------------------------

    def note_modules(self, attributes: Mapping[str, Any], objects: Mapping[str, Any]) -> None:
        """Computes the digests of untrained modules, before they are restored or changed.

        Only the first call does something, because a module may change later.
        A module that has weights of the model may be a copy of it. A resumed run cannot make that
        copy again, because its model gets the weights of the checkpoint. Such a module is saved.

        Args:
            attributes: of the trainer, with ``model`` and ``optimizer``.
            objects: of the trainer that have a state, by name.
        """
        modules = {} if self._has_noted else _find_untrained(attributes["optimizer"], objects)
        self._has_noted = True
        if not modules:
            return
        of_model = set(_digest_matrices(self.parallel.unwrap(attributes["model"])).values())
        for name, module in modules.items():
            digest = digest_state(module.state_dict())
            if digest is not None and of_model.isdisjoint(_digest_matrices(module).values()):
                self._of_modules[name] = digest

    def reduce(
        self, state: dict[str, Any], attributes: Mapping[str, Any], objects: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Removes the weights that are left out from a state.

        Args:
            state: with ``state_dict`` and ``parts``.
            attributes: of the trainer, with ``model`` and ``optimizer``.
            objects: of the trainer that have a state, by name.

        Returns:
            A state with a key ``left_out``; the same one if everything is saved.
        """
        if not (self._of_model or self._of_modules):
            return state
        left_out: dict[str, Any] = {}
        if self._of_model:
            state, left_out["weights"] = self._reduce_model(state, attributes["model"])
        modules = _find_untrained(attributes["optimizer"], objects)
        for name in self._of_modules.keys() & modules.keys():
            digest = digest_state(modules[name].state_dict())
            if digest == self._of_modules[name]:
                left_out.setdefault("modules", {})[name] = digest
                self._log_module(name, modules[name])
        if not any(left_out.values()):
            return state
        kept = _without(state["parts"], left_out.get("modules", ()))
        return {**state, "parts": kept, KEY: left_out}

    def _reduce_model(
        self, state: dict[str, Any], model: nn.Module
    ) -> tuple[dict[str, Any], dict[str, int]]:
        named = self.parallel.unwrap(model).named_parameters(remove_duplicate=False)
        trained = {name for name, parameter in named if parameter.requires_grad}
        weights = state["state_dict"]
        candidates = {n: v for n, v in weights.items() if n in self._of_model and n not in trained}
        digests = digest_tensors(candidates)
        digests = {n: digest for n, digest in digests.items() if digest == self._of_model[n]}
        self._log_model(weights, digests)
        saved_objects = dict(state["parts"])
        update: Any = saved_objects.get("update")
        for kind in AVERAGES:
            average = update.get(kind) if isinstance(update, dict) else None
            if isinstance(average, dict):
                same = [n for n in digests if _are_equal(average.get(PREFIX + n), weights[n])]
                update = update | {kind: _without(average, [PREFIX + name for name in same])}
        if update is not None:
            saved_objects["update"] = update
        return {**state, "state_dict": _without(weights, digests), "parts": saved_objects}, digests

    def _log_module(self, name: str, module: nn.Module) -> None:
        if name not in self._logged:
            self._logged.add(name)
            size = format_size(module.state_dict().values())
            logging.getLogger("trainer").info(
                "`%s` is not trained: checkpoints leave it out (%s), and a resumed run takes the "
                "one that the trainer's constructor makes.",
                name,
                size,
            )

    def _log_model(self, weights: Mapping[str, Any], digests: Mapping[str, int]) -> None:
        if KEY in self._logged or not weights:  # of FSDP, other ranks have none
            return
        self._logged.add(KEY)
        saved = [value for name, value in weights.items() if name not in digests]
        logging.getLogger("trainer").info(
            "trainer.save: a checkpoint holds %d of the model's %d tensors, %s of %s.",
            len(saved),
            len(weights),
            format_size(saved),
            format_size(weights.values()),
        )


# -- restoring ------------------------------------------------------------------------------------


def fill_weights(state: dict[str, Any], model: nn.Module, source: object) -> dict[str, Any]:
    """Adds the weights that a checkpoint has left out.

    Args:
        state: the content of a checkpoint.
        model: without a wrapper; its constructor and its start weights have made its weights.
        source: the file of the checkpoint, for the error.

    Returns:
        The state with all weights; ``state`` itself if none is missing.

    Raises:
        UserError: the weights of ``model`` are not those that were left out.
    """
    digests = get_left_out(state, "weights")
    if not digests:
        return state
    made = {n: full_tensor(value) for n, value in model.state_dict().items() if n in digests}
    found = digest_tensors(made)
    changed = [name for name, digest in digests.items() if found.get(name) != digest]
    if changed:
        raise UserError(
            f"{source}: was saved with trainer.save: trainable, so {len(digests)} weights of "
            f"{type(model).__name__} come from its constructor, and {len(changed)} of them are "
            f"others now: {abbreviate(changed)}. {ADVICE}all"
        )
    filled = {**state, "state_dict": _with(state["state_dict"], made)}
    saved_objects = state.get("parts")
    update = saved_objects.get("update") if isinstance(saved_objects, dict) else None
    if isinstance(saved_objects, dict) and isinstance(update, dict):
        averages = {kind: update[kind] for kind in AVERAGES if isinstance(update.get(kind), dict)}
        of_average = {PREFIX + name: value for name, value in made.items()}
        averages = {kind: _with(average, of_average) for kind, average in averages.items()}
        filled["parts"] = {**saved_objects, "update": update | averages}
    return filled


def get_left_out(state: Mapping[str, Any], kind: str) -> dict[str, int]:
    """The digests of ``weights`` or ``modules`` that a checkpoint has left out, by name."""
    left_out = state.get(KEY)
    found = left_out.get(kind) if isinstance(left_out, dict) else None
    return found if isinstance(found, dict) else {}


def leaves_out_weights(path: Path | None) -> bool:
    """Whether weights of the model are missing in a checkpoint, without reading its tensors."""
    if path is None:
        return False
    try:
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception:  # loading the file later explains the error
        return False
    return isinstance(state, dict) and bool(get_left_out(state, "weights"))


def find_other_modules(state: Mapping[str, Any], objects: Mapping[str, Any]) -> list[str]:
    """Names the left-out modules whose weights differ in this run. All ranks must call it."""
    digests = get_left_out(state, "modules")
    changed = [
        name
        for name, digest in digests.items()
        if name in objects and digest_state(objects[name].state_dict()) != digest
    ]
    others: list[str] = broadcast(changed)
    return others


# -- helpers --------------------------------------------------------------------------------------


def _find_untrained(optimizer: Any, objects: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The modules that have parameters, but none that an optimizer trains."""
    modules = {name: item for name, item in objects.items() if isinstance(item, nn.Module)}
    if not modules:
        return {}
    groups = chain.from_iterable(
        item.param_groups for item in (optimizer, *objects.values()) if isinstance(item, Optimizer)
    )
    in_optimizer = {id(parameter) for group in groups for parameter in group["params"]}

    def is_untrained(name: str, module: nn.Module) -> bool:
        parameters = list(module.parameters())
        trained = [p for p in parameters if p.requires_grad]
        if name == "criterion" and trained:  # the loss of a test takes them from a checkpoint
            return False
        return bool(parameters) and in_optimizer.isdisjoint(map(id, trained))

    return {name: module for name, module in modules.items() if is_untrained(name, module)}


def _digest_matrices(module: nn.Module) -> dict[str, int]:
    """The digests of the parameters, without vectors if possible: many biases are equal."""
    parameters = dict(module.named_parameters())
    matrices = {name: value for name, value in parameters.items() if value.ndim > 1}
    return digest_tensors(matrices if matrices else parameters)


def _are_equal(a: Any, b: torch.Tensor) -> bool:
    is_alike = isinstance(a, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
    return is_alike and torch.equal(a, b)


def _without(state: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A copy of a state dict without some entries. It keeps the versions of the modules."""
    reduced = copy.copy(state)
    for name in names:
        del reduced[name]
    return reduced


def _with(state: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a state dict with the entries that it lacks."""
    filled = copy.copy(state)
    for name, value in values.items():
        filled.setdefault(name, value)
    return filled


def format_size(values: Iterable[Any]) -> str:
    """The size of tensors: ``44.7 MB``."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return f"{sum(value.nbytes for value in tensors) / 1e6:.1f} MB"
