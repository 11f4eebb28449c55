"""How a batch is read, in the training process or in a worker."""

from __future__ import annotations

import multiprocessing
import multiprocessing.popen_fork
import os
import random
import signal
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    default_collate,
    get_worker_info,
)
from torchvision.datasets import FakeData

from base import BaseDataLoader, DatasetLoader
from base.data.loader import prepare_loader
from base.data.sampler import BatchIndices
from base.data.worker import SeededBatches, default_num_workers, holds_tensors
from base.data.worker_processes import kill_workers
from tests.base.data.datasets import Noisy, Stream, get_global_random_state
from utils.errors import UserError
from utils.failure import user_error_from
from utils.stop import EXIT_STATUS


def read(dataset: Any, indices: list[int], seed: int) -> Any:
    """The samples that a loader would collate."""
    return SeededBatches(dataset, list).__getitems__(BatchIndices(indices, seed))


def test_a_batch_is_read_under_random_numbers_of_its_seed() -> None:
    first = read(Noisy(), [1, 2], 5)
    random.random(), np.random.rand(), torch.rand(3)
    again, other = read(Noisy(), [1, 2], 5), read(Noisy(), [1, 2], 6)
    assert str(again) == str(first)
    for one, two in ((first[0], other[0]), (first[1], other[1]), (first[0], first[1])):
        for kind in (1, 2, 3):  # the random numbers of Python, NumPy, torch
            assert str(one[kind]) != str(two[kind])


def test_reading_leaves_the_global_random_numbers() -> None:
    before = get_global_random_state()
    read(Noisy(), [1], 5)
    assert get_global_random_state() == before


def test_a_dataset_that_reads_batches_is_asked_for_batches() -> None:
    class Batched:
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [10 * index for index in indices]

    assert read(Batched(), [1, 2], 0) == [10, 20]


class OneByOne(TensorDataset):
    """A subclass may do anything, so its samples are read one by one."""


def test_tensors_are_read_by_the_batch_and_give_the_same() -> None:
    tensors = torch.randn(50, 3), torch.arange(50), torch.rand(50)
    assert [holds_tensors(kind(*tensors)) for kind in (TensorDataset, OneByOne)] == [True, False]
    passes = []
    for kind in (TensorDataset, OneByOne):
        torch.manual_seed(3)
        passes.append(list(BaseDataLoader(kind(*tensors), 8, validation_split=10)))
    for fast, slow in zip(*passes, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(fast, slow, strict=True))
        assert [tensor.dtype for tensor in fast] == [tensor.dtype for tensor in slow]


def test_a_collate_function_gets_single_samples_of_tensors_too() -> None:
    data = TensorDataset(torch.arange(4), torch.arange(4))
    assert read(data, [2, 0], 0) == [(2, 2), (0, 0)]
    batch = SeededBatches(data, default_collate).__getitems__(BatchIndices([2, 0], 0))
    assert [tensor.tolist() for tensor in batch] == [[2, 0], [2, 0]]


class Damaged(Dataset[Any]):
    """Lists its files as torchvision's folders do. The third one is damaged."""

    samples = ("a.png", 0), ("b.png", 0), ("c.png", 1), ("d.png", 1)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise self.error
        return index


@pytest.mark.parametrize(
    ("section", "num_workers"), [("data_loader", 0), ("valid_data_loader", 0), ("test_loader", 1)]
)
def test_a_file_that_cannot_be_read_is_named(section: str, num_workers: int) -> None:
    """stylegan2-pytorch #7, detectron2 #143."""
    dataset = Damaged(OSError("image file is truncated"))
    loader = BaseDataLoader(dataset, 2, num_workers=num_workers)
    prepare_loader(loader, section, torch.device("cpu"), evaluating=section != "data_loader")
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(user_error_from(caught.value)) == (
        f"{section}: sample 2 of the dataset, c.png, cannot be read: image file is truncated"
    )


def test_a_validation_split_is_in_the_section_of_the_training_loader() -> None:
    data = Damaged(OSError("truncated"))
    split = BaseDataLoader(data, 2, validation_split=3).split_validation()
    prepare_loader(split, "valid_data_loader", torch.device("cpu"), evaluating=True)
    with pytest.raises(UserError, match=r"^data_loader: sample 2 of the"):
        list(split or ())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_sample_of_a_bug_is_in_its_traceback(num_workers: int) -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        list(BaseDataLoader(Damaged(ValueError("wrong")), 2, num_workers=num_workers))
    text = "".join(traceback.format_exception(caught.value))
    assert "while reading sample 2 of the dataset, c.png," in text


