"""BaseModel: an nn.Module that prints its number of parameters."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy


class BaseModel(nn.Module):
    """The parent of all models. Any other ``nn.Module`` works too."""

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """Returns the outputs (logits, scores, …) for ``inputs``."""
        raise NotImplementedError

    def __str__(self) -> str:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        lazy = [parameter for parameter in trained if is_lazy(parameter)]
        trainable = sum(parameter.numel() for parameter in trained if not is_lazy(parameter))
        count = f"{trainable}, and {len(lazy)} lazy tensors without a shape yet"
        return f"{super().__str__()}\nTrainable parameters: {count if lazy else trainable}"
