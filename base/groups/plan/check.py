"""Checks the sections ``search`` and ``repeat`` against the rest of the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base.groups.plan.engine import GRID, LIBRARY, MISSING, NO_TRIALS
from base.groups.plan.grid import find_wrong_grid
from base.groups.plan.space import Entry, Space, list_keys, read_entry
from base.groups.plan.space_check import FOLD_ARGUMENTS, SpaceCheck
from base.groups.study.proposal import make_component
from base.groups.study.storage import find_wrong_url, quiet
from config.check.checker import Checker
from config.check.project import import_module
from config.check.schedules import get_args
from config.check.signature import Signature
from config.read.section import copy_values
from config.read.tree import Keys
from utils.errors import did_you_mean

MONITOR = ("trainer", "monitor")


def check_search(section: Mapping[str, Any], checker: Checker) -> None:
    """Checks a search: its space against what takes the values, and its options."""
    values = section.get("space")
    space: dict[str, Entry] = {}
    if isinstance(values, dict):
        if not list_keys(values):
            message = "is empty; name the key of each value to vary, such as optimizer.args.lr"
            checker.fail(("search", "space"), message)
        for key in list_keys(values):
            entry = checker.collect_problems(("search", "space", key), read_entry, values[key])
            if entry is not None:
                space[key] = entry
        SpaceCheck(checker, values).run()
    _check_trials(section, space, checker)
    _check_monitor(checker)
    storage = section.get("storage")
    if isinstance(storage, str) and (problem := find_wrong_url(storage)):
        checker.fail(("search", "storage"), problem)
    if import_module(LIBRARY) is None:
        checker.fail(("search",), MISSING)
    else:
        _check_sampler(section, checker)
        _try_to_make(section, checker)


def _check_trials(section: Mapping[str, Any], space: Space, checker: Checker) -> None:
    trials, is_grid = section.get("trials"), section.get("sampler") == GRID
    if type(trials) is int and trials < 1:
        checker.fail(("search", "trials"), f"{trials} must be at least 1")
    elif trials is None and not is_grid:
        checker.fail(("search",), NO_TRIALS)
    if is_grid:
        for key, message in find_wrong_grid(space):
            checker.fail(("search", "space", *([key] if key else [])), message)


def _check_monitor(checker: Checker) -> None:
    trainer = checker.tree.data.get("trainer")
    monitor = trainer.get("monitor", "off") if isinstance(trainer, dict) else None
    if isinstance(monitor, str) and monitor.strip() in ("", "off"):
        message = "a search compares its trials by this number, and it is off; write, for example"
        checker.fail(MONITOR, f"{message}, 'min val_loss' or 'max val_accuracy'")


def _check_sampler(section: Mapping[str, Any], checker: Checker) -> None:
    for keys in list_components(checker, ("search", "sampler")):
        args = get_args(checker, keys)
        if "seed" in args:
            message = "each trial gets a seed of its own, made of the config's seed; remove this"
            checker.fail((*keys, "args", "seed"), message)
        fixed, space = args.get("fixed_params"), section.get("space")
        if not isinstance(fixed, dict) or not isinstance(space, dict):
            continue
        for name in fixed:
            if name not in space:
                message = f"the space has no such key{did_you_mean(name, space)}"
                checker.fail((*keys, "args", "fixed_params", name), message)


def list_components(checker: Checker, above: Keys) -> list[Keys]:
    """Lists the keys of the components at ``above`` and below, whose types are resolved."""
    return [keys for keys in checker.resolved if keys[: len(above)] == above]


def _try_to_make(section: Mapping[str, Any], checker: Checker) -> None:
    """Makes the sampler and the pruner, which refuse what no signature can tell."""
    for option in ("sampler", "pruner"):
        wrong = [item for item in checker.findings if item.keys[:2] == ("search", option)]
        is_resolved = ("search", option) in checker.resolved
        if is_resolved and not wrong:
            node = copy_values(section[option])
            with quiet():
                checker.collect_problems((), make_component, option, node, 0, 0)


def check_repeat(section: Mapping[str, Any], checker: Checker) -> None:
    """Checks a repetition: its folds against the data loaders."""
    if type(section.get("folds")) is not int:
        return
    data = checker.tree.data
    if data.get("valid_data_loader"):
        message = "each fold is validated on a part of data_loader, so valid_data_loader has no use"
        checker.fail(("repeat", "folds"), f"{message}; remove one of the two")
    found = checker.resolved.get(("data_loader",))
    if found is None:
        return  # reported already
    signature = Signature.from_callable(found)
    unknown = [name for name in FOLD_ARGUMENTS if name not in signature.parameters]
    if unknown and not signature.is_open:
        name = getattr(found, "__name__", found)
        message = f"{name} takes no '{unknown[0]}'; let its __init__ take **kwargs, and pass them"
        checker.fail(("repeat", "folds"), f"{message} on to BaseDataLoader")
    for name in FOLD_ARGUMENTS:
        if name in get_args(checker, ("data_loader",)):
            message = "repeat.folds sets this for each run; remove it"
            checker.fail(("data_loader", "args", name), message)
