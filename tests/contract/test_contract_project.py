"""A pytorch-template project works when its folders are laid over this repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from tests.contract.contract_project import (
    RUN,
    Done,
    Project,
    assert_same,
    load_module,
    read_run,
    read_weights,
)


def measure(
    state_dict: dict[str, torch.Tensor], points: Any
) -> list[tuple[int, float, float, float]]:
    """Computes size, loss, accuracy and macro recall of each batch of 32 without Plainloop."""
    net = load_module("model/model.py").CloudNet(hidden=16)
    net.load_state_dict(state_dict)
    net.eval()
    rows = []
    for data, target in DataLoader(points, batch_size=32):
        with torch.no_grad():
            output = net(data)
        loss = -output[torch.arange(len(target)), target].mean().item()
        is_correct = (output.argmax(1) == target).double()
        recall = np.mean([is_correct[target == label].mean().item() for label in target.unique()])
        rows.append((len(target), loss, is_correct.mean().item(), float(recall)))
    return rows


def test_the_project_trains(project: Project, trained: Done) -> None:
    trained.check()
    names = {path.name for path in (project.folder / RUN).iterdir()}
    assert names >= {
        "checkpoint-epoch1.pt",
        "checkpoint-epoch2.pt",
        "checkpoint-epoch3.pt",
        "model_best.pt",
    }
    log = read_run(project.folder / RUN)
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert log[-1]["val_accuracy"] > 0.85
    assert log[-1]["val_loss"] < log[0]["val_loss"]
    assert [line["lr"] for line in log] == [0.01, 0.005, 0.005]
    assert {"loss", "accuracy", "macro_recall", "grad_norm", "val_macro_recall"} <= log[0].keys()


def test_loggers_of_the_project_reach_console_and_file(project: Project, trained: Done) -> None:
    info = (project.folder / RUN / "log" / "info.log").read_text()
    assert "points: 241 to train, 60 to validate" in trained.out
    assert "points: 241 to train, 60 to validate" in info
    assert "epoch 1 [0/241] loss" in trained.out, "self.logger.debug is shown at verbosity 2"
    assert "Trainable parameters: 99" in trained.out


def test_a_warning_names_only_the_key_that_nothing_has_read(trained: Done) -> None:
    warnings = [line for line in trained.out.splitlines() if "Nothing has read" in line]
    assert len(warnings) == 1
    assert "'remarks'" in warnings[0]


def test_changes_that_the_project_makes_in_sections_are_saved(
    project: Project, trained: Done
) -> None:
    saved = json.loads((project.folder / RUN / "config.json").read_text())
    assert saved["trainer"]["steps_per_epoch"] == 7
    assert read_weights(project.folder / RUN / "checkpoint-epoch3.pt").keys() == {
        "hidden.weight",
        "hidden.bias",
        "out.weight",
        "out.bias",
    }


def read_events(run: Path) -> Any:
    """Returns what TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "log"))
    events.Reload()
    return events


def test_tensorboard_shows_the_templates_tags(project: Project, trained: Done) -> None:
    events = read_events(project.folder / RUN)
    tags = events.Tags()
    assert {"loss/train", "accuracy/train", "loss/valid", "macro_recall/valid"} <= set(
        tags["scalars"]
    )
    assert tags["images"] == ["points/train"]
    assert set(tags["histograms"]) == {"hidden.weight", "hidden.bias", "out.weight", "out.bias"}
    assert [event.step for event in events.Scalars("loss/train")] == list(range(21))
    assert [event.step for event in events.Scalars("loss/valid")] == list(range(6))


