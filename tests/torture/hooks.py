"""Inside a run under torture: tells of a place, holds there, exits at a call; the copy's torture_hooks.py."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

trainer: Any = None
plan: dict[str, Any] = {}
passages: dict[str, int] = {}
calls: list[str] = []  # of the save that is watched, in their order
_watching = False


def install(**given: Any) -> None:
    """Prepares this process.

    Args (all optional):
        place, n, mark: at the n-th passage of ``place`` (epoch, step, validation, save, rename, metrics), writes the
            optimizer steps done into the file ``mark``.
        hold: and sleeps so many seconds there.
        slow: seconds that every ``torch.save`` takes; slow_from: only from that one on.
        save: the number of the save of which every call on files is counted; exit_at: at which of them to exit, as by
            ``kill -9``; calls: the file into which all of them are written when it is over.
        no_links: the disk has no hard links.
        events: a file for the times at which a trainer was made, places were passed, the mark was written, and
            checkpoints stood under their names.
    """
    plan.update(given)
    if plan.get("no_links"):
        os.link = _no_link
    if plan.get("save"):
        _watch_calls()
    _wrap_places()


def passed(place: str) -> None:
    """Counts a passage of ``place``; where the plan says so, tells the parent."""
    passages[place] = passages.get(place, 0) + 1
    event(place)
    if plan.get("place") != place or passages[place] != plan.get("n", 1):
        return
    event("mark")
    mark = plan["mark"]
    steps = trainer.steps_done() if trainer is not None and hasattr(trainer, "update") else 0
    handle = os.open(mark + ".new", os.O_WRONLY | os.O_CREAT)
    os.write(handle, str(steps).encode())
    os.close(handle)
    os.rename(mark + ".new", mark)  # noqa: PTH104
    time.sleep(plan.get("hold", 0))


def event(name: str) -> None:
    if "events" in plan:
        with open(plan["events"], "a") as file:  # noqa: PTH123
            file.write(f"{name} {time.monotonic()}\n")


def _wrap_places() -> None:
    import torch

    from base import base_trainer
    from base.checkpoint import manager as saving
    from logger.metrics_file import MetricsFile

    torch_save, replace, write, save = (
        torch.save,
        Path.replace,
        MetricsFile.write,
        saving.Saver._write,
    )
    make = base_trainer.BaseTrainer.__init__

    def slow_save(*args: Any, **kwargs: Any) -> Any:
        passed("save")
        if passages["save"] >= plan.get("slow_from", 1):
            time.sleep(plan.get("slow", 0))
        return torch_save(*args, **kwargs)

    def told_replace(self: Path, target: Path) -> Path:
        if checkpoint := target.suffix == ".pt":
            passed("rename")
        new = replace(self, target)
        if checkpoint:
            event(target.name)
        return new

    def told_write(self: Any, values: Any) -> None:
        write(self, values)
        passed("metrics")

    def watched_save(*args: Any, **kwargs: Any) -> None:
        global _watching
        passages["whole save"] = passages.get("whole save", 0) + 1
        _watching = passages["whole save"] == plan.get("save")
        save(*args, **kwargs)
        if _watching and "calls" in plan:
            Path(plan["calls"]).write_text("\n".join(calls))
        _watching = False

    def told_make(self: Any, *args: Any, **kwargs: Any) -> None:
        event("made")
        make(self, *args, **kwargs)

    torch.save, Path.replace, MetricsFile.write = slow_save, told_replace, told_write
    saving.Saver._write, base_trainer.BaseTrainer.__init__ = watched_save, told_make


def call(name: str, subject: Any = "") -> bool:
    """Counts a call on files during the save that is watched. Returns whether to exit there."""
    if not _watching:
        return False
    calls.append(f"{name} {os.path.basename(str(subject))}")  # noqa: PTH119
    return len(calls) == plan.get("exit_at")


class Unbuffered(io.FileIO):
    """A file whose every write is a call."""

    def write(self, data: Any) -> int:
        if call("write", self.name):
            super().write(bytes(data)[: len(data) // 2])
            os._exit(9)
        return super().write(data) or 0


def _no_link(*_args: Any, **_kwargs: Any) -> None:
    raise PermissionError(1, "Operation not permitted")


def _watch_calls() -> None:
    path_open = Path.open

    def open_(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not _watching or mode != "w+b":
            return path_open(self, mode, *args, **kwargs)
        if call("open", self):
            os._exit(9)
        return Unbuffered(self, "w+")

    def counted(name: str, function: Any) -> Any:
        def inner(*args: Any, **kwargs: Any) -> Any:
            subject = args[0]
            if name == "fsync":
                subject = os.readlink(f"/proc/self/fd/{args[0]}")  # noqa: PTH115
            if call(name, subject):
                os._exit(9)
            return function(*args, **kwargs)

        return inner

    Path.open = open_  # type: ignore[method-assign, assignment]
    for name in ("fsync", "replace", "rename", "link", "unlink"):
        setattr(os, name, counted(name, getattr(os, name)))
