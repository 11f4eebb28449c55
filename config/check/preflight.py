"""What can be known to be wrong with a config before anything is made."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from config.build import Checker, is_node
from config.check.slots import SLOTS, Signature, Slot, resolve
from config.read.source import ConfigError, Keys, Tree
from utils.errors import UserError, did_you_mean, edit_distance, one_line
from utils.options import make_options

REQUIRED = ("name", "arch", "data_loader", "optimizer", "loss", "trainer")
PLAIN: dict[str, Any] = {"name": str, "description": str, "seed": int, "n_gpu": int}
SECTIONS = {
    "transfer": ("base.transfer.options", "TransferOptions")
}  # flat ones: the schema is this class's signature
KNOWN = (*PLAIN, *SLOTS, *SECTIONS, "extends", "$schema")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# The `trainer` section is flat: the fields of this class and the trainer's own constructor arguments.
OPTIONS = ("base.options", "TrainerOptions")
TEMPLATE = ("model", "criterion", "metric_ftns", "optimizer")  # go by place, as in pytorch-template
GIVEN = (*TEMPLATE, "config", "device", "data_loader", "valid_data_loader", "lr_scheduler")


def check_name(name: Any, what: str) -> str:
    """Returns ``name`` if it can name a folder. Raises UserError."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        shown = one_line(ValueError(repr(name)), 80)
        rule = "1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
        raise UserError(f"{what} {shown} must be {rule}")
    return name


def check(tree: Tree) -> Checker:
    """Checks every part against its signature, and the parts against each other.

    Raises:
        ConfigError: with everything that was found.
    """
    checker = examine(tree)
    if checker.findings:
        raise ConfigError(checker.findings)
    return checker


def examine(tree: Tree) -> Checker:
    """The checker that has seen all of it."""
    checker, data = Checker(tree), tree.data
    _check_keys(checker, data)
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
    for key, place in SECTIONS.items():
        if data.get(key) is not None:
            _check_section(checker, key, class_named(place))
    return checker


def _check_section(checker: Checker, key: str, kind: Any) -> None:
    trainer, made = (
        checker.tree.data.get("trainer"),
        checker.section(kind, checker.tree.data[key], (key,)),
    )
    epochs = trainer.get("epochs") if isinstance(trainer, dict) else None
    if made is not None and type(epochs) is int:
        checker.ask((key,), made.check_epochs, epochs)


def _check_keys(checker: Checker, data: dict[str, Any]) -> None:
    """The top level: what must be there, what is misspelt, and the plain values."""
    hints = {key: _typo_of(key, KNOWN) for key in data if key not in KNOWN}
    for key in REQUIRED:
        if key not in data and not any(f"'{key}'" in hint for hint in hints.values()):
            checker.fail((key,), "is missing; a config needs " + ", ".join(REQUIRED))
    for key, annotation in PLAIN.items():
        if key in data:
            checker.value(annotation, data[key], (key,), SLOTS["arch"], data)
        if annotation is int and type(data.get(key)) is int and not 0 <= data[key] < 2**63:
            checker.fail(
                (key,), f"{data[key]} must not be negative" if data[key] < 0 else "is over 63 bits"
            )
    if isinstance(data.get("name"), str):
        try:
            check_name(data["name"], "the name")
        except UserError as error:
            checker.fail(("name",), str(error))
    for key, hint in hints.items():
        if hint:
            checker.fail((key,), f"unknown key{hint}")
        elif is_node(data[key]):
            _check_relative(checker, data[key], key)


def _check_relative(checker: Checker, node: dict[str, Any], key: str) -> None:
    """A part of the project's own whose name says what it is (``discriminator_optimizer``, ``optimizer_D``)."""
    slot = next(
        (
            slot
            for name, slot in SLOTS.items()
            if key.endswith(f"_{name}") or key.startswith(f"{name}_")
        ),
        None,
    )
    if slot is None:
        return
    try:
        resolve(node["type"], slot)
    except UserError as error:
        if "did you mean" not in str(error):
            return  # the project may make it from a module of its own
    checker.node(node, slot, (key,))


def _typo_of(key: str, known: Iterable[str]) -> str:
    """The hint for a key that looks like a misspelt known one; a project's own (``optimizer_D``) gives none."""
    for choice in known:
        if abs(len(key) - len(choice)) > 2:
            continue
        rest = key.removeprefix(choice) if key.startswith(choice) else key.removesuffix(choice)
        extended = rest != key and (not rest.islower() or "_" in rest)
        if not extended and edit_distance(key, choice) <= (1 if len(choice) < 6 else 2):
            return did_you_mean(key, known)
    return ""


def _check_metrics(checker: Checker, metrics: Any, slot: Slot) -> None:
    if not isinstance(metrics, list):
        checker.fail(("metrics",), f"must be a list of names or {{type, args}}, not {metrics!r}")
        return
    names: list[str] = []
    for index, node in enumerate(metrics):
        checker.node(node, slot, ("metrics", index))
        name = metric_name(node)
        if name in names or name in ("loss", "epoch", "lr", "step", "seconds"):
            checker.fail(
                ("metrics", index), f"the name '{name}' is taken; give this metric another \"name\""
            )
        if not name.isprintable():
            checker.fail(("metrics", index), "its name has control characters")
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


