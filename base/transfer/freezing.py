"""Freezes parameters, and checks that frozen tensors do not change."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from base.transfer.selection import count_parameters
from utils.dtensor import local_shard
from utils.errors import UserError, abbreviate

# The parameters that a constructor has frozen. They stay frozen, whatever `transfer` freezes.
_INITIALLY_FROZEN: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def get_initially_frozen(model: nn.Module) -> frozenset[str]:
    """Returns the names of the parameters that were frozen before ``transfer`` froze any.

    The first call for a model must come before that: later calls return the same names.
    """
    names = (name for name, value in model.named_parameters() if not value.requires_grad)
    return _INITIALLY_FROZEN.setdefault(model, frozenset(names))


def can_train(parameter: torch.Tensor) -> bool:
    """Whether a parameter can have a gradient. One of integers cannot."""
    return parameter.is_floating_point() or parameter.is_complex()


def freeze(model: nn.Module, names: Iterable[str], frozen_eval: bool = True) -> None:
    """Freezes the named parameters and thaws all others, in place.

    A frozen parameter gets no gradient. The norms in frozen modules stay in eval mode, whatever
    ``model.train()`` says. The modules before the first trained parameter store no activations,
    because autograd records nothing where no gradient is needed.

    Args:
        model: changed in place. An earlier freezing is undone.
        names: of the parameters to freeze; the first name of a tied one.
        frozen_eval: keep everything in frozen modules in eval mode, dropout included.
    """
    frozen = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen and can_train(parameter))
        if name in frozen:
            parameter.grad = None
    for module in model.modules():
        vars(module).pop("train", None)
    if not frozen:
        return
    for top in get_frozen_modules(model):
        norms = [module for module in top.modules() if isinstance(module, NORMS)]
        for module in [top] if frozen_eval else norms:
            module.train = MethodType(train, module)  # type: ignore[method-assign]
    model.train(model.training)


def train(self: nn.Module, mode: bool = True) -> nn.Module:
    """Replaces ``train`` in a frozen module: the module stays in eval mode.

    It is bound to the module and stored as an attribute, so it survives the deep copy of an EMA.
    Pickle stores a bound method by its name. So this function has the name of the method that it
    replaces: an unpickled module then has the method of its class again.
    """
    return type(self).train(self, False)


def get_frozen_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Yields the largest modules whose parameters are all frozen.

    Norms without parameters match no pattern, but they gather statistics. So those before the
    first trained parameter are yielded too.
    """
    trained_seen = False

    def walk(module: nn.Module) -> Iterator[nn.Module]:
        nonlocal trained_seen
        parameters = list(module.parameters())
        is_early_norm = isinstance(module, NORMS) and not parameters and not trained_seen
        is_frozen = bool(parameters) and not any(value.requires_grad for value in parameters)
        if is_early_norm or is_frozen:
            yield module
            return
        if any(value.requires_grad for value in module.parameters(recurse=False)):
            trained_seen = True
        for child in module.children():
            yield from walk(child)

    return walk(model)


def get_frozen_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns, by name, the frozen parameters and the buffers of the frozen modules."""
    tensors: dict[str, torch.Tensor] = {
        name: value for name, value in model.named_parameters() if not value.requires_grad
    }
    frozen = {id(buffer) for module in get_frozen_modules(model) for buffer in module.buffers()}
    return tensors | {name: value for name, value in model.named_buffers() if id(value) in frozen}


def get_trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the parameters that get a gradient, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def describe_trained(model: nn.Module) -> str:
    """Describes in one line how many parameters are trained and how many are frozen."""
    trained = get_trained(model)
    names = list(trained)
    shown = names if len(names) <= 4 else [*names[:2], "…", names[-1]]
    count = sum(value.numel() for value in trained.values())
    total = count_parameters(model)
    return (
        f"{count:,} of {total:,} parameters are trained ({', '.join(shown)}), "
        f"{total - count:,} are frozen"
    )


class Audit:
    """Checks one step: frozen tensors keep their bits, trained parameters get a gradient.

    Args:
        model: frozen, before the step.
        logger: gets a warning that names trained parameters without a gradient.
    """

    def __init__(self, model: nn.Module, logger: logging.Logger) -> None:
        self.model, self.logger = model, logger
        self._is_done = False
        self._checksums = {
            name: checksum(value) for name, value in get_frozen_tensors(model).items()
        }
        trained = get_trained(model)
        self._without_gradient = set(trained)
        self._hooks = []
        for name, value in trained.items():
            note = partial(self._note_gradient, name)
            hook = value.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
            self._hooks.append(hook)

    def _note_gradient(self, name: str, _parameter: torch.Tensor) -> None:
        self._without_gradient.discard(name)

    def after_step(self) -> None:
        """Compares the tensors with their checksums before the step. Later calls do nothing.

        Raises:
            UserError: a frozen tensor has changed.
        """
        if self._is_done:
            return
        self._is_done = True
        for hook in self._hooks:
            hook.remove()
        tensors = get_frozen_tensors(self.model)
        changed = [
            name
            for name, before in self._checksums.items()
            if name in tensors and checksum(tensors[name]) != before
        ]
        if changed:
            raise UserError(
                f"{abbreviate(changed)} changed in a step although frozen; "
                "does the model, the trainer or the optimizer write to it?",
                key="transfer.freeze",
            )
        if self._without_gradient:
            self.logger.warning(
                "%d trained parameters got no gradient in the first step: %s",
                len(self._without_gradient),
                abbreviate(sorted(self._without_gradient), 5),
            )


def checksum(value: Any) -> int:
    """Returns the CRC-32 of a tensor's bytes; of a sharded one, of this rank's shard."""
    local = local_shard(value)
    data = local.detach().cpu().contiguous().flatten().view(torch.uint8)
    return zlib.crc32(data.numpy().tobytes())
