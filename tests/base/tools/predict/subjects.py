"""Models and data for the tests of ``--predict``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from base.loop.reporter import TestSubject as Subject  # pytest collects classes named Test…


class Fixed(nn.Module):
    """Gives what ``make`` makes of its inputs."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.make(*inputs, **named)


class Readable(Dataset[Any]):
    """Pairs, and a file with a line for each input: numbers, of which some may be missing.

    Args:
        inputs: (N, F) or a list.
        targets: of the same length.
    """

    def __init__(self, inputs: Any, targets: Any) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index], self.targets[index]

    def read(self, path: Path) -> Iterator[tuple[str, Any]]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                yield f"line {number}", torch.tensor([float(word) for word in line.split()])
            except ValueError as error:
                yield f"line {number}", error


def make_subject(
    folder: Path, model: nn.Module | Callable[..., Any], loss: Any, data: Any, **options: Any
) -> Subject:
    """A model with its data, whose run has the folder ``folder``."""
    loader = data if isinstance(data, DataLoader) else DataLoader(data, 4, **options)
    model = model if isinstance(model, nn.Module) else Fixed(model)
    device = torch.device("cpu")
    return Subject(model, loss, loader, device, folder / "model_best.pt", None, "weights", "data")


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
