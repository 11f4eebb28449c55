"""Where a ``type`` may come from, and what may stand there: the one place that turns a name into an object."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
import types
from enum import Enum
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from utils.errors import UserError, did_you_mean, one_line

ROOT = Path(__file__).parents[2]
USERS = ("data_loader", "model", "trainer")
PROJECT = (*USERS, "base", "logger", "utils")


class Slot(NamedTuple):
    """A place in the config that takes ``{"type": NAME, "args": {…}}``.

    Attributes:
        folder: the project's folder whose files may be named, as in ``resnet.ResNet20``.
        homes: modules that are searched for a bare name, in order.
        kind: dotted name of the class that an object here must be.
        modules: of libraries, whose classes and functions serve whatever their kind.
        given: names of the leading parameters that the program gives, not the config.
        beside: names of parameters that get the ``dataset`` that stands beside this part, unless the config says other.
        callback: a function is the value itself, with its ``args`` fixed; elsewhere it is called to make the value.
        duck: the project's own classes serve whatever their kind.
        is_part: what stands here in a config is a part, and not plain values.
    """

    folder: str
    homes: tuple[str, ...]
    kind: str
    modules: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    callback: bool = False
    duck: bool = False
    is_part: bool = True


_LOADERS, _PAIR = "data_loader.data_loaders", ("output", "target")
_LOADER = Slot("data_loader", (_LOADERS, "base"), "torch.utils.data.DataLoader", duck=True)
_DATASET = Slot(
    "data_loader", (_LOADERS, "torchvision.datasets"), "torch.utils.data.Dataset", duck=True
)
_TRANSFORM = Slot(
    "data_loader",
    (_LOADERS, "torchvision.transforms.v2"),
    "torch.nn.Module",
    ("torchvision.transforms",),
    duck=True,
)
_BATCH_TRANSFORM = _TRANSFORM._replace(homes=(*_TRANSFORM.homes, "base.data.batch_transforms"))
_SAMPLES = ("data_source", "dataset")
_SAMPLER = Slot(
    "data_loader",
    (_LOADERS, "torch.utils.data"),
    "torch.utils.data.Sampler",
    beside=_SAMPLES,
    duck=True,
)
_COLLATE = Slot(
    "data_loader",
    (_LOADERS,),
    "",
    ("torch.utils.data._utils.collate",),
    ("batch",),
    callback=True,
    duck=True,
)
_PART = Slot("model", ("model.model", "torch.nn", "torchvision.models"), "torch.nn.Module")
_LOSSES, _METRICS = (
    ("model.loss", "torch.nn.functional", "torch.nn"),
    ("model.metric", "torchmetrics"),
)
_SCHEDULES = "torch.optim.lr_scheduler"

SLOTS: dict[str, Slot] = {
    "arch": Slot("model", ("model.model", "torchvision.models"), "torch.nn.Module"),
    "data_loader": _LOADER,
    "valid_data_loader": _LOADER,
    "test_data_loader": _LOADER,
    "loss": Slot(
        "model", _LOSSES, "torch.nn.Module", ("torch.nn.functional",), _PAIR, callback=True
    ),
    "metrics": Slot(
        "model", _METRICS, "torchmetrics.Metric", ("torchmetrics.functional",), _PAIR, callback=True
    ),
    "optimizer": Slot("trainer", ("torch.optim",), "torch.optim.Optimizer", given=("params",)),
    "lr_scheduler": Slot(
        "trainer", (_SCHEDULES,), f"{_SCHEDULES}.LRScheduler", given=("optimizer",)
    ),
    "parallel": Slot("trainer", ("base.parallel.strategy",), "base.parallel.strategy.Parallel"),
    "trainer": Slot("trainer", ("trainer", "trainer.trainer"), "base.BaseTrainer"),
}

FLAT = Slot("model", (), "", is_part=False)  # of a section without a `type`

# Parts inside `args`, by the end of their parameter's name: dataset, valid_dataset, eval_transform, …
INNER = {"batch_transform": _BATCH_TRANSFORM, "dataset": _DATASET, "datasets": _DATASET}
INNER |= {
    "transform": _TRANSFORM,
    "transforms": _BATCH_TRANSFORM,
}  # Compose's, of samples or of batches
INNER |= {"sampler": _SAMPLER, "collate_fn": _COLLATE}


def inner_slot(parameter: str, outer: Slot, annotation: Any = None) -> Slot:
    """The slot of a ``{type, args}`` inside another's ``args``, judged by the parameter that takes it."""
    for name, slot in INNER.items():
        if parameter == name or parameter.endswith(f"_{name}"):
            return slot
    slot = _PART if outer.folder == "model" else Slot(outer.folder, outer.homes, "", duck=True)
    if (
        inspect.isclass(annotation)
        and "." not in annotation.__qualname__
        and annotation.__module__ != "builtins"
    ):
        slot = slot._replace(kind=f"{annotation.__module__}.{annotation.__name__}")
    return slot._replace(is_part=False)


