"""Weights & Biases, read back from the files of offline runs."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from logger.visualization import Writer
from tests.helpers import make_trainer, small_config

SECONDS_TO_NEXT_FOLDER = 1.1  # W&B names its folders by the second


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """On a busy machine, W&B's own process needs more time to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logger.backends.backend.PATIENCE_SECONDS", 60.0)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _patience: None) -> Any:
    """Two epochs and, after a resume, a third."""
    folder = tmp_path_factory.mktemp("runs")
    config = small_config(folder, histogram_period=2, monitor="max val_accuracy")
    config["trainer"] |= {
        "wandb": {"project": "digits", "group": "tests", "tags": ["a"], "artifact": True}
    }
    first = make_trainer(config)
    first.train()
    config["trainer"]["epochs"] = 3
    time.sleep(SECONDS_TO_NEXT_FOLDER)
    trainer = make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch2.pt")
    trainer.train()
    return trainer


def read_events(trainer: Any) -> EventAccumulator:
    events = EventAccumulator(str(trainer.config.log_dir))
    events.Reload()
    return events


def wandb_files(trainer: Any) -> list[Path]:
    """The files of the offline runs, in the order of their start."""
    return sorted((trainer.config.log_dir / "wandb").glob("offline-run-*/*.wandb"))


def read_records(path: Path) -> list[Any]:
    """The records of an offline run.

    W&B's own process may still write after ``finish()`` has returned.
    """
    end = time.monotonic() + 20
    while True:
        records = parse_records(path.read_bytes())
        if "exit" in [record.WhichOneof("record_type") for record in records]:
            return records
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.1)


def parse_records(data: bytes) -> list[Any]:
    """The complete records in a LevelDB log, in blocks of 32 KiB, of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    position, pending, found = 7, b"", []
    while position + 7 <= len(data):
        left_in_block = 32768 - position % 32768
        if left_in_block < 7:
            position += left_in_block
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        pending += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a complete record, or the end of one
            record = Record()
            record.ParseFromString(pending)
            found.append(record)
            pending = b""
    return found


def read_history(path: Path) -> list[dict[str, str]]:
    """The rows that were logged: JSON values by key."""
    rows = []
    for record in read_records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or ".".join(i.nested_key): i.value_json for i in items})
    return rows


def test_a_resumed_run_continues_under_its_id(trained: Any) -> None:
    files = wandb_files(trained)
    assert len(files) == 2  # before and after the resume
    assert len({file.name for file in files}) == 1
    records = [record for file in files for record in read_records(file)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {run.run_id for run in runs} == {files[0].stem.removeprefix("run-")}
    assert (runs[0].project, runs[0].run_group, list(runs[0].tags)) == ("digits", "tests", ["a"])
    config = {item.key: item.value_json for item in runs[0].config.update}
    assert '"lr":0.01' in config["optimizer"].replace(" ", "")


def test_numbers_pictures_and_histograms_are_logged_once_each(trained: Any) -> None:
    rows = [row for file in wandb_files(trained) for row in read_history(file)]
    steps = trained.progress.step // 3
    losses = [int(row["step"]) for row in rows if "loss/valid" in row]
    assert losses == [steps, 2 * steps, 3 * steps]
    assert any("predictions/valid.path" in row for row in rows)
    assert any("weights/" in key for row in rows for key in row)


def test_the_best_checkpoint_is_an_artifact_if_asked_for(trained: Any) -> None:
    records = read_records(wandb_files(trained)[-1])
    logged = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
    assert [artifact.type for artifact in logged] == ["model"]


def test_a_watched_model_shows_its_parameters_and_gradients_after_a_resume_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logger.backends.wandb.WATCH_BATCHES", 3)
    watch = Writer.watch

    def watch_and_wait(self: Writer, model: Any) -> None:
        """These epochs would be over before W&B has started."""
        watch(self, model)
        self.flush()

    monkeypatch.setattr(Writer, "watch", watch_and_wait)
    config = small_config(tmp_path, epochs=2, wandb={"project": "p", "watch": "all"})
    first = make_trainer(config)
    first.train()
    time.sleep(SECONDS_TO_NEXT_FOLDER)
    make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch1.pt").train()
    assert len(wandb_files(first)) == 2
    for file in wandb_files(first):
        keys = {key for row in read_history(file) for key in row}
        for what in ("gradients", "parameters"):  # followed by W&B's count of models
            found = [key for key in keys if key.startswith(what) and "features.0.weight" in key]
            assert found != [], sorted(keys)


def test_epochs_that_are_repeated_after_a_kill_are_logged_once(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=3, wandb={"project": "p"})
    first = make_trainer(config)
    first.train()
    time.sleep(SECONDS_TO_NEXT_FOLDER)
    again = make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch1.pt")
    again.train()  # epochs 2 and 3
    rows = [row for file in wandb_files(again) for row in read_history(file)]
    steps = [int(row["step"]) for row in rows if "loss/valid" in row]
    assert steps == sorted(set(steps))
    assert len(steps) == 3


def test_online_without_a_key_costs_a_warning_and_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    config = small_config(tmp_path, epochs=1, wandb={"project": "p", "mode": "online"})
    make_trainer(config).train()
    (message,) = [text for text in caplog.messages if "Weights & Biases" in text]
    assert "there is no API key: run `wandb login`, or set trainer.wandb.mode to offline" in message


def test_a_disabled_back_end_is_not_made(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1, wandb={"project": "p", "mode": "disabled"})
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.writer.back_ends == []
    assert not (trainer.config.log_dir / "wandb.json").exists()
    assert not (trainer.config.log_dir / "wandb").exists()


def test_a_tracker_that_hangs_delays_a_run_once_and_does_not_affect_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()
    monkeypatch.setattr("logger.backends.backend.PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr("logger.backends.wandb.WandbRun", lambda *_: over.wait(60))
    config = small_config(tmp_path, epochs=3, tensorboard=True, wandb={"project": "p"})
    trainer = make_trainer(config)
    start = time.monotonic()
    trainer.train()
    assert time.monotonic() - start < 30
    over.set()
    (message,) = [text for text in caplog.messages if "Weights & Biases" in text]
    assert message == "Weights & Biases is off from here on: flush failed (nothing moved for 1 s)"
    assert "loss/valid" in read_events(trainer).Tags()["scalars"]
