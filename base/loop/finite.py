"""Keeps NaN and infinity out of the weights and out of checkpoints."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from base.loop.gradient_check import GradientCheck
from base.loop.progress import Progress
from base.options import TrainerOptions
from base.parallel.strategy import Parallel
from utils.distributed import all_gather
from utils.dtensor import local_shard
from utils.errors import UserError

if TYPE_CHECKING:
    from base.loop.update import Update

NAMES_SHOWN = 3
CHECKED_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MIN_LOSS_SCALE = 1e-6  # below it, fp16 has refused some 35 steps more than it has made
ADVICE = "Lower optimizer.args.lr, set trainer.grad_clip_norm, or look for bad values in the data"
CAUSES = (
    "Often the loss is finite where its gradient is not, as with sqrt, log or a norm at 0: add a "
    "small number there. trainer.debug.detect_nan finds the layer"
)


class FiniteGuard:
    """Keeps weights finite: looks at the gradient of each step, and at the state of each save.

    It sees every optimizer of the process, also those in a loop that is not ours.

    Args:
        model: the model as it is before a checkpoint is loaded. Values in it that are not finite
            belong to it, such as the infinities in a mask.
        options: ``nan_policy`` decides between an error and a warning.
        parallel: the strategy.
        progress: the counters of the run, for messages.
        logger: gets the warnings.
    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainerOptions,
        parallel: Parallel,
        progress: Progress,
        logger: logging.Logger,
    ) -> None:
        self.raises = options.nan_policy == "raise"
        self.parallel, self.progress, self.logger = parallel, progress, logger
        self._by_design = set(find_non_finite(parallel.unwrap(model).state_dict()))
        self._model: weakref.ref[nn.Module] | None = None
        self._gradients = GradientCheck(self._refuse_step)
        self._warned: set[str] = set()

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside, no step of an optimizer makes a weight of ``model`` NaN or infinite."""
        self._model = weakref.ref(self.parallel.unwrap(model))
        hook = register_optimizer_step_pre_hook(self._gradients.check)
        try:
            yield
            self.check_steps()
        finally:
            hook.remove()

    def check_steps(self) -> None:
        """Checks the steps of an accelerator since the last call.

        Raises:
            UserError: the gradient of a step was not finite, and ``nan_policy`` is ``raise``.
        """
        count, were_left_out = self._gradients.take_count()
        if count == 0:
            return
        end = "resume from the newest checkpoint"
        if were_left_out:
            end = "those steps changed no weights"
        self._tell(f"the gradient was not finite in {count} optimizer steps; {end}", CAUSES)

    def check_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Checks the state of a run before it is saved.

        Returns:
            The state.

        Raises:
            UserError: weights or the state of an optimizer are not finite, and ``nan_policy`` is
                ``raise``.
        """
        self.check_steps()
        for part in state["parts"].values():
            self._check_scale(part.get("scaler") or part if isinstance(part, dict) else {})
        tensors = {"state_dict": state["state_dict"], "optimizer": state["optimizer"]}
        found = find_non_finite(tensors | {"parts": state["parts"]})
        names = [name for name in found if not self._is_by_design(name)]
        if names := next(filter(None, all_gather(names)), []):
            found_in = list_names(names)
            end = "no checkpoint is written; resume from the newest one"
            if not self.raises:
                end = "the checkpoint holds them"
            step = self.progress.step
            message = f"values of {found_in} are not finite after {step} optimizer steps; {end}"
            self._tell(message, ADVICE, key="state")
        return state

    def _check_scale(self, scaler: dict[str, Any]) -> None:
        scale = scaler.get("scale")
        if isinstance(scale, float) and scale < MIN_LOSS_SCALE:
            reason = f"their gradient is not finite even at a loss scale of {scale:.1g}"
            self._tell(f"fp16 leaves out the steps, because {reason}", CAUSES, key="scale")

    def _is_by_design(self, name: str) -> bool:
        return any(name.endswith(f".{known}") for known in self._by_design)

    def _refuse_step(self, optimizer: Optimizer) -> None:
        """Raises, or lets the step change nothing: an optimizer leaves out what has no gradient."""
        for look in optimizer._optimizer_step_pre_hooks.values():
            look(optimizer, (), {})  # trainer.debug knows more; torch calls it after this hook
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        model = None if self._model is None else self._model()
        known = {} if model is None else {id(p): name for name, p in model.named_parameters()}
        gradients = {
            known.get(id(p), "a parameter outside the model"): p.grad
            for p in parameters
            if p.grad is not None
        }
        names = list_names(list(find_non_finite(gradients)) or list(gradients))
        for parameter in parameters:
            parameter.grad = None
        step = self.progress.step
        message = f"the gradient of {names} is not finite after {step} optimizer steps"
        self._tell(f"{message}; this step changed no weights", CAUSES, key="gradient")

    def _tell(self, message: str, advice: str, key: str = "") -> None:
        if self.raises:
            raise UserError(f"{message}. {advice}")
        if (key or message) not in self._warned:
            self._warned.add(key or message)
            self.logger.warning("%s (trainer.nan_policy is ignore).", message)


def refuse_loss(loss: float, update: Update) -> None:
    """Raises the error for a loss that is not finite.

    The losses of an accelerator are checked when they may have changed the weights.
    """
    advice = f"this batch changed no weights. {ADVICE}"
    step, model = update.progress.step, update.parallel.unwrap(update.model)
    if update.checks_later:
        advice = f"resume from the newest checkpoint. {ADVICE}"
    elif names := find_non_finite(dict(model.named_parameters())):
        advice = f"the weights {list_names(names)} are not finite. {ADVICE}"
    raise UserError(f"the loss is {loss} after {step} optimizer steps; {advice}")


def list_names(names: list[str]) -> str:
    """``a, b, c and 4 more``."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def find_non_finite(state: Any) -> list[str]:
    """Lists the dotted names of the tensors in a nested state that hold NaN or infinity."""
    tensors = dict(_list_tensors(state, ()))
    if not tensors or not is_any_non_finite(list(tensors.values())):
        return []
    return [name for name, tensor in tensors.items() if is_any_non_finite([tensor])]


def is_any_non_finite(tensors: list[torch.Tensor]) -> bool:
    """Whether a tensor holds NaN or infinity. The largest magnitude shows it without a copy."""
    norm = nn.utils.get_total_norm(tensors, norm_type=float("inf"))
    return not bool(norm.isfinite())


def _list_tensors(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _list_tensors(item, (*keys, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _list_tensors(item, (*keys, str(index)))
    elif isinstance(value, torch.Tensor) and not is_lazy(value):
        value = local_shard(value.detach())
        if value.layout is not torch.strided:
            value = value.coalesce().values() if value.is_sparse else value.values()
        if value.is_complex():
            value = torch.view_as_real(value.resolve_conj())
        if value.dtype in CHECKED_DTYPES and value.numel() and not value.is_meta:
            yield ".".join(keys), value
