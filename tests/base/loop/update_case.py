"""An Update of one weight, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from base.loop.progress import Progress
from base.loop.update import Update
from base.options import TrainerOptions


class Case:
    """An Update of one weight vector, under SGD with a learning rate of 1.

    Args:
        weight: to start with.
        options: of the trainer.

    Attributes:
        gradients: that the optimizer got, one of each step.
    """

    def __init__(
        self, weight: Iterable[float] = (0.0, 0.0), device: str = "cpu", **options: Any
    ) -> None:
        self.model = nn.Module()
        self.weight = self.model.weight = nn.Parameter(torch.tensor(list(weight)))
        self.optimizer = torch.optim.SGD([self.weight], lr=1.0)
        self.gradients: list[list[float]] = []
        self.optimizer.register_step_pre_hook(self._note_gradient)
        self.progress = Progress()
        self.update = Update(
            self.model,
            self.optimizer,
            TrainerOptions(epochs=1, **options),
            torch.device(device),
            progress=self.progress,
        )

    def _note_gradient(self, *_: Any) -> None:
        assert self.weight.grad is not None
        self.gradients.append(self.weight.grad.tolist())

    def train(
        self, inputs: Iterable[Iterable[float]], weight: float = 1.0, length: int | None = None
    ) -> list[int]:
        """Trains on these gradients of the loss; returns the batches after which a step came."""
        steps = []
        for number, x in enumerate(inputs, 1):
            with self.update.forward_context(None if length is None else length - number + 1):
                loss = (self.weight * torch.tensor(list(x))).sum()
            self.update.backward(loss, weight)
            if self.update.step():
                steps.append(number)
        if self.update.flush():
            steps.append(number)
        return steps
