"""What a run leaves in its ``log`` folder: info.log, metrics.jsonl, and what trackers are told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from logger.backends.backend import BackEnd, RunFacts, make_back_ends
from logger.logger import setup_logging
from logger.metrics_file import MetricsFile
from logger.progress import epoch_line
from logger.visualization import TensorboardWriter
from utils.distributed import is_main
from utils.util import ensure_dir, write_json


class RunLog:
    """Opens the logs of a run, and tells them about each epoch; only the main rank writes.

    Args:
        config: a ConfigParser: where the run is, and whether it is resumed.
        options: of the ``trainer`` section.
        logger: gets the line of each epoch.
        back_end_kinds: of trackers besides TensorBoard, which the options may turn on.

    Attributes:
        writer: to the trackers, as TensorBoard.
    """

    def __init__(
        self,
        config: Any,
        options: Any,
        logger: logging.Logger,
        back_end_kinds: Sequence[type[BackEnd]] = (),
    ) -> None:
        self.logger = logger
        log_dir, save_dir = Path(config.log_dir), Path(config.save_dir)
        if is_main():  # a project's own train.py makes no RunFolder
            ensure_dir(log_dir)
            setup_logging(log_dir)
            if not (save_dir / "config.json").exists():
                write_json(config.plain(), save_dir / "config.json")
        self.writer = TensorboardWriter(log_dir, logger, options.tensorboard and is_main())
        if is_main():
            facts = RunFacts(log_dir, config.plain(), config.resume is not None, logger)
            self.writer.back_ends += make_back_ends(back_end_kinds, asdict(options), facts)
        self.metrics_file = MetricsFile(log_dir / "metrics.jsonl", logger, enabled=is_main())
        if config.resume is None:
            self.metrics_file.drop_after(0)  # of a run that ended before its first checkpoint

    def resume_at(self, epoch: int, step: int) -> None:
        """Takes away what an interrupted run wrote after ``epoch`` and after ``step``."""
        self.metrics_file.drop_after(epoch)
        if step:  # a loop of the project's own may count no steps
            self.writer.resume_at(step + 1)

    def write_epoch(self, log: dict[str, Any], lr: float | None, step: int, seconds: float) -> None:
        """Adds the epoch's numbers to metrics.jsonl; they are in the file when this returns."""
        first, last = {"epoch": log["epoch"], "lr": lr}, {"step": step, "seconds": seconds}
        self.metrics_file.write(first | log | last)

    def show_epoch(self, log: dict[str, Any], epochs: int, seconds: float, is_best: bool) -> None:
        """Prints the epoch's line."""
        self.logger.info(epoch_line(log, epochs, seconds, is_best))

    def close(self) -> None:
        self.writer.close()
        self.metrics_file.close()
