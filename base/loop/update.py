"""Update: autocast, gradient accumulation, loss scaling, clipping, schedule and EMA."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from base.loop.lr_schedule import LRSchedule
from base.loop.progress import Progress
from base.options import TrainerOptions
from base.parallel.strategy import NoParallel, Parallel, find_loose_parameters, uses_accelerator
from utils.distributed import world_size
from utils.errors import UserError

NO_CONTEXT = nullcontext()  # to make one takes time in each step
AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Update:
    """Turns losses into optimizer steps.

    An accumulation window holds the batches whose gradients make one optimizer step. These are
    ``accumulation_steps`` batches, or fewer at the end of an epoch.

    Args:
        model: the model, wrapped by the strategy.
        optimizer: updates the parameters of the model.
        options: the ``trainer`` section of the config.
        device: the device of the model.
        lr_scheduler: a scheduler of torch, or None.
        parallel, progress: the strategy and the counters; by default one device and new counters.

    Attributes:
        schedule: moves the learning rate.
        scaler: scales the loss for fp16; disabled for other precisions.
        averages, ema: the averaged models by kind (``ema``, ``swa``); the moving one, or None.
        grad_norm: the L2 norm of the last measured gradient, before clipping.
        measure_grad_norm: whether to measure the next gradient, even if nothing clips it.
        targets: WindowTargets, if the batches of a window weigh by their targets.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: TrainerOptions,
        device: torch.device,
        lr_scheduler: Any = None,
        parallel: Parallel | None = None,
        progress: Progress | None = None,
    ) -> None:
        from base.loop.optimizer_modes import refuse_closures

        refuse_closures(optimizer)
        self.model, self.optimizer, self.options = model, optimizer, options
        self.device = device
        self.parallel = NoParallel() if parallel is None else parallel
        self.progress = Progress() if progress is None else progress
        interval, warmup = options.lr_scheduler_interval, options.any_warmup
        self.schedule = LRSchedule(lr_scheduler, optimizer, warmup.steps, interval, warmup.from_)
        self._scales = options.precision == "fp16"  # a disabled scaler takes time in each step
        self.scaler = torch.amp.GradScaler(device.type, enabled=self._scales)
        from base.loop.averaging import make_averages

        self.averages = make_averages(self.parallel.unwrap(model), options, self.progress)
        self.ema: Any = self.averages.get("ema")
        self.loose_parameters = find_loose_parameters(model, optimizer)
        self.grad_norm: torch.Tensor | None = None
        self.measure_grad_norm = False
        self.targets: Any = None
        self._window = options.accumulation_steps
        self._batches_in_window = 0
        self._gradients_are_synced, self._has_ranks = True, world_size() > 1
        self.checks_later = uses_accelerator(model, device)  # reading a loss would wait for it
        self._unchecked_losses: list[torch.Tensor] = []

    # -- the four calls of a loop ---------------------------------------------------------------

    def forward_context(self, batches_left: int | None = None) -> AbstractContextManager[Any]:
        """Returns a context for the forward pass, with autocast.

        The ranks average their gradients only in the last batch of a window.

        Args:
            batches_left: the batches left in this epoch, including this one; None if unknown.
        """
        if self._batches_in_window == 0 and batches_left is not None and batches_left > 0:
            self._window = min(self._window, batches_left)
        self._gradients_are_synced = self._batches_in_window + 1 >= self._window
        if self._has_ranks:
            self.parallel.sync_gradients(self.model, self._gradients_are_synced)
        return self.autocast()

    def backward(self, loss: torch.Tensor, weight: float = 1.0) -> None:
        """Adds the gradient of ``loss``, the mean over a batch, averaged over the window.

        ``weight`` is the size of this rank's part of the batch, divided by the ranks' mean size.

        Raises:
            UserError: the loss is not one number, or on a CPU not finite (``nan_policy: raise``).
        """
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            found = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise UserError(f"the loss must be one number, not {found}; take its mean() or sum()")
        if weight == 0:  # a filler, or a batch of ignored targets, whose loss is NaN
            loss = loss.nan_to_num()
        elif self.options.nan_policy == "raise":
            if self.checks_later:
                self._unchecked_losses.append(loss.detach().reshape(()))
            else:
                self._check_loss(loss.item())
        if self._window != 1:
            loss = loss / self._window
            if self.targets is not None:
                weight *= self.targets.weigh_batch()
        if weight != 1.0:
            loss = loss * weight
        loss = self.scaler.scale(loss) if self._scales else loss
        loss.backward()  # type: ignore[no-untyped-call]
        self._batches_in_window += 1

    def step(self) -> bool:
        """Steps the optimizer if the window is full; returns whether it did."""
        if self._batches_in_window < self._window:
            return False
        if not self._gradients_are_synced:
            self.parallel.reduce_gradients(self.model.parameters())
        if self.loose_parameters:  # no wrapper averages their gradients
            self.parallel.reduce_gradients(self.loose_parameters)
        if self.targets is not None:
            self._scale_gradients(self.targets.end_window(self._window))
        self._clip_gradients()
        moved = self._step_optimizer()
        if self.schedule.interval == "step":
            self.schedule.after_step(moved)
        self._clear_gradients()
        self.progress.step += 1
        for average in self.averages.values():
            average.update_parameters(self.parallel.unwrap(self.model), moved)
        return True

    def flush(self) -> bool:
        """Ends an epoch: checks its losses, and makes the step of a last, shorter window."""
        self.check_losses()
        if self._batches_in_window == 0:
            return False
        self._scale_gradients(self._window / self._batches_in_window)
        self._window = self._batches_in_window
        return self.step()

    # -- details --------------------------------------------------------------------------------

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns a context for the precision of the forward pass."""
        dtype = AUTOCAST_DTYPES.get(self.options.precision)
        return NO_CONTEXT if dtype is None else torch.autocast(self.device.type, dtype)

    def check_losses(self) -> None:
        """Raises UserError if a loss of an accelerator was not finite since the last call."""
        losses, self._unchecked_losses = self._unchecked_losses, []
        for loss in torch.stack(losses).tolist() if losses else []:
            self._check_loss(loss)

    def _check_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            from base.loop.finite import refuse_loss

            refuse_loss(loss, self)

    def _scale_gradients(self, factor: float) -> None:
        for parameter in (*self.model.parameters(), *self.loose_parameters):
            if parameter.grad is not None and factor != 1.0:
                parameter.grad.mul_(factor)

    def _clip_gradients(self) -> None:
        """Clips the gradient, or measures its norm on request."""
        limits = self.options.grad_clip_norm, self.options.grad_clip_value
        if limits != (None, None) or self.measure_grad_norm:
            self.scaler.unscale_(self.optimizer)
            self.grad_norm = self.parallel.clip_gradients(
                self.model, *limits, self.loose_parameters, self.measure_grad_norm
            )
        self.measure_grad_norm = False

    def _step_optimizer(self) -> torch.Tensor | bool:
        """Returns whether the weights moved: fp16 skips a step if its gradients have overflowed."""
        # The loss scale shows it. The answer stays on the device.
        asks = self._scales and (self.schedule.interval == "step" or self.ema is not None)
        scale = self.scaler.scale(torch.ones((), device=self.device)) if asks else None
        self.schedule.used_rates = None  # the optimizer has those of this step
        is_warmup = self.progress.step < self.schedule.warmup_steps
        try:
            with self.schedule.warming_up(self.progress.step) if is_warmup else NO_CONTEXT:
                self.scaler.step(self.optimizer) if self._scales else self.optimizer.step()
        except KeyError as error:
            message = f"the optimizer's state has no {error}: the checkpoint is damaged"
            raise UserError(message) from error
        if self._scales:
            self.scaler.update()
        return True if scale is None else self.scaler.scale(torch.ones_like(scale)) >= scale

    def _clear_gradients(self) -> None:
        """Starts a new window. torch's ``zero_grad`` is slow, because it reports to profilers."""
        self._batches_in_window = 0
        self._window = self.options.accumulation_steps
        if type(self.optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        self.check_losses()
        state = {"scaler": self.scaler.state_dict(), "ema": None, "lr": self.schedule.get_rates()}
        return state | {kind: average.get_state() for kind, average in self.averages.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.schedule.used_rates = state.get("lr")
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        from base.loop.averaging import load_averages

        load_averages(self.averages, state)
