"""BaseModel: an nn.Module that prints its number of parameters."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn


class BaseModel(nn.Module):
    """The parent of all models. Any other ``nn.Module`` works too."""

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """Returns the outputs (logits, scores, …) for ``inputs``."""
        raise NotImplementedError

    def __str__(self) -> str:
        trainable = sum(
            parameter.numel() for parameter in self.parameters() if parameter.requires_grad
        )
        return f"{super().__str__()}\nTrainable parameters: {trainable}"
