"""Checks the ``trainer`` section: options, and arguments of the trainer's constructor."""

from __future__ import annotations

import fnmatch
import inspect
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.check.checker import Checker, get_name
from config.check.closed_trainer import check_unknown_options
from config.check.findings import find_typo, suggests
from config.check.metric_names import list_metric_names
from config.check.project import FRAMEWORK
from config.check.schedules import check_plateaus
from config.check.schema import Schema
from config.check.shapes import PHASES, get_phase, is_mapping_of_sets, list_set_names
from config.check.signature import Signature
from config.check.slots import FLAT, resolve
from config.read.tree import Keys
from utils.errors import UserError, did_you_mean
from utils.options import make_options

DEFAULT_TRAINER = "Trainer"
# pytorch-template passes model, criterion, metric_ftns and optimizer by position, so a project
# may have renamed them.
N_POSITIONAL = 4
_KEYS: Keys = ("trainer",)


def resolve_trainer(section: Mapping[str, Any], schema: Schema) -> tuple[Any, Signature]:
    """Returns the class that the section names, and its signature.

    Raises:
        UserError: ``type`` is not a name, or names no trainer.
    """
    name = section.get("type", DEFAULT_TRAINER)
    if not isinstance(name, str):
        raise UserError(f"must be a name, not {name!r}")
    found = resolve(name, schema.slots["trainer"])
    return found, Signature.from_callable(found)


def get_option_parameters(schema: Schema) -> dict[str, inspect.Parameter]:
    """Returns the options that every trainer has."""
    return Signature.from_callable(schema.sections["trainer"]).parameters


def get_constructor_parameters(
    signature: Signature, schema: Schema
) -> dict[str, inspect.Parameter]:
    """Returns the constructor's parameters that the program does not pass, but the section may."""
    parameters = list(signature.parameters.items())[N_POSITIONAL:]
    passed = schema.slots["trainer"].program_parameters
    return {name: parameter for name, parameter in parameters if name not in passed}


def check_trainer(checker: Checker, section: Any) -> None:
    """Checks the section, and that the rest of the config fits it."""
    if not isinstance(section, dict):
        checker.fail(_KEYS, f"must be a mapping, not {section!r}")
        return
    schema = checker.schema
    found: Any = None
    signature = Signature({}, True)
    try:
        found, signature = resolve_trainer(section, schema)
    except UserError as error:
        checker.fail((*_KEYS, "type"), str(error))
    known = get_option_parameters(schema)
    arguments = get_constructor_parameters(signature, schema)
    kind = schema.sections["trainer"]
    checker.add_takers(f"{kind.__module__}.{kind.__qualname__}", known, _KEYS)
    checker.add_takers(signature.owner, arguments, _KEYS)
    valid = _check_keys(checker, section, known, arguments, signature)
    if inspect.isclass(found):
        names = [*known, *arguments, *signature.parameters]
        check_unknown_options(checker, found, signature, section, names)
    valid.setdefault("epochs", 1)  # a missing `epochs` must not hide mistakes in other options
    options = checker.collect_problems(_KEYS, make_options, kind, valid)
    if options is not None:
        _check_save_dir(checker, options.save_dir)
        _check_consistency(checker, found, options)


def _check_keys(
    checker: Checker,
    section: dict[str, Any],
    options: Mapping[str, inspect.Parameter],
    arguments: Mapping[str, inspect.Parameter],
    signature: Signature,
) -> dict[str, Any]:
    """Checks every key and value by itself. Returns the options that are valid."""
    known = {**options, **arguments}
    valid = {}
    hints = []
    for key in section:
        n_before = len(checker.findings)
        keys = (*_KEYS, key)
        if key in known:
            slot = checker.schema.slots["trainer"] if key in arguments else FLAT
            checker.check_value(known[key].annotation, section[key], keys, slot, section)
        elif key in signature.parameters:
            checker.fail(keys, "is given by the program; remove it from the config")
        elif key != "type" and (hint := find_typo(key, [*known, "type"])):
            hints.append(hint)
            checker.fail(keys, f"unknown key{hint}")
        if key in options and len(checker.findings) == n_before:
            valid[key] = section[key]  # read after the check, which may have replaced it
    for name, parameter in known.items():
        is_replaced = name == "epochs" and section.get("max_steps") is not None
        is_missing = parameter.default is parameter.empty and name not in section
        if is_missing and not is_replaced and not suggests(hints, name):
            checker.fail(_KEYS, f"needs '{name}'")
    return valid


def _check_save_dir(checker: Checker, save_dir: str) -> None:
    """Checks that run folders can be made in ``save_dir``, without making one."""
    keys = (*_KEYS, "save_dir")
    if save_dir.startswith("~"):
        return  # of an unknown user, which is reported already
    if not save_dir.isprintable():
        checker.fail(keys, f"{save_dir!r} cannot be the name of a folder")
        return
    candidates = (Path(save_dir), *Path(save_dir).parents, Path())
    existing = next(path for path in candidates if os.path.lexists(path))
    if not os.path.isdir(existing):  # noqa: PTH112  (Path.is_dir may raise)
        checker.fail(keys, f"{existing} is not a folder")
    elif not os.access(existing, os.W_OK):
        checker.fail(keys, f"{existing} is not writable")


