"""Averages of a model's weights: EMA, the moving one, and SWA, the equal one."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from base.feature_options import SWAOptions
from base.loop.gradient_check import READ_AT_ONCE
from base.loop.progress import Progress

if TYPE_CHECKING:
    from base.loop.update import Update
    from base.options import TrainerOptions

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]

SWITCHES = {"ema": "ema_decay", "swa": "swa"}  # the options of ``trainer`` that turn averages on


class Average(AveragedModel):
    """A copy of a model with averages of its weights. Buffers and integers are always copied.

    torch's ``update_parameters`` gives the same numbers, but copies its counter to the device of
    the weights, which waits for that device in every step.

    Args:
        model: without a wrapper.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(_copy(model))  # type: ignore[no-untyped-call]
        _renew_buffers(self.module, model)  # a copy of an expanded tensor could not be written to

    def is_ready(self) -> bool:
        """Whether there is an average to evaluate."""
        return True

    def get_state(self) -> dict[str, Any] | None:
        """The state for a checkpoint; None if there is nothing to save yet."""
        return self.state_dict()

    def update_parameters(self, model: nn.Module, moved: torch.Tensor | bool = True) -> None:
        """Called after each optimizer step.

        Args:
            model: without a wrapper.
            moved: whether the step moved the weights; fp16 leaves steps out. A tensor of shape ()
                stays on its device.
        """

    def end_epoch(self, update: Update, loader: Any, forward: Forward) -> None:
        """Called at the end of an epoch, after its last step and before the validation.

        Args:
            update: trains the model.
            loader: gives the training batches.
            forward: ``forward(model, batch)`` calls the model.
        """

    def _pair(self, model: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The averages and the weights that they follow. Integers are copied."""
        averages: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        for average, weight in zip(self.module.parameters(), model.parameters(), strict=True):
            if average.is_floating_point() or average.is_complex():
                averages.append(average)
                weights.append(weight)
            else:
                average.copy_(weight)  # a mean of equal integers may be rounded to another one
        return averages, weights

    def _move(
        self, averages: list[torch.Tensor], weights: list[torch.Tensor], fraction: float
    ) -> None:
        """Moves the averages towards the weights by ``fraction``; the first time, to them."""
        if int(self.n_averaged) == 0:  # the counter stays on the CPU
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        elif averages:
            torch._foreach_lerp_(averages, weights, fraction)
        self.n_averaged += 1

    def _copy_buffers(self, model: nn.Module) -> None:
        ours, theirs = list(self.module.buffers()), list(model.buffers())
        if [(b.shape, b.dtype) for b in ours] != [(b.shape, b.dtype) for b in theirs]:
            _renew_buffers(self.module, model)
            return
        for average, buffer in zip(ours, theirs, strict=True):
            average.copy_(buffer)


class EMA(Average):
    """The exponential moving average of a model's weights.

    ``average = decay * average + (1 - decay) * weight``, after each optimizer step that moves the
    weights. The first one copies the weights.

    With ``warmup``, the decay after n updates is ``min(decay, 1 - (1 + n / gamma) ** -power)``.
    Source: https://github.com/crowsonkb/k-diffusion, ``EMAWarmup``; timm and diffusers use it too.
    For gamma 10 and power 1 it is ``n / (10 + n)``, nearly TensorFlow's ``(1 + n) / (10 + n)``:
    https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage

    Args:
        model: without a wrapper.
        decay: the fraction of the average that stays in a step.
        warmup: gamma and power; None keeps the decay constant.
    """

    def __init__(
        self, model: nn.Module, decay: float, warmup: tuple[float, float] | None = None
    ) -> None:
        super().__init__(model)
        self.decay, self.warmup = decay, warmup

    @torch.no_grad()
    def update_parameters(self, model: nn.Module, moved: torch.Tensor | bool = True) -> None:
        """Follows ``model`` after an optimizer step that has ``moved`` its weights."""
        if isinstance(moved, torch.Tensor) and moved.device.type in READ_AT_ONCE:
            moved = bool(moved)
        averages, weights = self._pair(model)
        if isinstance(moved, torch.Tensor):
            self._follow_on_device(averages, weights, moved)
        elif moved:
            fraction = 1 - self.decay
            if self.warmup is not None:
                gamma, power = self.warmup
                fraction = max(fraction, (1 + int(self.n_averaged) / gamma) ** -power)
            self._move(averages, weights, fraction)
        self._copy_buffers(model)

    def _follow_on_device(
        self, averages: list[torch.Tensor], weights: list[torch.Tensor], moved: torch.Tensor
    ) -> None:
        """As ``_move``, without reading ``moved``: a step that moved nothing has the weight 0."""
        self.n_averaged = self.n_averaged.to(moved.device, non_blocking=True)  # once
        fraction = torch.where(self.n_averaged == 0, 1.0, 1 - self.decay)
        if self.warmup is not None:
            gamma, power = self.warmup
            fraction = torch.maximum(fraction, (1 + self.n_averaged / gamma) ** -power)
        factor = fraction * moved
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, factor.to(average))
        self.n_averaged += moved


class SWA(Average):
    """Stochastic weight averaging: the equal average of the weights from an epoch on.

    Source: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407.

    Args:
        model: without a wrapper.
        options: the section ``trainer.swa``.
        epochs: the number of epochs of the run.
        progress: the counters of the run.
    """

    last_epoch: torch.Tensor  # the last epoch that has ended, shape (), on the CPU

    def __init__(
        self, model: nn.Module, options: SWAOptions, epochs: int, progress: Progress
    ) -> None:
        super().__init__(model)
        self.options, self.progress = options, progress
        self.first_epoch = options.first_epoch(epochs)
        self.register_buffer("last_epoch", torch.tensor(0))

    def is_ready(self) -> bool:
        return int(self.n_averaged) > 0

    def get_state(self) -> dict[str, Any] | None:
        return self.state_dict() if self.is_ready() else None

    def update_parameters(self, model: nn.Module, moved: torch.Tensor | bool = True) -> None:
        """Averages the weights after an optimizer step, if ``steps`` have passed since the last."""
        if self.options.steps is not None and self.progress.step % self.options.steps == 0:
            self._add(model)

    def end_epoch(self, update: Update, loader: Any, forward: Forward) -> None:
        """Averages the weights of the epoch, and recomputes the statistics of batch norms.

        Nothing changes in a resumed run that ends the epoch again, to repeat its validation.
        """
        if int(self.last_epoch) == self.progress.epoch:
            return
        if self.options.steps is None:
            self._add(update.parallel.unwrap(update.model))
        if self.is_ready():
            from base.loop.batch_norms import recompute_statistics

            max_batches = self.options.batch_norm_batches
            recompute_statistics(self.module, update, loader, forward, max_batches)
        self.last_epoch.fill_(self.progress.epoch)

    @torch.no_grad()
    def _add(self, model: nn.Module) -> None:
        if self.progress.epoch >= self.first_epoch:
            averages, weights = self._pair(model)
            self._move(averages, weights, 1 / (int(self.n_averaged) + 1))
            self._copy_buffers(model)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Restores the average, or drops it with a warning if its first epoch is to come again."""
        result = super().load_state_dict(*args, **kwargs)
        if self.is_ready() and self.progress.epoch < self.first_epoch:
            logging.getLogger("trainer").warning(
                "trainer.swa.start is epoch %d now: the SWA weights of the checkpoint are dropped.",
                self.first_epoch,
            )
            self.n_averaged.zero_()
        return result


def make_averages(
    model: nn.Module, options: TrainerOptions, progress: Progress
) -> dict[str, Average]:
    """Makes the averages that the options ask for, by kind: ``ema``, ``swa``."""
    averages: dict[str, Average] = {}
    if options.ema_decay is not None:
        warmup = (options.ema_warmup_gamma, options.ema_warmup_power)
        averages["ema"] = EMA(model, options.ema_decay, warmup if options.ema_warmup else None)
    if options.swa is not None:
        averages["swa"] = SWA(model, options.swa, options.epochs, progress)
    return averages


def load_averages(averages: dict[str, Average], state: dict[str, Any]) -> None:
    """Restores the averages from the state of an ``Update``; a line says what cannot continue.

    Args:
        averages: of this run, by kind.
        state: of the checkpoint. An older one has no ``swa``.

    Raises:
        KeyError: the state is damaged.
    """
    logger = logging.getLogger("trainer")
    for kind, switch in SWITCHES.items():
        average = averages.get(kind)
        saved = state["ema"] if kind == "ema" else state.get(kind)
        was_off = saved is None if kind == "ema" else kind not in state
        if average is None and saved is not None:
            text = "trainer.%s is off now: the %s weights of the checkpoint are dropped."
            logger.warning(text, switch, kind.upper())
        elif average is not None and was_off:
            text = "trainer.%s is new: the checkpoint has no %s weights, so the average begins now."
            logger.warning(text, switch, kind.upper())
        elif average is not None and saved is not None:
            average.load_state_dict(saved)


def _copy(model: nn.Module) -> nn.Module:
    """Copies a model, also if a module holds a computed tensor, as torch's ``weight_norm`` does."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)


def _renew_buffers(average: nn.Module, model: nn.Module) -> None:
    """Gives ``average`` copies of all buffers: some may have another shape or dtype, or be new."""
    copies: dict[int, torch.Tensor] = {}  # a buffer that modules share stays shared
    for ours, theirs in zip(average.modules(), model.modules(), strict=True):
        buffers = dict(theirs.named_buffers(recurse=False, remove_duplicate=False))
        for name, _ in list(ours.named_buffers(recurse=False, remove_duplicate=False)):
            if name not in buffers:
                setattr(ours, name, None)
        for name, buffer in buffers.items():
            renewed = copies.setdefault(id(buffer), buffer.detach().clone())
            is_persistent = name not in theirs._non_persistent_buffers_set
            ours.register_buffer(name, renewed, is_persistent)
