"""Slots: where a ``type`` may come from. Only this file turns a name into an object."""

from __future__ import annotations

import inspect
import re
import types
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin

from config.check.project import (
    FRAMEWORK,
    PROJECT_FOLDERS,
    ROOT,
    USER_FOLDERS,
    get_trusted_packages,
    import_module,
)
from config.check.signature import Signature, get_annotations, get_module_name, list_parameter_names
from config.read.given import MARKER, GivenName, is_given_name
from utils.errors import UserError, did_you_mean, one_line

MAX_NAME_CHARS = 1000
MAX_NAME_WORDS = 20
_NOT_TRUSTED = "not in a trusted library (see [tool.plainloop] in pyproject.toml)"


class Slot(NamedTuple):
    """What a key of the config accepts as a component, ``{"type": NAME, "args": {…}}``.

    Attributes:
        folder: the project's folder whose files may be named, as in ``resnet.ResNet20``.
        homes: modules that are searched for a name without a dot, in this order.
        base_class: dotted name of the class that the object must be an instance of.
        open_modules: modules of libraries whose classes and functions are accepted in any case.
        program_parameters: names of the parameters whose values the program passes. They are the
            leading ones, except in a flat section.
        dataset_parameters: names of the parameters that receive the neighbouring ``dataset`` if
            the config gives no value.
        filled_parameters: names of further parameters that the program gives a value if the config
            gives none.
        nests: the key of the slot that a component in any parameter has too, as schedulers hold
            schedulers. Such an inner one gets the same values from the program.
        is_callback: the value is the function itself, with its ``args`` bound. In other slots, the
            function is called to make the value.
        is_duck_typed: a class of the project is accepted whatever it derives from.
        is_component: a mapping is always a component here, and never a plain value.
        is_flat: the options are in the section itself, without ``args``.
        list_keys: further keys of a component in a list. Empty if the slot takes no list.
        takes_sets: a mapping of names to components is accepted as well.
        words: texts that the program understands instead of a component.
        allows_name: a component without ``args`` may be just its name.
        is_class_only: functions do not fit.
        refused: classes of a library that do not work here, each with the reason.
    """

    folder: str
    homes: tuple[str, ...]
    base_class: str
    open_modules: tuple[str, ...] = ()
    program_parameters: tuple[str, ...] = ()
    dataset_parameters: tuple[str, ...] = ()
    filled_parameters: tuple[str, ...] = ()
    nests: str = ""
    is_callback: bool = False
    is_duck_typed: bool = False
    is_component: bool = True
    is_flat: bool = False
    list_keys: tuple[str, ...] = ()
    takes_sets: bool = False
    words: tuple[str, ...] = ()
    allows_name: bool = False
    is_class_only: bool = False
    refused: tuple[tuple[str, str], ...] = ()


FLAT = Slot("", (), "", is_component=False, is_flat=True)  # a section without a `type`


def get_signature(found: Any, slot: Slot) -> Signature:
    """Reads the signature of a component of ``slot``, without what the program passes to it."""
    is_passed_later = slot.is_callback and inspect.isclass(found)  # to the object that it makes
    leading, named = arrange(found, slot, slot.program_parameters)
    signature = Signature.from_callable(found, 0 if is_passed_later else len(leading))
    rest = {key: item for key, item in signature.parameters.items() if key not in named}
    return signature._replace(parameters=rest)


