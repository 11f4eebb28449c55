"""Several optimizers behind one, and the parameters that a config gives to each."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from base.loop.schedule_plan import get_learning_rate
from base.loop.selection import get_first_names, select_parameters
from config.read.section import list_components
from utils.errors import UserError, abbreviate

if TYPE_CHECKING:
    from config import ConfigParser

REST = "rest"  # the pattern for the parameters that no other entry selects
AMP_ATTRIBUTES = ("grad_scale", "found_inf")  # that a GradScaler sets before a fused step
NEEDS_MATRICES = ("Muon", "torch.optim.Muon")  # they take only parameters with two dimensions
STANDARD_KEYS = ("state", "param_groups")


class SeveralOptimizers(Optimizer):
    """Steps several optimizers as one.

    Its parameter groups are those of the optimizers, in their order. They are the same dicts, so
    one scheduler moves all learning rates. Its state dict is that of one optimizer with all these
    groups, so strategies and checkpoints need not know about it.

    Args:
        optimizers: each of other parameters. The last one gets groups that are added later.

    Attributes:
        defaults: the arguments that all optimizers have, with the values of the first one.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        first, *others = (optimizer.defaults for optimizer in self.optimizers)
        shared = {key: first[key] for key in first if all(key in other for other in others)}
        super().__init__(self._list_groups(), shared)
        # torch's GradScaler lets the kernel of a fused optimizer leave a step out. It decides once
        # for all, so either all optimizers can do so, or it waits for the device, and leaves out
        # the call of `step`.
        self._step_supports_amp_scaling = all(
            getattr(optimizer, "_step_supports_amp_scaling", False) for optimizer in self.optimizers
        )

    def _list_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property  # type: ignore[override]
    def state(self) -> defaultdict[Any, Any]:
        """The states of all optimizers by parameter: a new mapping of the same dicts."""
        merged: defaultdict[Any, Any] = defaultdict(dict)
        for optimizer in self.optimizers:
            merged.update(optimizer.state)
        return merged

    @state.setter
    def state(self, _: Any) -> None:
        """torch's constructor sets an empty state. The optimizers have the real ones."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group to the last optimizer, unless an optimizer has it already."""
        if not any(param_group is group for group in self._list_groups()):
            self.optimizers[-1].add_param_group(param_group)
        self.param_groups = self._list_groups()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> float | None:  # type: ignore[override]
        """Steps each optimizer. ``closure`` is called once, before the first of them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        amp = {key: vars(self)[key] for key in AMP_ATTRIBUTES if key in vars(self)}
        for optimizer in self.optimizers:
            vars(optimizer).update(amp)
            optimizer.step()
            for key in amp:
                vars(optimizer).pop(key, None)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Returns one state with all groups, whose parameters are numbered throughout.

        Further keys: ``types``, the names of the classes, and ``others``, for each optimizer a dict
        of what its state dict holds beside the state of parameters.
        """
        merged: dict[str, Any] = {"state": {}, "param_groups": [], "types": self._list_types()}
        merged["others"] = []
        offset = 0
        for optimizer in self.optimizers:
            saved = optimizer.state_dict()
            others = {key: value for key, value in saved.items() if key not in STANDARD_KEYS}
            for number, values in saved["state"].items():
                if isinstance(number, int):
                    merged["state"][number + offset] = values
                else:
                    others.setdefault("state", {})[number] = values
            merged["others"].append(others)
            for group in saved["param_groups"]:
                numbers = [number + offset for number in group["params"]]
                merged["param_groups"].append(group | {"params": numbers})
            offset += sum(len(group["params"]) for group in saved["param_groups"])
        return merged

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Loads what ``state_dict`` has returned.

        Raises:
            ValueError: it is the state of other optimizers, or of other parameter groups.
        """
        names, saved_names = self._list_types(), list(state_dict.get("types", ()))
        if saved_names != names:
            found = ", ".join(map(str, saved_names)) or "one optimizer"
            raise ValueError(f"it is that of {found}, not of {', '.join(names)}")
        groups = list(state_dict["param_groups"])
        if len(groups) != len(self.param_groups):
            raise ValueError(f"it has {len(groups)} parameter groups, not {len(self.param_groups)}")
        for optimizer, others in zip(self.optimizers, state_dict["others"], strict=True):
            count = len(optimizer.param_groups)
            taken, groups = groups[:count], groups[count:]
            numbers = {number for group in taken for number in group["params"]}
            state = {key: item for key, item in state_dict["state"].items() if key in numbers}
            state |= others.get("state", {})
            optimizer.load_state_dict({**others, "state": state, "param_groups": taken})
        self.param_groups = self._list_groups()

    def _list_types(self) -> list[str]:
        return [type(optimizer).__name__ for optimizer in self.optimizers]


def list_optimizers(optimizer: Any) -> list[Any]:
    """Lists the optimizers behind one, or only itself."""
    return optimizer.optimizers if isinstance(optimizer, SeveralOptimizers) else [optimizer]


def list_learning_rates(config: ConfigParser) -> dict[str, float]:
    """The learning rates of the config's optimizers, by their keys; without those that have none.

    They are ``optimizer.args.lr``, or ``optimizer.0.args.lr`` and so on.
    """
    keys = [key for key, _ in list_components(config, "optimizer")]
    rates = {f"{key}.args.lr": get_learning_rate(config, index) for index, key in enumerate(keys)}
    return {key: rate for key, rate in rates.items() if rate is not None}


def select_for_each(config: ConfigParser, model: nn.Module) -> list[set[str]]:
    """Selects the parameters of each optimizer in the config's list, by their names.

    A tied parameter has its first name. The pattern ``rest`` selects what no other entry does.

    Raises:
        UserError: a pattern matches nothing, or a parameter is in no entry or in two.
    """
    patterns = [entry["params"] for entry in config["optimizer"]]
    selected: list[set[str]] = []
    owners: dict[str, int] = {}
    for index, params in enumerate(patterns):
        key = f"optimizer.{index}.params"
        names = set() if params == REST else select_parameters(model, params, key)
        if not names and params != REST:
            raise UserError(f"{params} selects no parameter", key=key)
        if twice := [name for name in get_first_names(model) if name in names & owners.keys()]:
            other = owners[twice[0]]
            message = f"{params!r} selects {abbreviate(twice)}, which optimizer.{other} "
            raise UserError(f"{message}({patterns[other]!r}) has already", key=key)
        owners |= dict.fromkeys(names, index)
        selected.append(names)
    left = [name for name in dict(model.named_parameters()) if name not in owners]
    if REST in patterns:
        index = patterns.index(REST)
        selected[index] = set(left)
    elif left:
        message = f"no entry selects {abbreviate(left)} ({len(left)} in all); add an entry with "
        raise UserError(f"{message}params: {REST}", key="optimizer")
    return selected


def make_several_optimizers(
    config: ConfigParser,
    model: nn.Module,
    make_groups: Callable[[int, set[str]], list[dict[str, Any]]],
    loss_group: dict[str, Any] | None,
    arguments: Sequence[dict[str, Any]],
) -> SeveralOptimizers:
    """Makes the optimizers that the config lists.

    Args:
        config: of the run.
        model: on its device, and wrapped.
        make_groups: makes the parameter groups of the optimizer with this index, of the parameters
            with these names.
        loss_group: the parameters of the loss. They belong to ``rest``, else to the last entry.
        arguments: further arguments of each optimizer.

    Raises:
        UserError: the patterns do not fit the model, or an optimizer refuses its parameters.
    """
    entries = config["optimizer"]
    patterns = [entry["params"] for entry in entries]
    of_loss = patterns.index(REST) if REST in patterns else len(patterns) - 1
    optimizers, lines = [], []
    for index, names in enumerate(select_for_each(config, model)):
        groups = make_groups(index, names) if names else []
        if index == of_loss and loss_group is not None:
            groups = [*groups, loss_group]
        if not groups:
            reason = "every parameter of it is frozen" if names else "other entries have all"
            message = f"{patterns[index]!r} has no effect: {reason}; remove this entry"
            raise UserError(message, key=f"optimizer.{index}.params")
        kind = str(entries[index]["type"])
        check_dimensions(kind, groups, model, f"optimizer.{index}.params")
        optimizers.append(config.build("optimizer", groups, index=index, **arguments[index]))
        trained = {id(p) for group in groups for p in group["params"]}
        shown = abbreviate([name for name, p in model.named_parameters() if id(p) in trained])
        count = "1 tensor" if len(trained) == 1 else f"{len(trained)} tensors"
        lines.append(f"  {kind:<12} {count} ({shown or 'those of the loss'})")
    logging.getLogger("train").info("Optimizers:\n%s", "\n".join(lines))
    return SeveralOptimizers(optimizers)


def check_dimensions(kind: str, groups: Sequence[Any], model: nn.Module, key: str) -> None:
    """Checks that an optimizer of matrices gets no other parameters.

    Args:
        kind: the name of the optimizer, with or without its module.
        groups: parameters, or groups of them.
        model: tells the names of its parameters.
        key: of the config, for the error.

    Raises:
        UserError: a parameter does not have two dimensions.
    """
    if kind not in NEEDS_MATRICES:
        return
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    items = [group["params"] if isinstance(group, dict) else [group] for group in groups]
    wrong = [parameter for group in items for parameter in group if parameter.ndim != 2]
    if wrong:
        shown = [f"{names.get(id(p), 'one of the loss')} {tuple(p.shape)}" for p in wrong]
        advice = "let another entry select them, such as {params: rest, type: AdamW}"
        if not key.endswith(".params"):
            advice = "make optimizer a list with another one for them: {params: rest, type: AdamW}"
        message = f"{kind} takes only parameters with 2 dimensions, but gets {abbreviate(shown)}"
        raise UserError(f"{message}; {advice}", key=key)
