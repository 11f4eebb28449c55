"""The attributes of a trainer whose state another object owns.

Most of them are a contract with the trainers of pytorch-template. ``history``, ``evaluate`` and
``report`` are for notebooks.
"""

from __future__ import annotations

import logging
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.checkpoint.train_state import TrainState
from base.loop.progress import Monitor, Progress
from base.loop.update import Update
from base.options import TrainerOptions, parse_monitor

if TYPE_CHECKING:
    from base.loop.reporter import TestResult
    from logger.history import History
    from logger.run_log import RunLog


class TemplateAttributes:
    """The attributes of pytorch-template's BaseTrainer whose state another object owns here."""

    config: Any
    checkpoint_dir: Path
    run_log: RunLog
    progress: Progress
    monitoring: Monitor
    data_loader: Any
    len_epoch: int | None
    epochs: int
    trainer_options: TrainerOptions
    train_state: TrainState
    logger: logging.Logger
    update: Any = None  # the loop's Update; a project may use the name for something else

    @property
    def start_epoch(self) -> int:
        """The number of the current or next epoch."""
        return self.progress.epoch

    @start_epoch.setter
    def start_epoch(self, epoch: int) -> None:
        self.progress.epoch = epoch

    @property
    def last_epoch(self) -> int | None:
        """The number of the last epoch; None if the number of steps ends the run."""
        return self.epochs if self.trainer_options.max_steps is None else None

    @property
    def epoch(self) -> int:
        """The same number; a project may use the name for something else."""
        epoch: int = vars(self).get("epoch", self.progress.epoch)
        return epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        vars(self)["epoch"] = epoch

    @property
    def monitor(self) -> str:
        """``"min METRIC"``, ``"max METRIC"`` or ``"off"``."""
        monitoring = self.monitoring
        return f"{monitoring.mode} {monitoring.metric}" if monitoring.is_on else "off"

    @monitor.setter
    def monitor(self, monitor: str) -> None:
        self.monitoring.mode, self.monitoring.metric = parse_monitor(monitor)

    @property
    def mnt_mode(self) -> str:
        return self.monitoring.mode

    @mnt_mode.setter
    def mnt_mode(self, mode: str) -> None:
        self.monitoring.mode = mode

    @property
    def mnt_metric(self) -> str:
        return self.monitoring.metric

    @mnt_metric.setter
    def mnt_metric(self, metric: str) -> None:
        self.monitoring.metric = metric

    @property
    def mnt_best(self) -> float:
        return self.monitoring.best

    @mnt_best.setter
    def mnt_best(self, best: float) -> None:
        self.monitoring.best = best

    @property
    def early_stop(self) -> float:
        """The number of epochs without improvement before training stops; ``inf`` never stops."""
        return self.monitoring.patience

    @early_stop.setter
    def early_stop(self, patience: float) -> None:
        self.monitoring.patience = patience if patience > 0 else inf

    @property
    def not_improved_count(self) -> int:
        return self.monitoring.not_improved_count

    @not_improved_count.setter
    def not_improved_count(self, count: int) -> None:
        self.monitoring.not_improved_count = count

    # A project may use these names for something else: its own values and methods replace them.

    @cached_property
    def history(self) -> History:
        """The numbers of the run's epochs, as a table that grows during the training."""
        return self.run_log.history

    def evaluate(self, split: str = "test", best: bool = False) -> dict[str, float]:
        """Returns the numbers that ``test.py`` has for a split. The training does not change.

        Args:
            split: ``test``, which is the data that test.py takes, ``valid`` or ``train``.
            best: take the weights of ``model_best.pt`` and not the current ones.

        Raises:
            UserError: there are no such data or no checkpoint, or the weights do not fit the model.
        """
        return _test(self, split, best).values

    def report(self, split: str = "test", best: bool = False) -> Any:
        """Evaluates as ``evaluate`` does, and returns a report that a notebook shows.

        Without the tools, which make reports, it returns the numbers.

        Args:
            split, best: as for ``evaluate``.

        Raises:
            UserError: as ``evaluate``.
        """
        from base.loop.reporter import make_reporters

        return make_reporters(None)[-1].show(_test(self, split, best), self.config)

    def get_update(self) -> Update | None:
        """The loop's ``Update``; None if the trainer has none, or ``update`` is something else."""
        return self.update if isinstance(self.update, Update) else None

    def _progress(self, batch_idx: int) -> str:
        """The progress of the epoch as text, such as ``[128/1617 (8%)]``."""
        n_samples = getattr(self.data_loader, "n_samples", 0)
        total = n_samples or self.len_epoch or 1
        current = batch_idx * (self.data_loader.batch_size or 1) if n_samples else batch_idx
        return f"[{current}/{total} ({100 * current / total:.0f}%)]"

    def _resume_checkpoint(self, resume_path: str | Path) -> None:
        """Restores model, optimizer and counters; ``_restore_rest`` restores all other objects.

        Raises:
            UserError: the checkpoint is missing, damaged, or of another architecture.
        """
        self.train_state.resume(Path(resume_path), self.logger)
        self.restore_before_first_epoch()

    # The constructor of a subclass makes more objects after BaseTrainer's constructor has ended.
    # They are restored before the first epoch, even if the subclass overrides `train`.

    def restore_before_first_epoch(self) -> None:
        """Lets the first call of ``_train_epoch`` restore all other objects before it trains."""
        self._train_epoch = self._restore_and_train  # type: ignore[method-assign]

    def _restore_and_train(self, epoch: int) -> dict[str, Any]:
        del self._train_epoch  # later calls go to the method of the class
        self._restore_rest()
        return self._train_epoch(epoch)

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        raise NotImplementedError

    def _restore_rest(self) -> None:
        raise NotImplementedError


def _test(trainer: TemplateAttributes, split: str, best: bool) -> TestResult:
    """A function, because a project's trainer may have a method of this name."""
    from base.evaluation import test_in_training

    state, folder = trainer.train_state, trainer.checkpoint_dir
    return test_in_training(trainer.config, state, folder, split, best)
