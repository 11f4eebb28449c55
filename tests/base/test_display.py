"""What a run shows in TensorBoard and in Weights & Biases, read back from their files."""

from __future__ import annotations

import struct
import threading
import time
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
    """Also on a machine that has much else to do W&B's own process gets the time to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logger.visualization.PATIENCE", 60.0)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _patience: None) -> Any:
    """Two epochs and, resumed, a third; in TensorBoard and W&B."""
    folder = tmp_path_factory.mktemp("runs")
    config = small_config(folder, tensorboard=True, histogram_period=2, monitor="max val_accuracy")
    config["trainer"] |= {
        "wandb": {"project": "digits", "group": "tests", "tags": ["a"], "artifact": True}
    }
    first = make_trainer(config)
    first.train()
    config["trainer"]["epochs"] = 3
    time.sleep(1.1)  # W&B names its folders by the second
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
        "TensorBoard gets no graph of the model: it cannot be traced (no graph of such a thing)"
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


# -- Weights & Biases -----------------------------------------------------------------------------------------------


def records(path: Path) -> list[Any]:
    """The records of an offline run, which W&B's own process may finish writing after ``finish()`` has returned."""
    end = time.monotonic() + 20
    while True:
        found = read(path)
        if "exit" in [record.WhichOneof("record_type") for record in found]:
            return found
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.1)


def read(path: Path) -> list[Any]:
    """What stands in the file so far: a LevelDB log (blocks of 32 KiB) of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            record = Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


def history(path: Path) -> list[dict[str, str]]:
    rows = [
        record.history for record in records(path) if record.WhichOneof("record_type") == "history"
    ]
    return [
        {item.key or ".".join(item.nested_key): item.value_json for item in row.item}
        for row in rows
    ]


def test_an_offline_run_of_wandb_goes_on_under_its_id(trained: Any) -> None:
    files = sorted((trained.config.log_dir / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # before and after the resume
    assert len({file.name for file in files}) == 1
    runs = [
        record.run
        for file in files
        for record in records(file)
        if record.WhichOneof("record_type") == "run"
    ]
    assert {run.run_id for run in runs} == {files[0].stem.removeprefix("run-")}
    assert (runs[0].project, runs[0].run_group, list(runs[0].tags)) == ("digits", "tests", ["a"])
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert '"lr":0.01' in config["optimizer"].replace(" ", "")
    rows = [row for file in files for row in history(file)]
    losses = [(int(row["step"]), float(row["loss/valid"])) for row in rows if "loss/valid" in row]
    steps = trained.steps_done() // 3
    assert [step for step, _ in losses] == [steps, 2 * steps, 3 * steps]
    assert any("predictions/valid.path" in row for row in rows)
    assert any("weights/" in key for row in rows for key in row)


def test_wandb_watches_a_model_if_asked_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logger.backends.wandb.WATCH_BATCHES", 3)
    watch = Display.watch  # these epochs are over before W&B has begun
    monkeypatch.setattr(
        Display, "watch", lambda self, model: (watch(self, model), self.writer.flush())
    )
    config = small_config(tmp_path, epochs=2, wandb={"project": "p", "watch": "all"})
    first = make_trainer(config)
    first.train()
    time.sleep(1.1)  # its files are named by the second
    make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch1.pt").train()
    files = sorted((first.config.log_dir / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for file in files:
        keys = {key for row in history(file) for key in row}
        for what in ("gradients", "parameters"):  # W&B counts the models of a process
            assert any(key.startswith(what) and "features.0.weight" in key for key in keys), sorted(
                keys
            )


def test_wandb_tells_nothing_twice_after_a_kill(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=3, wandb={"project": "p"})
    first = make_trainer(config)
    first.train()
    time.sleep(1.1)
    again = make_trainer(
        config, resume=first.checkpoint_dir / "checkpoint-epoch1.pt"
    )  # epochs 2 and 3 come again
    again.train()
    files = (again.config.log_dir / "wandb").glob("offline-run-*/*.wandb")
    steps = [
        int(row["step"]) for file in sorted(files) for row in history(file) if "loss/valid" in row
    ]
    assert steps == sorted(set(steps))
    assert len(steps) == 3


def test_wandb_online_without_a_key_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    trainer = make_trainer(
        small_config(tmp_path, epochs=1, wandb={"project": "p", "mode": "online"})
    )
    trainer.train()
    (message,) = [text for text in caplog.messages if "Weights & Biases" in text]
    assert "there is no API key: run `wandb login`, or set trainer.wandb.mode to offline" in message


def test_disabled_wandb_is_not_there(tmp_path: Path) -> None:
    trainer = make_trainer(
        small_config(tmp_path, epochs=1, wandb={"project": "p", "mode": "disabled"})
    )
    trainer.train()
    assert not (trainer.config.log_dir / "wandb.json").exists()
    assert not (trainer.config.log_dir / "wandb").exists()


def test_a_tracker_that_hangs_delays_a_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()
    monkeypatch.setattr("logger.visualization.PATIENCE", 1.0)
    monkeypatch.setattr("logger.backends.wandb.WandbRun", lambda *_: over.wait(60))
    trainer = make_trainer(
        small_config(tmp_path, epochs=3, tensorboard=True, wandb={"project": "p"})
    )
    start = time.monotonic()
    trainer.train()
    assert time.monotonic() - start < 30
    over.set()
    (message,) = [text for text in caplog.messages if "Weights & Biases" in text]
    assert message == "Weights & Biases is off from here on: flush failed (nothing moved for 1 s)"
    assert "loss/valid" in events_of(trainer).Tags()["scalars"]
