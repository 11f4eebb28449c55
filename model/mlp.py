"""A multi-layer perceptron for tabular data."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from base import BaseModel


class MLP(BaseModel):
    """Linear layers with ReLU and dropout between them.

    ``forward`` takes (N, in_features) float and returns (N, out_features), or (N,) for one output.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int = 1,
        hidden: list[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = [in_features, *([64] if hidden is None else hidden)]
        layers: list[nn.Module] = []
        for size, next_size in itertools.pairwise(sizes):
            layers += [nn.Linear(size, next_size), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(x)
        return output.squeeze(1) if output.shape[1] == 1 else output
