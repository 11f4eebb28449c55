"""Slots: what they do not accept."""

from __future__ import annotations

import sys
from inspect import ismodule
from types import ModuleType

import optuna
import pytest
import torch
from optuna.samplers import TPESampler

import model.loss
from base.schema import SCHEMA
from config.check.slots import get_refusal, resolve
from tests.config.check.project_file import add_project_file, get_error

ALL_SLOTS = (
    *("arch", "data_loader", "loss", "metrics", "optimizer", "lr_scheduler", "trainer"),
    *("search.sampler", "search.pruner"),
)


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
        "optuna.os.system",
        "optuna.samplers.BaseSampler.__init__.__globals__",
        "optuna.load_study",
        "optuna.delete_study",
        "optuna.storages.RDBStorage",
        "optuna.storages.run_grpc_proxy_server",
        "optuna.artifacts.FileSystemArtifactStore",
        "optuna.study.MaxTrialsCallback",
    ],
)
def test_nothing_that_runs_or_downloads_code_fits_any_slot(slot: str, name: str) -> None:
    get_error(name, slot)


@pytest.mark.parametrize("slot", ALL_SLOTS)
@pytest.mark.parametrize(
    "words", [("torch", "hub", "load"), ("torch", "os", "system"), ("torch", "load")]
)
def test_a_path_through_an_import_of_the_projects_files_is_refused(
    slot: str, words: tuple[str, ...]
) -> None:
    home = {**SCHEMA.slots, **SCHEMA.section_slots}[slot].homes[0]
    get_error(".".join((home, *words)), slot)


def test_nothing_of_optuna_fits_where_no_search_is_described() -> None:
    modules = [optuna, *(module for module in vars(optuna).values() if ismodule(module))]
    found = {value for module in modules for value in vars(module).values() if callable(value)}
    inner = [*SCHEMA.inner_slots.values(), *SCHEMA.nested_slots.values()]
    slots = [*SCHEMA.slots.values(), *inner]
    slots += [slot._replace(is_duck_typed=True) for slot in slots]
    assert TPESampler in found
    ours = [item for item in found if (item.__module__ or "").startswith("optuna")]
    assert [item for item in ours for slot in slots if not get_refusal(item, slot)] == []


def test_an_imported_function_is_judged_by_the_module_that_defines_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("model.probe")
    module.run = __import__("os").system  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model.probe", module)
    assert "system) does not fit" in get_error("probe.run", "loss")


def test_a_function_of_the_projects_utils_may_be_imported_into_a_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def focal(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output

    add_project_file(monkeypatch, "utils.losses", focal=focal)
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
    assert get_error(name, "arch").endswith("is not the name of a public class or function")


@pytest.mark.parametrize(
    "name",
    ["", "a b", "1x", "a..b", ".a", "a.", "a-b", "os;system", "a/b", "x" * 500 + "!", "a\nb"],
)
def test_text_that_is_no_name_is_refused(name: str) -> None:
    message = get_error(name, "arch")
    assert message.endswith("is not the name of a public class or function")
    assert len(message) < 160


@pytest.mark.parametrize(
    "name", ["resnet.F", "torch.nn", "resnet.annotations", "torch.float32", "torch.nn.init.math.pi"]
)
def test_anything_but_a_class_or_function_is_refused(name: str) -> None:
    assert "is not a class or function" in get_error(name, "arch")


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
def test_the_error_for_another_kind_says_what_fits(slot: str, name: str, message: str) -> None:
    assert get_error(name, slot).endswith(message)


def test_the_folder_of_another_slot_is_refused() -> None:
    assert "is in data_loader/, and this key takes what is in model/" in get_error(
        "data_loader.data_loaders.DigitsDataLoader", "arch"
    )


def test_an_untrusted_library_is_reported_with_the_trusted_ones() -> None:
    assert get_error("kornia.losses.FocalLoss", "loss") == (
        "'kornia.losses.FocalLoss' is not in a trusted library "
        "(see [tool.plainloop] in pyproject.toml); "
        "those are optuna, schedulefree, sklearn, torch, torchmetrics, torchvision"
    )
