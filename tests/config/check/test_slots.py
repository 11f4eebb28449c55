"""Where a name may come from, and what may stand in which place."""

from __future__ import annotations

import sys
from types import ModuleType
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
from config.check.signature import Signature
from config.check.slots import resolve
from data_loader.breast_cancer import BreastCancerDataLoader
from data_loader.data_loaders import DigitsDataLoader
from model.model import SmallConvNet
from model.resnet import ResNet20
from trainer.gan import GanTrainer
from trainer.trainer import Trainer
from utils.errors import UserError


def project_file(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """Makes ``members`` what the project's module ``name`` defines."""
    module = ModuleType(name)
    for key, member in members.items():
        if callable(member):
            member.__module__ = name
        setattr(module, key, member)
    monkeypatch.setitem(sys.modules, name, module)


def refusal(name: str, slot: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(name, SCHEMA.slots[slot])
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- homes ----------------------------------------------------------------------------------------------------------


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


def test_the_projects_own_goes_before_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output

    cross_entropy.__module__ = "model.loss"
    monkeypatch.setattr(model.loss, "cross_entropy", cross_entropy, raising=False)
    assert resolve("cross_entropy", SCHEMA.slots["loss"]) is cross_entropy


def test_a_new_file_of_the_folder_needs_no_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(nn.Module):
        pass

    project_file(monkeypatch, "model.probe", Net=Net)
    assert resolve("probe.Net", SCHEMA.slots["arch"]) is Net


def test_a_class_that_the_project_imports_into_a_home_is_its_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lion(torch.optim.Optimizer):
        pass

    project_file(monkeypatch, "some_library.optimizers", Lion=Lion)
    assert "not in a trusted library" in refusal("some_library.optimizers.Lion", "optimizer")
    monkeypatch.setattr(torch.optim, "Lion", Lion, raising=False)
    assert resolve("Lion", SCHEMA.slots["optimizer"]) is Lion


def test_a_loader_of_the_projects_own_may_be_of_any_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Duck:
        pass

    project_file(monkeypatch, "data_loader.probe", Duck=Duck)
    assert resolve("probe.Duck", SCHEMA.slots["data_loader"]) is Duck


def test_a_library_function_serves_as_a_model_if_it_says_that_it_returns_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def makes_a_model() -> nn.Linear:
        return nn.Linear(1, 1)

    def says_nothing():  # type: ignore[no-untyped-def]
        return nn.Linear(1, 1)

    project_file(monkeypatch, "torchmetrics.probe", good=makes_a_model, bad=says_nothing)
    assert resolve("torchmetrics.probe.good", SCHEMA.slots["arch"]) is makes_a_model
    assert "does not fit" in refusal("torchmetrics.probe.bad", "arch")


def test_a_function_of_the_project_needs_no_annotation(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny():  # type: ignore[no-untyped-def]
        return nn.Linear(1, 1)

    project_file(monkeypatch, "model.probe", tiny=tiny)
    assert resolve("probe.tiny", SCHEMA.slots["arch"]) is tiny


# -- hints ----------------------------------------------------------------------------------------------------------


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
            "no 'my_very_own' in model.loss, torch.nn.functional, torch.nn; 'FILE.my_very_own' names another file of "
            "model/, a full dotted path a trusted library",
        ),
    ],
)
def test_a_name_that_is_not_there_is_told_with_a_hint(slot: str, name: str, message: str) -> None:
    assert refusal(name, slot) == message


def test_an_error_inside_a_file_of_the_project_is_not_hidden(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "probe_broken.py").write_text("import no_such_library_at_all\n", encoding="utf-8")
    monkeypatch.setattr(sys.modules["model"], "__path__", [str(tmp_path)])
    with pytest.raises(
        UserError, match=r"probe_broken cannot be imported: .*no_such_library_at_all"
    ):
        resolve("probe_broken.Net", SCHEMA.slots["arch"])


# -- what is refused ------------------------------------------------------------------------------------------------

