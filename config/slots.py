"""Where a ``type`` may come from, and what may stand there: the one place that turns a name into an object."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

from utils.errors import UserError, nearest, one_line

ROOT = Path(__file__).parent.parent
PROJECT = ("model", "data_loader", "trainer", "base", "logger", "utils", "config")


class Slot(NamedTuple):
    """A place in the config that takes ``{"type": NAME, "args": {…}}``.

    Attributes:
        folder: the project's folder whose files may be named, as in ``resnet.ResNet20``.
        homes: modules that are searched for a bare name, in order.
        kind: dotted name of the class that an object here must be; empty: anything from the project or trusted.
        functions: modules whose functions serve as well. In a ``callback`` slot a function is the value itself,
            with its ``args`` fixed; elsewhere it is called to make the value.
        callback: see ``functions``.
        given: names of the leading parameters that the program gives, not the config.
    """

    folder: str
    homes: tuple[str, ...] = ()
    kind: str = ""
    functions: tuple[str, ...] = ()
    callback: bool = False
    given: tuple[str, ...] = ()


_LOADER = Slot("data_loader", ("data_loader.data_loaders", "base"), "torch.utils.data.DataLoader")
_DATASET = Slot("data_loader", ("data_loader.data_loaders", "torchvision.datasets"))
_TRANSFORM = Slot("data_loader", ("data_loader.data_loaders", "torchvision.transforms.v2"))
_SAMPLER = Slot("data_loader", ("data_loader.data_loaders", "torch.utils.data"), given=("data_source",))
_PART = Slot("model", ("model.model", "torch.nn", "torchvision.models"))

SLOTS: dict[str, Slot] = {
    "arch": Slot("model", ("model.model", "torchvision.models"), "torch.nn.Module", ("torchvision.models",)),
    "data_loader": _LOADER,
    "valid_data_loader": _LOADER,
    "test_data_loader": _LOADER,
    "loss": Slot(
        "model", ("model.loss", "torch.nn.functional", "torch.nn"), "torch.nn.Module",
        ("torch.nn.functional", "torch.functional"), callback=True, given=("output", "target"),
    ),
    "metrics": Slot(
        "model", ("model.metric", "torchmetrics"), "torchmetrics.Metric",
        ("torchmetrics.functional",), callback=True, given=("output", "target"),
    ),
    "optimizer": Slot("trainer", ("torch.optim",), "torch.optim.Optimizer", given=("params",)),
    "lr_scheduler": Slot(
        "trainer", ("torch.optim.lr_scheduler",), "torch.optim.lr_scheduler.LRScheduler", given=("optimizer",)
    ),
    "trainer": Slot("trainer", ("trainer.trainer",), "base.BaseTrainer"),
}

# Parts inside `args`, by the end of their parameter's name: dataset, valid_dataset, eval_transform, …
_INNER: dict[str, Slot] = {
    "dataset": _DATASET,
    "datasets": _DATASET,
    "transform": _TRANSFORM,
    "transforms": _TRANSFORM,
    "sampler": _SAMPLER,
    "collate_fn": Slot(
        "data_loader", ("data_loader.data_loaders",), functions=("torch.utils.data",), callback=True, given=("batch",)
    ),
}


def inner_slot(parameter: str, outer: Slot) -> Slot:
    """The slot of a ``{type, args}`` inside another's ``args``, judged by the parameter that takes it."""
    for name, slot in _INNER.items():
        if parameter == name or parameter.endswith(f"_{name}"):
            return slot
    return _PART if outer.folder == "model" else Slot(outer.folder, outer.homes)