def test_the_validation_numbers_are_right(project: Project, trained: Done) -> None:
    """The split is the first fifth of NumPy's shuffle with seed 0. The project averages batches."""
    state = np.random.get_state()
    np.random.seed(0)
    order = np.arange(301)
    np.random.shuffle(order)
    np.random.set_state(state)
    points = Subset(
        load_module("data_loader/data_loaders.py").CloudDataset(301, seed=1), order[:60].tolist()
    )
    for epoch, line in enumerate(read_run(project.folder / RUN), start=1):
        rows = measure(read_weights(project.folder / RUN / f"checkpoint-epoch{epoch}.pt"), points)
        assert [row[0] for row in rows] == [32, 28]
        expected = np.mean([row[1:] for row in rows], axis=0)
        assert [
            line[f"val_{name}"] for name in ("loss", "accuracy", "macro_recall")
        ] == pytest.approx(expected, rel=1e-5)


def test_test_py_averages_over_samples(project: Project, trained: Done) -> None:
    folders = set((project.folder / "saved/Clouds").iterdir())
    done = project.run("test.py", "-r", RUN / "checkpoint-epoch2.pt", "-o", "result.json").check()
    assert set((project.folder / "saved/Clouds").iterdir()) == folders
    result = json.loads((project.folder / "result.json").read_text())
    rows = measure(
        read_weights(project.folder / RUN / "checkpoint-epoch2.pt"),
        load_module("data_loader/data_loaders.py").CloudDataset(150, seed=2),
    )
    sizes = np.array([row[0] for row in rows])
    assert sizes.tolist() == [32, 32, 32, 32, 22], (
        "drop_last of the training loader does not drop test samples"
    )
    expected = (sizes[:, None] * [row[1:] for row in rows]).sum(axis=0) / 150
    assert result["n_samples"] == 150
    assert list(result["metrics"].values()) == pytest.approx(expected, rel=1e-5)
    assert "accuracy" in done.out


def test_a_resumed_run_ends_with_the_same_bits(
    project: Project, trained: Done, straight: Path
) -> None:
    """The project has its own loop, dropout, noise from torch and NumPy, and StepLR."""
    resumed = project.folder / "saved/Clouds/resumed"
    shutil.copytree(project.folder / RUN, resumed)
    done = project.run("train.py", "-r", resumed, "trainer.epochs=5").check()
    assert "tensors in the checkpoint: 4" in done.out, "the project's own torch.load(config.resume)"
    assert [line["epoch"] for line in read_run(resumed)] == [1, 2, 3, 4, 5]
    assert_same(
        read_weights(resumed / "checkpoint-epoch5.pt"),
        read_weights(straight / "checkpoint-epoch5.pt"),
    )
    steps = [event.step for event in read_events(resumed).Scalars("loss/train")]
    assert steps == list(range(5 * 7)), "the curves of the first three epochs are still there"
    expected = [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in read_run(straight)
    ]
    assert [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in read_run(resumed)
    ] == expected


def test_training_by_iterations_resumes_to_the_same_bits(project: Project) -> None:
    """With ``len_epoch``, epochs start within the data. The position is saved despite inf_loop."""
    project.write_config(
        "iterations.json", name="iterations", trainer=project.make_section(len_epoch=5)
    )
    for run, epochs in (("straight", 4), ("resumed", 2)):
        project.run(
            "train.py", "-c", "iterations.json", "--run-id", run, f"trainer.epochs={epochs}"
        ).check()
    runs = project.folder / "saved/iterations"
    done = project.run("train.py", "-r", runs / "resumed", "trainer.epochs=4").check()
    assert "epoch 3 [0/5] loss" in done.out, (
        "inf_loop has no n_samples: _progress counts iterations"
    )
    assert_same(
        read_weights(runs / "resumed/checkpoint-epoch4.pt"),
        read_weights(runs / "straight/checkpoint-epoch4.pt"),
    )


def test_command_line_options_of_the_template(project: Project) -> None:
    options = ["--lr", "0.02", "--bs", "16", "-d", "cpu"]
    project.run(
        "train.py", "-c", "config.json", "--run-id", "options", "trainer.epochs=1", *options
    ).check()
    saved = json.loads((project.folder / "saved/Clouds/options/config.json").read_text())
    assert saved["optimizer"]["args"]["lr"] == 0.02
    assert saved["data_loader"]["args"]["batch_size"] == 16
    assert saved["n_gpu"] == 0