# -- worker processes -----------------------------------------------------------------------------


class Process(Dataset[Any]):
    """Describes the process that reads: id, niceness, its group."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> list[int]:
        return [os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), os.getpgid(0)]


def test_workers_yield_to_the_training_and_leave_its_group() -> None:
    here = Process()[0]
    pid, niceness, group = next(iter(BaseDataLoader(Process(), 8, num_workers=1)))
    assert set(niceness.tolist()) == {min(19, here[1] + 10)}
    assert group[0] == pid[0] != here[0]  # Ctrl-C goes to the group of the training only
    assert Process()[0] == here


class Signalled(Dataset[Any]):
    """Its samples arrive in a worker that got requests to stop in the meantime."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        for name in EXIT_STATUS:
            os.kill(os.getpid(), getattr(signal, name))
        return index


class SignalledStream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[int]:
        yield from map(Signalled().__getitem__, range(8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BaseDataLoader(Signalled(), 4, num_workers=1),
        lambda: BaseDataLoader(SignalledStream(), 4, num_workers=1),
        lambda: prepare_loader(DataLoader(Signalled(), 4, num_workers=1), "", torch.device("cpu")),
    ],
    ids=["map-style", "iterable", "torch"],
)
def test_workers_outlive_requests_to_stop(make: Callable[[], Any]) -> None:
    """Batch systems and containers signal all processes: KempnerForge #177."""
    assert sorted(torch.cat(list(make())).tolist()) == list(range(8))


def test_a_signal_while_workers_start_reaches_them_when_they_are_ready() -> None:
    """Until then, SIGTERM would end them."""
    started: list[int] = []
    loader = BaseDataLoader(Process(), 4, num_workers=2)
    popen = multiprocessing.popen_fork.Popen

    class SignallingPopen(popen):  # type: ignore[misc, valid-type]
        def __init__(self, process: Any) -> None:
            super().__init__(process)
            started.append(self.pid)
            os.kill(self.pid, signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.popen_fork, "Popen", SignallingPopen)
        pids = torch.cat([batch[0] for batch in loader])
    assert set(pids.tolist()) == set(started)


class Hanging(Dataset[Any]):
    """A worker that reads its last sample does not return."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        if index == 2:
            time.sleep(1000)
        return index


def test_workers_that_hang_are_killed_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers of other tests may be alive, and torch would report that they were killed.
    monkeypatch.setattr("base.data.worker_processes.workers", weakref.WeakSet())
    loader = BaseDataLoader(Hanging(), 1, shuffle=False, num_workers=1, prefetch_factor=3)
    batches: Any = iter(loader._reader.loader)
    next(batches)
    (worker,) = batches._workers
    torchs_handler = signal.getsignal(signal.SIGCHLD)
    kill_workers()
    assert worker.exitcode == -signal.SIGKILL
    assert signal.getsignal(signal.SIGCHLD) is torchs_handler  # of the next run's workers
    batches._shutdown_workers()  # so that torch's handler forgets this one


class Informed(Dataset[Any]):
    """Gives what a worker knows about itself."""

    scale = 1

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        assert info is not None
        return info.id, info.dataset is self, self.scale


def set_scale(worker_id: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.scale = 7 + worker_id  # type: ignore[attr-defined]


def test_a_worker_function_finds_the_users_dataset() -> None:
    loader = BaseDataLoader(Informed(), 2, num_workers=1, worker_init_fn=set_scale)
    (batch,) = loader
    assert [value.tolist() for value in batch] == [[0, 0], [True, True], [7, 7]]


def list_reading_processes(loader: Any) -> set[int]:
    return {int(pid) for batch in loader for pid in batch[0]}


def test_one_worker_for_each_core_reads_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    assert len(list_reading_processes(DatasetLoader(Process(), 1))) == 3
    assert len(list_reading_processes(DatasetLoader(Process(), 1, num_workers=1))) == 1
    here = os.getpid()
    assert list_reading_processes(DatasetLoader(Process(), 1, num_workers=0)) == {here}


def test_no_workers_read_what_is_in_memory_a_stream_or_what_must_be_pickled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: "fork")
    in_memory, drawn = TensorDataset(torch.arange(8)), FakeData(8)
    assert [default_num_workers(data) for data in (in_memory, drawn, Stream())] == [0, 3, 0]
    assert default_num_workers(drawn, is_cached=True) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(100))
    assert default_num_workers(drawn) == 8
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: "spawn")
    assert default_num_workers(drawn) == 0
