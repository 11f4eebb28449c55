"""One optimizer update: autocast, accumulation, scaling, clipping, schedule, moving average."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from base.loop.lr_schedule import Schedule
from base.loop.splitting import Splitting
from base.parallel.sharding import drop_pass, is_sharded, together
from base.parallel.strategy import add_up_gradients, alone, sync_gradients
from utils.distributed import all_gather, world_size
from utils.errors import UserError

if TYPE_CHECKING:
    from base.options import TrainerOptions

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Update:
    """Turns losses into optimizer steps; what is switched off costs nothing and changes nothing.

    Args:
        model: whose parameters are clipped and averaged.
        optimizer: moves them.
        options: precision, accumulation_steps, grad_clip_norm, ema_decay, warmup_steps, lr_scheduler_interval.
        device: where the model is.
        lr_scheduler: any of torch's, or None.

    Attributes:
        steps: optimizer updates done.
        skipped: batches whose loss was not finite, under the policy ``skip``.
        loss_scale: of fp16 (a GradScaler; disabled otherwise).
        ema: the averaged model, or None.
        splitting: of batches that the memory is too small for. A checkpoint holds it, for the same bits on resuming.
        grad_norm: the gradient's L2 norm before clipping, at the last step that measured it; or None.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: TrainerOptions,
        device: torch.device,
        lr_scheduler: Any = None,
    ) -> None:
        self.model, self.optimizer, self.options, self.device = model, optimizer, options, device
        if isinstance(optimizer, torch.optim.LBFGS):
            raise UserError(
                "optimizer.type: LBFGS evaluates the loss several times a step; this loop does not do so"
            )
        self.schedule = Schedule(
            lr_scheduler, optimizer, options.warmup_steps, options.lr_scheduler_interval
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self.ema = (
            averaged(alone(model), options.ema_decay) if options.ema_decay is not None else None
        )
        self.steps = 0
        self.splitting = Splitting()
        self.grad_norm: torch.Tensor | None = None
        self._measures = False
        self._pending, self._used, self._window = 0, 0, options.accumulation_steps
        self._spoiled = False  # by a part of a batch that may not get through
        self._added_up = True  # over the ranks, what the gradients hold
        self.skipped = 0
        self._waits_to_look = (
            device.type != "cpu"
        )  # at losses, as that means to wait for the device
        self._unseen: list[torch.Tensor] = []
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def context(self, batches_left: int | None = None) -> contextlib.AbstractContextManager[Any]:
        """Around a training batch's forward pass: its precision, and no exchange of gradients before a step is due.

        Under ``nan_policy: skip`` keeps what the pass may spoil: a batch norm's running statistics.

        Args:
            batches_left: in this epoch, with this one; the last window is as long as there are batches for it.
        """
        if self.options.nan_policy == "skip":
            self._buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        if (
            self._pending == 0 and batches_left and batches_left > 0
        ):  # an iterable dataset may give more than it told
            self._window = min(self._window, batches_left)
        self._added_up = self._pending + 1 >= self._window
        sync_gradients(self.model, self._added_up)
        return self.autocast()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The forward pass's precision."""
        dtype = _DTYPES.get(self.options.precision)
        return (
            contextlib.nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)
        )

    def backward(self, loss: torch.Tensor, share: float = 1.0, last: bool = True) -> bool:
        """Adds the gradient of ``loss``.

        Args:
            loss: one number, shape ``()``; a mean over samples.
            share: what it counts for, where ranks with parts of other sizes train in step, or a batch in parts.
            last: whether it ends its batch.

        Returns:
            Whether it counts: one that is not finite is left out under the policy ``skip``, on all ranks.

        Raises:
            UserError: the loss is no single number, or under the policy ``raise`` not a finite one (see
                ``check_losses``).
        """
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise UserError(f"the loss must be one number, not {shape}; take its mean() or sum()")
        policy = self.options.nan_policy
        if policy == "raise" and self._waits_to_look:
            self._unseen.append(loss.detach().reshape(()))
        elif policy == "raise":
            self._check(loss.item())
        if policy == "skip" and not all(all_gather(math.isfinite(loss.item()))):
            self._pending += last
            self._added_up = False
            self.skipped += 1
            for buffer, before in self._buffers:
                buffer.copy_(before)
            drop_pass(self.model)
            return False
        loss = loss if self._window == 1 else loss / self._window
        loss = loss if share == 1.0 else loss * share
        self._spoiled = True  # until it is through
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._pending, self._used, self._spoiled = self._pending + last, self._used + 1, not last
        return share > 0

    def check_losses(self) -> None:
        """Looks at an accelerator's losses since the last call, at the latest before a checkpoint.

        On the CPU each was looked at before its gradient.

        Raises:
            UserError: one of them is NaN or infinite.
        """
        unseen, self._unseen = self._unseen, []
        for loss in torch.stack(unseen).tolist() if unseen else []:
            self._check(loss)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            moved = (
                "go on from the newest checkpoint"
                if self._waits_to_look
                else "the weights were not moved"
            )
            raise UserError(
                f"the loss is {loss} after {self.steps} optimizer steps; {moved}. "
                "Lower optimizer.args.lr, set trainer.grad_clip_norm, or look for bad values in the data"
            )

    def step(self, measure: bool = False) -> bool:
        """Moves the weights if the window is full. Returns whether it did.

        Args:
            measure: note the gradient's norm at the next move, also where it is not clipped.
        """
        self._measures = self._measures or measure
        if self._pending < self._window:
            return False
        if self._used == 0:  # every batch of the window was skipped
            self._close()
            return False
        if not self._added_up:
            add_up_gradients(self.model)
        if self.options.grad_clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            self.grad_norm = together(
                nn.utils.clip_grad_norm_(self.model.parameters(), self.options.grad_clip_norm)
            )
        elif self._measures:
            self.scaler.unscale_(self.optimizer)
            grads = (p.grad for p in self.model.parameters() if p.grad is not None)
            self.grad_norm = together(nn.utils.get_total_norm(grads))
        self._measures = False
        scale = self.scaler.get_scale()
        with self.schedule.warm_up(self.steps):
            try:
                self.scaler.step(self.optimizer)
            except KeyError as error:
                raise UserError(
                    f"the optimizer's state has no {error}: the checkpoint was damaged"
                ) from error
        self.scaler.update()
        self._clear()
        self._close()
        self.steps += 1
        if (
            self.scaler.get_scale() >= scale
        ):  # otherwise the gradient overflowed, and the weights did not move
            self.schedule.after_step()
        if self.ema is not None:
            self.ema.update_parameters(alone(self.model))
        return True

    def _clear(self) -> None:
        """``zero_grad``, without the marks for a profiler, which take 30 times as long as the work."""
        if type(self.optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _close(self) -> None:
        self._pending, self._used, self._window = 0, 0, self.options.accumulation_steps
        self._spoiled = False

    def begin_again(self) -> str | None:
        """Takes back what a batch has added that ran out of memory, and tells what else that changes.

        None with several processes, where the others would wait in vain for the one that begins again.
        """
        if world_size() > 1 or is_sharded(self.model):
            return None
        told = ", with the same gradient"
        if any(
            isinstance(module, _BatchNorm) and module.training for module in self.model.modules()
        ):
            told += "; batch norms see one part at a time, which changes what they compute"
        if self._spoiled:
            if self._pending:
                told += f"; the {self._pending} batches before it, of the same step, are left out"
            self._clear()
            self._close()
        return told

    def flush(self) -> bool:
        """At the end of an epoch: looks at its losses, and steps with the part of a window that is there."""
        self.check_losses()
        if self._pending == 0:
            return False
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self._window / self._pending)
        self._window = self._pending
        return self.step()

    def state_dict(self) -> dict[str, Any]:
        self.check_losses()
        ema = None if self.ema is None else self.ema.state_dict()
        return {
            "steps": self.steps,
            "parts": self.splitting.parts,
            "scaler": self.scaler.state_dict(),
            "ema": ema,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.splitting.parts = int(state["steps"]), max(1, int(state.get("parts", 1)))
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.load_state_dict(state["ema"])


def averaged(model: nn.Module, decay: float) -> Any:
    """A moving average of the weights: ``average = decay * average + (1 - decay) * weight`` after every step."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