ALL_SLOTS = ("arch", "data_loader", "loss", "metrics", "optimizer", "lr_scheduler", "trainer")


@pytest.mark.parametrize("slot", ALL_SLOTS)
@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "logging.os.system",
        "torch.os.system",
        "sklearn.os.system",
        "torch.hub.os.system",
        "torchvision.datasets.utils.urllib.request.urlopen",
        "subprocess.Popen",
        "builtins.eval",
        "importlib.import_module",
        "torch.hub.load",
        "torch.hub.load_state_dict_from_url",
        "torch.load",
        "torch.jit.load",
        "torch.save",
        "torch.utils.model_zoo.load_url",
        "torchvision.datasets.utils.download_url",
        "torch.package.PackageImporter",
    ],
)
def test_nothing_that_runs_or_fetches_code_fits_any_slot(slot: str, name: str) -> None:
    refusal(name, slot)


@pytest.mark.parametrize("slot", ALL_SLOTS)
@pytest.mark.parametrize(
    "parts", [("torch", "hub", "load"), ("torch", "os", "system"), ("torch", "load")]
)
def test_an_import_inside_the_projects_own_files_is_no_way_around(
    slot: str, parts: tuple[str, ...]
) -> None:
    home = SCHEMA.slots[slot].homes[0]
    refusal(".".join((home, *parts)), slot)


def test_a_function_imported_into_a_file_of_the_folder_is_judged_by_where_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("model.probe")
    module.run = __import__("os").system  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model.probe", module)
    assert "system) does not fit" in refusal("probe.run", "loss")


