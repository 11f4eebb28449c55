"""Forecasts of time series."""

from __future__ import annotations

import torch
from torch import nn

from base import BaseModel


class MLPForecaster(BaseModel):
    """A linear forecast of all steps at once, corrected by an MLP.

    Both see the history as changes from its last step, and forecast changes from it. ``forward``
    takes (N, L, C) float and returns (N, H) for one channel, else (N, H, C).

    Args:
        history: the number of steps that the model sees.
        horizon: the number of steps to forecast.
        channels: of the series.
        hidden: the units of the MLP.
    """

    def __init__(self, history: int, horizon: int, channels: int = 1, hidden: int = 64) -> None:
        super().__init__()
        self.horizon, self.channels = horizon, channels
        n_inputs, n_outputs = history * channels, horizon * channels
        self.linear = nn.Linear(n_inputs, n_outputs)
        self.correction = nn.Sequential(
            nn.Linear(n_inputs, hidden), nn.ReLU(), nn.Linear(hidden, n_outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x[:, -1:]
        changes = (x - last).flatten(1)
        forecast = self.linear(changes) + self.correction(changes)
        output: torch.Tensor = last + forecast.view(len(x), self.horizon, self.channels)
        return output.squeeze(2) if self.channels == 1 else output
