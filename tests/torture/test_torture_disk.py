"""No space left while a checkpoint is written: what was there stays, nothing else does, and later saves succeed."""

from __future__ import annotations

import errno
import io
import logging
import multiprocessing
import os
import resource
import signal
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint import file as checkpoint
from base.checkpoint.manager import Saver
from base.options import TrainerOptions
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

ALL = os.environ.get("TORTURE") == "all"
POLICIES = ("stop", "go_on")
SIZES = range(0, 8192, 256)  # 32 of them, below the size of a checkpoint


def state(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "state_dict": {"w": torch.full((2000,), float(epoch))},
        "config": {"a": [1, None]},
    }


class Room(io.FileIO):
    """A file on a disk that has room for ``left`` bytes, and takes a part of a write as a real one does."""

    left = 0

    def write(self, data: Any) -> int:
        if Room.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(bytes(data)[: Room.left])
        Room.left -= written
        return written


def limited(size: int) -> Callable[[], None]:
    """No file may be larger than ``size``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full(size: int) -> Callable[[], None]:
    """The disk has room for ``size`` bytes."""
    before, Room.left = Path.open, size
    Path.open = lambda self, *_, **__: io.BufferedWriter(Room(self, "w"))  # type: ignore[method-assign,assignment]
    return lambda: setattr(Path, "open", before)


def unsynced(_: int) -> Callable[[], None]:
    """The disk has room for what is written, and finds that it has not when that is synced."""
    before = os.fsync

    def fsync(handle: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before(handle)

    os.fsync = fsync  # type: ignore[assignment]
    return lambda: setattr(os, "fsync", before)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def told(logger: logging.Logger) -> list[str]:
    """Where the lines that ``logger`` is given go to."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.handlers, logger.propagate = [handler], False
    return lines


def survives(
    folder: Path, fault: Callable[[int], Callable[[], None]], size: int, policy: str, again: bool
) -> None:
    """A save, one that fails, and one more. ``again``: the failing one overwrites the first."""
    logger = logging.getLogger("torture.disk")
    lines = told(logger)
    options = TrainerOptions(
        epochs=9, on_save_error=policy, keep_last=1, async_save=size % 512 == 0
    )  # type: ignore[arg-type]
    saver = Saver(folder, options, logger)
    saver.save(lambda: state(1), "checkpoint-epoch1.pt", 1, best=True)
    saver.wait()
    before = contents(folder)
    mend = fault(size)
    try:
        saver.save(lambda: state(2), f"checkpoint-epoch{1 if again else 2}.pt", 2, best=True)
        saver.wait()
        failure = lines[0] if lines else ""
    except UserError as error:
        failure = str(error)
    finally:
        mend()
    assert "the checkpoint could not be written: " in failure, failure
    assert "\n" not in failure, failure
    assert len(lines) == (policy == "go_on"), lines
    assert contents(folder) == before
    saver.save(lambda: state(3), "checkpoint-epoch3.pt", 3, best=True)
    saver.wait()
    assert sorted(contents(folder)) == ["checkpoint-epoch3.pt", "model_best.pt"]
    for name in contents(folder):
        assert differences(checkpoint.load(folder / name), state(3)) == []


def forked(work: Callable[[], None]) -> str:
    """Runs ``work`` in a child, where a file-size limit is an error and no signal; gives its traceback, if any."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            work()
            theirs.send("")
        except BaseException:
            theirs.send(traceback.format_exc())
        finally:
            os._exit(0)
    theirs.close()
    answer = ours.recv() if ours.poll(60) else "no answer in 60 s"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer


def test_no_space_left_at_every_size(tmp_path: Path) -> None:
    cases = [(fault, size) for size in SIZES for fault in (limited, full)] + [
        (unsynced, 0),
        (unsynced, 1),
    ]
    failures = []
    for number, (fault, size) in enumerate(cases if ALL else cases[::5] + cases[-2:]):
        for policy in POLICIES:
            folder = tmp_path / f"{number}-{policy}"
            folder.mkdir()
            if why := forked(lambda: survives(folder, fault, size, policy, number % 2 == 0)):  # noqa: B023
                failures.append((fault.__name__, size, policy, why))
    print(f"row 7: no space left, {(number + 1) * len(POLICIES)} times, {len(failures)} failures")
    assert failures == []


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fault", [limited, full, unsynced])
def test_a_training_stops_or_goes_on_as_configured(tmp_path: Path, fault: Any, policy: str) -> None:
    """The second epoch's checkpoint finds no space."""
    config = small_config(tmp_path, epochs=3, on_save_error=policy)
    usual = make_trainer(config, "usual")
    usual.train()

    def work() -> None:
        trainer = make_trainer(config, "full")
        trainer.logger = logging.getLogger("torture.disk")
        trainer._saver.logger = trainer.logger
        lines, save = told(trainer.logger), trainer._save_checkpoint

        def failing(epoch: int, save_best: bool = False) -> None:
            mend = fault(20_000) if epoch == 2 else lambda: None
            try:
                save(epoch, save_best)
            finally:
                mend()

        trainer._save_checkpoint = failing
        folder = trainer.checkpoint_dir
        if policy == "stop":
            with pytest.raises(
                UserError, match=r"checkpoint-epoch2\.pt: the checkpoint could not be written"
            ):
                trainer.train()
            assert [path.name for path in folder.glob("*.pt")] == ["checkpoint-epoch1.pt"]
            trainer = make_trainer(config, resume=folder / "checkpoint-epoch1.pt")
        trainer.train()
        assert sum("could not be written" in line for line in lines) == (policy == "go_on")
        assert not list(folder.glob(".*.tmp"))
        states = [load(place / "checkpoint-epoch3.pt") for place in (folder, usual.checkpoint_dir)]
        for state in states:
            del state["random"]["python"]  # which Python seeds anew in a forked child
        assert differences(*states) == []

    assert forked(work) == ""


def test_a_training_whose_every_file_is_limited(tmp_path: Path) -> None:
    """Not even the log and the metrics file have space; the training ends with the same weights."""
    config = small_config(tmp_path, epochs=2, on_save_error="go_on")
    usual = make_trainer(config, "usual")
    usual.train()

    def work() -> None:
        trainer = make_trainer(config, "full")
        mend = limited(10)
        try:
            trainer.train()
        finally:
            mend()
        assert differences(trainer.model.state_dict(), usual.model.state_dict()) == []
        assert not list(trainer.checkpoint_dir.glob("*.pt")) + list(
            trainer.checkpoint_dir.glob(".*.tmp")
        )

    assert forked(work) == ""
