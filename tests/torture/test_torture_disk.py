"""Row 7: a disk without space while a checkpoint is written.

What was there stays, nothing else does, and later saves succeed.
"""

from __future__ import annotations

import errno
import io
import logging
import multiprocessing
import os
import resource
import signal
import stat
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint import file as checkpoint
from base.checkpoint.manager import CheckpointManager
from base.options import TrainerOptions
from tests.helpers import differences, load, make_trainer, small_config
from tests.torture.harness import ALL, report
from utils.errors import UserError

POLICIES = ("stop", "go_on")
SIZES = range(0, 8192, 256)  # 32 sizes, below the size of a checkpoint
Fault = Callable[[int], Callable[[], None]]  # begins, and returns what ends it


def make_state(epoch: int) -> dict[str, Any]:
    weights = {"w": torch.full((2000,), float(epoch))}
    return {"epoch": epoch, "state_dict": weights, "config": {"a": [1, None]}}


class LimitedFile(io.FileIO):
    """A file on a disk with ``bytes_left``, which takes a part of a write, as a real disk does."""

    bytes_left = 0

    def write(self, data: Any) -> int:
        if LimitedFile.bytes_left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(bytes(data)[: LimitedFile.bytes_left])
        LimitedFile.bytes_left -= written
        return written


def limit_files(size: int) -> Callable[[], None]:
    """No file may be larger than ``size``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit_disk(size: int) -> Callable[[], None]:
    """The disk has space for ``size`` bytes."""
    before, LimitedFile.bytes_left = Path.open, size

    def open_limited(self: Path, *_: Any, **__: Any) -> io.BufferedWriter:
        return io.BufferedWriter(LimitedFile(self, "w"))

    Path.open = open_limited  # type: ignore[method-assign, assignment]
    return lambda: setattr(Path, "open", before)


def fail_at_sync(_: int) -> Callable[[], None]:
    """The disk takes all bytes, and turns out to be full when they are synced."""
    before = os.fsync

    def fsync(handle: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before(handle)

    os.fsync = fsync  # type: ignore[assignment]
    return lambda: setattr(os, "fsync", before)


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def collect_lines(logger: logging.Logger) -> list[str]:
    """A list to which the lines of ``logger`` go from now on, and nowhere else."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.handlers, logger.propagate = [handler], False
    return lines


def check_saves(folder: Path, fault: Fault, size: int, policy: Any, overwrites: bool) -> None:
    """A save, one that fails, and one more. The failing one may overwrite the first."""
    logger = logging.getLogger("torture.disk")
    lines = collect_lines(logger)
    is_async = size % 512 == 0
    options = TrainerOptions(epochs=9, on_save_error=policy, keep_last=1, async_save=is_async)
    manager = CheckpointManager(folder, options, logger)

    def save(state_of: int, epoch: int) -> None:
        manager.save(lambda: make_state(state_of), epoch, epoch, is_best=True)
        manager.wait()

    save(1, 1)
    before = read_files(folder)
    failure = ""
    end = fault(size)
    try:
        save(2, 1 if overwrites else 2)
    except UserError as error:
        failure = str(error)
    finally:
        end()
    assert len(lines) == (policy == "go_on"), lines
    failure = lines[0] if lines else failure
    assert "the checkpoint could not be written: " in failure, failure
    assert "\n" not in failure, failure
    assert read_files(folder) == before
    save(3, 3)
    assert sorted(read_files(folder)) == ["checkpoint-epoch3.pt", "model_best.pt"]
    for name in read_files(folder):
        assert differences(checkpoint.load(folder / name), make_state(3)) == []


def run_forked(work: Callable[[], None]) -> str:
    """Runs ``work`` in a child, where the limit of a file's size is an error and not a signal.

    Returns:
        The child's traceback; empty if it ended well.
    """
    here, there = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            work()
            there.send("")
        except BaseException:
            there.send(traceback.format_exc())
        finally:
            os._exit(0)
    there.close()
    answer = here.recv() if here.poll(60) else "no answer in 60 s"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer


def test_a_save_without_space_at_any_size_changes_nothing(tmp_path: Path) -> None:
    cases = [(fault, size) for size in SIZES for fault in (limit_files, limit_disk)]
    at_sync = [(fail_at_sync, 0), (fail_at_sync, 1)]
    start, failures, count = time.monotonic(), [], 0
    for number, (fault, size) in enumerate([*(cases if ALL else cases[::5]), *at_sync]):
        for policy in POLICIES:
            count += 1
            folder = tmp_path / f"{number}-{policy}"
            folder.mkdir()
            args = (folder, fault, size, policy, number % 2 == 0)
            problem = run_forked(lambda args=args: check_saves(*args))  # type: ignore[misc]
            if problem:
                failures.append((fault.__name__, size, policy, problem))
    report(7, "no space left", count, failures, start)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fault", [limit_files, limit_disk, fail_at_sync])
def test_a_run_stops_or_goes_on_as_configured(tmp_path: Path, fault: Fault, policy: str) -> None:
    """The disk has no space for the checkpoint of the second epoch."""
    config = small_config(tmp_path, epochs=3, on_save_error=policy)
    usual = make_trainer(config, "usual")
    usual.train()

    def work() -> None:
        trainer = make_trainer(config, "full")
        folder, lines = trainer.checkpoint_dir, collect_lines(trainer.logger)
        fail_in_epoch(trainer, 2, fault)
        if policy == "stop":
            message = r"checkpoint-epoch2\.pt: the checkpoint could not be written"
            with pytest.raises(UserError, match=message):
                trainer.train()
            assert [path.name for path in folder.glob("*.pt")] == ["checkpoint-epoch1.pt"]
            trainer = make_trainer(config, resume=folder / "checkpoint-epoch1.pt")
        trainer.train()
        assert sum("could not be written" in line for line in lines) == (policy == "go_on")
        assert not list(folder.glob(".*.tmp"))
        states = [load(path / "checkpoint-epoch3.pt") for path in (folder, usual.checkpoint_dir)]
        for state in states:
            del state["random"]["python"]  # which Python seeds anew in a forked child
        assert differences(*states) == []

    assert run_forked(work) == ""


def fail_in_epoch(trainer: Any, bad_epoch: int, fault: Fault) -> None:
    """Lets the fault last while the trainer saves an epoch."""
    save = trainer._save_checkpoint

    def save_with_fault(epoch: int, save_best: bool = False) -> None:
        end = fault(20_000) if epoch == bad_epoch else lambda: None
        try:
            save(epoch, save_best)
        finally:
            end()

    trainer._save_checkpoint = save_with_fault


def test_a_run_that_can_write_no_file_trains_to_the_same_weights(tmp_path: Path) -> None:
    """There is no space for the log and the metrics file either."""
    config = small_config(tmp_path, epochs=2, on_save_error="go_on")
    usual = make_trainer(config, "usual")
    usual.train()

    def work() -> None:
        trainer = make_trainer(config, "full")
        end = limit_files(10)
        try:
            trainer.train()
        finally:
            end()
        assert differences(trainer.model.state_dict(), usual.model.state_dict()) == []
        assert not list(trainer.checkpoint_dir.glob("*.pt"))
        assert not list(trainer.checkpoint_dir.glob(".*.tmp"))

    assert run_forked(work) == ""
