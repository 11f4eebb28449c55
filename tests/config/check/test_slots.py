"""Slots: where a name may come from."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
import torchmetrics
import torchvision
import torchvision.transforms.v2
from torch import nn

import base
import model.loss
import model.metric
from base.schema import SCHEMA
from config.check.slots import resolve
from data_loader.breast_cancer import BreastCancerDataLoader
from data_loader.data_loaders import DigitsDataLoader
from model.model import SmallConvNet
from model.resnet import ResNet20
from tests.config.check.project_file import add_project_file, get_error
from trainer.gan import GanTrainer
from trainer.trainer import Trainer
from utils.errors import UserError

# -- homes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slot", "name", "found"),
    [
        ("arch", "SmallConvNet", SmallConvNet),
        ("arch", "resnet18", torchvision.models.resnet18),
        ("arch", "resnet.ResNet20", ResNet20),
        ("arch", "model.resnet.ResNet20", ResNet20),
        ("arch", "torch.nn.Linear", nn.Linear),
        (
            "arch",
            "torchvision.models.segmentation.fcn_resnet50",
            torchvision.models.segmentation.fcn_resnet50,
        ),
        ("data_loader", "DigitsDataLoader", DigitsDataLoader),
        ("data_loader", "DatasetLoader", base.DatasetLoader),
        ("valid_data_loader", "breast_cancer.BreastCancerDataLoader", BreastCancerDataLoader),
        ("test_data_loader", "torch.utils.data.DataLoader", torch.utils.data.DataLoader),
        ("loss", "nll_loss", model.loss.nll_loss),
        ("loss", "cross_entropy", nn.functional.cross_entropy),
        ("loss", "BCEWithLogitsLoss", nn.BCEWithLogitsLoss),
        ("loss", "torch.nn.functional.mse_loss", nn.functional.mse_loss),
        ("metrics", "accuracy", model.metric.accuracy),
        ("metrics", "AUROC", torchmetrics.AUROC),
        ("metrics", "torchmetrics.functional.accuracy", torchmetrics.functional.accuracy),
        ("optimizer", "AdamW", torch.optim.AdamW),
        ("optimizer", "torch.optim.SGD", torch.optim.SGD),
        ("lr_scheduler", "ReduceLROnPlateau", torch.optim.lr_scheduler.ReduceLROnPlateau),
        ("trainer", "Trainer", Trainer),
        ("trainer", "gan.GanTrainer", GanTrainer),
    ],
)
def test_a_name_is_found_in_the_homes_of_its_slot(slot: str, name: str, found: Any) -> None:
    assert resolve(name, SCHEMA.slots[slot]) is found


def test_the_projects_files_come_before_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output

    cross_entropy.__module__ = "model.loss"
    monkeypatch.setattr(model.loss, "cross_entropy", cross_entropy, raising=False)
    assert resolve("cross_entropy", SCHEMA.slots["loss"]) is cross_entropy


def test_a_new_file_of_the_folder_needs_no_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(nn.Module):
        pass

    add_project_file(monkeypatch, "model.probe", Net=Net)
    assert resolve("probe.Net", SCHEMA.slots["arch"]) is Net


def test_a_class_that_the_project_imports_into_a_home_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lion(torch.optim.Optimizer):
        pass

    add_project_file(monkeypatch, "some_library.optimizers", Lion=Lion)
    assert "not in a trusted library" in get_error("some_library.optimizers.Lion", "optimizer")
    monkeypatch.setattr(torch.optim, "Lion", Lion, raising=False)
    assert resolve("Lion", SCHEMA.slots["optimizer"]) is Lion


def test_a_loader_of_the_project_may_be_of_any_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Duck:
        pass

    add_project_file(monkeypatch, "data_loader.probe", Duck=Duck)
    assert resolve("probe.Duck", SCHEMA.slots["data_loader"]) is Duck


def test_a_library_function_makes_a_model_if_its_annotation_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def makes_a_model() -> nn.Linear:
        return nn.Linear(1, 1)

    def says_nothing():  # type: ignore[no-untyped-def]
        return nn.Linear(1, 1)

    add_project_file(monkeypatch, "torchmetrics.probe", good=makes_a_model, bad=says_nothing)
    assert resolve("torchmetrics.probe.good", SCHEMA.slots["arch"]) is makes_a_model
    assert "does not fit" in get_error("torchmetrics.probe.bad", "arch")


def test_a_function_of_the_project_needs_no_annotation(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny():  # type: ignore[no-untyped-def]
        return nn.Linear(1, 1)

    add_project_file(monkeypatch, "model.probe", tiny=tiny)
    assert resolve("probe.tiny", SCHEMA.slots["arch"]) is tiny


# -- hints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slot", "name", "message"),
    [
        (
            "arch",
            "SmolConvNet",
            "no 'SmolConvNet' in model.model, torchvision.models (did you mean 'SmallConvNet'?)",
        ),
        ("arch", "resnet.ResNet21", "no 'ResNet21' in model/resnet.py (did you mean 'ResNet20'?)"),
        ("optimizer", "Adamm", "no 'Adamm' in torch.optim (did you mean 'Adam'?)"),
        ("optimizer", "torch.optim.Addam", "no 'Addam' in torch.optim (did you mean 'Adam'?)"),
        ("optimizer", "torch.optin.Adam", "no 'optin' in torch (did you mean 'optim'?)"),
        (
            "loss",
            "my_very_own",
            "no 'my_very_own' in model.loss, torch.nn.functional, torch.nn; "
            "write 'FILE.my_very_own' for another file of model/, "
            "or a full dotted path for a trusted library",
        ),
    ],
)
def test_a_missing_name_is_reported_with_a_hint(slot: str, name: str, message: str) -> None:
    assert get_error(name, slot) == message


def test_an_error_inside_a_file_of_the_project_is_not_hidden(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "probe_broken.py").write_text("import no_such_library_at_all\n", encoding="utf-8")
    monkeypatch.setattr(sys.modules["model"], "__path__", [str(tmp_path)])
    with pytest.raises(
        UserError, match=r"probe_broken cannot be imported: .*no_such_library_at_all"
    ):
        resolve("probe_broken.Net", SCHEMA.slots["arch"])
