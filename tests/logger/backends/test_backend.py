"""The interface of a back end, by one that keeps its calls in memory."""

from __future__ import annotations

import logging
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from base.features import of_kind
from logger.backends.backend import BackEnd, RunFacts, make_back_ends
from logger.backends.tensorboard import TensorboardBackEnd
from logger.backends.wandb import WandbBackEnd
from logger.visualization import Writer
from tests.helpers import ROOT

LOGGER = logging.getLogger("probe.backend")


class Tracker:
    """Knows numbers and pictures only."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.threads: set[int] = {threading.get_ident()}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.calls.append((tag, value, step))
        self.threads.add(threading.get_ident())

    def add_image(self, tag: str, value: Any, step: int, dataformats: str = "CHW") -> None:
        self.calls.append((tag, value, step, dataformats))


class MemoryBackEnd(BackEnd):
    option = "memory"
    title = "Memory"
    module = "json"

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger)
        self.opened: list[Tracker] = []

    @classmethod
    def from_run(cls, run: RunFacts, options: Any) -> MemoryBackEnd | None:
        return cls(run.logger) if options else None

    def open(self) -> Tracker:
        self.opened.append(Tracker())
        return self.opened[-1]


@pytest.fixture
def back_end() -> MemoryBackEnd:
    return MemoryBackEnd(LOGGER)


def test_a_writer_passes_values_on_under_step_and_mode(back_end: MemoryBackEnd) -> None:
    writer = Writer(LOGGER, [back_end])
    writer.set_step(3, "valid")
    writer.add_scalar("loss", 0.5)
    writer.add_scalar("norm", 2.0, per_mode=False)
    writer.flush()
    assert back_end.opened[0].calls == [("loss/valid", 0.5, 3), ("norm", 2.0, 3)]


def test_the_tracker_is_opened_and_called_in_another_thread(back_end: MemoryBackEnd) -> None:
    writer = Writer(LOGGER, [back_end])
    assert back_end.opened == []
    writer.add_scalar("loss", 0.5)
    writer.flush()
    (tracker,) = back_end.opened
    assert len(tracker.threads) == 1
    assert threading.get_ident() not in tracker.threads


def test_a_picture_is_drawn_in_that_thread(back_end: MemoryBackEnd) -> None:
    writer = Writer(LOGGER, [back_end])
    writer.add_image("curve", partial(threading.get_ident), dataformats="HW")
    writer.flush()
    ((tag, thread, step, dataformats),) = back_end.opened[0].calls
    assert (tag, step, dataformats) == ("curve", 0, "HW")
    assert thread != threading.get_ident()


def test_what_a_tracker_lacks_is_left_out(
    back_end: MemoryBackEnd, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(LOGGER, [back_end])
    writer.add_histogram("weights", [1.0, 2.0])
    writer.add_graph(object())
    writer.watch(object())
    writer.add_artifact(Path("model_best.pt"))
    writer.add_scalar("loss", 0.5)
    writer.close()
    assert back_end.opened[0].calls == [("loss", 0.5, 0)]
    assert caplog.records == []


def test_a_failure_of_one_back_end_does_not_affect_the_others(
    back_end: MemoryBackEnd, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryBackEnd):
        title = "Broken"

        def open(self) -> Tracker:
            raise OSError("no such server")

    writer = Writer(LOGGER, [Broken(LOGGER), back_end])
    for step in range(3):
        writer.set_step(step)
        writer.add_scalar("loss", 0.5)
        writer.flush()
    assert [call for call in back_end.opened[0].calls if call[0] == "loss/train"] == [
        ("loss/train", 0.5, step) for step in range(3)
    ]
    assert caplog.messages == ["Broken is off from here on: add_scalar failed (no such server)"]
    assert writer.enabled


def test_a_library_that_is_missing_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Missing(MemoryBackEnd):
        module = "no_such_library"

    writer = Writer(LOGGER, [Missing(LOGGER)])
    writer.add_scalar("loss", 0.5)
    writer.add_scalar("loss", 0.5)
    writer.close()
    assert caplog.messages == [
        "Memory is off from here on: import failed (No module named 'no_such_library')"
    ]


def test_the_options_choose_the_back_ends(tmp_path: Path) -> None:
    run = RunFacts(tmp_path, {"name": "probe"}, False, LOGGER)
    kinds = [TensorboardBackEnd, MemoryBackEnd, WandbBackEnd]
    back_ends = make_back_ends(kinds, {"tensorboard": False, "memory": True}, run)
    assert [type(back_end) for back_end in back_ends] == [MemoryBackEnd]
    back_ends = make_back_ends(kinds, {"tensorboard": True, "wandb": {"mode": "offline"}}, run)
    assert [type(back_end) for back_end in back_ends] == [TensorboardBackEnd, WandbBackEnd]


def test_the_register_gives_the_back_ends_and_nothing_else() -> None:
    assert of_kind(BackEnd) == [WandbBackEnd]
    assert of_kind(logging.Handler) == []


def test_the_back_end_of_the_readme_works(tmp_path: Path) -> None:
    text = (ROOT / "logger" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"Write `[^`]*`:\n\n```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    run = RunFacts(tmp_path, {}, False, LOGGER)
    writer = Writer(LOGGER, make_back_ends([names["CsvBackEnd"]], {"csv": True}, run))
    writer.set_step(3)
    writer.add_scalar("loss", 0.5)
    writer.add_text("config", "which this tracker lacks")
    writer.close()
    assert (tmp_path / "scalars.csv").read_text() == "3,loss/train,0.5\n"
    assert make_back_ends([names["CsvBackEnd"]], {"csv": False}, run) == []
