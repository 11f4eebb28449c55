"""TensorboardWriter, read back from its files."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from logger import TensorboardWriter
from logger.backends.backend import PATIENCE_SECONDS

LOGGER = logging.getLogger("probe.writer")


@pytest.fixture
def writer(tmp_path: Path) -> TensorboardWriter:
    return TensorboardWriter(tmp_path, LOGGER, True)


def read(writer: TensorboardWriter) -> EventAccumulator:
    writer.close()
    events = EventAccumulator(str(writer.log_dir))
    events.Reload()
    return events


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, Any]]:
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def test_scalars_have_their_step_and_mode(writer: TensorboardWriter) -> None:
    writer.set_step(0)
    writer.add_scalar("loss", 0.5)
    writer.set_step(3, "valid")
    writer.add_scalar("loss", torch.tensor(0.25, requires_grad=True))
    writer.set_step(7)
    writer.add_scalar("loss", np.float32(0.125))
    events = read(writer)
    assert scalars(events, "loss/train") == [(0, 0.5), (7, 0.125)]
    assert scalars(events, "loss/valid") == [(3, 0.25)]


@pytest.mark.parametrize("run", ["trial-0", "trial-0/seed-1"])
def test_a_trial_leaves_its_row_of_the_hparams_table_to_the_search(
    tmp_path: Path, run: str
) -> None:
    """Otherwise each trial has two rows, and the columns are those of a single run."""
    (tmp_path / "group.json").write_text('{"search": {}}')
    writer = TensorboardWriter(tmp_path / run / "log", LOGGER, True)
    writer.add_scalar("loss", 0.5)
    writer.add_hparams({"lr": 0.1}, {"best/val_loss": 0.2}, run_name=".")
    events = read(writer)
    assert events.Tags()["scalars"] == ["loss"]
    assert "_hparams_/experiment" not in events.summary_metadata


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite_disturb_no_histogram_curve_or_picture(
    writer: TensorboardWriter,
) -> None:
    """A training that ignores NaN goes on, and so does TensorBoard."""
    bad = torch.tensor([1.0, float("nan"), float("inf"), 1e30])
    writer.add_histogram("weights", bad)
    writer.add_histogram("nothing", bad[1:3])
    writer.add_histogram("counts", torch.tensor([1, 2]))
    writer.add_pr_curve("curve", bad[:2] > 0, bad[:2])
    writer.add_image("picture", torch.full((1, 2, 2), float("nan")))
    writer.add_scalar("loss", 1.0)
    events = read(writer)
    assert events.Histograms("weights")[0].histogram_value.num == 2
    assert events.Tags()["histograms"] == ["weights", "counts"]
    assert scalars(events, "loss") == [(0, 1.0)]


def test_before_the_first_step_a_tag_has_no_mode(writer: TensorboardWriter) -> None:
    writer.add_scalar("loss", 1.0)
    assert scalars(read(writer), "loss") == [(0, 1.0)]


def test_the_speed_is_written_from_the_second_step_of_a_mode_on(writer: TensorboardWriter) -> None:
    writer.set_step(10)
    writer.set_step(12)
    writer.set_step(12, "valid")
    writer.set_step(14)
    events = read(writer)
    (event,) = events.Scalars("steps_per_sec/train")
    assert event.step == 12
    assert event.value > 0


def test_a_histogram_has_pytorch_templates_signature_and_no_mode(writer: TensorboardWriter) -> None:
    writer.set_step(5, "valid")
    writer.add_histogram("layer.weight", torch.nn.Parameter(torch.ones(4)), bins="auto")
    (event,) = read(writer).Histograms("layer.weight")
    assert (event.step, event.histogram_value.num) == (5, 4)


def test_images_and_text_have_their_mode(writer: TensorboardWriter) -> None:
    writer.set_step(2)
    writer.add_image("input", torch.zeros(1, 4, 4))
    writer.add_images("inputs", torch.zeros(3, 1, 4, 4))
    writer.add_text("note", "hello")
    events = read(writer)
    assert {"input/train", "inputs/train"} == {
        "/".join(tag.split("/")[:2]) for tag in events.Tags()["images"]
    }
    assert events.Images("input/train")[0].step == 2
    assert "note/train/text_summary" in events.Tags()["tensors"]


def test_several_scalars_have_one_chart(writer: TensorboardWriter, tmp_path: Path) -> None:
    writer.set_step(1)
    writer.add_scalars("losses", {"a": 1.0, "b": 2.0})
    writer.close()
    values = {}
    for name in ("a", "b"):
        events = EventAccumulator(str(tmp_path / f"losses_train_{name}"))
        events.Reload()
        values[name] = scalars(events, "losses/train")
    assert values == {"a": [(1, 1.0)], "b": [(1, 2.0)]}


def test_a_precision_recall_curve_takes_labels_and_predictions(writer: TensorboardWriter) -> None:
    writer.set_step(4, "valid")
    writer.add_pr_curve("curve", torch.tensor([0, 1]), torch.tensor([0.1, 0.9]))
    assert "curve/valid" in read(writer).Tags()["tensors"]


def test_a_resumed_run_hides_the_steps_that_it_repeats(
    writer: TensorboardWriter, tmp_path: Path
) -> None:
    for step in (1, 2, 3, 4):
        writer.set_step(step)
        writer.add_scalar("loss", 10.0 + step)
    writer.close()
    (file,) = tmp_path.iterdir()
    file.rename(
        tmp_path / "events.out.tfevents.1000000000.earlier"
    )  # the files are read in the order of their time
    resumed = TensorboardWriter(tmp_path, LOGGER, True)
    resumed.resume_at(3)
    resumed.set_step(3)
    resumed.add_scalar("loss", 23.0)
    assert scalars(read(resumed), "loss/train") == [(1, 11.0), (2, 12.0), (3, 23.0)]


def test_a_disabled_writer_makes_no_file(tmp_path: Path) -> None:
    writer = TensorboardWriter(tmp_path / "log", LOGGER, False)
    writer.set_step(1)
    writer.add_scalar("loss", 1.0)
    writer.flush()
    writer.close()
    assert not (tmp_path / "log").exists()


def test_a_writer_without_values_makes_no_file(writer: TensorboardWriter, tmp_path: Path) -> None:
    writer.set_step(1)
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_writer_opens_again(writer: TensorboardWriter) -> None:
    writer.add_scalar("loss", 1.0)
    writer.close()
    writer.close()
    writer.add_scalar("other", 2.0)
    assert set(read(writer).Tags()["scalars"]) == {"loss", "other"}


# -- failures ----------------------------------------------------------------------------------


class Broken:
    """A tracker whose disk is full."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> None:
            self.calls += 1
            raise OSError(28, "No space left on device")

        return method


