"""The lengths of schedulers: one that the config leaves out is that of the run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.optim import lr_scheduler as schedulers

from base.loop.lr_schedule import is_holder, list_schedulers
from base.options import TrainerOptions
from config.call import get_component_args
from config.check.shapes import is_component
from config.check.signature import list_parameter_names
from config.check.slots import Slot, get_signature, resolve
from config.read.tree import Keys, join_keys
from utils.errors import UserError

if TYPE_CHECKING:
    from config import ConfigParser

UNITS = {"epoch": "epoch", "step": "optimizer step"}
OPTIONAL = {  # lengths with a default of torch that does not fit a run
    schedulers.OneCycleLR: "total_steps",  # None, which fails
    schedulers.PolynomialLR: "total_iters",  # 5, after which the rate is 0
}
OPTIONAL_IN_PART = (schedulers.LinearLR, schedulers.ConstantLR)  # 5, which is one warm-up of many
OTHER_LENGTHS = ("epochs", "steps_per_epoch")  # of OneCycleLR, instead of `total_steps`


class Part(NamedTuple):
    """The part of a run in which a scheduler moves.

    Attributes:
        length: in ``unit``; None if unknown.
        unit: ``epoch`` or ``optimizer step``.
        owner: the SequentialLR that divides the run; empty for the run itself.
    """

    length: int | None
    unit: str
    owner: str = ""

    @property
    def description(self) -> str:
        """For messages: the run, or a part."""
        return f"its part of {self.owner}" if self.owner else "the run"

    def __str__(self) -> str:
        return f"{self.description} has {format_length(self.length or 0, self.unit)}"


def format_length(length: int, unit: str) -> str:
    """Returns text such as ``3 epochs``."""
    return f"{length} {unit}" if length == 1 else f"{length} {unit}s"


# -- lengths that the config leaves out ----------------------------------------------------------


class ArgumentFiller:
    """Fills in the arguments of schedulers that the config leaves to the run.

    These are the lengths of schedulers, and the rates of several parameter groups. OneCycleLR and
    CyclicLR replace the optimizer's learning rates by ``max_lr`` and ``base_lr``. If the
    optimizer's groups have different rates, these two are scaled in proportion.

    Attributes:
        notes: a text for each length that was filled in.
    """

    def __init__(self, config: ConfigParser, optimizer: torch.optim.Optimizer) -> None:
        self.schema = config.get_schema()
        self.notes: list[str] = []
        default = optimizer.defaults.get("lr")
        rates = [group.get("lr") for group in optimizer.param_groups]
        self._ratios: list[Any] = []  # of the groups' rates to the default; empty if all are 1
        if default and any(rate != default for rate in rates):
            self._ratios = [rate / default for rate in rates]

    def fill(self, node: dict[str, Any], slot: Slot, keys: Keys, part: Part) -> dict[str, Any]:
        """Returns a copy of a component with all values, also in the schedulers that it holds.

        Raises:
            UserError: a length is left out, and that of the run is unknown.
        """
        found = resolve(node["type"], slot)
        args = get_component_args(node)
        for name in slot.filled_parameters:
            if _is_left_out(name, found, args, part):
                args[name] = self._get_length(node["type"], name, keys, part)
        for name in {"max_lr", "base_lr"} & args.keys():
            if self._ratios and isinstance(args[name], int | float):
                args[name] = [args[name] * ratio for ratio in self._ratios]
        signature = get_signature(found, slot)
        for name, value in args.items():
            inner = self.schema.get_inner_slot(name, slot, signature.get_annotation(name))
            path = (*keys, "args", name)
            if inner.nests and is_component(value):
                args[name] = self.fill(value, inner, path, part)
            elif inner.nests and isinstance(value, list):
                inside = divide(found, args.get("milestones"), len(value), part)
                args[name] = [
                    self.fill(item, inner, (*path, index), inside[index])
                    if is_component(item)
                    else item
                    for index, item in enumerate(value)
                ]
        return {"type": node["type"], "args": args}

    def _get_length(self, kind: str, name: str, keys: Keys, part: Part) -> int:
        if part.length is None:
            message = f"{kind} needs '{name}', because the length of the run is unknown; give it, "
            message += "or trainer.len_epoch, or move the scheduler after each epoch "
            message += "(trainer.lr_scheduler_interval)"
            raise UserError(message, key=join_keys((*keys, "args")))
        length = max(1, part.length)  # 0 for a part after the end of the run; a warning says so
        where = f"the length of {part.description}"
        self.notes.append(f"{kind}.{name} is {format_length(length, part.unit)}, {where}")
        return length


def _is_left_out(name: str, found: Any, args: dict[str, Any], part: Part) -> bool:
    """Whether a scheduler takes a length that the config does not give.

    A length with a default is one only in some schedulers of torch.
    """
    if args.get(name) is not None or name not in list_parameter_names(found):
        return False
    if found is schedulers.OneCycleLR and any(args.get(key) for key in OTHER_LENGTHS):
        return False
    if found in OPTIONAL:
        return True
    if found in OPTIONAL_IN_PART:
        return bool(part.owner)
    return _is_required(found, name)


def _is_required(found: Any, name: str) -> bool:
    parameter = inspect.signature(found).parameters.get(name)
    return parameter is not None and parameter.default is parameter.empty


def divide(found: Any, milestones: Any, count: int, part: Part) -> list[Part]:
    """Returns the part of the run of each of the ``count`` schedulers that another one holds.

    A SequentialLR divides its part at the milestones. In any other scheduler, all have the same.
    """
    is_sequence = inspect.isclass(found) and issubclass(found, schedulers.SequentialLR)
    if not is_sequence or not isinstance(milestones, list) or len(milestones) != count - 1:
        return [part] * count
    lengths = [end - start for start, end in pairwise([0, *milestones])]
    rest = None if part.length is None else part.length - sum(lengths)
    return [Part(length, part.unit, found.__name__) for length in [*lengths, rest]]


# -- lengths that do not fit the run -------------------------------------------------------------


class LengthCheck:
    """Compares the lengths that schedulers are made for with those of the run.

    Args:
        options: of the run.
        length: the number of steps that the outermost scheduler makes in the run.
        unit: of the length.
        is_exact: whether the run has no other length, unless it stops early.
    """

    def __init__(self, options: TrainerOptions, length: int, unit: str, is_exact: bool) -> None:
        self.length, self.unit = length, unit
        fraction = min(1, (options.patience + 1) / options.epochs)
        self._certain = length * fraction if is_exact else 0  # the run cannot be shorter

    def find(self, scheduler: Any) -> Iterator[str]:
        """Yields a warning for each scheduler that is made for another length.

        Raises:
            UserError: a scheduler will fail in the run.
        """
        yield from self._find(scheduler, 0, Part(self.length, self.unit))

    def _find(self, scheduler: Any, start: int, part: Part) -> Iterator[str]:
        name, length = type(scheduler).__name__, part.length or 0
        milestones = vars(scheduler).get("_milestones", getattr(scheduler, "milestones", None))
        if milestones and max(milestones) >= length:
            last = max(milestones)
            yield f"{name} never reaches its last milestone, {last}: {part}"
        if is_holder(scheduler):
            held = [item for _, item in list_schedulers(vars(scheduler))]
            begin = start
            for item, inner in zip(
                held, divide(type(scheduler), milestones, len(held), part), strict=True
            ):
                if begin < start + length:
                    yield from self._find(item, begin, inner)
                begin += (inner.length or 0) if inner.owner else 0
        else:
            yield from self._compare(scheduler, start, part)

    def _compare(self, scheduler: Any, start: int, part: Part) -> Iterator[str]:
        name, length = type(scheduler).__name__, part.length or 0
        keys = ["T_max", "total_steps"]
        if isinstance(scheduler, schedulers.PolynomialLR):
            keys.append("total_iters")  # the rate is zero afterwards
        for key in keys:
            planned = getattr(scheduler, key, length)
            if planned == length:
                continue
            text = f"{name} is set up for {key}={planned}, but {part}"
            is_last = start + length >= self.length
            moves = min(self._certain - start, length if is_last else length - 1)
            if key == "total_steps" and moves > planned:
                raise UserError(f"{text}, and it fails after {planned}", key="lr_scheduler")
            yield text
            return


def find_mismatches(
    scheduler: Any, interval: str, options: TrainerOptions, len_epoch: int, is_exact: bool
) -> list[str]:
    """Returns a warning for each scheduler that is made for another length than the run's.

    Args:
        scheduler: of the run, or None.
        interval: ``epoch`` or ``step``.
        options: of the run.
        len_epoch: the number of batches in an epoch.
        is_exact: whether ``len_epoch`` is no estimate.

    Raises:
        UserError: a scheduler will fail in the run.
    """
    if scheduler is None:
        return []
    length = options.get_length(len_epoch).count_intervals(interval)
    return list(LengthCheck(options, length or 0, UNITS[interval], is_exact).find(scheduler))
