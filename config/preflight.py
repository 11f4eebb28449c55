"""What can be known to be wrong with a config before anything is made."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

from utils.errors import UserError, edit_distance

from .build import Checker
from .slots import SLOTS, Signature, Slot, resolve
from .source import ConfigError, Keys, Tree

REQUIRED = ("name", "arch", "data_loader", "optimizer", "loss", "trainer")
PLAIN: dict[str, Any] = {"name": str, "description": str, "seed": int, "n_gpu": int}
KNOWN = (*PLAIN, *SLOTS, "extends", "$schema")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# The `trainer` section is flat: the fields of this class and the trainer's own constructor arguments.
OPTIONS = ("base.options", "TrainerOptions")
GIVEN = (
    "model",
    "criterion",
    "metric_ftns",
    "optimizer",
    "config",
    "device",
    "data_loader",
    "valid_data_loader",
    "lr_scheduler",
)


def check_name(name: Any, what: str) -> str:
    """Returns ``name`` if it can name a folder. Raises UserError."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(
            f"{what} {name!r} must be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
        )
    return name


def check(tree: Tree) -> None:
    """Checks every part against its signature. Raises ConfigError with all findings."""
    checker, data = Checker(tree), tree.data
    for key in REQUIRED:
        if key not in data:
            checker.fail((key,), "is missing; a config needs " + ", ".join(REQUIRED))
    for key, annotation in PLAIN.items():
        if key in data:
            checker.value(annotation, data[key], (key,), SLOTS["arch"], data)
        if annotation is int and type(data.get(key)) is int and not 0 <= data[key] < 2**63:
            checker.fail((key,), f"{data[key]} must not be negative" if data[key] < 0 else "is over 63 bits")
    if isinstance(data.get("name"), str):
        try:
            check_name(data["name"], "the name")
        except UserError as error:
            checker.fail(("name",), str(error))
    for key in data:
        if key not in KNOWN and (hint := _typo_of(key, KNOWN)):
            checker.fail((key,), f"unknown key{hint}")
    for key, slot in SLOTS.items():
        if key == "metrics":
            _check_metrics(checker, data.get("metrics", []), slot)
        elif key == "trainer":
            if "trainer" in data:
                _check_trainer(checker, data["trainer"], slot)
        elif data.get(key):  # `lr_scheduler: {}` or null means none
            checker.node(data[key], slot, (key,))
        elif key in data and key in REQUIRED:
            checker.fail((key,), "is empty")
    if checker.findings:
        raise ConfigError(checker.findings)


def _typo_of(key: str, known: Iterable[str]) -> str:
    """The hint for a key that looks like a misspelt known one; a project's own (``optimizer_D``) gives none."""
    for choice in known:
        rest = key.removeprefix(choice) if key.startswith(choice) else key.removesuffix(choice)
        extended = rest != key and (not rest.islower() or "_" in rest)
        if not extended and edit_distance(key, choice) <= (1 if len(choice) < 6 else 2):
            return f" (did you mean '{choice}'?)"
    return ""


def _check_metrics(checker: Checker, metrics: Any, slot: Slot) -> None:
    if not isinstance(metrics, list):
        checker.fail(("metrics",), f"must be a list of names or {{type, args}}, not {metrics!r}")
        return
    names: list[str] = []
    for index, node in enumerate(metrics):
        checker.node(node, slot, ("metrics", index))
        name = metric_name(node)
        if name in names or name in ("loss", "epoch", "step", "seconds"):
            checker.fail(("metrics", index), f"the name '{name}' is taken; give this metric another \"name\"")
        names.append(name)


def metric_name(node: Any) -> str:
    """The name under which a metric is logged: its ``name``, else the last part of its type."""
    if isinstance(node, dict):
        return str(node.get("name") or str(node.get("type")).rpartition(".")[2])
    return str(node).rpartition(".")[2]


def trainer_parameters(section: dict[str, Any], slot: Slot) -> tuple[Any, Signature]:
    """The trainer's class, and what its constructor takes from the ``trainer`` section."""
    name = section.get("type", "Trainer")
    if not isinstance(name, str):
        raise UserError(f"must be a name, not {name!r}")
    found = resolve(name, slot)
    return found, Signature.of(found)


def _check_trainer(checker: Checker, section: Any, slot: Slot) -> None:
    keys: Keys = ("trainer",)
    if not isinstance(section, dict):
        checker.fail(keys, f"must be a mapping, not {section!r}")
        return
    try:
        _, signature = trainer_parameters(section, slot)
    except UserError as error:
        checker.fail((*keys, "type"), str(error))
        signature = Signature({}, True)
    options_class = getattr(importlib.import_module(OPTIONS[0]), OPTIONS[1])
    options = Signature.of(options_class).parameters
    before = len(checker.findings)
    own = {name: value for name, value in list(signature.parameters.items())[4:] if name not in GIVEN}
    known = {**options, **own}
    for key, value in section.items():
        if key in known:
            checker.value(known[key].annotation, value, (*keys, key), slot, section)
        elif key != "type" and (hint := _typo_of(key, known)):
            checker.fail((*keys, key), f"unknown key{hint}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in section:
            checker.fail(keys, f"needs '{name}'")
    if len(checker.findings) == before:
        try:
            options_class.from_section(section)
        except UserError as error:
            name, _, message = str(error).partition(": ")
            checker.fail((*keys, name), message)
