"""Finds everything that is wrong with a config before any object is made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Literal

from config.check.checker import Checker, get_name
from config.check.findings import find_typo, suggests
from config.check.loaders import check_loaders
from config.check.project import import_module
from config.check.schedules import check_schedules
from config.check.schema import Schema
from config.check.shapes import is_component, is_mapping_of_sets, list_set_names
from config.check.slots import FLAT, Slot, get_names, resolve
from config.check.trainer_section import check_trainer, get_option_parameters, list_loss_names
from config.read.tree import ConfigError, Finding, Keys, Tree
from utils.errors import UserError, did_you_mean, one_line

REQUIRED = ("name", "arch", "data_loader", "optimizer", "trainer")
PLAIN: dict[str, Any] = {
    "name": str,
    "description": str,
    "seed": int,
    "n_gpu": int,
    "task": Literal["classification", "multilabel", "regression", "segmentation"],
}
OTHER_KEYS = ("extends", "$schema")
# A line of metrics.jsonl has these names already.
RESERVED_METRIC_NAMES = ("loss", "epoch", "batch", "lr", "step", "seconds")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
RESERVED_SET_NAMES = ("ema", "swa")  # of averaged weights, whose numbers are logged as val_ema_…
MAX_RUN_ID_WORDS = 4
SEED_BITS = 63  # torch takes no larger seed


def check(tree: Tree, schema: Schema) -> Checker:
    """Checks every component against its signature, and the sections against each other.

    Raises:
        ConfigError: the config has mistakes; the error lists all of them.
    """
    checker = examine(tree, schema)
    if checker.findings:
        raise ConfigError(checker.findings)
    return checker


def examine(tree: Tree, schema: Schema) -> Checker:
    """Runs all checks. Returns the checker with its findings."""
    checker = Checker(tree, schema)
    data = tree.data
    _check_top_level(checker, data)
    for key, slot in schema.slots.items():
        if key == "metrics":
            _check_metrics(checker, data.get("metrics", []), slot)
        elif key in LISTS and isinstance(data.get(key), list):
            LISTS[key](checker, data[key], slot)
        elif key in schema.sections:  # flat, with a `type`
            if key in data:
                check_trainer(checker, data[key])
        elif slot.takes_sets and is_mapping_of_sets(data.get(key)):
            _check_sets(checker, data[key], slot, key)
        elif slot.takes_sets and (problem := _find_wrong_sets(data.get(key), key)):
            checker.fail((key,), problem)
        elif data.get(key):  # `lr_scheduler: {}` and `lr_scheduler: null` mean none
            checker.check_component(data[key], slot, (key,))
        elif key in data and (key in REQUIRED or (key == "loss" and data[key] is not None)):
            checker.fail((key,), "is empty")
    for key, slot in schema.slots.items():
        if slot.nests:
            check_schedules(checker, key)
    for key in schema.sections:
        if key not in schema.slots and data.get(key) is not None:
            _check_flat_section(checker, key)
    check_loaders(checker)
    return checker


def check_plain_values(tree: Tree, schema: Schema) -> list[Finding]:
    """Checks the top-level keys and the options of the trainer, but no component.

    No more can be checked if the config belongs to a project in another folder.
    """
    checker = Checker(tree, schema)
    _check_top_level(checker, tree.data)
    section = tree.data.get("trainer")
    if isinstance(section, dict):
        for key, parameter in get_option_parameters(schema).items():
            if key in section:
                keys = ("trainer", key)
                checker.check_value(parameter.annotation, section[key], keys, FLAT, section)
    return checker.findings


def get_known_keys(schema: Schema) -> tuple[str, ...]:
    """Returns every top-level key that the framework knows."""
    return tuple(dict.fromkeys((*PLAIN, *schema.slots, *schema.sections, *OTHER_KEYS)))


def check_name(name: Any, what: str) -> str:
    """Returns ``name`` if a folder can have it. Raises UserError; its text begins with ``what``."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        shown = one_line(ValueError(repr(name)), 80)
        raise UserError(f"{what} {shown} must be {NAME_RULE}")
    return name


