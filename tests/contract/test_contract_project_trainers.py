"""Trainers as pytorch-template's projects write them work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.contract.contract_project import Project, assert_same, read_run, read_weights


@pytest.mark.parametrize("kind", ["NoDeviceTrainer", "OtherNamesTrainer"])
def test_trainers_without_a_device_parameter_work(
    project: Project, straight: Path, kind: str
) -> None:
    run = project.train(kind, trainer=project.make_section(type=f"variants.{kind}", epochs=2))
    assert_same(
        read_weights(run / "checkpoint-epoch2.pt"), read_weights(straight / "checkpoint-epoch2.pt")
    )


def test_an_overridden_train_resumes(project: Project, straight: Path) -> None:
    """It decides when to save. Its learning rate continues after a resume."""
    section = project.make_section(type="variants.CustomTrainTrainer", epochs=3, save_period=2)
    run = project.train("own_train", trainer=section)
    names = {path.name for path in run.glob("*.pt")}
    assert names == {f"checkpoint-epoch{epoch}.pt" for epoch in (1, 2, 3)} | {"model_best.pt"}
    done = project.run("train.py", "-r", run / "checkpoint-epoch3.pt", "trainer.epochs=4").check()
    assert "own epoch 4 lr 0.00250" in done.out, "StepLR continues: it halves after epochs 2 and 4"


@pytest.mark.parametrize("max_batches", [None, 3], ids=["full epochs", "interrupted epochs"])
@pytest.mark.parametrize("kind", ["trainer.Trainer", "variants.CustomTrainTrainer"])
def test_loops_of_a_project_resume_to_the_same_bits(
    project: Project, kind: str, max_batches: int | None
) -> None:
    """Each epoch starts at the beginning of the data, even if the last one was interrupted."""
    section = project.make_section(type=kind, max_batches=max_batches)
    name = f"bits_{kind}_{max_batches}"
    straight = project.train(f"{name}_straight", trainer=section | {"epochs": 4})
    resumed = project.train(f"{name}_resumed", trainer=section | {"epochs": 2})
    project.run("train.py", "-r", resumed, "trainer.epochs=4").check()
    assert_same(
        read_weights(resumed / "checkpoint-epoch4.pt"),
        read_weights(straight / "checkpoint-epoch4.pt"),
    )


def test_each_call_of_save_checkpoint_saves(project: Project) -> None:
    """Epoch 1 is the best. Calls in later epochs do not change model_best.pt."""
    section = project.make_section(
        type="variants.SaveNowTrainer", monitor="max lr", save_period=3, epochs=4
    )
    run = project.train("save_now", trainer=section)
    assert {path.name for path in run.glob("*.pt")} == {
        *(f"checkpoint-epoch{epoch}.pt" for epoch in (1, 2, 3, 4)),
        "model_best.pt",
    }
    assert torch.load(run / "model_best.pt", weights_only=True)["epoch"] == 1


def test_checkpoints_of_an_overridden_save_checkpoint_can_be_used(project: Project) -> None:
    """They hold the config object."""
    run = project.train(
        "own_save", trainer=project.make_section(type="variants.CustomSaveTrainer", epochs=2)
    )
    assert {path.name for path in run.glob("*.pt*")} == {
        "checkpoint-epoch1.pth",
        "checkpoint-epoch2.pth",
        "model_best.pth",
    }
    project.run("test.py", "-r", run, "-o", "own_save.json").check()
    assert json.loads((project.folder / "own_save.json").read_text())["metrics"]["accuracy"] > 0.8
    done = project.run("train.py", "-r", run, "trainer.epochs=3").check()
    assert "after epoch 2" in done.out
    assert (run / "checkpoint-epoch3.pth").is_file()


def test_an_overridden_save_checkpoint_saves_the_best_too(project: Project) -> None:
    """Even the best of an epoch that is not due is saved by the override."""
    section = project.make_section(
        type="variants.CustomSaveTrainer", monitor="max lr", save_period=2, epochs=3
    )
    run = project.train("own_best", trainer=section)
    assert not list(run.glob("*.pt"))
    assert torch.load(run / "model_best.pth", weights_only=False)["epoch"] == 1


def test_attributes_and_methods_may_have_the_frameworks_names(
    project: Project, straight: Path
) -> None:
    """The project uses ``step``, ``options``, ``update`` and ``evaluate``."""
    section = project.make_section(type="variants.CustomAttributesTrainer", epochs=2)
    run = project.train("own_attributes", trainer=section)
    assert_same(
        read_weights(run / "checkpoint-epoch2.pt"), read_weights(straight / "checkpoint-epoch2.pt")
    )
    project.run("test.py", "-r", run).check()
    project.run("train.py", "-r", run, "trainer.epochs=3").check()


def test_an_epoch_may_return_more_than_numbers(project: Project, straight: Path) -> None:
    run = project.train(
        "words", trainer=project.make_section(type="variants.WordsTrainer", epochs=1)
    )
    (line,) = read_run(run)
    assert line["val_accuracy"] == read_run(straight)[0]["val_accuracy"]
    assert (run / "checkpoint-epoch1.pt").is_file()
