"""Finds the objects of a trainer that have a state: in its attributes, and inside of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Set
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from base.checkpoint.attributes import (
    FRAMEWORK,
    LEAVES,
    MAX_DEPTH,
    MAX_ITEMS,
    SAVED_ELSEWHERE,
    STATEFUL_TYPES,
    list_items,
)
from base.checkpoint.codecs import is_object
from base.checkpoint.held_loaders import HELD, find_held_loaders
from base.checkpoint.kept_generators import find_kept_generators
from base.checkpoint.plain import make_saveable
from base.loop.assembly import list_trained
from base.loop.lr_schedule import is_holder, list_schedulers
from base.loop.progress import Progress
from base.loop.update import Update
from utils.distributed import all_gather
from utils.errors import UserError
from utils.util import MetricTracker


class LooseParameters:
    """The parameters of an optimizer that belong to no module, so that no other state has them.

    Args:
        parameters: in the order of the optimizer.
    """

    def __init__(self, parameters: list[torch.Tensor]) -> None:
        self.parameters = parameters

    def state_dict(self) -> dict[str, Any]:
        return {str(index): value.detach() for index, value in enumerate(self.parameters)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for index, parameter in enumerate(self.parameters):
            parameter.copy_(state[str(index)])


def find_stateful(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Finds optimizers, schedulers, modules, each ``Update`` and whatever has a ``state_dict``.

    They may be attributes, in dicts, lists and tuples, attributes of the project's own objects, and
    what functions keep: ``optimizer.step``, a ``partial``, a closure.
    An object in several places has the name of the outermost one, and the second of two objects
    with the same name has one with a number. Parameters of an optimizer that belong to no module
    have a name of their own, ``NAME.parameters``. So have random generators, ``generators``.

    Args:
        objects: the attributes of a trainer, with ``model`` and ``optimizer``.

    Returns:
        The objects by name, such as ``optimizers.critic``; without model, optimizer and loaders.

    Raises:
        UserError: a set holds objects that are nowhere else.
    """
    saved_elsewhere = {id(module) for module in objects["model"].modules()}
    saved_elsewhere.add(id(objects["optimizer"]))
    found: dict[str, Any] = {}
    known: set[int] = set()
    sets = {}
    for name, item in _walk(objects, objects):
        if isinstance(item, Set):
            if len(item) <= MAX_ITEMS:
                sets[name] = item
            continue
        is_inside = name not in objects and id(item) in known
        if is_inside or id(item) in saved_elsewhere:
            continue
        known.add(id(item))
        if isinstance(item, nn.Module):
            known |= {id(module) for module in item.modules()}
            if not item.state_dict():
                continue
        found[_number(name, found)] = item
    _check_sets(objects, sets, known | saved_elsewhere)
    found |= _find_loose_parameters(objects, found) | find_kept_generators(objects)
    held = find_held_loaders(objects)
    return found | ({HELD: held} if held.is_needed else {})


def _check_sets(objects: Mapping[str, Any], sets: Mapping[str, Any], known: set[int]) -> None:
    """Raises UserError if a set holds objects with a state that are not ``known``."""
    for name, items in sets.items():
        members = {f"{name}.{number}": item for number, item in enumerate(items)}
        for _, item in _walk(objects, members):
            has_state = not isinstance(item, Set) and bool(item.state_dict())
            if has_state and id(item) not in known:
                message = (
                    f"`{name}` is a set of objects with a state, such as {type(item).__name__}"
                )
                message = f"{message}. A set has no order, so a resume could not tell them apart"
                raise UserError(f"{message}; make it a list or a dict", key="trainer")


def _number(name: str, taken: Mapping[str, Any]) -> str:
    """Returns a name that is free: ``{"a.b": x, "a": {"b": y}}`` gives ``a.b`` and ``a.b (2)``."""
    numbered, number = name, 1
    while numbered in taken:
        number += 1
        numbered = f"{name} ({number})"
    return numbered


