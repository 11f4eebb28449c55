"""The tools around a training on the device: trackers, reports, profiler, finders, trials."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.accelerator.device import DEVICE, device_config
from tests.accelerator.test_accelerator_waits import pictures
from tests.base.tools.programs import call_program
from tests.helpers import make_trainer

IMAGES = ("input", "predictions/valid", "confusion_matrix/valid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with TensorBoard and all that it shows; its data is transformed on the device."""
    saved = tmp_path_factory.mktemp("saved")
    options = {"tensorboard": True, "histogram_period": 1, "ema_decay": 0.9}
    options |= {"debug": {"statistics": True, "profile": {"active": 2}}}
    config = device_config(saved, monitor="max val_accuracy", **options)
    config |= pictures("FlipEach") | {"metrics": ["accuracy", "top_k_acc"]}
    config["data_loader"]["args"]["validation_split"] = 0.3
    (saved / "c.json").write_text(json.dumps(config))
    assert call_program("train.py", "-c", saved / "c.json", "--run-id", "run") == 0
    return saved / "small" / "run"


def test_tensorboard_shows_a_run_on_the_device(folder: Path) -> None:
    events = EventAccumulator(str(folder / "log"))
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [event.value for event in events.Scalars(tag)] for tag in tags["scalars"]}
    assert scalars["memory_mb/train"][0] > 0
    assert len(scalars["loss/valid"]) == len(scalars["ema_loss/valid"]) == 2
    assert {f"activation_norm/features.{n}" for n in (0, 3)} <= scalars.keys()
    assert set(IMAGES) <= set(tags["images"])
    assert "weights/features.0.weight" in tags["histograms"]
    assert "failed" not in (folder / "log/info.log").read_text(encoding="utf-8")


def test_the_profiler_records_the_device(folder: Path) -> None:
    (trace,) = (folder / "log").glob("*.pt.trace.json")
    names = {event.get("cat") for event in json.loads(trace.read_text())["traceEvents"]}
    assert "cpu_op" in names
    if DEVICE.type == "cuda":
        assert "kernel" in names
    assert "Profile, also in" in (folder / "log/info.log").read_text(encoding="utf-8")


def test_test_py_and_the_report_work_on_the_device(folder: Path) -> None:
    """A test on the CPU gives the same numbers."""
    found = [measure(folder, "device.json"), measure(folder, "cpu.json", "-d", "cpu")]
    assert found[0] == pytest.approx(found[1], rel=0.01, abs=0.03)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Confusion matrix" in report
    assert report.count("<img") > 1


def measure(folder: Path, name: str, *words: str) -> dict[str, float]:
    """The numbers of test.py, which also writes the report."""
    assert call_program("test.py", "-r", folder, "-o", folder / name, *words) == 0
    found: dict[str, float] = json.loads((folder / name).read_text())["metrics"]
    return found


def write_config(folder: Path, **trainer: Any) -> Path:
    path = folder / "c.json"
    path.write_text(json.dumps(device_config(folder, **trainer)))
    return path


def test_check_tries_a_run_on_the_device(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, channels_last=True)
    capfd.readouterr()
    assert call_program("train.py", "-c", config, "--check") == 0
    rows = dict(re.findall(r"^  (\S.*?)  +(.*)$", capfd.readouterr().out, re.M))
    assert rows["model"] == f"SmallConvNet on {DEVICE}"
    assert rows["faster by"].endswith("channels_last")
    assert not (tmp_path / "small").exists()


def test_lr_find_finds_a_learning_rate(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    capfd.readouterr()
    assert call_program("train.py", "-c", config, "--lr-find") == 0
    found = re.search(r"Learning rate: (\S+),", capfd.readouterr().out)
    assert found is not None
    assert 1e-6 < float(found[1]) < 1
    assert (tmp_path / "small/lr-find.svg").is_file()


def test_a_batch_can_be_memorised(tmp_path: Path) -> None:
    """``overfit_batches`` shows that the gradients arrive where they should."""
    config = device_config(tmp_path, epochs=60, debug={"overfit_batches": 1}, save_period=60)
    config["arch"]["args"]["dropout"] = 0.0
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.last_log["accuracy"] == 1