def check_run_id(run_id: str) -> str:
    """Returns ``run_id`` if it names a run, or a run in groups, as GROUP/RUN.

    Raises:
        UserError: it does not.
    """
    words = run_id.split("/")
    if len(words) > MAX_RUN_ID_WORDS:
        raise UserError(f"--run-id '{run_id}' has more than {MAX_RUN_ID_WORDS} words")
    if not all(NAME.fullmatch(word) for word in words):
        check_name(run_id, "--run-id")
    return run_id


def _check_top_level(checker: Checker, data: dict[str, Any]) -> None:
    """Checks the top-level keys: missing and misspelt ones, and the plain values."""
    known = get_known_keys(checker.schema)
    hints = {key: find_typo(key, known) for key in data if key not in known}
    for key in REQUIRED:
        if key not in data and not suggests(hints.values(), key):
            checker.fail((key,), "is missing; a config needs " + ", ".join(REQUIRED))
    for key, annotation in PLAIN.items():
        if key in data:
            checker.check_value(annotation, data[key], (key,), FLAT, data)
        if annotation is int and type(data.get(key)) is int:
            if data[key] < 0:
                checker.fail((key,), f"{data[key]} must not be negative")
            elif data[key].bit_length() > SEED_BITS:
                checker.fail((key,), f"is over {SEED_BITS} bits")
    if isinstance(data.get("name"), str):
        try:
            check_name(data["name"], "the name")
        except UserError as error:
            checker.fail(("name",), str(error))
    for key, hint in hints.items():
        if hint:
            checker.fail((key,), f"unknown key{hint}")
        elif is_component(data[key]):
            _check_project_component(checker, data[key], key)


def _check_project_component(checker: Checker, node: dict[str, Any], key: str) -> None:
    """Checks a component under one of the project's own keys, if the key contains a slot's name.

    ``discriminator_optimizer`` and ``optimizer_D`` are checked as an ``optimizer``.
    """
    slots = checker.schema.slots
    names = [name for name in slots if key.endswith(f"_{name}") or key.startswith(f"{name}_")]
    if not names:
        return
    slot = slots[names[0]]
    try:
        resolve(node["type"], slot)
    except UserError as error:
        if "did you mean" not in str(error):
            return  # the project may make it from a module of its own
    checker.check_component(node, slot, (key,))


def _check_flat_section(checker: Checker, key: str) -> None:
    data = checker.tree.data
    kind, section = checker.schema.sections[key], data[key]
    options = checker.check_section(kind, section, (key,))
    trainer = data.get("trainer")
    epochs = trainer.get("epochs") if isinstance(trainer, dict) else None
    if options is not None and type(epochs) is int:
        checker.collect_problems((key,), options.check_epochs, epochs)
    if isinstance(section, dict):
        for dotted, slot in checker.schema.section_slots.items():
            name, _, option = dotted.partition(".")
            if name == key:
                _check_option(checker, section.get(option), slot, (key, option))
        kind.check_config(section, checker)


def _check_option(checker: Checker, value: Any, slot: Slot, keys: Keys) -> None:
    """Checks an option of a flat section that takes a component, or one of the slot's words."""
    homes = [module for module in map(import_module, slot.homes) if module is not None]
    if not homes or not isinstance(value, dict | str) or value in slot.words:
        return  # without its library, the section says what is missing
    known = {name for home in homes for name in dir(home)}
    if isinstance(value, str) and "." not in value and value not in known:
        names = [*slot.words, *get_names(slot)]
        message = f"there is no '{value}'{did_you_mean(value, names)}"
        checker.fail(keys, f"{message}; there are {', '.join(names)}")
    else:
        checker.check_component(value, slot, keys)