@cache
def trusted_packages() -> frozenset[str]:
    """The libraries that a config may name, from ``[tool.plainloop] trusted`` in ``pyproject.toml``."""
    try:
        table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        return frozenset(table["tool"]["plainloop"]["trusted"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"pyproject.toml: [tool.plainloop] trusted: cannot be read ({one_line(error)})") from None


def _import(name: str) -> ModuleType | None:
    """Imports a module; None when it is not there. Errors inside a module that is there are the user's to see."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise


def resolve(name: str, slot: Slot) -> Any:
    """Finds the class or function that ``name`` means in ``slot``.

    Raises:
        UserError: no such name, not trusted, or not what the slot takes.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or any(part.startswith("_") for part in parts):
        raise UserError(f"'{one_line(ValueError(name), 80)}' is not the name of a public class or function")
    if len(parts) == 1:
        found = _search_homes(name, slot)
    else:
        found = _search_folder(parts, slot) if len(parts) == 2 else None
        found = _search_library(parts) if found is None else found
    reason = _misfit(found, slot, from_home=len(parts) == 1)
    if reason:
        raise UserError(f"'{name}' {reason}")
    return found


def _search_homes(name: str, slot: Slot) -> Any:
    homes = [home for home in (_import(home) for home in slot.homes) if home is not None]
    for home in homes:
        if hasattr(home, name):
            return getattr(home, name)
    known = [
        public for home in homes for public in dir(home)
        if not public.startswith("_") and not _misfit(getattr(home, public), slot, from_home=True)
    ]
    hint = nearest(name, known) or (
        f"; 'FILE.{name}' names another file of {slot.folder}/, a full dotted path a trusted library"
    )
    raise UserError(f"no '{name}' in {', '.join(slot.homes)}{hint}")


def _search_folder(parts: list[str], slot: Slot) -> Any:
    module = _import(f"{slot.folder}.{parts[0]}")
    if module is None:
        return None
    if not hasattr(module, parts[1]):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise UserError(f"no '{parts[1]}' in {slot.folder}/{parts[0]}.py{nearest(parts[1], own)}")
    return getattr(module, parts[1])


def _search_library(parts: list[str]) -> Any:
    if parts[0] not in trusted_packages() | set(PROJECT):
        raise UserError(
            f"'{'.'.join(parts)}' is not in a trusted library ({', '.join(sorted(trusted_packages()))}; "
            "the list is [tool.plainloop] in pyproject.toml)"
        )
    found: Any = _import(parts[0])
    if found is None:
        raise UserError(f"the library '{parts[0]}' is not installed")
    for index, part in enumerate(parts[1:], start=2):
        module = _import(".".join(parts[:index])) if isinstance(found, ModuleType) else None
        if module is None and not hasattr(found, part):
            choices = [public for public in dir(found) if not public.startswith("_")]
            raise UserError(f"no '{part}' in {'.'.join(parts[: index - 1])}{nearest(part, choices)}")
        found = getattr(found, part, module)
    return found


def _misfit(found: Any, slot: Slot, from_home: bool) -> str:
    """Why ``found`` may not stand in ``slot``, judged by where it really lives; empty when it may."""
    if not inspect.isclass(found) and not inspect.isroutine(found):
        return "is no class or function"
    module = getattr(found, "__module__", None) or "torch"  # torch's C functions name no module
    package = module.partition(".")[0]
    kind = _kind(slot)
    wanted = f"; this place takes a {slot.kind}" if slot.kind else ""
    if inspect.isclass(found):
        if kind is not None and not issubclass(found, kind):
            return f"({module}.{found.__qualname__}) does not fit{wanted}{' or a function' if slot.callback else ''}"
        owned = package in PROJECT or package in trusted_packages() or (kind is not None and from_home)
        return "" if owned else f"lives in {module}, which is not trusted (see [tool.plainloop] in pyproject.toml)"
    if package in PROJECT or any(module == home or module.startswith(home + ".") for home in slot.functions):
        return ""
    if package not in trusted_packages():
        return f"lives in {module}, which is not trusted (see [tool.plainloop] in pyproject.toml)"
    made = _hints(found).get("return")
    if not slot.callback and kind is not None and inspect.isclass(made) and issubclass(made, kind):
        return ""
    return f"is a function of {module}, which does not fit{wanted}"


def _kind(slot: Slot) -> type | None:
    if not slot.kind:
        return None
    module, _, name = slot.kind.rpartition(".")
    found = _import(module)
    kind = getattr(found, name, None) if found else None
    return kind if inspect.isclass(kind) else None


def _hints(found: Any) -> dict[str, Any]:
    try:
        return get_type_hints(found.__init__ if inspect.isclass(found) else found)
    except Exception:  # an annotation that names what only a type checker imports
        return {}


class Signature(NamedTuple):
    """What a class or function takes: its parameters, their annotations resolved; None when that is unknown."""

    parameters: dict[str, inspect.Parameter] | None
    open_ended: bool  # takes **kwargs

    @classmethod
    def of(cls, found: Any, given: int = 0) -> Signature:
        """The signature of ``found`` without its first ``given`` parameters."""
        try:
            parameters = list(inspect.signature(found).parameters.values())
        except (TypeError, ValueError):
            return cls(None, True)
        if inspect.isclass(found) and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            # What it does not name it hands on, as a rule to its parent: `def __init__(self, *args, **kwargs)`.
            parent = found.__mro__[1]
            known = {parameter.name for parameter in parameters}
            inherited = cls.of(parent).parameters if parent is not object else None
            parameters += [parameter for name, parameter in (inherited or {}).items() if name not in known]
        hints = _hints(found)
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = [
            parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
            for parameter in parameters
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ]
        return cls({parameter.name: parameter for parameter in named[given:]}, open_ended)
