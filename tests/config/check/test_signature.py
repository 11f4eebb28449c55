"""Signatures: what a class or function takes."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, Unpack

import torch
import torchvision

import base
from config.check.signature import Signature
from model.model import SmallConvNet


def test_the_leading_parameters_of_the_program_are_left_out() -> None:
    assert "params" in Signature.from_callable(torch.optim.SGD).parameters
    assert list(Signature.from_callable(torch.optim.SGD, n_skipped=1).parameters)[:2] == [
        "lr",
        "momentum",
    ]


def test_annotations_are_resolved() -> None:
    assert Signature.from_callable(SmallConvNet).parameters["dropout"].annotation is float


def test_parameters_of_a_parent_belong_to_the_signature_of_a_class_that_passes_kwargs_on() -> None:
    signature = Signature.from_callable(base.DatasetLoader)
    assert {"dataset", "batch_size", "num_workers", "drop_last", "pin_memory"} <= set(
        signature.parameters
    )
    assert signature.parameters["batch_size"].default == 32
    assert not signature.is_open


def test_a_function_with_kwargs_takes_any_argument() -> None:
    assert Signature.from_callable(torchvision.models.resnet18).is_open


def test_parameters_of_a_parent_are_optional_in_the_class_that_passes_kwargs_on() -> None:
    class Parent:
        def __init__(self, size: int, rate: float = 0.5) -> None: ...

    class Child(Parent):
        def __init__(self, depth: int, **kwargs: Any) -> None: ...

    signature = Signature.from_callable(Child)
    assert list(signature.parameters) == ["size", "rate", "depth"]
    assert signature.parameters["size"].default is None
    assert signature.parameters["depth"].default is signature.parameters["depth"].empty
    assert signature.is_open  # only of the framework it is known that nothing else is taken


def test_the_owner_is_the_dotted_name() -> None:
    assert Signature.from_callable(SmallConvNet).owner == "model.model.SmallConvNet"
    assert Signature.from_callable(torch.relu).owner.startswith("torch.")


class Options(TypedDict):
    size: tuple[int, int]
    rate: NotRequired[float]


def test_the_annotation_of_kwargs_is_that_of_each_of_them() -> None:
    def pairs(**kwargs: tuple[int, int]) -> None: ...
    def options(**kwargs: Unpack[Options]) -> None: ...
    def slip(**kwargs: dict[str, Any]) -> None: ...

    assert Signature.from_callable(pairs).get_annotation("other") == tuple[int, int]
    signature = Signature.from_callable(options)
    assert (list(signature.parameters), signature.is_open) == (["size", "rate"], False)
    assert Signature.from_callable(slip).get_annotation("other") is Any


def test_a_new_that_takes_anything_does_not_hide_the_constructor() -> None:
    class Single:
        def __new__(cls, *args: Any, **kwargs: Any) -> Single:
            return super().__new__(cls)

        def __init__(self, size: int) -> None: ...

    signature = Signature.from_callable(Single)
    assert (signature.get_annotation("size"), signature.is_open) == (int, False)
