"""What a test found, and who tells it: the interface, and the numbers in the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base.loop.metrics import MetricSet


@dataclass
class TestSubject:
    """A trained model that is tested, and the data it is tested on.

    Attributes:
        model: on its device.
        criterion: the loss.
        loader: of the data.
        device: of the model's inputs.
        checkpoint: the path that the weights were read from.
        epoch: after which it was written; None if the checkpoint does not tell.
        weights: in words, which of the checkpoint's weights they are.
        split: in words, which data it is.
    """

    model: nn.Module
    criterion: Any
    loader: Any
    device: torch.device
    checkpoint: Path
    epoch: int | None
    weights: str
    split: str

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.checkpoint.parent


@dataclass
class TestResult:
    """The numbers of a test.

    Attributes:
        subject: that was tested.
        values: the loss and the metrics by name.
        metrics: that measured them; ``rows`` has the outputs if they are rows of numbers.
        n_samples: of all ranks.
    """

    subject: TestSubject
    values: dict[str, float]
    metrics: MetricSet
    n_samples: int


class Reporter:
    """Tells the result of a test; here: its numbers in the log.

    Args:
        output: a file to write the result into too, if the reporter writes files.
    """

    def __init__(self, output: Path | None = None) -> None:
        self.output = output

    def report(self, result: TestResult, config: Any, logger: logging.Logger) -> None:
        """Called once, on the main rank."""
        for name, value in result.values.items():
            logger.info("  %-15s %.6g", name, value)


def make_reporters(output: Path | None) -> list[Reporter]:
    """The registered reporters. Raises UserError if one of them cannot write to ``output``."""
    from base import features

    kinds = features.of_kind(Reporter) or [Reporter]
    return [kind(output) for kind in kinds]
