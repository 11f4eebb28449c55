"""Activation checkpointing: blocks whose activations are computed again in the backward pass."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import MethodType, TracebackType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from base.parallel.blocks import match_blocks
from utils.errors import UserError, abbreviate

KEY = "trainer.activation_checkpointing"
CONTAINERS = (nn.ModuleList, nn.ModuleDict)  # a model never calls them
_RECOMPUTING = threading.local()  # autograd has a thread for each accelerator


def checkpoint_activations(
    model: nn.Module, patterns: str | Sequence[str], logger: logging.Logger
) -> None:
    """Lets blocks of a model store only their inputs for the backward pass, not their activations.

    The backward pass of a block runs its forward pass again, with the same random numbers and
    precision, so the gradients have the same bits. This takes about a third more time. The names
    in state dicts do not change.
    Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174, and ``torch.utils.checkpoint``.

    Args:
        model: changed in place, before a strategy wraps it.
        patterns: names of modules; a ``*`` matches one component of a dotted name.
        logger: gets a line that names the blocks.

    Raises:
        UserError: a pattern matches no module, or a module cannot be checkpointed.
    """
    if isinstance(patterns, str):
        keyed = {KEY: patterns}
    else:
        keyed = {f"{KEY}.{index}": pattern for index, pattern in enumerate(patterns)}
    modules = {name: module for name, module in model.named_modules() if name}
    callable_names = [name for name, m in modules.items() if not isinstance(m, CONTAINERS)]
    found = match_blocks(keyed, callable_names, "module that the model can call")
    names = [name for name in modules if name in found]
    for name in names:
        _checkpoint(name, modules[name])
    count = "1 block" if len(names) == 1 else f"{len(names)} blocks"
    logger.info("Activation checkpointing of %s: %s.", count, abbreviate(names))


def is_recomputing() -> bool:
    """Whether this thread runs a block again, for a backward pass. Hooks may ignore that."""
    return bool(getattr(_RECOMPUTING, "depth", 0))


class Checkpointed:
    """The first parent of the class of a checkpointed module.

    Hooks of the module itself run once in a step. Those of modules inside run once more.
    """

    block_name: ClassVar[str]
    plain_class: ClassVar[type[nn.Module]]
    is_checked: ClassVar[bool] = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        forward = super().forward  # type: ignore[misc]
        if not torch.is_grad_enabled() or torch.jit.is_tracing():  # type: ignore
            return forward(*args, **kwargs)
        if not self.is_checked:
            return self._check_first(forward, args, kwargs)
        return run_checkpointed(forward, self, args, kwargs)

    def _check_first(self, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Runs the block for the first time. It must not change what it reads.

        Raises:
            UserError: it changes an input or a buffer, so a second run would differ.
        """
        inputs = [value for value in tree_leaves((args, kwargs)) if _has_version(value)]
        versions = [value._version for value in inputs]
        buffers = _list_buffers(self)
        output = run_checkpointed(forward, self, args, kwargs)
        now = _list_buffers(self)
        changed = [f"{self.block_name}.{name}" for name in now if buffers.get(name) != now[name]]
        if versions != [value._version for value in inputs]:
            changed.insert(0, "its input")
        if changed:
            message = f"{self.block_name} changes {changed[0]} in its forward pass, so a second "
            raise UserError(f"{message}pass would give other numbers; leave it out", key=KEY)
        type(self).is_checked = True
        return output

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A copy, such as an EMA, and a pickled module have the class without checkpointing."""
        reduced: Any = super().__reduce_ex__(protocol)
        return object.__new__, (self.plain_class,), *reduced[2:]


def _checkpoint(name: str, module: Any) -> None:
    kind = type(module)
    has_method = isinstance(vars(module).get("forward"), MethodType)
    if has_method or isinstance(module, torch.jit.ScriptModule):
        message = f"{name} replaces its method `forward`, so it cannot be checkpointed"
        raise UserError(message, key=KEY)
    attributes = {"block_name": name, "plain_class": kind, "__module__": kind.__module__}
    attributes |= {"__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    module.__class__ = type(kind.__name__, (Checkpointed, kind), attributes)


def run_checkpointed(
    forward: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Calls ``forward``, whose activations are computed again in the backward pass."""
    names = list(kwargs)

    def call(*values: Any) -> Any:
        return forward(*values[: len(args)], **dict(zip(names, values[len(args) :], strict=True)))

    # torch looks for the devices of positional arguments only.
    values = (*args, *kwargs.values())
    contexts = partial(_make_contexts, module)
    return checkpoint(call, *values, use_reentrant=False, context_fn=contexts)


def _make_contexts(
    module: nn.Module,
) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return contextlib.nullcontext(), Recomputing(module)


class Recomputing:
    """The context in which a block runs again, with the random numbers of its first run.

    torch restores its own random numbers. This context restores those of Python and NumPy. It lets
    norms write their statistics into copies, because the first run has counted the batch.

    Args:
        module: the block.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.state = random.getstate(), np.random.get_state()
        self._outside = self.state
        self._statistics: list[tuple[nn.Module, dict[str, torch.Tensor]]] = []

    def __enter__(self) -> None:
        _RECOMPUTING.depth = getattr(_RECOMPUTING, "depth", 0) + 1
        self._outside = random.getstate(), np.random.get_state()
        _set_state(self.state)
        self._statistics = [
            (module, dict(module.named_buffers(recurse=False)))
            for module in self.module.modules()
            if isinstance(module, _NormBase) and module.training
        ]
        for norm, buffers in self._statistics:
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for norm, buffers in self._statistics:
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
        self._statistics = []
        _set_state(self._outside)
        _RECOMPUTING.depth -= 1


def _set_state(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])


def _list_buffers(block: Any) -> dict[str, tuple[int, int]]:
    """The identity and version of each buffer, except for the statistics of norms."""
    norms = [name for name, module in block.named_modules() if isinstance(module, _NormBase)]
    return {
        name: (id(buffer), buffer._version)
        for name, buffer in block.named_buffers()
        if name.rpartition(".")[0] not in norms and _has_version(buffer)
    }


def _has_version(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not value.is_inference()
