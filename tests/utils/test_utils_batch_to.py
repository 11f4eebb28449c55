"""Batch objects that move themselves to a device, by a method ``to``."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from utils.batch import batch_size_of, split_target, to_device

META = torch.device("meta")  # a device other than the CPU that every machine has
CPU = torch.device("cpu")


def tensor() -> torch.Tensor:
    return torch.ones(3)


class Graphs:
    """A batch of graphs, whose ``to`` takes a device only (Lightning #2465)."""

    num_graphs = 3

    def __init__(self) -> None:
        self.x = tensor()

    def to(self, device: torch.device) -> Graphs:
        self.x = self.x.to(device)
        return self


class MovesItself(Graphs):
    def to(self, device: Any, non_blocking: bool = False) -> None:  # type: ignore[override]
        assert non_blocking == (device.type != "cpu")
        self.x = self.x.to(device)


class TakesTheDeviceByName(Graphs):
    def to(self, *, device: Any) -> Graphs:  # type: ignore[override]
        return super().to(device)


class NeedsNonBlocking(Graphs):
    def to(self, device: Any, non_blocking: bool) -> Graphs:  # type: ignore[override]
        return super().to(device)


@pytest.mark.parametrize("kind", [Graphs, MovesItself, TakesTheDeviceByName, NeedsNonBlocking])
@pytest.mark.parametrize("device", [META, CPU])
def test_a_batch_object_gets_the_arguments_that_its_method_takes(
    kind: type[Graphs], device: torch.device
) -> None:
    moved = to_device([kind()], device)[0]
    assert moved.x.device == device
    assert batch_size_of(kind()) == 3


class Edges(NamedTuple):
    to: torch.Tensor
    target: torch.Tensor


def test_a_field_named_to_is_no_method() -> None:
    edges = Edges(tensor(), tensor())
    assert to_device(edges, META).to.device.type == "meta"
    assert split_target(edges) == (edges.to, edges.target)
