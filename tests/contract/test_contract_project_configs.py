"""Configs as pytorch-template's projects write them work."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.contract.contract_project import Project, assert_same, read_run, read_weights


@pytest.mark.parametrize("schedule", [{}, None], ids=["empty", "absent"])
def test_training_works_without_a_schedule(
    project: Project, schedule: dict[str, Any] | None
) -> None:
    run = project.train(f"schedule_{schedule is None}", "trainer.epochs=3", lr_scheduler=schedule)
    assert [line["lr"] for line in read_run(run)] == [0.01, 0.01, 0.01]


def test_a_loss_may_have_arguments(project: Project) -> None:
    losses = [
        {"type": "smooth_nll_loss", "args": {"smoothing": smoothing}} for smoothing in (0.0, 0.5)
    ]
    runs = [
        project.train(f"loss_{index}", "trainer.epochs=1", loss=loss)
        for index, loss in enumerate(losses)
    ]
    unsmoothed, smoothed = [read_weights(run / "checkpoint-epoch1.pt") for run in runs]
    plain = project.train("loss_plain", "trainer.epochs=1")
    assert_same(unsmoothed, read_weights(plain / "checkpoint-epoch1.pt"))
    assert not torch.equal(smoothed["out.weight"], unsmoothed["out.weight"])


def test_a_trainer_section_needs_only_epochs(project: Project) -> None:
    """There is no save_dir, save_period, verbosity, monitor, early_stop or tensorboard."""
    run = project.train("bare", trainer={"epochs": 2})
    assert {path.name for path in run.glob("*.pt")} == {
        "checkpoint-epoch1.pt",
        "checkpoint-epoch2.pt",
    }


@pytest.mark.parametrize("early_stop", [0, -1])
def test_early_stop_of_zero_or_less_never_stops(project: Project, early_stop: int) -> None:
    section = project.make_section(monitor="max lr", early_stop=early_stop, epochs=4)
    run = project.train(f"never{early_stop}".replace("-", "_"), trainer=section)
    assert len(read_run(run)) == 4


@pytest.mark.parametrize("monitor", ["off", None], ids=["off", "absent"])
def test_early_stop_without_a_monitor_has_no_effect(project: Project, monitor: str | None) -> None:
    """The template's README tells its users to turn the monitor off in this way."""
    run = project.train(
        f"off_{monitor}", trainer=project.make_section(monitor=monitor, early_stop=1, epochs=4)
    )
    assert len(read_run(run)) == 4


def test_early_stop_ends_the_training(project: Project) -> None:
    """Epoch 1 is the best. Two epochs without improvement are tolerated, the third is the last."""
    run = project.train(
        "early", trainer=project.make_section(monitor="max lr", early_stop=2, epochs=9)
    )
    assert len(read_run(run)) == 4


def test_the_best_epoch_is_saved_even_if_it_is_not_due(project: Project) -> None:
    run = project.train(
        "best", trainer=project.make_section(monitor="max lr", save_period=2, epochs=3)
    )
    assert torch.load(run / "model_best.pt", weights_only=True)["epoch"] == 1
    assert not (run / "checkpoint-epoch1.pt").exists()


@pytest.mark.parametrize(
    "key", ["warmup_epochs", "val_period", "tensorboardX", "grad_clip", "save_freq", "log_dir"]
)
def test_keys_of_a_project_in_the_trainer_section_are_accepted(project: Project, key: str) -> None:
    """Public projects use these names. ``tensorboardX`` is from an old template."""
    run = project.train(f"key_{key}", trainer=project.make_section(epochs=1, **{key: 1}))
    assert json.loads((run / "config.json").read_text())["trainer"][key] == 1


def test_comments_are_accepted_anywhere(project: Project) -> None:
    comment = {"__comment": "why", "__comment_2": "and why not"}
    net = {"type": "CloudNet", "args": {"hidden": 16, "dropout": 0.2, **comment}, **comment}
    run = project.train("comments", "trainer.epochs=1", arch=net, **comment)
    assert read_weights(run / "checkpoint-epoch1.pt")["hidden.weight"].shape == (16, 2)


def test_arguments_may_have_any_name(fresh_project: Project) -> None:
    """The code that reads configs uses these names itself."""
    names = ["keys", "tree", "found", "name", "slot", "node", "module"]
    with (fresh_project.folder / "model/model.py").open("a") as file:
        file.write(f"\n\nclass NamedNet(CloudNet):\n    def __init__(self, {', '.join(names)}):\n")
        file.write(f"        super().__init__(hidden={' + '.join(names)})\n")
    arch = {"type": "NamedNet", "args": dict.fromkeys(names, 2)}
    run = fresh_project.train("names", "trainer.epochs=1", arch=arch)
    assert read_weights(run / "checkpoint-epoch1.pt")["hidden.weight"].shape == (14, 2)


def test_a_child_class_may_set_arguments_of_its_parent(fresh_project: Project) -> None:
    """A config need not give an argument that the child passes to its parent."""
    with (fresh_project.folder / "model/model.py").open("a") as file:
        file.write("\n\nclass Wide(CloudNet):\n    def __init__(self, size, num_classes):\n")
        file.write("        super().__init__(size, num_classes)\n")
        file.write("\n\nclass WideOfThree(Wide):\n    def __init__(self, **kwargs):\n")
        file.write("        super().__init__(num_classes=3, **kwargs)\n")
    run = fresh_project.train(
        "child", "trainer.epochs=1", arch={"type": "WideOfThree", "args": {"size": 20}}
    )
    assert read_weights(run / "checkpoint-epoch1.pt")["hidden.weight"].shape == (20, 2)
