"""What a run shows in TensorBoard, read back from its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from base.tools.display import list_hyperparameters
from tests.base.tools.programs import add_module
from tests.helpers import differences, load, make_trainer, small_config

EVERYTHING = {"images": 0, "scalars": 0, "histograms": 0, "tensors": 0}
UNTRACEABLE = """
import torch
from model.model import SmallConvNet
class Untraceable(SmallConvNet):
    def forward(self, x):
        if torch.jit.is_tracing():
            raise RuntimeError("no graph of such a thing\\nat all")
        return super().forward(x)
"""
NO_CLASSES = """
from base import BaseDataLoader
from data_loader.data_loaders import DigitsDataLoader
class NoClasses(DigitsDataLoader):
    def __init__(self):
        super().__init__(training=False)
        self.dataset.__class__ = type("Odd", (type(self.dataset),), {"classes": property(refuse)})
def refuse(dataset):
    raise RuntimeError("no class\\nof such a kind")
"""


def read_events(trainer: Any) -> EventAccumulator:
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
    config = small_config(folder, tensorboard=True, monitor="max val_accuracy")
    first = make_trainer(config)
    first.train()
    config["trainer"]["epochs"] = 3
    trainer = make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch2.pt")
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def events(trained: Any) -> EventAccumulator:
    return read_events(trained)


def test_each_kind_of_number_has_its_chart(events: EventAccumulator) -> None:
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


def test_a_resumed_curve_has_no_repetition_and_no_gap(
    trained: Any, events: EventAccumulator
) -> None:
    steps = trained.progress.step // 3
    assert [event.step for event in events.Scalars("loss/valid")] == [steps, 2 * steps, 3 * steps]
    assert [event.step for event in events.Scalars("loss/train")] == [1, steps + 1, 2 * steps + 1]
    pictures = events.Images("predictions/valid")
    assert [event.step for event in pictures] == [steps, 2 * steps, 3 * steps]
    assert len(events.Images("input")) == 1


def test_the_graph_and_the_config_are_shown(events: EventAccumulator) -> None:
    tags = events.Tags()
    assert tags["graph"] is True
    assert "config/text_summary" in tags["tensors"]
    assert "custom_scalars__config__" in tags["tensors"]  # loss/train and loss/valid in one chart


def test_the_end_shows_hyperparameters_confusions_and_curves(
    trained: Any, events: EventAccumulator
) -> None:
    names = ("experiment", "session_start_info", "session_end_info")
    assert {f"_hparams_/{name}" for name in names} <= set(events.summary_metadata)
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["optimizer.args.lr"].number_value == 0.01
    assert events.Scalars("best/val_accuracy")[-1].value == pytest.approx(trained.mnt_best)
    assert events.Scalars("final/val_loss")[-1].value == pytest.approx(trained.last_log["val_loss"])
    assert "confusion_matrix/valid" in events.Tags()["images"]
    assert "precision_recall/9/valid" in events.Tags()["tensors"]


@pytest.mark.usefixtures("trained")  # imports draw random numbers once in a process
def test_trackers_change_no_bit(tmp_path: Path) -> None:
    states = []
    for trackers in ({}, {"tensorboard": True, "histogram_period": 1, "wandb": {"project": "p"}}):
        trainer = make_trainer(small_config(tmp_path, **trackers), run_id=f"run{len(states)}")
        trainer.writer.add_graph = lambda *_: torch.rand(3)  # as tracing a model that samples does
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch2.pt"))
    assert [path for path in differences(*states) if "config" not in path] == []


def test_a_model_that_cannot_be_traced_costs_a_line_and_its_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_module(monkeypatch, "model", "untraceable", UNTRACEABLE)
    config = small_config(tmp_path, tensorboard=True, epochs=1)
    trainer = make_trainer(config | {"arch": {"type": "untraceable.Untraceable"}})
    trainer.train()
    reason = "the model cannot be traced (no graph of such a thing)"
    assert f"TensorBoard gets no graph: {reason}" in caplog.messages
    assert trainer.writer.enabled
    tags = read_events(trainer).Tags()
    assert "loss/valid" in tags["scalars"]
    assert tags["graph"] is False


def test_data_that_cannot_be_shown_costs_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_module(monkeypatch, "data_loader", "odd", NO_CLASSES)
    config = small_config(tmp_path, tensorboard=True, epochs=1)
    config["data_loader"] |= {"args": None}
    trainer = make_trainer(config | {"valid_data_loader": {"type": "odd.NoClasses"}})
    trainer.train()
    failures = [text for text in caplog.messages if text.startswith("Display.")]
    reason = "failed: RuntimeError: no class of such a kind"
    assert failures == [
        f"Display.{name} {reason}" for name in ("show_predictions", "show_confusion")
    ]
    assert (trainer.checkpoint_dir / "checkpoint-epoch1.pt").exists()
    assert "final/val_loss" in read_events(trainer).Tags()["scalars"]


def test_the_loader_may_have_another_name_in_the_config() -> None:
    config = {"trainer": {"epochs": 3}, "train_data_loader": {}}
    assert list_hyperparameters(config) == {"epochs": 3}
