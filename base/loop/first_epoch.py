"""Checks that need the numbers of an epoch. They run after its checkpoint is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from base.loop.progress import Monitor, Progress
from base.options import TrainerOptions
from utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from base.loop.update import Update


def check_monitored(log: Mapping[str, Any], monitor: Monitor, options: TrainerOptions) -> None:
    """Raises UserError if the numbers of an epoch do not have the monitored one."""
    metric = monitor.metric
    if options.swa is not None and log["epoch"] < options.swa.first_epoch(options.epochs):
        metric = metric.replace("val_swa_", "val_", 1)  # the average is not evaluated yet
    if monitor.is_on and metric not in log:
        names = [name for name in log if name not in ("epoch", "batch")]
        hint = did_you_mean(monitor.metric, names)
        if metric.startswith("val_") and metric.endswith("loss") and "loss" in log:
            hint = ", because the model gives no loss in evaluation; monitor a metric"
        found = ", ".join(names) or "no number"
        message = f"the epoch returned no '{monitor.metric}'{hint}; it returned {found}"
        raise UserError(message, key="trainer.monitor")


def check_first_epoch(
    log: dict[str, Any],
    monitor: Monitor,
    options: TrainerOptions,
    progress: Progress,
    update: Update | None = None,
) -> None:
    """Checks the monitored number, and warns of options that had no effect.

    Args:
        log: the numbers of the epoch by name.
        monitor: names the monitored number.
        options: the options of the run.
        progress: the counters of the run. A loop without an ``Update`` counts no steps.
        update: of the loop, or None.

    Raises:
        UserError: the epoch did not return the monitored number.
    """
    check_monitored(log, monitor, options)
    if progress.step == 0 and all(name == "epoch" or name.startswith("val_") for name in log):
        logging.getLogger("trainer").warning(
            "Nothing was trained: no batch of the first epoch had a sample that counts. All "
            "batches are empty, or the loss ignores all targets."
        )
    missing = {"use self.update": options.list_needing_update() if progress.step == 0 else []}
    # If each epoch has had one step, it may have been that of `Update.flush`, for a short window.
    may_be_flushed = 0 < progress.step <= log["epoch"]
    is_known = progress.has_steps or may_be_flushed
    missing["call self.after_step()"] = [] if is_known else options.list_needing_steps()
    swa: Any = None if update is None else update.averages.get("swa")
    if swa is not None and int(swa.last_epoch) != log["epoch"] and "batch" not in log:
        missing["call self.end_epoch()"] = ["swa"]
    for action, unused in missing.items():
        if unused:
            logging.getLogger("trainer").warning(
                "trainer.%s had no effect, because this trainer's loop does not %s",
                ", ".join(unused),
                action,
            )
