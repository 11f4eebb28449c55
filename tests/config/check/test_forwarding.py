"""Arguments that a class or function passes on as ``**kwargs``."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from torch.utils.data import DataLoader

from base import BaseDataLoader
from config.check.signature import Signature


class Loader(BaseDataLoader):
    def __init__(self, size: int = 3, **kwargs: Any) -> None:
        kwargs.setdefault("shuffle", False)
        self.scale = kwargs.pop("scale", 1)
        super().__init__(range(size), 2, **kwargs)


class Child(Loader):
    def __init__(self, **others: Any) -> None:
        super().__init__(**others)


class Keeper(DataLoader[Any]):
    def __init__(self, **kwargs: Any) -> None:
        self.options = kwargs
        super().__init__(range(3), **kwargs)


class Mixin:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Mixed(Mixin, Loader):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Nested(nn.Module):
    def __init__(self, depth: int = 1, **kwargs: Any) -> None:
        super().__init__()
        self.child = Nested(depth - 1, **kwargs) if depth else None


def make_linear(width: int = 4, **kwargs: Any) -> nn.Module:
    return nn.Linear(width, **kwargs)


def make_any(**kwargs: Any) -> nn.Module:
    return nn.Linear(**kwargs) if kwargs else nn.Linear(1, 1)


@pytest.mark.parametrize("found", [Loader, Child, make_linear])
def test_what_passes_on_its_arguments_takes_those_of_the_target_only(found: Any) -> None:
    assert not Signature.from_callable(found).is_open


@pytest.mark.parametrize("found", [Keeper, Mixed, Nested, make_any])
def test_where_the_code_shows_less_any_argument_is_accepted(found: Any) -> None:
    assert Signature.from_callable(found).is_open


def test_the_parameters_are_those_that_the_target_takes_and_the_code_reads() -> None:
    names = Signature.from_callable(Child).parameters
    assert {"size", "scale", "cache", "pin_memory"} <= names.keys()
    assert [*Signature.from_callable(make_linear).parameters] == [
        *("out_features", "bias", "device", "dtype", "width")
    ]


class KeptInC:
    def __init__(self, **kwargs: Any) -> None:
        self.options = SimpleNamespace(**kwargs)


class Ordered:
    def __init__(self, **kwargs: Any) -> None:
        self.options = OrderedDict(**kwargs)


@dataclass
class WithoutHash:
    rate: float = 0.1

    def __call__(self, output: Any, target: Any, **kwargs: Any) -> Any:
        return output


def ping(**kwargs: Any) -> Any:
    return pong(**kwargs)


def pong(**kwargs: Any) -> Any:
    return ping(**kwargs)


@pytest.mark.parametrize("found", [KeptInC, Ordered, WithoutHash(), ping])
def test_what_cannot_be_read_stays_open(found: Any) -> None:
    assert Signature.from_callable(found).is_open
