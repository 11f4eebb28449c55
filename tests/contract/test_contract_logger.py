"""Logging and TensorboardWriter work as pytorch-template's projects use them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from logger import TensorboardWriter, setup_logging
from tests.contract.contract_objects import Net
from utils import write_json


def test_setup_logging_reads_a_projects_settings(tmp_path: Path) -> None:
    """A ``logger_config.json`` as in the template. Its files are written to the run's folder."""
    handler = {
        "class": "logging.handlers.RotatingFileHandler",
        "level": "INFO",
        "filename": "project.log",
    }
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"file": handler},
        "root": {"level": "INFO", "handlers": ["file"]},
    }
    write_json(settings, tmp_path / "settings.json")
    setup_logging(tmp_path / "run", log_config=tmp_path / "settings.json")
    logging.getLogger("contract").warning("heard")
    assert (tmp_path / "run" / "project.log").read_text() == "heard\n"


def test_setup_logging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(tmp_path)
    logging.getLogger("contract").info("%d words", 2)
    assert capsys.readouterr().out == "2 words\n"
    assert (tmp_path / "info.log").read_text().endswith("contract INFO 2 words\n")


@pytest.fixture
def logger() -> logging.Logger:
    return logging.getLogger("contract")


def read_events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(folder), size_guidance={"images": 0, "scalars": 0, "histograms": 0, "tensors": 0}
    )
    events.Reload()
    return events


def test_scalars_are_written_with_step_and_mode(tmp_path: Path, logger: logging.Logger) -> None:
    writer = TensorboardWriter(tmp_path, logger, True)
    for step in range(3):
        writer.set_step(step)
        writer.add_scalar("loss", 1.0 / (step + 1))
        writer.add_scalar("grad", (nn.Parameter(torch.tensor(2.0)) * step))
    writer.set_step(7, "valid")
    writer.add_scalar("loss", np.float32(0.5))
    writer.add_scalars("both", {"a": 1.0, "b": 2.0})
    assert (writer.step, writer.mode) == (7, "valid")
    writer.close()
    events = read_events(tmp_path)
    assert set(events.Tags()["scalars"]) == {
        "loss/train",
        "grad/train",
        "loss/valid",
        "steps_per_sec/train",
    }
    assert [(event.step, event.value) for event in events.Scalars("loss/train")] == [
        (0, 1.0),
        (1, 0.5),
        (2, pytest.approx(1 / 3)),
    ]
    assert [(event.step, event.value) for event in events.Scalars("loss/valid")] == [(7, 0.5)]
    assert [event.step for event in events.Scalars("steps_per_sec/train")] == [1, 2]
    assert read_events(tmp_path / "both_valid_a").Scalars("both/valid")[0].value == 1.0


def test_the_writer_supports_other_kinds_of_data(tmp_path: Path, logger: logging.Logger) -> None:
    writer = TensorboardWriter(str(tmp_path), logger, True)
    writer.set_step(5, "valid")
    writer.add_image("input", torch.rand(3, 4, 4))
    writer.add_images("grid", torch.rand(2, 3, 4, 4))
    for name, parameter in Net(3).named_parameters():
        writer.add_histogram(name, parameter, bins="auto")
    writer.add_text("note", "words")
    writer.add_audio("sound", torch.zeros(1, 100), sample_rate=8000)
    writer.add_pr_curve("pr", np.array([0, 1, 1]), np.array([0.1, 0.8, 0.6]))
    writer.add_embedding("points", torch.rand(4, 2))
    writer.add_hparams({"lr": 0.1}, {"best": 1.0})
    writer.add_graph(nn.Linear(1, 1), torch.zeros(1, 1))
    writer.flush()
    writer.close()
    assert writer.enabled, "no call failed"
    tags = read_events(tmp_path).Tags()
    assert set(tags["images"]) == {"input/valid", "grid/valid"}
    assert set(tags["histograms"]) == {
        "linear.weight",
        "linear.bias",
        "frozen.weight",
        "frozen.bias",
    }
    assert {"note/valid/text_summary", "pr/valid"} <= set(tags["tensors"])
    assert tags["audio"] == ["sound/valid"]
    assert tags["graph"] is True
    assert read_events(tmp_path).Histograms("linear.weight")[0].step == 5
    assert (tmp_path / "projector_config.pbtxt").is_file()


def test_figures_are_written_with_step_and_mode(tmp_path: Path, logger: logging.Logger) -> None:
    import matplotlib.pyplot as plt

    writer, figure = TensorboardWriter(tmp_path, logger, True), plt.figure(figsize=(1, 1))
    writer.set_step(4, "valid")
    writer.add_figure("curve", figure, close=True)
    writer.close()
    assert [event.step for event in read_events(tmp_path).Images("curve/valid")] == [4]
    assert not plt.fignum_exists(figure.number)


def test_a_disabled_writer_does_nothing(tmp_path: Path, logger: logging.Logger) -> None:
    writer = TensorboardWriter(tmp_path / "log", logger, False)
    writer.set_step(3)
    writer.add_scalar("loss", 1.0)
    writer.add_histogram("weight", torch.zeros(3), bins="auto")
    writer.add_image("input", torch.zeros(1, 2, 2))
    writer.close()
    assert not (tmp_path / "log").exists()
    with pytest.raises(AttributeError):
        _ = writer.add_scaler  # type: ignore[attr-defined]
