"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from base.base_trainer import BaseTrainer
from base.data.loader import count_left, get_rest, list_sets, prepare_loader
from base.loop.evaluate import Weigher, add_prefix, add_up, evaluate, forward, make_metric_sets
from base.loop.metrics import MetricSet
from base.loop.step_writer import StepWriter
from base.loop.update import Update
from base.loop.watcher import make_watchers
from base.parallel.strategy import output_device
from logger.progress import epoch_title, progress
from utils.batch import num_batches, to_device
from utils.distributed import set_activity
from utils.errors import UserError
from utils.seed import get_random_state
from utils.util import inf_loop


class Trainer(BaseTrainer):
    """Trains a model on (input, target) batches.

    To train in another way, override ``forward`` (the call of the model), ``train_step`` (the loss)
    or ``_train_epoch`` (the full loop, as in ``trainer/gan.py``).

    Args:
        device: the device of the model's inputs.
        data_loader: gives the training batches.
        valid_data_loader: gives the validation batches, or a dict of loaders; None for none.
        lr_scheduler: a scheduler of torch; None keeps the learning rate constant.
        len_epoch: batches in an epoch, repeating the data; None makes an epoch one pass over it.
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
            raise UserError(f"{len_epoch} must be at least 1", key="trainer.len_epoch")
        self.device, self.lr_scheduler = device, lr_scheduler
        data_loader = prepare_loader(data_loader, "data_loader", device)
        self.data_loader = data_loader if len_epoch is None else inf_loop(data_loader)
        self.len_epoch = self.trainer_options.limit(len_epoch or num_batches(data_loader))
        loader = prepare_loader(valid_data_loader, "valid_data_loader", device, True, data_loader)
        self.valid_data_loader, self.do_validation = loader, loader is not None
        self.log_step = max(1, int((data_loader.batch_size or 1) ** 0.5))
        options = self.trainer_options
        self.update: Update = Update(
            self.model, optimizer, options, device, lr_scheduler, self.parallel, self.progress
        )
        where = output_device(self.model, device)
        self.train_metrics = MetricSet(metric_ftns, self.writer, where, None, data_loader, "train")
        self.valid_metrics = make_metric_sets(metric_ftns, self.writer, where, loader)
        self.step_writer = StepWriter(self.writer, self.update, device)
        self.watchers = make_watchers(self)
        self.batch_watchers = [watcher for watcher in self.watchers if watcher.sees_all_batches]
        if problem := self.update.schedule.check_length(options, self.len_epoch, data_loader):
            self.logger.warning("lr_scheduler: %s", problem)

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """Trains and validates one epoch; returns its numbers by name."""
        self.model.train()
        for batch in self.batches(epoch):  # on the device; progress is counted and shown
            with self.update.forward_context(self.batches_left):  # autocast; syncs before a step
                loss, output, target = self.train_step(batch)
                loss = add_up(loss)  # if it is a dict of terms, each of which is logged
            self.update.backward(loss, self.loss_weight)  # averaged over the accumulation window
            self.train_metrics.add_batch(loss, output, target, batch, self.loss_weight)
            if self.update.step():  # clip, optimizer, schedule, EMA; once for each window
                self.after_step(loss)
        self.update.flush()  # a last, shorter window
        return self.end_epoch(epoch)

    def train_step(self, batch: Any) -> tuple[Any, Any, Any]:
        """Runs one forward pass; returns the loss (one, or a dict of terms), output and target."""
        output, target = self.forward(self.model, batch)
        return self.criterion(output, target), output, target

    @staticmethod
    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """Calls the model with a batch's inputs; returns ``(output, target)``."""
        return forward(model, batch)

    def batches(self, epoch: int) -> Iterator[Any]:
        """Yields the batches that are left of the epoch, on the device, and shows the progress."""
        if self.progress.batch == 0:
            self.train_metrics.reset()
        left = get_rest(self.data_loader, self.progress.batch, self.len_epoch)
        title = epoch_title(epoch, self.last_epoch)
        watchers = self.watchers
        weigher = Weigher(self.data_loader, self.criterion, self.train_metrics, update=self.update)
        for batch in progress(left, self.len_epoch, title, self.logger, self.status):
            self.progress.batch += 1
            self.loss_weight = weigher.weigh(batch)
            self.batches_left = count_left(self.data_loader, self.progress.batch, self.len_epoch)
            if weigher.skips:  # nothing in this batch counts
                continue
            self.step_writer.begin_batch(self.progress.batch)
            batch = to_device(batch, self.device)
            for watcher in watchers:
                watcher.train_batch(batch)
            watchers = self.batch_watchers  # from the second batch on
            yield batch
        if self.progress.batch == 0:
            raise UserError("there was nothing to train on: the data loader gave no batch")

    def after_step(self, loss: torch.Tensor | None = None) -> None:
        """Logs the step if it is due, saves a checkpoint if it is due, and stops on request."""
        if loss is not None and self.step_writer.is_due:
            self.step_writer.after_step(loss, self.train_metrics)
        super().after_step()

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Validates, and steps a schedule that moves by epochs; returns the epoch's numbers."""
        for average in self.update.averages.values():
            average.end_epoch(self.update, self.data_loader, self.forward)
        log = self.measure(epoch)
        self.update.schedule.after_epoch(log, self.mnt_metric, self.mnt_mode)
        return log

    def measure(self, epoch: int) -> dict[str, float]:
        """Returns the numbers of the training so far in the epoch, and those of a validation."""
        log = self.step_writer.write_means(self.train_metrics.result())
        if self.do_validation:
            with self.train_state.modes.evaluating():  # of schedule-free optimizers
                log |= add_prefix("val", self._valid_epoch(epoch))
        log |= self.step_writer.write_added(self.add_numbers(dict(log)), log)
        if self.progress.is_validating:  # inside the epoch
            self.update.schedule.after_validation(log, self.mnt_metric, self.mnt_mode)
        return log

    def add_numbers(self, log: dict[str, float]) -> dict[str, float]:
        """Override it to log further numbers, which ``trainer.monitor`` may name; see README.md."""
        return {}

    def _valid_epoch(self, epoch: int) -> dict[str, float]:
        """Validates the model, and averages of its weights (``ema_…``, ``swa_…``)."""
        set_activity(f"the validation of epoch {epoch}")
        self.validation_random_state = get_random_state()
        log = self._evaluate(self.model)
        self.writer.set_step(self.progress.step or epoch, "valid")
        for watcher in self.watchers:
            watcher.after_validation(epoch)
        for kind, average in self.update.averages.items():
            if average.is_ready():
                log |= add_prefix(kind, self._evaluate(average.module))
        self.validation_random_state = None
        return self.step_writer.write(log)

    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        """Evaluates the model on each validation set, whose name begins those of its numbers."""
        log: dict[str, float] = {}
        with self.parallel.evaluating(model) as evaluated:
            for name, loader, metrics in list_sets(self.valid_data_loader, self.valid_metrics):
                batches = self.validation_batches(loader, name)
                arguments = (batches, self.criterion, metrics, self.device, self.update.autocast)
                log |= add_prefix(name, self.evaluate_split(evaluated, *arguments))
        return log

    @classmethod
    def evaluate_split(
        cls,
        model: nn.Module,
        batches: Iterable[Any],
        criterion: Any,
        metrics: MetricSet,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> dict[str, float]:
        """Computes loss and metrics of ``model`` on a split, after an epoch and in ``test.py``."""
        return evaluate(model, batches, criterion, metrics, device, cls.forward, autocast)

    def status(self) -> str:
        """The text beside the progress bar."""
        return self.train_metrics.summary()

    @classmethod
    def logged_names(cls, metrics: list[str], options: Any, sets: list[str]) -> list[str] | None:
        """Lists the names of an epoch's numbers, to check a config; None if they are unknown."""
        from base.loop.logged_names import list_logged_names

        return list_logged_names(cls, Trainer, metrics, options, sets)