def trainer_options() -> dict[str, inspect.Parameter]:
    """The parameters of the ``trainer`` section that every trainer has."""
    return Signature.of(class_named(OPTIONS)).parameters


def own_options(signature: Signature) -> dict[str, inspect.Parameter]:
    """What a trainer's constructor takes from the ``trainer`` section; its first four are pytorch-template's."""
    return {
        name: value for name, value in list(signature.parameters.items())[4:] if name not in GIVEN
    }


def class_named(place: tuple[str, str]) -> Any:
    """The class of a floor above, by module and name."""
    return getattr(importlib.import_module(place[0]), place[1])


def _check_trainer(checker: Checker, section: Any, slot: Slot) -> None:
    keys: Keys = ("trainer",)
    if not isinstance(section, dict):
        checker.fail(keys, f"must be a mapping, not {section!r}")
        return
    found: Any = None
    try:
        found, signature = trainer_parameters(section, slot)
    except UserError as error:
        checker.fail((*keys, "type"), str(error))
        signature = Signature({}, True)
    options, own = trainer_options(), own_options(signature)
    checker.takes(".".join(OPTIONS), options, keys)
    checker.takes(signature.taker, own, keys)
    known = {**options, **own}
    good, hints = {}, []
    for key, value in section.items():
        before = len(checker.findings)
        if key in known:
            checker.value(known[key].annotation, value, (*keys, key), slot, section)
        elif key in signature.parameters:
            checker.fail((*keys, key), "is given by the program; take it out of the config")
        elif key != "type" and (hint := _typo_of(key, [*known, "type"])):
            hints.append(hint)
            checker.fail((*keys, key), f"unknown key{hint}")
        if key in options and len(checker.findings) == before:
            good[key] = section[key]
    for name, parameter in known.items():
        if (
            parameter.default is parameter.empty
            and name not in section
            and not any(f"'{name}'" in h for h in hints)
        ):
            checker.fail(keys, f"needs '{name}'")
    made = checker.ask(keys, make_options, class_named(OPTIONS), {"epochs": 1} | good)
    if made is not None:
        _check_save_dir(checker, made.save_dir)
        _check_meaning(checker, found, made)


def _check_save_dir(checker: Checker, save_dir: str) -> None:
    """Whether run folders can be made there, as far as looking tells."""
    keys = ("trainer", "save_dir")
    if not save_dir.isprintable():
        checker.fail(keys, f"{save_dir!r} is no name of a folder")
        return
    there = next(
        path for path in (Path(save_dir), *Path(save_dir).parents, Path()) if os.path.lexists(path)
    )
    if not os.path.isdir(there):  # noqa: PTH112
        checker.fail(keys, f"{there} is no folder")
    elif not os.access(there, os.W_OK):
        checker.fail(keys, f"{there} may not be written to")


def _check_meaning(checker: Checker, trainer: Any, options: Any) -> None:
    """Whether the parts fit each other: what no signature tells."""
    data = checker.tree.data
    loader = data.get("data_loader")
    args = (loader.get("args") or {}) if isinstance(loader, dict) else None
    if isinstance(args, dict) and args.get("validation_split") and data.get("valid_data_loader"):
        message = (
            "nothing would use this part, as there is a valid_data_loader; take one of the two away"
        )
        checker.fail(("data_loader", "args", "validation_split"), message)
    tell = getattr(trainer, "logged_names", None)
    metrics = data.get("metrics", [])
    metrics = [metric_name(node) for node in metrics] if isinstance(metrics, list) else []
    validates = bool(data.get("valid_data_loader")) or _splits(
        checker.found.get(("data_loader",)), args
    )
    names = tell(metrics, options, validates) if tell else None
    checker.own_loop = names is None
    if names is None:
        return  # its first epoch will show
    metric = options.monitor.partition(" ")[2].strip()
    if (
        metric and metric not in names and "None" not in metrics
    ):  # of one without a type, as is told
        message = f"nothing is logged as '{metric}'{did_you_mean(metric, names)}; there are {', '.join(names)}"
        checker.fail(("trainer", "monitor"), message)
    if not metric and (options.early_stop or 0) > 0:
        checker.fail(
            ("trainer", "early_stop"),
            "needs a trainer.monitor, as 'min val_loss'; 0 never stops early",
        )
    if isinstance(length := data["trainer"].get("len_epoch"), int) and length > 0:
        checker.ask(("trainer",), options.check_length, length)
    scheduler = checker.found.get(("lr_scheduler",))
    if "ReduceLROnPlateau" not in [kind.__name__ for kind in getattr(scheduler, "__mro__", ())]:
        return
    if not metric:
        checker.fail(
            ("lr_scheduler", "type"), "ReduceLROnPlateau follows trainer.monitor, which is 'off'"
        )
    if options.lr_scheduler_interval == "step":
        checker.fail(
            ("trainer", "lr_scheduler_interval"),
            "ReduceLROnPlateau moves after an epoch, not a step",
        )


def _splits(loader: Any, args: Any) -> bool:
    """Whether the training loader has a part for validation; where only it knows, it may."""
    if loader is None or not isinstance(args, dict):
        return True  # told already
    if not hasattr(loader, "split_validation"):
        return False
    if "validation_split" in args:
        return bool(args["validation_split"])
    own = inspect.signature(loader).parameters.get("validation_split")
    return bool(own.default) if own is not None else not loader.__module__.startswith("base.")
