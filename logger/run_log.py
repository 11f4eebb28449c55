"""The logs of a run, in its ``log`` folder: info.log, metrics.jsonl, and the trackers' files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from logger.backends.backend import BackEnd, RunFacts, make_back_ends
from logger.history import History
from logger.logger import setup_logging
from logger.metrics_file import MetricsFile
from logger.progress import epoch_line, get_view
from logger.visualization import TensorboardWriter
from utils.distributed import is_main
from utils.errors import UserError
from utils.util import ensure_dir, write_json


class RunLog:
    """Opens the logs of a run, and writes each epoch to them. Only the main rank writes.

    Args:
        config: a ConfigParser, which knows the run's folders and whether it is resumed.
        options: of the ``trainer`` section.
        logger: gets the line of each epoch.
        back_end_kinds: the trackers besides TensorBoard that the options may turn on.

    Attributes:
        writer: writes to TensorBoard and the other trackers.
        metrics_file: writes metrics.jsonl.
        history: reads it as a table.

    Raises:
        UserError: the folder cannot be written to.
    """

    def __init__(
        self,
        config: Any,
        options: Any,
        logger: logging.Logger,
        back_end_kinds: Sequence[type[BackEnd]] = (),
    ) -> None:
        self.logger = logger
        log_dir = Path(config.log_dir)
        save_dir = Path(config.save_dir)
        if is_main():  # a project's own train.py makes no RunFolder
            try:
                ensure_dir(log_dir)
                setup_logging(log_dir)
                if not (save_dir / "config.json").exists():
                    write_json(config.plain(), save_dir / "config.json")
            except OSError as error:
                raise UserError(f"{save_dir}: cannot be written: {error.strerror}") from None
        self.writer = TensorboardWriter(log_dir, logger, options.tensorboard and is_main())
        if is_main():
            facts = RunFacts(log_dir, config.plain(), config.resume is not None, logger)
            self.writer.back_ends += make_back_ends(back_end_kinds, asdict(options), facts)
        self.metrics_file = MetricsFile(log_dir / "metrics.jsonl", logger, enabled=is_main())
        self.history = History(self.metrics_file.path.resolve(), options.monitor)
        if config.resume is None:
            self.metrics_file.drop_after(0)  # lines of a run that ended before a checkpoint

    def resume_at(self, epoch: int, batch: int, step: int) -> None:
        """Removes what an interrupted run wrote later.

        Args:
            epoch: the last finished epoch.
            batch: the batches of the next epoch that were trained; 0 for none.
            step: the optimizer steps of the run.
        """
        self.metrics_file.drop_after(epoch, batch)
        if step:  # a loop of the project's own may count no steps
            self.writer.resume_at(step + 1)

    def write_epoch(self, log: dict[str, Any], lr: float | None, step: int, seconds: float) -> None:
        """Adds the epoch's numbers to metrics.jsonl. They are in the file on return."""
        row = {"epoch": log["epoch"], "lr": lr} | log | {"step": step, "seconds": seconds}
        self.metrics_file.write(row)

    def show_epoch(
        self, log: dict[str, Any], epochs: int | None, seconds: float, is_best: bool
    ) -> None:
        """Prints the epoch's line, or shows the epoch in the view that replaces the console."""
        view = get_view() if self.logger.isEnabledFor(logging.INFO) else None
        line = epoch_line(log, epochs, seconds, is_best)
        self.logger.info(line, extra={"is_shown": view is not None})
        if view is not None:
            view.show_epochs(self.history)

    def close(self) -> None:
        self.writer.close()
        self.metrics_file.close()
