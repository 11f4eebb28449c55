"""Checks of schedulers that a signature cannot express, at any depth."""

from __future__ import annotations

import inspect
from typing import Any

from config.check.checker import Checker
from config.check.signature import get_module_name
from config.read.tree import Keys

PLATEAU = "ReduceLROnPlateau"
TORCH = "torch.optim.lr_scheduler"
# Modules of schedulers that pass no number on to the schedulers that they hold.
HOLDER_MODULES = (TORCH, "base.loop.nested_schedulers")
PERIODS = ("T_max", "step_size")  # of schedulers of torch, which divide by them


def is_kind(found: Any, name: str) -> bool:
    """Whether a class has this name, or derives from one with it."""
    return inspect.isclass(found) and name in [kind.__name__ for kind in inspect.getmro(found)]


def check_schedules(checker: Checker, key: str = "lr_scheduler") -> None:
    """Checks the schedulers below a key of the config, whose types are resolved."""
    for keys, found in list_below(checker, key):
        args = get_args(checker, keys)
        if is_kind(found, "SequentialLR"):
            _check_milestones(checker, keys, args)
        is_holder = is_kind(found, "SequentialLR") or is_kind(found, "ChainedScheduler")
        held = args.get("schedulers")
        if is_holder and isinstance(held, dict):
            checker.fail((*keys, "args", "schedulers"), "must be a list of schedulers")
        elif is_holder and held == []:
            checker.fail((*keys, "args", "schedulers"), "is empty")
        for name in PERIODS if get_module_name(found) == TORCH else ():
            value: Any = args.get(name)
            if type(value) in (int, float) and not value > 0:
                checker.fail((*keys, "args", name), f"{value} must be above 0")
        if is_kind(found, PLATEAU):
            _check_holder(checker, keys)


def list_below(checker: Checker, key: str) -> list[tuple[Keys, Any]]:
    """Lists what the components below a key of the config name, the outermost one first."""
    return [(keys, found) for keys, found in checker.resolved.items() if keys[0] == key]


def get_args(checker: Checker, keys: Keys) -> dict[str, Any]:
    """Returns the ``args`` of the component at ``keys``; empty if there are none."""
    node: Any = checker.tree.data
    for key in keys:
        node = node[key]
    args = node.get("args") if isinstance(node, dict) else None
    return args if isinstance(args, dict) else {}


def _check_milestones(checker: Checker, keys: Keys, args: dict[str, Any]) -> None:
    """Checks that a SequentialLR has a milestone between each two of its schedulers."""
    held, milestones = args.get("schedulers"), args.get("milestones")
    if not isinstance(milestones, list) or not all(type(item) is int for item in milestones):
        return  # reported already
    where = (*keys, "args", "milestones")
    if isinstance(held, list) and held and len(milestones) != len(held) - 1:
        needed = len(held) - 1
        message = f"{len(held)} schedulers need {needed} milestone{'s' if needed != 1 else ''}"
        checker.fail(where, f"{message} between them, not {len(milestones)}")
    for index, (before, value) in enumerate(zip([0, *milestones], milestones, strict=False)):
        if value <= before:
            message = f"{value} must be above {before}"
            hint = ", the milestone before" if index else ""
            checker.fail((*where, index), message + hint)
            return


def _check_holder(checker: Checker, keys: Keys) -> None:
    """Refuses a ReduceLROnPlateau inside of a scheduler of torch, which cannot step it."""
    for length in range(1, len(keys)):
        found: Any = checker.resolved.get(keys[:length])
        if found is not None and get_module_name(found) in HOLDER_MODULES:
            message = f"{PLATEAU} follows a number, which {found.__name__} does not pass on; use "
            message += "it without others, and trainer.warmup for a warm-up"
            checker.fail((*keys, "type"), message)
            return


def check_plateaus(checker: Checker, options: Any) -> None:
    """Checks that each ReduceLROnPlateau fits ``trainer.monitor``.

    Args:
        options: the options of the trainer.
    """
    for keys, found in list_below(checker, "lr_scheduler"):
        if not is_kind(found, PLATEAU):
            continue
        if options.monitor == "off":
            message = f"{PLATEAU} follows trainer.monitor, which is 'off'"
            checker.fail((*keys, "type"), message)
        is_late = options.swa is not None and options.swa.first_epoch(options.epochs) > 1
        if " val_swa_" in options.monitor and is_late:
            message = f"{PLATEAU} follows trainer.monitor, but SWA has no numbers before "
            checker.fail((*keys, "type"), message + "trainer.swa.start")
        mode = get_args(checker, keys).get("mode")
        direction = options.monitor.partition(" ")[0]
        if mode is not None and direction != "off" and mode != direction:
            message = f"{mode!r} contradicts trainer.monitor, {options.monitor!r}; remove it: "
            message += f"{PLATEAU} takes its mode from the monitor"
            checker.fail((*keys, "args", "mode"), message)
        if options.lr_scheduler_interval == "step":
            message = f"{PLATEAU} moves after an epoch, not a step"
            checker.fail(("trainer", "lr_scheduler_interval"), message)
