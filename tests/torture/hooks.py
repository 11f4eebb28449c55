"""Hooks in a process under torture: it reports where it is, waits there, or exits at a call.

The copy of the project has this module as ``torture_hooks.py``.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

EXIT_STATUS = 9
trainer: Any = None
plan: dict[str, Any] = {}
passages: dict[str, int] = {}
calls: list[str] = []  # on files, during the watched save, in order
_is_watching = False


def install(**given: Any) -> None:
    """Prepares this process.

    Args:
        given: all optional:

            - point, n, mark: at the n-th passage of ``point`` (epoch, step, validation, save,
              rename, metrics), write the number of optimizer steps into the file ``mark``.
            - hold: sleep so many seconds there.
            - slow, slow_from: seconds that each ``torch.save`` takes, from which one on.
            - save, exit_at: exit at this call on files of this save, both counted from 1.
            - calls: a file for the list of these calls.
            - no_links: the disk has no hard links.
            - events: a file for the times at which a trainer was made, points were passed, the
              mark was written, and checkpoints got their names.
    """
    plan.update(given)
    if plan.get("no_links"):
        os.link = _refuse_link
    if plan.get("save"):
        _watch_files()
        _watch_saves()
    _watch_trainers()
    _watch_writes()


def pass_point(point: str) -> None:
    """Counts a passage of ``point``. Reports and waits if the plan says so."""
    passages[point] = passages.get(point, 0) + 1
    add_event(point)
    if plan.get("point") != point or passages[point] != plan.get("n", 1):
        return
    add_event("mark")
    steps = 0 if trainer is None else trainer.progress.step
    mark = plan["mark"]
    handle = os.open(mark + ".new", os.O_WRONLY | os.O_CREAT)
    os.write(handle, str(steps).encode())
    os.close(handle)
    os.rename(mark + ".new", mark)  # noqa: PTH104  (Path.rename may be watched)
    time.sleep(plan.get("hold", 0))


def add_event(name: str) -> None:
    if "events" in plan:
        with open(plan["events"], "a") as file:  # noqa: PTH123  (Path.open may be watched)
            file.write(f"{name} {time.monotonic()}\n")


def _watch_trainers() -> None:
    from base.base_trainer import BaseTrainer

    init = BaseTrainer.__init__

    def init_and_report(self: Any, *args: Any, **kwargs: Any) -> None:
        add_event("made")
        init(self, *args, **kwargs)

    BaseTrainer.__init__ = init_and_report  # type: ignore[method-assign]


def _watch_writes() -> None:
    import torch

    from logger.metrics_file import MetricsFile

    save, replace, write = torch.save, Path.replace, MetricsFile.write

    def save_slowly(*args: Any, **kwargs: Any) -> Any:
        pass_point("save")
        if passages["save"] >= plan.get("slow_from", 1):
            time.sleep(plan.get("slow", 0))
        return save(*args, **kwargs)

    def replace_and_report(self: Path, target: Path) -> Path:
        is_checkpoint = target.suffix == ".pt"
        if is_checkpoint:
            pass_point("rename")
        new = replace(self, target)
        if is_checkpoint:
            add_event(target.name)
        return new

    def write_and_report(self: Any, values: Any) -> None:
        write(self, values)
        pass_point("metrics")

    torch.save = save_slowly
    Path.replace = replace_and_report  # type: ignore[method-assign, assignment]
    MetricsFile.write = write_and_report  # type: ignore[method-assign]


def _watch_saves() -> None:
    """Counts the saves, and turns on the watch over files for the one in the plan."""
    from base.checkpoint.manager import CheckpointManager

    def watch(method: Any) -> Any:
        def save(*args: Any, **kwargs: Any) -> None:
            global _is_watching
            passages["saves"] = passages.get("saves", 0) + 1
            _is_watching = passages["saves"] == plan["save"]
            method(*args, **kwargs)
            if _is_watching and "calls" in plan:
                Path(plan["calls"]).write_text("\n".join(calls))
            _is_watching = False

        return save

    CheckpointManager.save = watch(CheckpointManager.save)


def count_call(name: str, subject: Any = "") -> bool:
    """Counts a call on files during the watched save. Returns whether to exit there."""
    if not _is_watching:
        return False
    calls.append(f"{name} {os.path.basename(str(subject))}")  # noqa: PTH119
    return len(calls) == plan.get("exit_at")


class UnbufferedFile(io.FileIO):
    """A file each write of which is a call; the last one before an exit writes half of its data."""

    def write(self, data: Any) -> int:
        if count_call("write", self.name):
            super().write(bytes(data)[: len(data) // 2])
            os._exit(EXIT_STATUS)
        return super().write(data) or 0


def _refuse_link(*_args: Any, **_kwargs: Any) -> None:
    raise PermissionError(1, "Operation not permitted")


def _watch_files() -> None:
    open_file = Path.open

    def open_unbuffered(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not _is_watching or mode != "w+b":
            return open_file(self, mode, *args, **kwargs)
        if count_call("open", self):
            os._exit(EXIT_STATUS)
        return UnbufferedFile(self, "w+")

    def count(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            subject = args[0]
            if name == "fsync":
                subject = os.readlink(f"/proc/self/fd/{args[0]}")  # noqa: PTH115
            if count_call(name, subject):
                os._exit(EXIT_STATUS)
            return function(*args, **kwargs)

        return call

    Path.open = open_unbuffered  # type: ignore[method-assign, assignment]
    for name in ("fsync", "replace", "rename", "link", "unlink"):
        setattr(os, name, count(name, getattr(os, name)))