def _check_consistency(checker: Checker, trainer_class: Any, options: Any) -> None:
    """Checks whether the sections fit each other, which no signature can express.

    Args:
        trainer_class: None if it could not be resolved.
        options: the object made from the options of the section.
    """
    data = checker.tree.data
    loader = data.get("data_loader")
    args = (loader.get("args") or {}) if isinstance(loader, dict) else None
    if isinstance(args, dict) and args.get("validation_split") and data.get("valid_data_loader"):
        message = "is not used, because there is a valid_data_loader; remove one of the two"
        checker.fail(("data_loader", "args", "validation_split"), message)
    loader_class = checker.resolved.get(("data_loader",))
    sets = list_set_prefixes(data.get("valid_data_loader"))
    repeat = data.get("repeat")
    has_folds = isinstance(repeat, dict) and repeat.get("folds") is not None
    if not sets and (has_folds or has_split(loader_class, args)):
        sets = [""]
    gives_terms = getattr(checker.resolved.get(("loss",)), "__module__", "").startswith("model")
    gives_terms |= data.get("loss") is None  # the model computes it
    names = {phase: _list_names(data, phase, gives_terms) for phase in PHASES}
    if not hasattr(trainer_class, "measure"):  # a project's own BaseTrainer
        for key in options.list_needing_measure() if inspect.isclass(trainer_class) else ():
            message = f"needs a method measure(epoch) in {trainer_class.__name__}; see BaseTrainer"
            checker.fail((*_KEYS, key), message)
    # Neither a function that makes a trainer nor a project's own BaseTrainer has this method.
    get_logged_names = getattr(trainer_class, "logged_names", None)
    if get_logged_names is None:
        if inspect.isclass(trainer_class):
            _refuse_phases(checker, data.get("metrics"))
        return
    logged = _list_logged(get_logged_names, names, options, sets)
    checker.has_custom_loop = logged is None
    if logged is None:
        return  # only the first epoch shows the logged names
    twice = [name for name in dict.fromkeys(logged) if logged.count(name) > 1]
    if len(sets) > 1 and twice:
        message = f"two numbers would be logged as '{twice[0]}'; rename a set or a metric"
        checker.fail(("valid_data_loader",), message)
    _check_monitor(checker, options, logged, names["train"] + names["valid"])
    length = data["trainer"].get("len_epoch")
    if length is None or isinstance(length, int):
        length = options.limit(length)  # which is the most that it can be
    if isinstance(length, int) and length > 0:
        checker.collect_problems((), options.check_length, length)
    check_plateaus(checker, options)


def _list_names(data: Mapping[str, Any], phase: str, gives_terms: bool) -> list[str]:
    """Lists the names, or patterns of them, of the losses and metrics of a phase.

    If ``gives_terms``, the loss is a function of the project, which may return a dict of losses.
    """
    section = data.get("metrics")
    nodes = section if isinstance(section, list) else []
    names = list_metric_names([node for node in nodes if get_phase(node) in ("", phase)])
    terms = ["loss_*"] if gives_terms else []
    return [*terms, *list_loss_names(data), *names]


def _list_logged(
    get_logged_names: Any, names: Mapping[str, list[str]], options: Any, sets: list[str]
) -> list[str] | None:
    """Lists the names of an epoch's numbers, or patterns of them; None if they are unknown."""
    logged: list[str] | None = get_logged_names(names["train"], options, sets)
    if logged is None or names["train"] == names["valid"]:
        return logged
    trained: list[str] = get_logged_names(names["train"], options, [])
    of_other: list[str] = get_logged_names(names["valid"], options, [])
    both: list[str] = get_logged_names(names["valid"], options, sets)
    return [*trained, *(Counter(both) - Counter(of_other)).elements()]


def _refuse_phases(checker: Checker, metrics: Any) -> None:
    """Reports metrics of one phase, for a trainer that computes them in its own way."""
    for index, node in enumerate(metrics if isinstance(metrics, list) else ()):
        if get_phase(node):
            message = "has no effect, because this trainer is not derived from trainer.Trainer"
            checker.fail(("metrics", index, "on"), f"{message}; remove it")


def list_set_prefixes(section: Any) -> list[str]:
    """Lists the prefixes of the numbers of each validation set; ``[""]`` for a single set."""
    if is_mapping_of_sets(section):
        return [f"{name}_" for name in list_set_names(section)]
    return [""] if section else []


def list_loss_names(data: Mapping[str, Any]) -> list[str]:
    """Lists the names under which the terms of a loss that is a weighted sum are logged."""
    losses = data.get("loss")
    names = [get_name(node) for node in losses] if isinstance(losses, list) else []
    return [name if name.startswith("loss_") else f"loss_{name}" for name in names]


def _check_monitor(checker: Checker, options: Any, logged: list[str], metrics: list[str]) -> None:
    metric = options.monitor.partition(" ")[2].strip()
    is_nameless = "None" in metrics  # a metric without a type, which is reported already
    is_known = any(fnmatch.fnmatchcase(metric, name) for name in logged)
    if metric and not is_known and not is_nameless:
        logged = [name for name in logged if "*" not in name]
        hint = did_you_mean(metric, logged)
        message = f"nothing is logged as '{metric}'{hint}; there are {', '.join(logged)}"
        checker.fail((*_KEYS, "monitor"), message)
    if not metric and options.early_stop is not None and options.early_stop > 0:
        message = "needs trainer.monitor, for example 'min val_loss'; 0 turns early stopping off"
        checker.fail((*_KEYS, "early_stop"), message)


def has_split(loader_class: Any, args: Any) -> bool:
    """Whether the training loader splits off validation data; True where only a run can tell."""
    if loader_class is None or not isinstance(args, dict):
        return True  # something is wrong with it, which is reported already
    if not hasattr(loader_class, "split_validation"):
        return False
    if args.get("folds") is not None:
        return True
    if "validation_split" in args:
        return bool(args["validation_split"])
    parameter = inspect.signature(loader_class).parameters.get("validation_split")
    if parameter is None:
        return not loader_class.__module__.startswith(f"{FRAMEWORK}.")
    return bool(parameter.default)
