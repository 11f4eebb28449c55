"""BaseTrainer: runs the epochs, with checkpoints, early stopping and logs."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

from torch import nn

from base.checkpoint.manager import CheckpointManager
from base.checkpoint.train_state import TrainState
from base.contract import TemplateAttributes
from base.data.loader import set_position
from base.loop.progress import Monitor, Progress, Tag
from base.loop.watcher import Watcher
from base.options import TrainerOptions, parse_monitor
from base.parallel.strategy import make_strategy, output_device
from utils.distributed import Votes, broadcast, set_activity, world_size
from utils.stop import StopRequest, StopTraining
from utils.util import prepare_device, to_plain_number


class BaseTrainer(TemplateAttributes):
    """The parent of all trainers. It runs the epochs; ``_train_epoch`` of a subclass trains one.

    A subclass may read and set all attributes. Checkpoints include those that are optimizers,
    schedulers, modules, metric trackers or an ``Update``.

    Args:
        model: is moved to the device, unless its layers are on several devices already.
        criterion: ``criterion(output, target)`` returns the loss.
        metric_ftns: functions ``metric(output, target) -> number``, and torchmetrics objects.
        optimizer: updates the model's parameters.
        config: a ConfigParser; its ``trainer`` section holds the TrainerOptions.

    Attributes:
        progress: the position of the run: epoch, batch, step.
        monitoring: the best value, the patience and the best epochs.
        parallel: spreads the model over processes and devices.
        guard: keeps the weights finite.
        phases: selects the parameters that are trained in each epoch.
        stop: receives requests to stop, by signals or a time limit.
        checkpoints, train_state: write checkpoints; collect and restore their content.
        run_log, writer: write ``metrics.jsonl``; send numbers to the trackers.
        last_log: the numbers of the last epoch by name.
    """

    # The constructors of subclasses set these.
    model: Any
    data_loader: Any = None
    valid_data_loader: Any = None
    len_epoch: int | None = None
    batches_left: int | None = None  # in this epoch, including the current one; None if unknown
    watchers: Iterable[Watcher] = ()
    # Validates; returns the numbers of the training so far in the epoch and of the validation.
    # ``validate_steps`` and ``max_steps`` need this method.
    measure: Callable[[int], dict[str, Any]]

    def __init__(
        self, model: nn.Module, criterion: Any, metric_ftns: list[Any], optimizer: Any, config: Any
    ) -> None:
        from base import features
        from base.loop.finite import FiniteGuard
        from base.loop.phases import make_phases
        from logger.backends.backend import BackEnd
        from logger.run_log import RunLog

        self.config = config
        options = self.trainer_options = TrainerOptions.from_section(config["trainer"])
        features.check_served(options.list_served_by_features())
        self.logger = config.get_logger("trainer", options.verbosity)
        self.parallel = make_strategy(config)
        device = prepare_device(config.get("n_gpu", 1))[0]
        self.model, self.device = self.parallel.move_to_device(model, device)
        if isinstance(criterion, nn.Module):
            criterion = criterion.to(output_device(self.model, self.device))
        self.criterion, self.metric_ftns, self.optimizer = criterion, metric_ftns, optimizer
        self.epochs, self.save_period = options.epochs, options.save_period
        self.progress = Progress()
        self.guard = FiniteGuard(self.model, options, self.parallel, self.progress, self.logger)
        mode, metric = parse_monitor(options.monitor)
        self.monitoring = Monitor(mode, metric, options.patience, options.keep_best)
        if options.patience < inf and mode == "off":  # no error, because pytorch-template allows it
            self.logger.warning("trainer.early_stop has no effect while trainer.monitor is off.")
        self.phases = make_phases(config, self.logger)
        self.stop = StopRequest(options.max_minutes, Votes() if world_size() > 1 else None)
        self._may_validate = bool(options.validate_steps or options.max_steps)
        self.last_log: dict[str, Any] = {}
        self.loss_weight = 1.0  # of the current batch
        self.validation_random_state: dict[str, Any] | None = None  # when a validation started
        self.checkpoint_dir = Path(config.save_dir)
        self.checkpoints = CheckpointManager(self.checkpoint_dir, options, self.logger)
        self.train_state = TrainState(self, self.parallel, self.progress, self.monitoring, config)
        if config.resume is not None:
            self._resume_checkpoint(config.resume)
        self.run_log = RunLog(config, options, self.logger, features.of_kind(BackEnd))
        self.writer = self.run_log.writer

    @abstractmethod
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        """Trains and validates one epoch. Returns its numbers by name."""
        raise NotImplementedError

    # -- the epochs -----------------------------------------------------------------------------

    @property
    def _is_finished(self) -> bool:
        """Whether the run ends before its last epoch."""
        steps, max_steps = self.progress.count_steps(self.len_epoch), self.trainer_options.max_steps
        return self.monitoring.is_exhausted or steps >= (max_steps or inf)

    def train(self) -> None:
        """Trains the epochs that are left, until a request to stop. It may be called again."""
        self._restore_rest()
        if self.start_epoch > self.epochs:
            self.logger.info("All %d epochs are done; raise trainer.epochs for more.", self.epochs)
        self.stop.withdraw()
        with self.stop.listening(), self.guard.watching(self.model):
            try:
                if self.trainer_options.max_minutes is not None:
                    from base.checkpoint.trial_save import measure_save

                    measure_save(self.checkpoints, self._state())
                    self.stop.reserve_for_save(self.checkpoints.seconds)
                for epoch in range(self.start_epoch, self.epochs + 1):
                    if self._is_finished:
                        option = "early_stop" if self.monitoring.is_exhausted else "max_steps"
                        self.logger.info("This run is finished; raise trainer.%s for more.", option)
                        break
                    self._run_epoch(epoch)
                    if self._is_finished or self.stop.requested():
                        break
            except StopTraining:
                pass  # `after_step` has written the checkpoint
            finally:
                self.checkpoints.wait()
        if self.stop.status:
            self.logger.info("Stopped by %s; the checkpoint is written.", self.stop.reason)
        elif self.last_log:
            for watcher in self.watchers:
                watcher.after_training()
        self.run_log.close()

    def _run_epoch(self, epoch: int) -> None:
        from base.loop.step_rates import get_step_rates

        self._start_time = time.perf_counter()
        self._begin_epoch(epoch)
        self._rates = get_step_rates(self.optimizer, self.get_update())
        if self.progress.is_validating:
            self._validate_inside_epoch()
        self._conclude(self._train_epoch(epoch), epoch)

    def _validate_inside_epoch(self) -> None:
        """Validates between two steps. The numbers of the training do not change."""
        from base.loop.validation import restoring_state

        self.progress.is_validating = True  # if it is stopped, a resumed run repeats it
        with restoring_state(self.model):
            numbers = self.measure(self.progress.epoch)
        set_position(self.valid_data_loader, self.progress.epoch)
        self.progress.is_validating = False
        self._conclude(numbers, self.progress.get_tag(self.len_epoch))
        if self._is_finished:
            raise StopTraining

    def _conclude(self, numbers: dict[str, Any], tag: Tag) -> None:
        """Logs the numbers of an epoch, or of a validation inside it, and writes the checkpoint."""
        from base.loop.validation import restoring_state

        # A project may have saved this epoch already, which moves the progress to the next one.
        epoch, is_inside = (self.progress.epoch, True) if isinstance(tag, str) else (tag, False)
        numbers = broadcast(numbers)
        log = {"epoch": epoch} | ({"batch": self.progress.batch} if is_inside else {})
        log |= {key: to_plain_number(value) for key, value in numbers.items()}
        step = self.progress.count_steps(self.len_epoch)
        self.stop.consult(log | {"step": step})  # the search that this run is a trial of
        self.stop.poll(wait=True)
        verdict = self.monitoring.update(log, tag)
        now = time.perf_counter()
        seconds, self._start_time = round(now - self._start_time, 3), now
        self.run_log.write_epoch(log, self._rates.first_rate, step, seconds)
        is_first = not self.last_log
        self.last_log = log
        if not is_inside:
            self.progress.finish_epoch(epoch)
        try:
            with restoring_state(self.model):
                self.after_epoch(dict(log), verdict.is_best)
        finally:  # its errors lose no checkpoint
            if is_inside:
                self._save_at(tag, verdict.is_best)
            elif verdict.is_kept or self._is_due(epoch):
                self._save_checkpoint(epoch, save_best=verdict.is_best)
        self.run_log.show_epoch(log, self.last_epoch, seconds, verdict.is_best)
        if is_first:
            from base.loop.first_epoch import check_first_epoch

            check_first_epoch(
                log, self.monitoring, self.trainer_options, self.progress, self.get_update()
            )
        if verdict.stop:
            text = "%s has not improved in %d validations: stopping."
            self.logger.info(text, self.mnt_metric, self.not_improved_count)

    def after_epoch(self, log: dict[str, Any], is_best: bool) -> None:
        """Override it to act on the numbers of an epoch, before its checkpoint is written.

        All ranks call it, also after validations inside epochs, whose numbers have a ``batch``.
        """

    def _begin_epoch(self, epoch: int) -> None:
        """Freezes and thaws parameters, and sets the position of the loaders."""
        set_activity(f"the training of epoch {epoch}")
        self.progress.epoch = epoch
        if self.phases.begin_epoch(epoch, self.parallel.unwrap(self.model), self.optimizer):
            self.parallel.wrap_again(self)
        set_position(self.data_loader, epoch, self.progress.batch)
        set_position(self.valid_data_loader, epoch)

    # -- between two steps ----------------------------------------------------------------------

    def after_step(self) -> None:
        """Validates and saves if it is due; at the last step and on request, ends the training."""
        self.progress.has_steps = True
        step = self.progress.step or self.progress.count_steps(self.len_epoch)
        is_due = self._may_validate and self.trainer_options.validates_at(step)
        if is_due and self.batches_left != 1:
            self._validate_inside_epoch()
        self._save_or_stop(step)

    def _save_or_stop(self, step: int) -> None:
        overdue = self.stop.poll(time.monotonic() >= self.checkpoints.next_time)
        requested = self.stop.requested()
        if self.checkpoints.error is not None:  # a save in the background has failed
            self.checkpoints.wait()
        if requested or overdue or step >= self.checkpoints.next_step:
            self._save_at(self.progress.get_tag(self.len_epoch))
        if requested:
            raise StopTraining

    def validation_batches(self, batches: Iterable[Any], name: str = "") -> Iterator[Any]:
        """Yields the batches of the set ``name``. A resumed run repeats a stopped validation."""
        from base.loop.validation import watch_batches

        return watch_batches(batches, name, self.watchers, self._stop_if_requested)

    def _stop_if_requested(self) -> None:
        self.stop.poll()
        if self.stop.requested():
            self._save_or_stop(self.progress.count_steps(self.len_epoch))

    # -- checkpoints ----------------------------------------------------------------------------

    def _is_due(self, epoch: int) -> bool:
        is_last = epoch >= self.epochs or self._is_finished or self.stop.requested()
        return is_last or epoch % self.save_period == 0

    def _save_checkpoint(self, epoch: int, save_best: bool = False) -> None:
        """Writes ``checkpoint-epochN.pt``, and ``model_best.pt`` if this epoch is the best."""
        self.progress.finish_epoch(epoch)
        in_series = self._is_due(epoch) or epoch not in self.monitoring.list_best_epochs()
        self._save_at(epoch, save_best, in_series)

    def _save_at(self, tag: Tag, is_best: bool = False, in_series: bool = True) -> None:
        best_epochs = self.monitoring.list_best_epochs()
        step = self.progress.count_steps(self.len_epoch)
        self.checkpoints.save(self._state, tag, step, is_best, in_series, best_epochs)
        self.stop.reserve_for_save(self.checkpoints.seconds)

    def _state(self) -> dict[str, Any]:
        return self.guard.check_state(self.train_state.collect(self.validation_random_state))

    def _restore_rest(self) -> None:
        """Restores the objects that the constructors of subclasses have made. Runs only once."""
        report = self.train_state.restore_rest()
        if report is None:
            return
        self.run_log.resume_at(report.epoch, report.batch, report.step)
        self.checkpoints.resume_at(report.path, report.step, self.monitoring)
        report.log(self.logger, self.trainer_options.on_inexact_resume)
