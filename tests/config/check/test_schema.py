"""Schema: the slots of components inside ``args``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
import torchvision.transforms.v2
from torch import nn

from base.schema import SCHEMA
from config.check.slots import resolve
from model.model import SmallConvNet
from utils.errors import UserError


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
def test_an_inner_component_has_the_slot_of_its_parameter(
    outer: str, parameter: str, name: str, found: Any
) -> None:
    assert resolve(name, SCHEMA.get_inner_slot(parameter, SCHEMA.slots[outer])) is found


@pytest.mark.parametrize("parameter", ["dataset", "transform", "sampler", "collate_fn", "anything"])
@pytest.mark.parametrize(
    "name", ["os.system", "torch.hub.load", "torch.os.system", "torch.load", "torch.nn.Linear.half"]
)
def test_inner_components_are_checked_as_strictly(parameter: str, name: str) -> None:
    with pytest.raises(UserError):
        resolve(name, SCHEMA.get_inner_slot(parameter, SCHEMA.slots["data_loader"]))


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("dataset", "dataset"),
        ("valid_dataset", "dataset"),
        ("batch_transform", "batch_transform"),
        ("eval_batch_transform", "batch_transform"),
        ("eval_transform", "transform"),
        ("mydataset", None),
        ("encoder", None),
    ],
)
def test_a_parameter_is_known_by_its_name_or_the_end_of_it(
    parameter: str, name: str | None
) -> None:
    assert SCHEMA.get_inner_name(parameter) == name


def test_a_class_in_the_annotation_is_what_the_component_must_be() -> None:
    slot = SCHEMA.get_inner_slot("schedule", SCHEMA.slots["optimizer"], torch.optim.Optimizer)
    assert slot.base_class == "torch.optim.optimizer.Optimizer"
    assert resolve("torch.optim.SGD", slot) is torch.optim.SGD
    with pytest.raises(UserError, match=r"this key takes a torch\.optim\.optimizer\.Optimizer"):
        resolve("torch.nn.Linear", slot)
