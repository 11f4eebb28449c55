"""The result of a test, and the interface of its reporters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base.loop.metrics import MetricSet
from base.parallel.strategy import output_device


@dataclass
class TestSubject:
    """A trained model and the data to test it on.

    Attributes:
        model: the model on its device.
        criterion: the loss.
        loader: gives the test batches.
        device: the device of the model's inputs.
        checkpoint: the file that holds the weights.
        epoch: the epoch after which the checkpoint was written; None if unknown.
        weights: describes the weights, for example ``EMA weights``.
        split: describes the data.
        task: the config's ``task``, or None.
    """

    model: nn.Module
    criterion: Any
    loader: Any
    device: torch.device
    checkpoint: Path
    epoch: int | None
    weights: str
    split: str
    task: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.checkpoint.parent

    @property
    def output_device(self) -> torch.device:
        return output_device(self.model, self.device)


@dataclass
class TestResult:
    """The numbers of a test.

    Attributes:
        subject: the model and the data.
        values: the loss and the metrics by name.
        metrics: the MetricSet that computed the values; its ``rows`` may hold outputs and targets.
        n_samples: the number of samples over all ranks.
    """

    subject: TestSubject
    values: dict[str, float]
    metrics: MetricSet
    n_samples: int


class Reporter:
    """Reports the result of a test. This class logs its numbers.

    Args:
        output: an additional file for the result, for reporters that write files.
    """

    def __init__(self, output: Path | None = None) -> None:
        self.output = output

    def report(self, result: TestResult, config: Any, logger: logging.Logger) -> None:
        """Reports ``result``. It is called once, on the main rank."""
        for name, value in result.values.items():
            logger.info("  %-15s %.6g", name, value)


def make_reporters(output: Path | None) -> list[Reporter]:
    """Makes the registered reporters. Raises UserError if one cannot write to ``output``."""
    from base import features

    kinds = features.of_kind(Reporter) or [Reporter]
    return [kind(output) for kind in kinds]