def arrange(
    found: Any, slot: Slot, values: tuple[Any, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Divides the values that the program passes into those by position and those by name.

    They are the leading arguments. In a slot that nests, a component may name them elsewhere, and
    an inner one that is no instance of the slot's class gets only what it names.
    """
    if not slot.nests or not values:
        return values, {}
    known = list_parameter_names(found)
    if tuple(known[: len(values)]) == slot.program_parameters:
        return values, {}
    named = {
        key: value
        for key, value in zip(slot.program_parameters, values, strict=True)
        if key in known
    }
    is_other_object = slot.is_duck_typed and not _makes_instances(found, slot)
    return (() if named or is_other_object else values), named


def resolve(name: str, slot: Slot) -> Any:
    """Finds the class or function that ``name`` means in ``slot``.

    Raises:
        UserError: there is no such name, its library is not trusted, or it does not fit the slot.
    """
    if isinstance(name, GivenName) and name.found is not None:
        if reason := get_refusal(name.found, slot, is_given=True):
            raise UserError(f"'{name.removeprefix(MARKER)}' {reason}")
        return name.found
    if is_given_name(name):
        raise UserError(_explain_given(name.removeprefix(MARKER), slot))
    words = name[:MAX_NAME_CHARS].split(".")[:MAX_NAME_WORDS]  # a longer name is an attack
    if not all(word.isidentifier() and not word.startswith("_") for word in words):
        shown = one_line(ValueError(name), 80)
        raise UserError(f"'{shown}' is not the name of a public class or function")
    if len(words) == 1:
        found = _find_in_homes(name, slot)
    else:
        found = _find_in_folder(words, slot) if len(words) == 2 else None
        found = _find_in_library(words, slot) if found is None else found
    if reason := get_refusal(found, slot):
        raise UserError(f"'{name}' {reason}")
    return found


def _find_in_homes(name: str, slot: Slot) -> Any:
    for home in slot.homes:
        module = import_module(home)
        if hasattr(module, name):
            return getattr(module, name)
    hint = did_you_mean(name, get_names(slot))
    if not hint:
        hint = f"; write 'FILE.{name}' for another file of {slot.folder}/, "
        hint += "or a full dotted path for a trusted library"
    raise UserError(f"no '{name}' in {', '.join(slot.homes)}{hint}")


@cache
def get_names(slot: Slot) -> dict[str, Any]:
    """Returns the public names in a slot's homes that fit the slot, with their objects."""
    found: dict[str, Any] = {}
    for module in filter(None, map(import_module, slot.homes)):
        for name in dir(module):
            is_new = not name.startswith("_") and name not in found
            if is_new and not get_refusal(getattr(module, name), slot):
                found[name] = getattr(module, name)
    return found


def _find_in_folder(words: list[str], slot: Slot) -> Any:
    """Finds ``FILE.NAME``; None if the folder has no such file."""
    file, name = words
    module = import_module(f"{slot.folder}.{file}")
    if module is not None and not hasattr(module, name):
        values = vars(module).items()
        defined = [key for key, value in values if get_module_name(value) == module.__name__]
        hint = did_you_mean(name, defined)
        raise UserError(f"no '{name}' in {slot.folder}/{file}.py{hint}")
    return getattr(module, name, None)


def _find_in_library(words: list[str], slot: Slot) -> Any:
    trusted = get_trusted_packages()
    if words[0] in USER_FOLDERS and words[0] != slot.folder and slot.folder:
        message = f"'{'.'.join(words)}' is in {words[0]}/, and this key takes what is in"
        raise UserError(f"{message} {slot.folder}/ or in a library")
    if words[0] not in trusted | {slot.folder}:
        files = [path.stem for path in (ROOT / slot.folder).glob("*.py")]
        hint = did_you_mean(words[0], [*files, slot.folder, *trusted])
        choices = ", ".join(sorted(trusted))
        message = f"'{'.'.join(words)}' is {_NOT_TRUSTED}{hint}; those are {choices}"
        if slot.folder and len(words) == 2:
            message += f". There is no {slot.folder}/{words[0]}.py"
        raise UserError(message)
    found: Any = import_module(words[0])
    if found is None and words[0] in trusted:
        raise UserError(f"{words[0]} is not installed; 'pip install {words[0]}' installs it")
    for index, word in enumerate(words[1:], start=2):
        is_module = type(found) is types.ModuleType
        submodule = import_module(".".join(words[:index])) if is_module else None
        try:
            found = getattr(found, word) if submodule is None else getattr(found, word, submodule)
        except Exception:  # a module's own __getattr__ may raise anything
            hint = did_you_mean(word, getattr(found, "__dict__", ()))
            raise UserError(f"no '{word}' in {'.'.join(words[: index - 1])}{hint}") from None
    return found


def _explain_given(name: str, slot: Slot) -> str:
    """Says how a run continues whose class or function was defined in a notebook."""
    file = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    message = f"{name} was defined in a notebook; its source is in provenance.json beside the"
    message += f" config. Save it as {slot.folder}/{file}.py and give the type {file}.{name}"
    return f"{message}, or in the notebook, give {name} itself to run()"


def get_refusal(found: Any, slot: Slot, is_given: bool = False) -> str:
    """Returns the reason why ``slot`` does not accept ``found``, or an empty string if it does.

    The module that defines the object counts, not the path by which the object was reached. An
    object that the program itself has given counts as one of the slot's folder.
    """
    is_class = inspect.isclass(found)
    if (not is_class and not inspect.isroutine(found)) or (is_class and issubclass(found, Enum)):
        return "is not a class or function"
    if slot.is_class_only and not is_class:
        return f"is a function, and this key takes a {slot.base_class}"
    if is_class and inspect.isabstract(found):
        return "is abstract; name a class that derives from it"
    kinds = {kind.__name__ for kind in inspect.getmro(found)} if is_class else set()
    if reasons := [reason for name, reason in slot.refused if name in kinds]:
        return f"does not fit: {reasons[0]}"
    module = get_module_name(found)
    if any(f"{module}.".startswith(f"{name}.") for name in slot.open_modules):
        return ""
    package = module.partition(".")[0]
    is_chosen = _is_chosen_by_project(found, slot)
    is_ours = is_given or package == slot.folder or (package in PROJECT_FOLDERS and is_chosen)
    if is_ours and (slot.is_duck_typed or not is_class):
        return ""
    if not _makes_instances(found, slot):
        wanted = f"a {slot.base_class}" if slot.base_class else f"something from {slot.folder}/"
        if slot.is_callback:
            file = slot.homes[0].replace(".", "/")
            wanted += f", or a function that {file}.py defines"
        return f"({module}.{found.__qualname__}) does not fit: this key takes {wanted}"
    if is_given or package in (slot.folder, FRAMEWORK, *get_trusted_packages()) or is_chosen:
        return ""
    return f"is defined in {module}, {_NOT_TRUSTED}"


def _is_chosen_by_project(found: Any, slot: Slot) -> bool:
    """Whether the project imports a class, or a callback, into the first home of the slot.

    Other functions do not count, because a file also imports helpers that make no component.
    """
    if not slot.homes or not (inspect.isclass(found) or slot.is_callback):
        return False
    return hasattr(import_module(slot.homes[0]), found.__name__)


def get_base_class(slot: Slot) -> Any:
    """Returns the class whose instances a slot takes; None if it names none."""
    module, _, name = slot.base_class.rpartition(".")
    found = getattr(import_module(module), name, None) if module else None
    return found if inspect.isclass(found) else None


def _makes_instances(found: Any, slot: Slot) -> bool:
    """Whether a class, or a function by its annotation, makes instances of the base class."""
    base_class = get_base_class(slot)
    if base_class is None:
        return False
    result: Any = found
    if not inspect.isclass(found):
        result = None if slot.is_callback else get_annotations(found).get("return")
    is_union = isinstance(result, types.UnionType) or get_origin(result) is Union
    choices = get_args(result) if is_union else (result,)
    return all(inspect.isclass(choice) and issubclass(choice, base_class) for choice in choices)
