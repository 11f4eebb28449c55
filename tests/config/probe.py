"""A small project: what its files probe.py in model/, data_loader/ and trainer/ define."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import Dataset

from base.schema import SCHEMA
from config.check.checker import Checker
from config.read.merge import apply_override
from config.read.tree import Tree
from utils.errors import Problem, UserError


class Color(enum.Enum):
    RED = "r"
    BLUE = 2


class Net(nn.Module):
    def __init__(
        self,
        size: int,
        rate: float = 0.5,
        name: str = "net",
        deep: bool = False,
        mode: Literal["min", "max", 3] = "min",
        limit: int | None = None,
        sizes: list[int] | None = None,
        color: Color = Color.RED,
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
        table: dict[str, Any] | None = None,
        encoder: nn.Module | None = None,
        layers: list[nn.Module] | None = None,
        anything: Any = None,
        implied: int = None,  # type: ignore[assignment]  # noqa: RUF013  (as many write it)
    ) -> None:
        super().__init__()
        self.got = {
            key: value for key, value in locals().items() if key not in ("self", "__class__")
        }


def make_net(width: int = 3, **kwargs: Any) -> nn.Module:
    return nn.Linear(width, len(kwargs) + 1)


def refuses(size: int) -> nn.Module:
    raise ValueError(f"size {size}\nis odd")


class Picky(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        problems = [Problem("size", f"{size} must be at least 1"), Problem("", "sizes are hard")]
        raise UserError(problems)


def forgets() -> nn.Module:
    raise NameError("name 'Linear' is not defined")


def scaled(output: torch.Tensor, target: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
    return (output - target).mean() * factor


class Squares(Dataset[Any]):
    def __init__(self, n: int, transform: Any = None) -> None:
        self.n, self.transform = n, transform

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        value = torch.tensor(float(index**2))
        return (self.transform(value) if self.transform else value), index


def doubled(samples: list[Any], times: int = 2) -> Any:
    return torch.stack([value for value, _ in samples]) * times


class Optim(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1, note: str = "") -> None:
        super().__init__(params, lr)
        self.note = note


FILES = {
    "model": (Net, Picky, make_net, refuses, forgets, scaled),
    "data_loader": (Squares, doubled),
    "trainer": (Optim,),
}


def net(**args: Any) -> dict[str, Any]:
    """Returns a component of the config that names ``Net``."""
    return {"type": "probe.Net", "args": {"size": 1} | args}


def run_check(tree: Tree, slot: str) -> Checker:
    """Checks the component under the key ``slot``."""
    checker = Checker(tree, SCHEMA)
    checker.check_component(tree.data[slot], SCHEMA.slots[slot], (slot,))
    return checker


def find(slot: str, node: Any, *overrides: str) -> list[str]:
    """Returns what the check finds wrong with ``node`` in ``slot``, without the position."""
    tree = Tree({slot: node})
    for override in overrides:
        apply_override(tree, override)
    return [str(finding._replace(mark=None)) for finding in run_check(tree, slot).findings]
