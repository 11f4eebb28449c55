"""Row 11: a logger that raises or hangs, at any time, costs one warning and changes no bits."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.utils.tensorboard

from logger import metrics_file
from logger.background import Background
from tests.base.checkpoint.resumed_runs import read_lines
from tests.helpers import differences, load, make_trainer, small_config
from tests.torture.harness import ALL

PATIENCE_SECONDS = 1.0
# A run takes less than a second, and waits once for a logger that hangs.
MAX_SECONDS = 6
WHEN = {"start": ("__init__", 1), "middle": ("add_scalar", 7), "end": ("close", 1)}
ALL_FAULTS = [(kind, when) for kind in ("raises", "hangs") for when in WHEN]
USUAL_FAULTS = [fault for fault in ALL_FAULTS if fault[0] == "raises" or fault[1] == "middle"]
FAULTS = ALL_FAULTS if ALL else USUAL_FAULTS
Fault = Callable[[], object]


@pytest.fixture(scope="module")
def row(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Counts the tests, and prints the sum at the end."""
    done: list[str] = []
    before = request.session.testsfailed
    yield done
    failures = request.session.testsfailed - before
    print(f"row 11: a logger that raises or hangs, {len(done)} times, {failures} failures")


@pytest.fixture(autouse=True)
def _counted(row: list[str], request: pytest.FixtureRequest) -> None:
    row.append(request.node.name)


class Threads:
    """Runs functions in threads, for a limited time.

    Attributes:
        is_over: set at the end of the test; faults that hang end then.
    """

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, function: Callable[[], None]) -> str:
        """Returns the error of ``function``; empty if it ended well in time."""
        outcome = ["it hangs"]

        def run_and_note() -> None:
            try:
                function()
                outcome[0] = ""
            except BaseException as error:
                outcome[0] = f"{type(error).__name__}: {error}"

        thread = threading.Thread(target=run_and_note, daemon=True)
        thread.start()
        thread.join(MAX_SECONDS)
        self._threads.append(thread)
        return outcome[0]

    def end(self) -> None:
        """Ends what hangs: it would draw the next test's random numbers."""
        self.is_over.set()
        for thread in self._threads:
            thread.join(20)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Threads]:
    monkeypatch.setattr(Background.__init__, "__defaults__", (PATIENCE_SECONDS,))
    monkeypatch.setattr("logger.backends.backend.PATIENCE_SECONDS", PATIENCE_SECONDS)
    threads = Threads()
    yield threads
    threads.end()


def fail() -> None:
    raise RuntimeError("the logger's own mistake")


def make_fault(kind: str, threads: Threads) -> Fault:
    return fail if kind == "raises" else lambda: threads.is_over.wait(60)


def make_writer(fault: Fault, method: str, at: int) -> type:
    """A SummaryWriter with a fault in the ``at``-th call of a method, counted from 1."""
    calls = 0

    def count(name: str) -> None:
        nonlocal calls
        calls += name == method
        if name == method and calls == at:
            fault()

    class Writer:
        def __init__(self, *_: Any, **__: Any) -> None:
            count("__init__")

        def _get_file_writer(self) -> Any:
            return self

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: count(name)

    return Writer


@pytest.fixture
def _silent_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SummaryWriter without a fault that writes nothing."""
    writer = make_writer(fail, "none", 0)
    monkeypatch.setattr(torch.utils.tensorboard, "SummaryWriter", writer)


def check_run(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    threads: Threads,
    make: Callable[[dict[str, Any]], Any],
) -> tuple[Path, Path]:
    """A run with a faulty logger ends in time with one warning and the bits of one without it.

    Args:
        make: gives a trainer with a faulty logger.

    Returns:
        The folders of the runs with and without the fault.
    """
    config = small_config(tmp_path, epochs=3, tensorboard=True)
    make_trainer(config, "first")  # its imports draw random numbers
    caplog.clear()
    caplog.set_level(logging.WARNING)
    trainers = []

    def make_and_train() -> None:
        trainers.append(make(config))
        trainers[0].train()

    assert threads.run(make_and_train) == ""
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    with pytest.MonkeyPatch.context() as patch:
        writer = make_writer(fail, "none", 0)
        patch.setattr(torch.utils.tensorboard, "SummaryWriter", writer)
        plain = make_trainer(config, "plain")
        plain.train()
    folders = trainers[0].checkpoint_dir, plain.checkpoint_dir
    states = [load(folder / "checkpoint-epoch3.pt") for folder in folders]
    assert differences(*states) == []
    assert len(warnings) == 1, warnings
    return folders


@pytest.mark.parametrize(("kind", "when"), FAULTS)
def test_tensorboard_may_fail(tmp_path, caplog, monkeypatch, threads, kind, when):
    writer = make_writer(make_fault(kind, threads), *WHEN[when])
    monkeypatch.setattr(torch.utils.tensorboard, "SummaryWriter", writer)
    make = lambda config: make_trainer(config, "faulty")  # noqa: E731
    faulty, plain = check_run(tmp_path, caplog, threads, make)
    assert read_lines(faulty) == read_lines(plain)


@pytest.mark.usefixtures("_silent_tensorboard")
@pytest.mark.parametrize(("kind", "when"), FAULTS)
def test_the_metrics_file_may_fail(tmp_path, caplog, threads, kind, when):
    """A folder of its name cannot be written to. A pipe that nobody reads lets a write hang."""
    path = tmp_path / "small/faulty/log/metrics.jsonl"
    bad_epoch = {"start": 1, "middle": 2, "end": 3}[when]

    def make(config: dict[str, Any]) -> Any:
        trainer = make_trainer(config, "faulty")
        train_epoch = trainer._train_epoch

        def replace_and_train(epoch: int) -> Any:
            if epoch == bad_epoch:
                path.unlink(missing_ok=True)
                if kind == "raises":
                    path.mkdir()
                else:
                    os.mkfifo(path)
            return train_epoch(epoch)

        trainer._train_epoch = replace_and_train
        return trainer

    try:
        check_run(tmp_path, caplog, threads, make)
    finally:
        if path.is_fifo():
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


@pytest.mark.usefixtures("_silent_tensorboard")
def test_a_resumed_run_may_fail_to_shorten_the_metrics_file(tmp_path, caplog, monkeypatch):
    config = small_config(tmp_path, epochs=2, tensorboard=True)
    first = make_trainer(config, "first")
    first.train()
    folder = tmp_path / "small" / "faulty"
    shutil.copytree(first.checkpoint_dir, folder)

    def refuse(_: Path) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metrics_file, "atomic_write", refuse)
    config["trainer"]["epochs"] = 3
    trainer = make_trainer(config, resume=folder / "checkpoint-epoch2.pt")
    caplog.clear()
    trainer.train()
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any(text.startswith("metrics.jsonl is off from here on") for text in warnings)
    assert (folder / "checkpoint-epoch3.pt").exists()
    assert json.loads((folder / "log/metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 2