def test_a_function_of_the_projects_utils_may_be_imported_into_a_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def focal(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output

    project_file(monkeypatch, "utils.losses", focal=focal)
    monkeypatch.setattr(model.loss, "focal", focal, raising=False)  # from utils.losses import focal
    assert resolve("focal", SCHEMA.slots["loss"]) is focal


@pytest.mark.parametrize(
    "name",
    [
        "SmallConvNet.__init__",
        "model.model.__builtins__.eval",
        "_private",
        "torch.nn.Linear.__class__",
        "a._b",
    ],
)
def test_private_names_are_refused(name: str) -> None:
    assert refusal(name, "arch").endswith("is not the name of a public class or function")


@pytest.mark.parametrize(
    "name",
    ["", "a b", "1x", "a..b", ".a", "a.", "a-b", "os;system", "a/b", "x" * 500 + "!", "a\nb"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    message = refusal(name, "arch")
    assert message.endswith("is not the name of a public class or function")
    assert len(message) < 160


@pytest.mark.parametrize(
    "name", ["resnet.F", "torch.nn", "resnet.annotations", "torch.float32", "torch.nn.init.math.pi"]
)
def test_what_is_no_class_or_function_is_refused(name: str) -> None:
    assert "is not a class or function" in refusal(name, "arch")


@pytest.mark.parametrize(
    ("slot", "name", "message"),
    [
        ("optimizer", "torch.nn.Linear", "this key takes a torch.optim.Optimizer"),
        ("optimizer", "torch.optim.lr_scheduler.StepLR", "this key takes a torch.optim.Optimizer"),
        ("optimizer", "gan.GanTrainer", "this key takes a torch.optim.Optimizer"),
        (
            "lr_scheduler",
            "torch.optim.SGD",
            "this key takes a torch.optim.lr_scheduler.LRScheduler",
        ),
        ("arch", "torch.optim.SGD", "this key takes a torch.nn.Module"),
        (
            "data_loader",
            "torch.utils.data.TensorDataset",
            "this key takes a torch.utils.data.DataLoader",
        ),
        (
            "metrics",
            "sklearn.metrics.f1_score",
            "this key takes a torchmetrics.Metric, or a function that model/metric.py defines",
        ),
        (
            "metrics",
            "torch.nn.Linear",
            "this key takes a torchmetrics.Metric, or a function that model/metric.py defines",
        ),
        (
            "loss",
            "torch.optim.SGD",
            "this key takes a torch.nn.Module, or a function that model/loss.py defines",
        ),
        ("trainer", "torch.nn.Linear", "this key takes a base.BaseTrainer"),
    ],
)
def test_what_is_of_another_kind_is_told_what_fits(slot: str, name: str, message: str) -> None:
    assert refusal(name, slot).endswith(message)


def test_a_folder_of_another_slot_is_not_reached() -> None:
    assert "not in a trusted library" in refusal(
        "data_loader.data_loaders.DigitsDataLoader", "arch"
    )


def test_an_untrusted_library_is_told_with_those_that_are() -> None:
    assert refusal("kornia.losses.FocalLoss", "loss") == (
        "'kornia.losses.FocalLoss' is not in a trusted library (see [tool.plainloop] in pyproject.toml); "
        "those are sklearn, torch, torchmetrics, torchvision"
    )


# -- parts inside args ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "parameter", "name", "found"),
    [
        ("data_loader", "dataset", "FakeData", torchvision.datasets.FakeData),
        (
            "data_loader",
            "train_dataset",
            "torch.utils.data.TensorDataset",
            torch.utils.data.TensorDataset,
        ),
        ("data_loader", "datasets", "FakeData", torchvision.datasets.FakeData),
        ("data_loader", "transform", "RandomCrop", torchvision.transforms.v2.RandomCrop),
        (
            "data_loader",
            "eval_transform",
            "torchvision.transforms.Compose",
            torchvision.transforms.Compose,
        ),
        ("data_loader", "transforms", "ToImage", torchvision.transforms.v2.ToImage),
        ("data_loader", "sampler", "WeightedRandomSampler", torch.utils.data.WeightedRandomSampler),
        ("data_loader", "batch_sampler", "BatchSampler", torch.utils.data.BatchSampler),
        (
            "data_loader",
            "collate_fn",
            "torch.utils.data.default_collate",
            torch.utils.data.default_collate,
        ),
        ("arch", "encoder", "Linear", nn.Linear),
        ("arch", "backbone", "resnet18", torchvision.models.resnet18),
        ("arch", "head", "SmallConvNet", SmallConvNet),
    ],
)
def test_an_inner_part_has_the_slot_of_its_parameter(
    outer: str, parameter: str, name: str, found: Any
) -> None:
    assert resolve(name, SCHEMA.get_inner_slot(parameter, SCHEMA.slots[outer])) is found


@pytest.mark.parametrize("parameter", ["dataset", "transform", "sampler", "collate_fn", "anything"])
@pytest.mark.parametrize(
    "name", ["os.system", "torch.hub.load", "torch.os.system", "torch.load", "torch.nn.Linear.half"]
)
def test_inner_parts_are_judged_as_strictly(parameter: str, name: str) -> None:
    with pytest.raises(UserError):
        resolve(name, SCHEMA.get_inner_slot(parameter, SCHEMA.slots["data_loader"]))


# -- signatures -----------------------------------------------------------------------------------------------------


def test_a_signature_leaves_out_what_the_program_gives() -> None:
    assert "params" in Signature.from_callable(torch.optim.SGD).parameters
    assert list(Signature.from_callable(torch.optim.SGD, n_given=1).parameters)[:2] == [
        "lr",
        "momentum",
    ]


def test_a_signature_has_its_annotations_resolved() -> None:
    assert Signature.from_callable(SmallConvNet).parameters["dropout"].annotation is float


def test_what_a_class_hands_on_to_its_parent_belongs_to_its_signature() -> None:
    signature = Signature.from_callable(base.DatasetLoader)
    assert {"dataset", "batch_size", "num_workers", "drop_last", "pin_memory"} <= set(
        signature.parameters
    )
    assert signature.parameters["batch_size"].default == 32
    assert not signature.is_open


def test_any_argument_may_go_to_a_function_with_kwargs() -> None:
    assert Signature.from_callable(torchvision.models.resnet18).is_open