@cache
def trusted_packages() -> frozenset[str]:
    """The libraries that a config may name, from ``[tool.plainloop] trusted`` in ``pyproject.toml``."""
    try:
        table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        return frozenset(table["tool"]["plainloop"]["trusted"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"pyproject.toml: [tool.plainloop] trusted: cannot be read ({one_line(error)})"
        ) from None


class Frame(NamedTuple):
    """A line of a traceback; ``path`` is relative to the project."""

    path: Path
    line: int
    function: str
    text: str


def own_frames(error: BaseException) -> list[Frame]:
    """The lines of an error's traceback that are in the project's own folders; a loader's worker gives his as text."""
    frames = [
        (frame.filename, frame.lineno, frame.name, frame.line)
        for frame in extract_tb(error.__traceback__)
    ]
    frames += re.findall(r'File "(.+)", line (\d+), in (.+)\n\s+(.*)', str(error))
    own = [frame for frame in frames if Path(frame[0]).parent in map(ROOT.joinpath, USERS)]
    return [
        Frame(Path(path).relative_to(ROOT), int(line or 0), name, text or "")
        for path, line, name, text in own
    ]


def import_module(name: str) -> Any:
    """Imports a module; None when it is not there. Raises UserError when it is, and fails."""
    try:
        return importlib.import_module(name)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever its code raises; pytest's `skip` is no Exception
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            return None
        own, file = own_frames(error), Path(f"{name.replace('.', '/')}.py")
        place = f" ({own[-1].path}:{own[-1].line})" if own else ""
        name = str(file) if (ROOT / file).is_file() else name
        raise UserError(
            f"{name} cannot be imported: {type(error).__name__}: {one_line(error)}{place}"
        ) from error


def resolve(name: str, slot: Slot) -> Any:
    """Finds the class or function that ``name`` means in ``slot``.

    Raises:
        UserError: no such name, not trusted, or not what the slot takes.
    """
    parts = name[:1000].split(".")[:20]  # more is an attack
    if not all(part.isidentifier() for part in parts) or any(
        part.startswith("_") for part in parts
    ):
        raise UserError(
            f"'{one_line(ValueError(name), 80)}' is not the name of a public class or function"
        )
    if len(parts) == 1:
        found = _search_homes(name, slot)
    else:
        found = (_search_folder(parts, slot) if len(parts) == 2 else None) or _search_library(
            parts, slot
        )
    if reason := misfit(found, slot):
        raise UserError(f"'{name}' {reason}")
    return found


def _search_homes(name: str, slot: Slot) -> Any:
    for module in map(
        import_module, slot.homes
    ):  # one after the other: the later ones are slow to import
        if hasattr(module, name):
            return getattr(module, name)
    known = names_in(slot)
    other = f"; 'FILE.{name}' names another file of {slot.folder}/, a full dotted path a trusted library"
    raise UserError(f"no '{name}' in {', '.join(slot.homes)}{did_you_mean(name, known) or other}")


@cache
def names_in(slot: Slot) -> dict[str, Any]:
    """The public names in a slot's homes that fit it, and what each means."""
    found: dict[str, Any] = {}
    for module in map(import_module, slot.homes):
        for name in (name for name in dir(module) if name[0] != "_" and name not in found):
            if not misfit(getattr(module, name), slot):
                found[name] = getattr(module, name)
    return found


def _search_folder(parts: list[str], slot: Slot) -> Any:
    module = import_module(f"{slot.folder}.{parts[0]}")
    if module is not None and not hasattr(module, parts[1]):
        own = [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__
        ]
        raise UserError(
            f"no '{parts[1]}' in {slot.folder}/{parts[0]}.py{did_you_mean(parts[1], own)}"
        )
    return getattr(module, parts[1], None)


def _search_library(parts: list[str], slot: Slot) -> Any:
    if parts[0] not in trusted_packages() | {slot.folder}:
        trusted = ", ".join(sorted(trusted_packages()))
        files = [path.stem for path in (ROOT / slot.folder).glob("*.py")]
        near = did_you_mean(parts[0], [*files, slot.folder, *trusted_packages()])
        raise UserError(f"'{'.'.join(parts)}' is {_NOT_TRUSTED}{near}; those are {trusted}")
    found: Any = import_module(parts[0])
    for index, part in enumerate(parts[1:], start=2):
        module = import_module(".".join(parts[:index])) if type(found) is types.ModuleType else None
        try:
            found = getattr(found, part) if module is None else getattr(found, part, module)
        except Exception:  # some modules raise whatever they like when asked
            near = did_you_mean(part, getattr(found, "__dict__", ()))
            raise UserError(f"no '{part}' in {'.'.join(parts[: index - 1])}{near}") from None
    return found


_NOT_TRUSTED = "not in a trusted library (see [tool.plainloop] in pyproject.toml)"


def misfit(found: Any, slot: Slot) -> str:
    """Why ``found`` may not stand in ``slot``, judged by where it really lives; empty when it may."""
    is_class = inspect.isclass(found)
    if (not is_class and not inspect.isroutine(found)) or (is_class and issubclass(found, Enum)):
        return "is no class or function"
    module = getattr(found, "__module__", None) or "torch"  # torch's C functions name no module
    package = module.partition(".")[0]
    if any(f"{module}.".startswith(f"{home}.") for home in slot.modules):
        return ""
    # What the project imports into its own home of the slot is its choice, if it is its own or of the right kind.
    in_home = hasattr(import_module(slot.homes[0]), found.__name__) if slot.homes else False
    in_home = in_home and (is_class or slot.callback)  # a helper of utils/ makes no loader
    if (package == slot.folder or (package in PROJECT and in_home)) and (slot.duck or not is_class):
        return ""
    made = found if is_class else None if slot.callback else _hints(found).get("return")
    kind = _kind(slot)
    choices = (
        get_args(made) if isinstance(made, types.UnionType) or get_origin(made) is Union else [made]
    )
    if kind is None or not all(
        inspect.isclass(choice) and issubclass(choice, kind) for choice in choices
    ):
        wanted = f"a {slot.kind}" if slot.kind else f"what {slot.folder}/ defines"
        wanted += (
            f", or a function that {slot.homes[0].replace('.', '/')}.py defines" * slot.callback
        )
        return f"({module}.{found.__qualname__}) does not fit: here stands {wanted}"
    known = package in (slot.folder, "base", *trusted_packages()) or in_home
    return "" if known else f"lives in {module}, {_NOT_TRUSTED}"


def _kind(slot: Slot) -> type | None:
    module, _, name = slot.kind.rpartition(".")
    kind = getattr(import_module(module), name, None) if module else None
    return kind if inspect.isclass(kind) else None


def _hints(found: Any) -> dict[str, Any]:
    try:
        return get_type_hints(found.__init__ if inspect.isclass(found) else found)
    except Exception:  # an annotation that names what only a type checker imports
        return {}


class Signature(NamedTuple):
    """What a class or function takes: its parameters, their annotations resolved."""

    parameters: dict[str, inspect.Parameter]
    open_ended: bool  # takes more than these
    taker: str = ""  # its dotted name

    @classmethod
    def of(cls, found: Any, given: int = 0) -> Signature:
        """The signature of ``found`` without its first ``given`` parameters."""
        name = f"{getattr(found, '__module__', None) or 'torch'}.{getattr(found, '__qualname__', found)}"
        try:
            parameters = list(inspect.signature(found).parameters.values())
        except (TypeError, ValueError):
            return cls({}, True, name)
        hints = _hints(found)
        named = {
            parameter.name: parameter.replace(
                annotation=hints.get(parameter.name, parameter.annotation)
            )
            for parameter in parameters[given:]
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if open_ended and inspect.isclass(found) and found.__mro__[1] is not object:
            # What a class does not name it hands on, as a rule to its parent; of our own it is sure.
            parent = cls.of(found.__mro__[1])
            inherited = {
                name: parameter.replace(default=None)
                for name, parameter in parent.parameters.items()
            }
            named = {
                **inherited,
                **named,
            }  # the class may give to its parent itself what that needs
            open_ended = parent.open_ended or not found.__module__.startswith("base.")
        return cls(named, open_ended, name)
