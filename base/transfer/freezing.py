"""Which parameters of a model are trained, and what it means that the others are frozen."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from base.parallel.sharding import part_of
from utils.errors import UserError, did_you_mean

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def select(model: nn.Module, patterns: list[str] | str, key: str) -> set[str]:
    """The names of the parameters that ``patterns`` mean; of two that disagree the later one holds.

    Args:
        model: whose parameters are meant.
        patterns: globs over parameter names (``features.*``), or a module's name for all inside it; ``!`` takes back.
        key: of the config, for the error.

    Raises:
        UserError: a pattern matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    selected: set[str] = set()
    for index, pattern in enumerate([patterns] if isinstance(patterns, str) else patterns):
        glob = pattern.removeprefix("!")
        found = {name for name in names if fnmatchcase(name, glob) or name.startswith(f"{glob}.")}
        if not found:
            place = key if isinstance(patterns, str) else f"{key}.{index}"
            modules = [
                name for name, module in model.named_modules() if name and list(module.parameters())
            ]
            near = did_you_mean(glob, [*modules, *names]) or f"; there are {some(names, 4)}"
            raise UserError(f"{place}: '{pattern}' matches no parameter{near}")
        selected = selected - found if pattern.startswith("!") else selected | found
    return selected


def some(names: Sequence[Any], most: int = 3) -> str:
    """The first of ``names``, for a message."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def layers_of(model: nn.Module) -> list[list[str]]:
    """The names of a model's parameters, layer by layer, in the order in which the layers were made.

    A layer is a module that is no container (``Sequential``, ``ModuleList``, …) nor the shell of another that
    holds most of the model: a convolution, a residual block, a transformer's block. What has no matrix (a norm, a bias,
    a class token beside the layers) belongs to the layer before it, or at the start to the first.
    """
    half = size_of(model) / 2
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    layers: list[list[str]] = []
    early: list[str] = []

    def add(named: dict[str, nn.Parameter], is_layer: bool) -> None:
        if is_layer and any(parameter.ndim > 1 for parameter in named.values()):
            layers.append([*early, *named])
            early.clear()
        else:
            (layers[-1] if layers else early).extend(named)

    def walk(module: nn.Module, prefix: str) -> None:
        add({prefix + name: value for name, value in module.named_parameters(recurse=False)}, False)
        for name, child in module.named_children():
            named = {f"{prefix}{name}.{key}": value for key, value in child.named_parameters()}
            inner = max(
                (size_of(part) for part in child.children() if next(part.children(), None)),
                default=0,
            )
            if isinstance(child, containers) or inner > half:
                walk(child, f"{prefix}{name}.")
            else:
                add(named, True)

    walk(model, "")
    return layers if not early else [early, *layers]


def size_of(model: nn.Module) -> int:
    """How many numbers a module's parameters hold."""
    return sum(parameter.numel() for parameter in model.parameters())


def frozen_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The largest modules with none but frozen parameters; and before any trainable one the norms without parameters.

    Those are in none of the patterns, yet gather statistics.
    """
    trainable_seen = False

    def walk(module: nn.Module) -> Iterator[nn.Module]:
        nonlocal trainable_seen
        parameters = list(module.parameters())
        is_norm = isinstance(module, NORMS) and not parameters and not trainable_seen
        if is_norm or (parameters and not any(parameter.requires_grad for parameter in parameters)):
            yield module
            return
        trainable_seen = trainable_seen or any(
            p.requires_grad for p in module.parameters(recurse=False)
        )
        for child in module.children():
            yield from walk(child)

    return walk(model)


def train(self: nn.Module, mode: bool = True) -> nn.Module:
    """Stands in a frozen module for its class's ``train``: it stays in eval mode.

    A bound method as the module's attribute survives a deep copy (of an EMA) and gives way when pickled.
    """
    return type(self).train(self, False)


def freeze(model: nn.Module, frozen: Iterable[str], whole: bool = True) -> None:
    """Freezes the named parameters, and no others.

    Frozen means: no gradient; norms, and with ``whole`` all else (dropout) in modules that are frozen as a whole,
    stay in eval mode whatever ``model.train()`` says. What comes before the first trainable layer keeps no
    activations, as autograd records nothing where nothing needs a gradient.
    """
    names = set(frozen)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
        if name in names:
            parameter.grad = None
    for module in model.modules():
        vars(module).pop("train", None)
    if not names:
        return
    for part in frozen_modules(model):
        for module in (
            [part] if whole else [module for module in part.modules() if isinstance(module, NORMS)]
        ):
            module.train = MethodType(train, module)  # type: ignore[method-assign]
    model.train(model.training)


def frozen_tensors(model: nn.Module) -> dict[str, Any]:
    """All that must not change: the frozen parameters, and the buffers of the frozen modules, by name."""
    still = {id(buffer) for part in frozen_modules(model) for buffer in part.buffers()}
    parameters = {
        name: value for name, value in model.named_parameters() if not value.requires_grad
    }
    return parameters | {name: value for name, value in model.named_buffers() if id(value) in still}


class Audit:
    """Compares what is frozen before and after a step, and notes which parameters get a gradient."""

    def __init__(self, model: nn.Module) -> None:
        self.before = {name: checksum(value) for name, value in frozen_tensors(model).items()}
        self.silent = {name for name, value in model.named_parameters() if value.requires_grad}
        self._hooks = [
            value.register_post_accumulate_grad_hook(lambda _, name=name: self.silent.discard(name))  # type: ignore[no-untyped-call]
            for name, value in model.named_parameters()
            if value.requires_grad
        ]

    def look(self, model: nn.Module, logger: logging.Logger) -> None:
        """Raises UserError if something frozen has changed; warns of trained parameters without a gradient."""
        for hook in self._hooks:
            hook.remove()
        now = frozen_tensors(model)
        changed = [
            name
            for name, value in self.before.items()
            if name in now and checksum(now[name]) != value
        ]
        if changed:
            raise UserError(
                f"transfer.freeze: {some(changed)} changed in a step although frozen; "
                "does the model, the trainer or the optimizer write to it?"
            )
        if self.silent:
            names = some(sorted(self.silent), 5)
            logger.warning(
                "%d trained parameters got no gradient in the first step: %s",
                len(self.silent),
                names,
            )


def checksum(value: torch.Tensor) -> int:
    """CRC-32 of a tensor's bytes, as far as they are here."""
    return zlib.crc32(
        part_of(value).detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    )
