"""What a run shows in TensorBoard, read back from its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from base.tools.display import Display, hyperparameters
from tests.helpers import differences, load, make_trainer, small_config

EVERYTHING = {"images": 0, "scalars": 0, "histograms": 0, "tensors": 0}


def events_of(trainer: Any) -> EventAccumulator:
    events = EventAccumulator(str(trainer.config.log_dir), size_guidance=EVERYTHING)
    events.Reload()
    return events


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """A busy machine gets the time that it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logger.backends.backend.PATIENCE_SECONDS", 60.0)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _patience: None) -> Any:
    """Two epochs and, after a resume, a third."""
    folder = tmp_path_factory.mktemp("runs")
    config = small_config(folder, tensorboard=True, histogram_period=2, monitor="max val_accuracy")
    first = make_trainer(config)
    first.train()
    config["trainer"]["epochs"] = 3
    trainer = make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch2.pt")
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def events(trained: Any) -> EventAccumulator:
    return events_of(trained)


def test_the_numbers_stand_in_charts_of_their_own_kind(events: EventAccumulator) -> None:
    tags = set(events.Tags()["scalars"])
    assert {
        "loss/train",
        "loss/valid",
        "accuracy/train",
        "accuracy/valid",
        "lr/train",
        "grad_norm/train",
    } <= tags
    assert {"memory_mb/train"} <= tags
    assert all(event.value > 0 for event in events.Scalars("memory_mb/train"))
    assert [event.value for event in events.Scalars("lr/train")] == [pytest.approx(0.01)] * 3


def test_a_resumed_curve_neither_repeats_nor_leaps(trained: Any, events: EventAccumulator) -> None:
    steps = trained.steps_done() // 3
    assert [event.step for event in events.Scalars("loss/valid")] == [steps, 2 * steps, 3 * steps]
    assert [event.step for event in events.Scalars("loss/train")] == [1, steps + 1, 2 * steps + 1]
    assert [event.step for event in events.Images("predictions/valid")] == [
        steps,
        2 * steps,
        3 * steps,
    ]
    assert len(events.Images("input")) == 1


def test_the_graph_the_config_and_the_histograms_are_there(events: EventAccumulator) -> None:
    tags = events.Tags()
    assert tags["graph"] is True
    assert "config/text_summary" in tags["tensors"]
    assert "custom_scalars__config__" in tags["tensors"]  # loss/train and loss/valid in one chart
    weights = [tag for tag in tags["histograms"] if tag.startswith("weights/")]
    assert {tag.replace("weights/", "gradients/") for tag in weights} == set(
        tags["histograms"]
    ) - set(weights)
    assert len(events.Histograms(weights[0])) == 1  # of epoch 2


def test_the_end_shows_hyperparameters_confusions_and_curves(
    trained: Any, events: EventAccumulator
) -> None:
    assert {
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    } <= set(events.summary_metadata)
    (start,) = [events.summary_metadata["_hparams_/session_start_info"].plugin_data.content]
    assert (
        HParamsPluginData.FromString(start)
        .session_start_info.hparams["optimizer.args.lr"]
        .number_value
        == 0.01
    )
    assert events.Scalars("best/val_accuracy")[-1].value == pytest.approx(trained.mnt_best)
    assert events.Scalars("final/val_loss")[-1].value == pytest.approx(trained.last_log["val_loss"])
    assert "confusion_matrix/valid" in events.Tags()["images"]
    assert "precision_recall/9/valid" in events.Tags()["tensors"]


@pytest.mark.usefixtures("trained")  # imports draw random numbers once in a process
def test_showing_it_changes_no_bit(tmp_path: Path) -> None:
    states = []
    for shown in ({}, {"tensorboard": True, "histogram_period": 1, "wandb": {"project": "p"}}):
        trainer = make_trainer(small_config(tmp_path, **shown), run_id=f"run{len(states)}")
        trainer.writer.add_graph = lambda *_: torch.rand(3)  # as a model may that samples
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch2.pt"))
    assert [place for place in differences(*states) if "config" not in place] == []


def test_a_model_that_cannot_be_traced_costs_a_line_and_its_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any) -> Any:
        raise RuntimeError("no graph of such a thing\nat all")

    monkeypatch.setattr("torch.utils.tensorboard._pytorch_graph.graph", refuses)
    trainer = make_trainer(small_config(tmp_path, tensorboard=True, epochs=1))
    trainer.train()
    assert (
        "TensorBoard gets no graph: the model cannot be traced (no graph of such a thing)"
        in caplog.messages
    )
    assert trainer.writer.enabled
    assert "loss/valid" in events_of(trainer).Tags()["scalars"]


def test_the_loader_may_have_another_name_in_the_config() -> None:
    assert hyperparameters({"trainer": {"epochs": 3}, "train_data_loader": {}}) == {"epochs": 3}


def test_data_that_cannot_be_shown_costs_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, tensorboard=True, epochs=1)
    config["data_loader"] |= {"args": None}
    trainer = make_trainer(
        config | {"valid_data_loader": {"type": "DigitsDataLoader", "args": {"training": False}}}
    )

    class Odd:
        @property
        def classes(self) -> Any:
            raise RuntimeError("no class\nof such a kind")

    trainer.display.predictions = lambda *args: Display.predictions(
        trainer.display, args[0], SimpleNamespace(dataset=Odd()), *args[2:]
    )
    trainer.train()
    assert "Display.predictions failed: RuntimeError: no class of such a kind" in caplog.messages
    assert (trainer.checkpoint_dir / "checkpoint-epoch1.pt").exists()
    assert [text for text in caplog.messages if text.startswith("Display.end")] == []
