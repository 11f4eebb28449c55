"""Workers that cannot start, and what they inherit."""

from __future__ import annotations

import errno
import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import Dataset

from base import BaseDataLoader
from utils.errors import UserError
from utils.files import OPEN_FILES


class Filed(Dataset[Any]):
    """Numbers in a file that stays open."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(range(200)))
        self.file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> int:
        self.file.seek(index)
        os.sched_yield()
        return self.file.read(1)[0]


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="needs Linux")
def test_each_worker_has_its_position_in_a_file(tmp_path: Path) -> None:
    """CPython #82816, h5py #934: a worker reads what another one has looked for."""
    loader = BaseDataLoader(Filed(tmp_path / "a"), 4, shuffle=False, num_workers=2)
    assert [int(number) for batch in loader for number in batch] == list(range(200))


class Local(Dataset[Any]):
    def __init__(self) -> None:
        self.change = lambda value: value

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return self.change(index)


def test_a_dataset_that_cannot_be_pickled_is_one_line() -> None:
    loader = BaseDataLoader(Local(), 2, num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(
        UserError, match=r"^data_loader: the workers need copies of .*num_workers: 0"
    ):
        next(iter(loader))


def test_workers_are_killed_if_others_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """They ignore SIGTERM, so the program would wait for them for ever."""
    start = BaseProcess.start
    workers: list[Any] = []

    def start_one(self: Any) -> None:
        workers.append(self)
        if len(workers) > 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        start(self)

    monkeypatch.setattr(BaseProcess, "start", start_one)
    before = set(multiprocessing.active_children())
    with pytest.raises(OSError, match="Too many open files"):
        next(iter(BaseDataLoader(list(range(8)), 2, num_workers=2)))
    workers[0].join(20)
    assert set(multiprocessing.active_children()) <= before  # others may have ended
