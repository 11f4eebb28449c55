"""BaseTrainer: the epochs around a training loop, with monitoring, early stop, checkpoints and logs."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from math import inf, isfinite
from pathlib import Path
from typing import Any

from torch import nn

from base.checkpoint.file import load_weights
from base.checkpoint.manager import Saver
from base.checkpoint.resuming import read_newest
from base.checkpoint.train_state import (
    reposition,
    restore_best,
    restore_optimizer,
    restore_rest,
    state_of,
    within,
)
from base.features import of_kind
from base.loop.monitor import in_step, is_better, parse_monitor, worst
from base.loop.update import Update
from base.options import TrainerOptions
from base.parallel.placement import output_device, placed
from base.parallel.strategy import Parallel, unwrap, wrap_again
from base.transfer.options import TransferOptions
from base.transfer.transfer import Transfer
from logger.backends.backend import BackEnd, RunFacts, make_back_ends
from logger.logger import setup_logging
from logger.metrics_file import MetricsFile
from logger.progress import epoch_line
from logger.visualization import TensorboardWriter
from utils.distributed import Votes, broadcast, is_main, set_activity, world_size
from utils.errors import UserError, did_you_mean
from utils.stop import StopRequest
from utils.util import ensure_dir, prepare_device, to_plain_number, write_json


class BaseTrainer:
    """The parent of all trainers: runs the epochs, and leaves to ``_train_epoch`` what an epoch is.

    Its attributes are plain ones, which a subclass may read and set. Whatever it holds that has a state (an
    optimizer, a scheduler, a module, an ``Update``) is saved and restored with it.

    Args:
        model: is moved to the device, if it does not lie on several.
        criterion: ``criterion(output, target) -> loss``.
        metric_ftns: functions ``metric(output, target) -> number``, and torchmetrics objects.
        optimizer: over the model's parameters.
        config: a ConfigParser; its ``trainer`` section holds the TrainerOptions.
    """

    def __init__(
        self, model: nn.Module, criterion: Any, metric_ftns: list[Any], optimizer: Any, config: Any
    ) -> None:
        self.config = config
        self._options = TrainerOptions.from_section(config["trainer"])
        self.logger = config.get_logger("trainer", self._options.verbosity)
        self.model: Any  # of the user's own class
        self.model, self.device = placed(model, prepare_device(config.get("n_gpu", 1))[0])
        end = output_device(model, self.device)
        self.criterion = criterion.to(end) if isinstance(criterion, nn.Module) else criterion
        self.metric_ftns = metric_ftns
        self.optimizer = optimizer

        self.epochs = self._options.epochs
        self.save_period = self._options.save_period
        self.monitor = self._options.monitor
        self.mnt_mode, self.mnt_metric = parse_monitor(self.monitor)
        self.mnt_best = worst(self.mnt_mode)
        self.early_stop = max(0, self._options.early_stop or 0) or inf
        if (
            self.early_stop < inf and self.mnt_mode == "off"
        ):  # preflight lets it pass for pytorch-template's trainers
            self.logger.warning(
                "trainer.early_stop has no effect: trainer.monitor does not say what must improve."
            )
        self.not_improved_count = 0
        self.start_epoch = 1
        self.last_log: dict[str, Any] = {}  # of the last epoch that was trained here
        self._stopping = False  # this epoch is the last, whatever `epochs` says
        self._only_best = False  # this epoch is not due by save_period
        self.epoch, self.place = (
            0,
            0,
        )  # where the loop is: the epoch, and how many of its batches it has taken
        self.stop = StopRequest(self._options.max_minutes, Votes() if world_size() > 1 else None)
        self.parallel = Parallel()  # as is this
        self.transfer = Transfer(TransferOptions(), self.logger)  # train.py gives the config's
        self._random: dict[str, Any] | None = (
            None  # the random numbers' state at the start of a validation
        )
        self._resumed: dict[str, Any] | None = None
        self.checkpoint_dir = Path(config.save_dir)
        self._saver = Saver(self.checkpoint_dir, self._options, self.logger)
        if config.resume is not None:
            self._resume_checkpoint(config.resume)
        if is_main():  # where a project's own train.py made no RunFolder
            ensure_dir(config.log_dir)
            setup_logging(config.log_dir)
            if not (self.checkpoint_dir / "config.json").exists():
                write_json(config.plain(), self.checkpoint_dir / "config.json")
        self.writer = TensorboardWriter(
            config.log_dir, self.logger, self._options.tensorboard and is_main()
        )
        if is_main():
            facts = RunFacts(
                Path(config.log_dir), config.plain(), config.resume is not None, self.logger
            )
            kinds = of_kind(BackEnd)
            self.writer.back_ends += make_back_ends(kinds, asdict(self._options), facts)
        self._metrics_file = MetricsFile(
            Path(config.log_dir) / "metrics.jsonl", self.logger, enabled=is_main()
        )
        if config.resume is None:
            self._metrics_file.drop_after(0)  # of a run that ended before its first checkpoint

    @classmethod
    def logged_names(
        cls, metrics: list[str], options: TrainerOptions, validates: bool
    ) -> list[str] | None:
        """The names of an epoch's numbers, of which ``trainer.monitor`` is one; None if only an epoch will show them.

        Args:
            metrics: the names of the config's metrics.
            options: of the run.
            validates: whether there is validation data.
        """
        return None

    @abstractmethod
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        """Trains one epoch, validates, and returns the epoch's numbers by name."""
        raise NotImplementedError

    def train(self) -> None:
        """Runs the epochs that are left, or until somebody asks to stop (see ``stop``); may then be called again."""
        self._restore_rest()
        if self.start_epoch > self.epochs:
            self.logger.info("All %d epochs are done; raise trainer.epochs to go on.", self.epochs)
        self.stop.withdraw()
        with self.stop.listening():
            try:
                self._reserve()
                for epoch in range(self.start_epoch, self.epochs + 1):
                    if self.not_improved_count > self.early_stop:
                        self.logger.info(
                            "The run had stopped early already; raise trainer.early_stop to go on."
                        )
                        break
                    self._run_epoch(epoch)
                    if self._stopping or self.stop.requested():
                        break
            except Stopping:
                reposition(self)
            finally:
                self._saver.wait()
        if self.stop.status:
            self.logger.info("Stopped by %s; the checkpoint is written.", self.stop.reason)
        elif self.last_log:
            self.after_training()
        self.writer.close()
        self._metrics_file.close()

    def after_training(self) -> None:
        """What follows the last epoch, once its checkpoint is written."""

    def _run_epoch(self, epoch: int) -> None:
        start = time.perf_counter()
        self.epoch = epoch
        self._begin_epoch(epoch)
        lr = (
            self.optimizer.param_groups[0]["lr"]
            if hasattr(self.optimizer, "param_groups")
            else None
        )
        result = broadcast(self._train_epoch(epoch))
        self.stop.poll(wait=True)
        if (
            isinstance(update := getattr(self, "update", None), Update)
            and update.schedule.lr is not None
        ):
            lr = update.schedule.lr
        log = {"epoch": epoch} | {key: to_plain_number(value) for key, value in result.items()}
        best = self._is_best(log)
        self._stopping = self._stopping or self.not_improved_count > self.early_stop
        seconds = round(time.perf_counter() - start, 3)
        self._metrics_file.write(
            {"epoch": epoch, "lr": lr} | log | {"step": self.steps_done(), "seconds": seconds}
        )
        is_first, self.last_log, self.place = not self.last_log, log, 0
        among_best = epoch in [epoch for _, epoch in self._saver.best]
        self._only_best = among_best and not self._is_due(epoch)
        if among_best or self._is_due(epoch):
            self._save_checkpoint(epoch, save_best=best)
        self._only_best = False
        self.logger.info(epoch_line(log, self.epochs, seconds, best))
        if is_first:
            self._check_first_epoch(log)
        self.start_epoch = epoch + 1
        if self._stopping:
            self.logger.info(
                "%s has not improved for %d epochs: stopping.",
                self.mnt_metric,
                self.not_improved_count,
            )

    # -- the parts of an epoch ----------------------------------------------------------------------------------

    def steps_done(self) -> int:
        """Optimizer updates done; 0 where the trainer has no ``update`` to count them."""
        update = getattr(self, "update", None)
        return update.steps if isinstance(update, Update) else 0

    def _begin_epoch(self, epoch: int) -> None:
        """Tells the loaders which epoch it is: the order of samples and their augmentation follow from that."""
        set_activity(f"the training of epoch {epoch}")
        if self.transfer.enter(epoch, unwrap(self.model)) and world_size() > 1:
            wrap_again(self)
        for name in (
            ("data_loader", "valid_data_loader") if self.place == 0 else ("valid_data_loader",)
        ):
            set_epoch = getattr(getattr(self, name, None), "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

    def _is_best(self, log: dict[str, Any]) -> bool:
        """Whether the monitored number improved; counts the epochs without."""
        if self.mnt_mode == "off" or self.mnt_metric not in log:
            return False
        if isfinite(log[self.mnt_metric]):
            self._saver.enter_best(self.mnt_mode, log[self.mnt_metric], log["epoch"])
        if isfinite(log[self.mnt_metric]) and is_better(
            self.mnt_mode, log[self.mnt_metric], self.mnt_best
        ):
            self.mnt_best, self.not_improved_count = log[self.mnt_metric], 0
            return True
        self.not_improved_count += 1
        return False

    def _is_due(self, epoch: int) -> bool:
        last = epoch >= self.epochs or self._stopping or self.stop.requested()
        return epoch % self.save_period == 0 or last

    def after_step(self) -> None:
        """Between two optimizer steps of a loop: writes a checkpoint that is due, and ends if somebody asked for it."""
        self.transfer.after_step(unwrap(self.model))
        overdue = self.stop.poll(self._saver.is_overdue())
        asked = self.stop.requested()
        if asked or overdue or self._saver.is_due(self._count):
            steps = self._count()
            name = f"checkpoint-epoch{self.epoch}-step{steps}.pt"
            self._saver.save(
                lambda: self._state(self.epoch - 1) | {"within": within(self)}, name, steps
            )
            self.stop.reserve = max(self.stop.reserve, 2 * self._saver.seconds + 1)
        if asked:
            raise Stopping

    def _count(self) -> int:
        """Optimizer updates done, or where nobody counts them batches."""
        return (
            self.steps_done()
            or (self.epoch - 1) * (getattr(self, "len_epoch", None) or 0) + self.place
        )

    def stoppable(self, batches: Iterable[Any]) -> Iterator[Any]:
        """``batches`` of a validation, during which a request to stop is heard; it is then done again on resuming."""
        for batch in in_step(batches):
            self.stop.poll()
            if self.stop.requested():
                self.after_step()
            if batch is not None:
                yield batch

    def _reserve(self) -> None:
        """Under a time limit measures what a save takes, as so much must be left at its end."""
        if self._options.max_minutes is None:
            return
        self._saver.measure(self._state(self.start_epoch - 1))
        self.stop.reserve = 2 * self._saver.seconds + 1

    def _check_first_epoch(self, log: dict[str, Any]) -> None:
        """Faults that only a finished epoch shows; its checkpoint is written, so that nothing is lost."""
        if self.mnt_mode != "off" and self.mnt_metric not in log:
            hint = f"{did_you_mean(self.mnt_metric, log)}; it gave {', '.join(log)}"
            raise UserError(f"trainer.monitor: the epoch gave no '{self.mnt_metric}'{hint}")
        changed = self._options.needing_update()
        if changed and self.steps_done() == 0:
            self.logger.warning(
                "trainer.%s had no effect: %s trains by a loop of its own, without self.update",
                ", ".join(changed),
                type(self).__name__,
            )

    # -- checkpoints --------------------------------------------------------------------------------------------

    def _save_checkpoint(self, epoch: int, save_best: bool = False) -> None:
        """Writes ``checkpoint-epochN.pt``, and ``model_best.pt`` if this epoch is the best."""
        name = f"checkpoint-epoch{epoch}.pt"
        self._saver.save(
            lambda: self._state(epoch), name, self.steps_done(), save_best, self._only_best
        )
        self.stop.reserve = max(self.stop.reserve, 2 * self._saver.seconds + 1)

    def _state(self, epoch: int) -> dict[str, Any]:
        """All that what comes after ``epoch`` depends on, as tensors and plain values."""
        return state_of(self, epoch)

    def _resume_checkpoint(self, resume_path: str | Path) -> None:
        """Restores model, optimizer and counters; what a subclass has yet to make follows when training starts.

        Raises:
            UserError: the checkpoint is missing, damaged, or of another architecture.
        """
        state, path = read_newest(self, Path(resume_path))
        load_weights(unwrap(self.model), state["state_dict"], path)
        kept = restore_optimizer(self.optimizer, state, self.config.plain(), path)
        self.fates = {"weights": "kept", "optimizer": kept}
        self.start_epoch = state["epoch"] + 1
        restore_best(self, state)
        self._resumed, self._resumed_path = state, path
        self._train_epoch = self._restored_epoch  # type: ignore[method-assign]
        self.logger.info("Resuming from %s after epoch %d.", path, state["epoch"])

    def _restored_epoch(self, epoch: int) -> dict[str, Any]:
        """Stands for the first epoch after resuming: a ``train`` of the project's own does not restore the rest."""
        del self._train_epoch  # the class's own from here on
        self._restore_rest()
        return self._train_epoch(epoch)

    def _restore_rest(self) -> None:
        """Restores the parts, the data's order and, last, the random numbers."""
        state, self._resumed = self._resumed, None
        if state is not None:
            restore_rest(self, state, self._resumed_path)


class Stopping(Exception):  # noqa: N818
    """Leaves a loop whose checkpoint is written."""
