"""The loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from base import BaseTrainer
from base.checkpoint.train_state import loader_of
from base.loop.evaluate import evaluate, forward
from base.loop.metrics import MetricSet, name_of
from base.loop.update import Update
from base.options import TrainerOptions
from base.parallel.placement import output_device
from base.parallel.sharding import gathered
from base.parallel.strategy import alone, divided, sync_buffers
from base.tools.debug import Overfit, Probe, memory_mb
from base.tools.display import Display
from base.tools.recorder import Recorder
from logger.progress import progress
from utils.batch import batch_size_of, num_batches, to_device
from utils.checkpoints import BEST
from utils.distributed import set_activity
from utils.errors import UserError
from utils.seed import get_random_state
from utils.util import inf_loop

__all__ = ["Trainer"]

# How often the numbers of a single step are written, and how far apart: it costs as much as several small steps do.
WRITE_BATCHES, WRITE_SECONDS = 50, 0.2
KEPT = 20_000_000  # numbers of a validation's outputs that are kept on the device, to be looked at


class Trainer(BaseTrainer):
    """Trains a model on (input, target) batches.

    To train in another way, override ``forward`` (what the model is called with), ``train_step`` (what the loss is)
    or ``_train_epoch`` (all of it; see ``trainer/gan.py``).

    Args:
        device: where the model takes its inputs.
        data_loader: of training batches.
        valid_data_loader: of validation batches, or None.
        lr_scheduler: of torch's, or None.
        len_epoch: batches an epoch, going round the data; None makes an epoch one pass over it.
        The others are BaseTrainer's.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable[[Any, Any], torch.Tensor],
        metric_ftns: list[Any],
        optimizer: torch.optim.Optimizer,
        config: Any,
        device: torch.device,
        data_loader: Any,
        valid_data_loader: Any = None,
        lr_scheduler: Any = None,
        len_epoch: int | None = None,
    ) -> None:
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        if len_epoch is not None and len_epoch < 1:
            raise UserError(f"trainer.len_epoch: {len_epoch} must be at least 1")
        self.device = device
        data_loader = divided(data_loader, "data_loader", device)
        if self._options.debug is not None and self._options.debug.overfit_batches:
            data_loader = Overfit(data_loader, self._options.debug.overfit_batches)
        self.data_loader = data_loader if len_epoch is None else inf_loop(data_loader)
        self.len_epoch = len_epoch if len_epoch is not None else num_batches(data_loader)
        self.valid_data_loader = divided(
            valid_data_loader, "valid_data_loader", device, evaluating=True
        )
        self.do_validation = valid_data_loader is not None
        self.lr_scheduler = lr_scheduler
        self.log_step = max(1, int(math.sqrt(data_loader.batch_size or 1)))
        self.update = Update(self.model, self.optimizer, self._options, device, lr_scheduler)
        end = output_device(self.model, device)
        self.train_metrics = MetricSet(metric_ftns, self.writer, end)
        self.valid_metrics = Recorder(
            metric_ftns, self.writer, end, KEPT if self.writer.enabled else 0
        )
        self.display = Display(self.writer, self._options)
        self.probe = Probe(
            alone(self.model), self.writer, self._options, config.log_dir, self.logger
        )
        self._check_length()
        self._speed = (
            0.0,
            math.inf,
        )  # when numbers were last written, and the samples of the epoch until then

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Trains one epoch, validates, moves the schedule; returns the epoch's numbers."""
        self.model.train()
        if self.place == 0:  # otherwise a resumed run goes on within this epoch
            self.train_metrics.reset()
        for batch in self.batches(epoch):
            loss = self._learn(batch)
            writes = self.place % WRITE_BATCHES == 1 and self._may_write()
            stepped = self.update.step(measure=writes)
            if writes:
                self.log_train(loss)
            if stepped:
                self.after_step()
        self.update.flush()
        log = self.train_metrics.result()
        for name in list(log)[1:]:
            self.writer.add_scalar(name, log[name])
        if self.do_validation:
            log |= {f"val_{name}": value for name, value in self._valid_epoch(epoch).items()}
        self.update.schedule.after_epoch(log, self.mnt_metric)
        return log

    def _learn(self, batch: Any) -> torch.Tensor:
        """Adds a batch's gradient and measures it; returns its loss (its last part's, where it is split)."""
        passes = self.update.splitting.run(batch, self._pass, self.update.begin_again)
        loss: torch.Tensor
        for loss, *compared in passes:
            if compared:
                self.train_metrics.measure(loss, *compared)
        return loss

    def _pass(self, batch: Any, share: float, last: bool) -> tuple[Any, ...]:
        """A batch, or a part of it, through the model and back: its loss, and what is to be measured, if it counts."""
        with self.update.context(self.batches_left):
            loss, output, target = self.train_step(batch)
        self.probe.after_forward(loss)
        counts = self.update.backward(loss, self.share * share, last)
        self.probe.after_backward()
        return (loss, output, target, batch_size_of(target, output, batch)) if counts else (loss,)

    def train_step(self, batch: Any) -> tuple[torch.Tensor, Any, Any]:
        """One forward pass: the loss of a batch, and what the metrics compare. The one seam most people override."""
        output, target = self.forward(self.model, batch)
        return self.criterion(output, target), output, target

    @staticmethod
    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """Calls the model with a batch's inputs; returns ``(output, target)``."""
        return forward(model, batch)

    @classmethod
    def evaluate_split(
        cls,
        model: nn.Module,
        batches: Iterable[Any],
        criterion: Any,
        metrics: MetricSet,
        device: torch.device,
        autocast: Callable[[], Any] = nullcontext,
    ) -> dict[str, float]:
        """The numbers of ``model`` on a split: after an epoch's training, and in ``test.py``."""
        return evaluate(model, batches, criterion, metrics, device, cls.forward, autocast)

    def _valid_epoch(self, epoch: int) -> dict[str, float]:
        """The numbers of the validation split; with an EMA also those of the averaged weights, as ``ema_…``."""
        set_activity(f"the validation of epoch {epoch}")
        self._random = get_random_state()
        log = self._evaluate(alone(self.model))
        self.writer.set_step(self.steps_done() or epoch, "valid")
        self.display.predictions(
            epoch, self.valid_data_loader, self.valid_metrics, name_of(self.criterion)
        )
        if self.update.ema is not None:
            log |= {
                f"ema_{name}": value
                for name, value in self._evaluate(self.update.ema.module).items()
            }
        self._random = None
        for name, value in log.items():
            self.writer.add_scalar(name, value)
        return log

    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        sync_buffers(model)
        with gathered(model):
            return self.evaluate_split(
                model,
                self.display.watched(self.stoppable(self.valid_data_loader)),
                self.criterion,
                self.valid_metrics,
                self.device,
                self.update.autocast,
            )

    def batches(self, epoch: int) -> Iterator[Any]:
        """The epoch's batches, on the device, with progress shown."""
        title = f"epoch {epoch}/{self.epochs}"
        empty = self.place == 0
        self.display.watch(alone(self.model))
        for batch in progress(self._taken(), self.len_epoch, title, self.logger, self._status):
            empty = False
            self.place += 1
            batch = to_device(batch, self.device)
            if epoch == self.place == 1:
                names = list(map(name_of, self.metric_ftns))
                self.display.first_batch(
                    batch, self.data_loader, alone(self.model), self.config.plain(), names
                )
            self.probe.begin(epoch, self.place, self.data_loader)
            yield batch
        if empty:
            raise UserError("there was nothing to train on: the data loader gave no batch")

    @property
    def batches_left(self) -> int | None:
        """Of this epoch, with the one that was taken last; None where the data does not tell."""
        return self.len_epoch and self.len_epoch - self.place + 1

    @property
    def share(self) -> float:
        """What the batch taken last counts for: 1, but where the ranks' parts of it differ in size."""
        return getattr(loader_of(self), "share", 1.0)

    def _taken(self) -> Iterator[Any]:
        """What is left of one pass, or of ``len_epoch`` batches; not one more, which the next epoch would miss."""
        if self.len_epoch is not None and self.place >= self.len_epoch:
            return
        if not isinstance(self.data_loader, inf_loop):
            yield from self.data_loader
            return
        for _ in range((self.len_epoch or 0) - self.place):
            yield next(self.data_loader)

    def _status(self) -> str:
        return self.train_metrics.brief()

    def _may_write(self) -> bool:
        return self.place == 1 or time.perf_counter() - self._speed[0] >= WRITE_SECONDS

    def log_train(self, loss: torch.Tensor) -> None:
        """Writes the numbers of one step; the only place of the loop that waits for the device."""
        self.update.check_losses()
        self.writer.set_step(self.update.steps)
        self.writer.add_scalar("loss", loss.item())
        for index, group in enumerate(self.optimizer.param_groups):
            self.writer.add_scalar(
                "lr" if index == 0 else f"lr_{index}", group["lr"] * self.update.schedule.factor
            )
        if self.update.grad_norm is not None:
            self.writer.add_scalar("grad_norm", self.update.grad_norm)
        now, seen = time.perf_counter(), self.train_metrics.n_samples
        if seen > self._speed[1]:  # within the epoch: validation aside
            self.writer.add_scalar(
                "samples_per_sec", (seen - self._speed[1]) / (now - self._speed[0])
            )
        self._speed = now, seen
        self.writer.add_scalar("memory_mb", memory_mb(self.device))

    def after_training(self) -> None:
        """Shows how it ended: the hyperparameters with their score, and what is taken for what."""
        self.probe.close()
        best = (self.mnt_metric, self.mnt_best) if self.mnt_mode != "off" else None
        self.display.end(self.config.plain(), self.last_log, best, self.checkpoint_dir / BEST)
        self.display.confusion(self.valid_data_loader, self.valid_metrics, name_of(self.criterion))

    def _progress(self, batch_idx: int) -> str:
        """How far the epoch is, as ``[128/1617 (8%)]``."""
        n_samples = getattr(self.data_loader, "n_samples", 0)
        total = n_samples or self.len_epoch or 1
        current = (
            batch_idx * (getattr(self.data_loader, "batch_size", None) or 1)
            if n_samples
            else batch_idx
        )
        return f"[{current}/{total} ({100 * current / total:.0f}%)]"

    @classmethod
    def logged_names(
        cls, metrics: list[str], options: TrainerOptions, validates: bool
    ) -> list[str] | None:
        own = {
            name
            for kind in cls.__mro__
            if issubclass(kind, Trainer) and kind is not Trainer
            for name in vars(kind)
        }
        if own & {"_train_epoch", "_valid_epoch", "evaluate_split"}:
            return None
        names = ["loss", *metrics]
        ema = [f"val_ema_{name}" for name in names] if options.ema_decay is not None else []
        return names + ([f"val_{name}" for name in names] + ema) * validates

    def _check_length(self) -> None:
        """Compares warm-up and schedule with the run's length. Raises ConfigError for a warm-up that never ends."""
        if self.len_epoch is None:
            return
        try:
            steps = self._options.check_length(self.len_epoch)
        except UserError as error:
            raise self.config.tree.error(("trainer", "warmup_steps"), str(error)) from None
        if horizon := self.update.schedule.horizon(self.epochs, steps):
            self.logger.warning("lr_scheduler: %s", horizon)