def test_a_failure_costs_one_warning_and_nothing_else(
    writer: TensorboardWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Broken)
    with caplog.at_level(logging.WARNING, LOGGER.name):
        for step in range(3):
            writer.set_step(step)
            writer.add_scalar("loss", 1.0)
            writer.add_image("x", torch.zeros(1, 2, 2))
        writer.flush()
        writer.close()
    (message,) = [record.getMessage() for record in caplog.records]
    assert (
        message
        == "TensorBoard is off from here on: add_scalar failed ([Errno 28] No space left on device)"
    )


def test_a_folder_that_cannot_be_written_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    writer = TensorboardWriter(tmp_path / "file" / "log", LOGGER, True)
    with caplog.at_level(logging.WARNING, LOGGER.name):
        writer.add_scalar("loss", 1.0)
        writer.add_scalar("loss", 1.0)
        writer.close()
    assert len(caplog.records) == 1


def test_a_value_that_cannot_be_written_costs_one_warning(
    writer: TensorboardWriter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, LOGGER.name):
        writer.add_scalar("loss", "no number")
        writer.add_scalar("loss", 1.0)
        writer.close()
    assert len(caplog.records) == 1


def test_a_folder_that_goes_away_costs_one_warning_and_no_traceback(
    writer: TensorboardWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracebacks: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", tracebacks.append)
    with caplog.at_level(logging.WARNING, LOGGER.name):
        writer.add_scalar("loss", 1.0)
        writer.flush()
        shutil.rmtree(tmp_path)
        for _ in range(30):
            writer.add_scalar("loss", 1.0)
            writer.flush()
        start = time.monotonic()
        writer.close()
    assert PATIENCE_SECONDS < 5  # seconds, as the README promises
    assert time.monotonic() - start < 2 * PATIENCE_SECONDS + 2
    assert len(caplog.records) == 1
    assert tracebacks == []


def test_a_model_that_gives_a_dict_has_a_graph(
    writer: TensorboardWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of torchvision's segmentation, whose output a strict trace refuses."""

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": self.layer(x), "aux": x}

    with caplog.at_level(logging.INFO):
        writer.add_graph(Scores(), torch.zeros(1, 3, 4, 4))
    assert not caplog.messages
    assert b"layer" in read(writer).Graph().SerializeToString()