def check_states(objects: Mapping[str, Any]) -> None:
    """Checks that a checkpoint can hold the states of the objects of a trainer.

    A warning says if no optimizer has the parameters of the loss, because a trainer may make
    optimizers itself.

    Raises:
        UserError: a value in a state cannot be loaded back; the error has its name.
    """
    found = find_stateful(objects)
    others = {name: item for name, item in found.items() if not isinstance(item, Optimizer)}
    known = (objects["model"], objects["optimizer"], *found.values())
    make_saveable({"parts": {name: item.state_dict() for name, item in others.items()}}, known)
    optimizers = [objects["optimizer"], *found.values()]
    untrained = {id(parameter) for parameter in list_trained(objects.get("criterion"))}
    for optimizer in optimizers:
        for group in getattr(optimizer, "param_groups", ()):
            untrained -= set(map(id, group["params"]))
    if untrained:
        logging.getLogger("trainer").warning(
            "%d parameters of the loss are in no optimizer, so they are not trained.",
            len(untrained),
        )


def find_trackers(objects: Mapping[str, Any]) -> dict[str, MetricTracker]:
    """Returns the metric trackers of the current epoch, by attribute name."""
    return {
        name: tracker
        for name, tracker in objects.items()
        if isinstance(tracker, MetricTracker) and name != "valid_metrics"
    }


def collect_epoch(objects: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The position inside the current epoch, and its numbers so far; empty between epochs."""
    if not progress.batch:
        return {}
    tag = progress.get_tag(objects.get("len_epoch"))
    trackers = collect_trackers(find_trackers(objects))
    position = {"place": progress.batch, "tag": tag, "is_validating": progress.is_validating}
    return {"within": position | trackers}


def collect_trackers(trackers: Mapping[str, MetricTracker]) -> dict[str, Any]:
    """Returns the states of metric trackers; those of several ranks both merged and one by one."""
    states = all_gather({name: tracker.state_dict() for name, tracker in trackers.items()})
    if len(states) == 1:
        return {"trackers": states[0]}
    merged = {
        name: tracker.merge_states([state[name] for state in states])
        for name, tracker in trackers.items()
    }
    return {"trackers": merged, "trackers_of_ranks": states}


def _walk(objects: Mapping[str, Any], start: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the stateful objects and the sets in ``start``, by name, the outermost ones first."""
    seen: set[int] = set()
    level = [(name, item) for name, item in start.items() if name not in SAVED_ELSEWHERE]
    for _ in range(MAX_DEPTH):
        inner: list[tuple[str, Any]] = []
        for name, item in level:
            if isinstance(item, (*STATEFUL_TYPES, Set)) or _is_stateful(item):
                yield name, item
                inner += _list_held(name, item, set())
            elif id(item) not in seen and getattr(item, "__dict__", None) is not objects:
                seen.add(id(item))
                inner += list_items(name, item)
            if isinstance(item, Update):
                inner += [
                    (f"{name}.optimizer", item.optimizer),
                    (f"{name}.lr_scheduler", item.schedule.lr_scheduler),
                ]
        level = inner


def _list_held(name: str, item: Any, seen: set[int]) -> list[tuple[str, Any]]:
    """Lists the schedulers inside of another one whose state lacks them."""
    found: list[tuple[str, Any]] = []
    if not isinstance(item, LRScheduler):
        return found
    saved = {id(held) for _, held in list_schedulers(item.state_dict())}
    for key, held in list_schedulers(vars(item)):
        if id(held) in seen:
            continue
        seen.add(id(held))
        inner = f"{name}.{key}"
        if is_holder(item) or id(held) in saved:
            found += _list_held(inner, held, seen)
        else:
            found.append((inner, held))
    return found


def _is_stateful(item: Any) -> bool:
    """Whether an object that is not of this framework has a state."""
    package = type(item).__module__.partition(".")[0]
    return is_object(item) and not isinstance(item, LEAVES) and package not in FRAMEWORK


def _find_loose_parameters(objects: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    modules = [objects["model"], *(m for m in found.values() if isinstance(m, nn.Module))]
    known = {id(value) for module in modules for value in module.parameters()}
    optimizers = {"optimizer": objects["optimizer"], **found}
    loose = {}
    for name, optimizer in optimizers.items():
        groups = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
        parameters = [p for group in groups for p in group["params"] if id(p) not in known]
        if parameters:
            known |= set(map(id, parameters))
            loose[f"{name}.parameters"] = LooseParameters(parameters)
    return loose
