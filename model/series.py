"""Forecasts of time series."""

from __future__ import annotations

import torch
from torch import nn

from base import BaseModel


class GRUForecaster(BaseModel):
    """A GRU reads the history; a linear layer forecasts all steps at once.

    ``forward`` takes (N, L, C) float and returns (N, H) for one channel, else (N, H, C). The
    forecast is the change from the last step, or from the same steps of the last season.

    Args:
        horizon: the number of steps to forecast.
        channels: of the series.
        hidden: the size of the GRU's state.
        season: the length of a season in steps, at least ``horizon``; None has no seasons.
    """

    def __init__(
        self, horizon: int, channels: int = 1, hidden: int = 32, season: int | None = None
    ) -> None:
        super().__init__()
        self.horizon, self.channels, self.season = horizon, channels, season
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        self.head = nn.Linear(hidden, horizon * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, state = self.gru(x)
        change = self.head(state[0]).view(len(x), self.horizon, self.channels)
        start = x[:, -1:]
        if self.season is not None:
            begin = x.shape[1] - self.season
            start = x[:, begin : begin + self.horizon]
        output: torch.Tensor = start + change
        return output.squeeze(2) if self.channels == 1 else output