def _check_metrics(checker: Checker, metrics: Any, slot: Slot) -> None:
    if not isinstance(metrics, list):
        message = f"must be a list of names or {{type, args}}, not {metrics!r}"
        checker.fail(("metrics",), message)
        return
    taken = [*RESERVED_METRIC_NAMES, *list_loss_names(checker.tree.data)]
    for index, node in enumerate(metrics):
        checker.check_component(node, slot, ("metrics", index))
    _check_names(checker, [get_name(node) for node in metrics], "metrics", taken)


def _check_losses(checker: Checker, losses: list[Any], slot: Slot) -> None:
    """Checks the terms of a loss that is a weighted sum."""
    for index, node in enumerate(losses):
        keys = ("loss", index)
        checker.check_component(node, slot, keys)
        if isinstance(node, dict) and "weight" in node:
            checker.check_value(float, node["weight"], (*keys, "weight"), FLAT, node)
            if isinstance(node["weight"], float) and not math.isfinite(node["weight"]):
                checker.fail((*keys, "weight"), f"{node['weight']} is not a finite number")
    _check_names(checker, [get_name(node) for node in losses], "loss", ())
    if not losses:
        checker.fail(("loss",), "is empty")


def _check_sets(checker: Checker, sets: dict[str, Any], slot: Slot, key: str) -> None:
    """Checks a section with a component for each of several data sets."""
    for name in list_set_names(sets):
        checker.check_component(sets[name], slot, (key, name))
        if name in RESERVED_SET_NAMES or not NAME.fullmatch(name):
            message = f"cannot be the name of a set: it must be {NAME_RULE}"
            message += f", and not {' or '.join(RESERVED_SET_NAMES)}"
            checker.fail((key, name), message)


def _find_wrong_sets(value: Any, key: str) -> str | None:
    """What is wrong with a section that is no mapping of data sets, but seems to mean one."""
    shape = 'several sets are a mapping of names to {"type": NAME, "args": {…}}'
    if isinstance(value, list):
        return f"{shape}, not a list"
    nodes = value.items() if isinstance(value, dict) else ()
    names = [name for name, node in nodes if name not in ("type", "args") and is_component(node)]
    if names:
        message = f"has 'type' or 'args' of its own and the sets {', '.join(map(repr, names))}"
        return f"{message}; {shape}. If they are inherited, '~{key}:' beside this key removes them"
    return None


def _check_optimizers(checker: Checker, optimizers: list[Any], slot: Slot) -> None:
    """Checks several optimizers, each with the patterns of its parameters."""
    rests = []
    for index, node in enumerate(optimizers):
        keys = ("optimizer", index)
        checker.check_component(node, slot, keys)
        if not isinstance(node, dict):
            continue
        if "params" not in node:
            hints = [did_you_mean(key, ["params"]) for key in node if key not in ("type", "args")]
            if not any(hints):
                message = "needs 'params', patterns for the names of its parameters, or 'rest'"
                checker.fail(keys, message)
            continue
        checker.check_value(str | list[str], node["params"], (*keys, "params"), FLAT, node)
        if node["params"] in ([], ""):
            checker.fail((*keys, "params"), "is empty")
        elif node["params"] == "rest":
            rests.append(index)
        elif isinstance(node["params"], list) and "rest" in node["params"]:
            checker.fail((*keys, "params"), "'rest' cannot be combined with patterns")
    for index in rests[1:]:
        message = f"'rest' is taken by optimizer.{rests[0]}; give this optimizer patterns"
        checker.fail(("optimizer", index, "params"), message)
    if not optimizers:
        checker.fail(("optimizer",), "is empty")


def _check_names(checker: Checker, names: list[str], key: str, taken: Iterable[str]) -> None:
    known = set(taken)
    for index, name in enumerate(names):
        if name in known:
            what = "loss" if key == "loss" else "metric"
            message = f"the name '{name}' is taken; give this {what} another \"name\""
            checker.fail((key, index), message)
        if not name.isprintable():
            checker.fail((key, index), "the name has control characters")
        known.add(name)


# Sections that take one component or a list, and the check of a list.
LISTS = {"loss": _check_losses, "optimizer": _check_optimizers}
