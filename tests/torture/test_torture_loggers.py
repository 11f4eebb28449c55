"""A logger that raises or hangs, at the start, while logging or at the end: the same bits, and one warning."""

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
from tests.helpers import differences, load, make_trainer, small_config

ALL = os.environ.get("TORTURE") == "all"
SECONDS = 6  # that a training of less than one may take beside a logger that hangs, with a patience of one
Fault = Callable[[], None]
LEFT: list[threading.Thread] = []  # trainings that hung


@pytest.fixture(scope="module")
def row(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Counts the tests, and sums them up at the end."""
    done: list[str] = []
    failed = request.session.testsfailed
    yield done
    print(
        f"row 11: a logger that raises or hangs, {len(done)} times, {request.session.testsfailed - failed} failures"
    )


@pytest.fixture(autouse=True)
def count(row: list[str], request: pytest.FixtureRequest) -> None:
    row.append(request.node.name)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set when the test is over: whoever hangs may go."""
    monkeypatch.setattr(Background.__init__, "__defaults__", (1.0,))  # its patience
    monkeypatch.setattr("logger.backends.backend.PATIENCE_SECONDS", 1.0)
    event = threading.Event()
    yield event
    event.set()
    while LEFT:
        LEFT.pop().join(20)  # it would draw the next test's random numbers


def fails() -> None:
    raise RuntimeError("the logger's own mistake")


def summary_writer(fault: Fault, method: str, at: int) -> type:
    """A SummaryWriter with a fault in the ``at``-th call of a method."""
    calls = 0

    def step(name: str) -> None:
        nonlocal calls
        calls += name == method
        if name == method and calls == at:
            fault()

    class Writer:
        def __init__(self, *_: Any, **__: Any) -> None:
            step("__init__")

        def _get_file_writer(self) -> Any:
            return self

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: step(name)

    return Writer


class Handler(logging.Handler):
    """A project's own handler, with a fault in the ``at``-th line."""

    def __init__(self, fault: Fault, at: int) -> None:
        super().__init__()
        self.fault, self.left = fault, at

    def emit(self, record: logging.LogRecord) -> None:
        self.left -= 1
        if self.left == 0:
            self.fault()


def metrics_of(trainer: Any) -> Path:
    return Path(trainer.config.log_dir) / "metrics.jsonl"


def lines(trainer: Any) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in metrics_of(trainer).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def ends(work: Callable[[], None]) -> str:
    """What became of ``work`` in ``SECONDS``; empty if it ended well."""
    outcome = ["it hangs"]

    def guarded() -> None:
        try:
            work()
            outcome[0] = ""
        except BaseException as error:
            outcome[0] = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(SECONDS)
    LEFT.append(thread)
    return outcome[0]


def check(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[dict[str, Any]], Any],
    rows: bool,
) -> None:
    """``make`` gives a trainer with a faulty logger; its run must be one without the logger."""
    config = small_config(tmp_path, epochs=3, tensorboard=True)
    make_trainer(config, "first")  # its imports draw random numbers once in a process
    caplog.clear()
    caplog.set_level(logging.WARNING)
    trainers = []
    outcome = ends(lambda: (trainers.append(make(config)), trainers[0].train()))  # type: ignore[func-returns-value]
    assert outcome == ""
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.tensorboard, "SummaryWriter", summary_writer(fails, "none", 0))
        plain = make_trainer(config, "plain")
        plain.train()
    folder, name = trainers[0].checkpoint_dir, "checkpoint-epoch3.pt"
    assert differences(load(folder / name), load(plain.checkpoint_dir / name)) == []
    assert not rows or lines(trainers[0]) == lines(plain)
    assert len(warnings) == 1, warnings


WHEN = {"start": ("__init__", 1), "while": ("add_scalar", 7), "end": ("close", 1)}
FAULTS = [(kind, when) for kind in ("raises", "hangs") for when in WHEN]
SHARE = (
    FAULTS if ALL else [fault for fault in FAULTS if fault[0] == "raises" or fault[1] == "while"]
)


def fault_of(kind: str, hanging: threading.Event) -> Fault:
    return fails if kind == "raises" else lambda: hanging.wait(60) and None


@pytest.mark.parametrize(("kind", "when"), SHARE)
def test_tensorboard(tmp_path, caplog, monkeypatch, hanging, kind, when):
    writer = summary_writer(fault_of(kind, hanging), *WHEN[when])
    monkeypatch.setattr(torch.utils.tensorboard, "SummaryWriter", writer)
    check(tmp_path, caplog, lambda config: make_trainer(config, "faulty"), rows=True)


@pytest.mark.parametrize(("kind", "when"), SHARE)
def test_the_metrics_file(tmp_path, caplog, monkeypatch, hanging, kind, when):
    """In its place there is a folder, which cannot be written, or a pipe that nobody reads, at which writing hangs."""
    monkeypatch.setattr(torch.utils.tensorboard, "SummaryWriter", summary_writer(fails, "none", 0))
    paths = []

    def make(config: dict[str, Any]) -> Any:
        trainer = make_trainer(config, "faulty")
        train_epoch, bad = trainer._train_epoch, {"start": 1, "while": 2, "end": 3}[when]
        paths.append(metrics_of(trainer))

        def replacing(epoch: int) -> Any:
            if epoch == bad:
                paths[0].unlink(missing_ok=True)
                paths[0].mkdir() if kind == "raises" else os.mkfifo(paths[0])
            return train_epoch(epoch)

        trainer._train_epoch = replacing
        return trainer

    try:
        check(tmp_path, caplog, make, rows=False)
    finally:
        if kind == "hangs" and paths:
            os.close(os.open(paths[0], os.O_RDONLY | os.O_NONBLOCK))


def test_a_metrics_file_that_cannot_be_cut_when_resuming(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(torch.utils.tensorboard, "SummaryWriter", summary_writer(fails, "none", 0))
    config = small_config(tmp_path, epochs=2, tensorboard=True)
    first = make_trainer(config, "first")
    first.train()

    def full(_: Path) -> Any:
        raise OSError(28, "No space left on device")

    def make(config: dict[str, Any]) -> Any:
        folder = tmp_path / "small" / "faulty"
        shutil.copytree(first.checkpoint_dir, folder)
        monkeypatch.setattr(metrics_file, "atomic_write", full)
        return make_trainer(config, resume=folder / "checkpoint-epoch2.pt")

    config["trainer"]["epochs"] = 3
    trainer = make(config)
    caplog.clear()
    trainer.train()
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text for text in texts if "Changed since" not in text and "changed" not in text] != []
    assert (trainer.checkpoint_dir / "checkpoint-epoch3.pt").exists()
