"""The result of a test, and the interface of its reporters."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base.data.loader import DividedLoader, list_sets, unwrap_loader
from base.loop.collector import Collection
from base.loop.evaluate import add_prefix, evaluate
from base.loop.metrics import MetricSet
from base.loop.task import TaskFacts
from base.parallel.strategy import output_device
from logger.progress import progress
from utils.batch import num_batches
from utils.distributed import all_gather


@dataclass
class TestSubject:
    """A trained model and the data to test it on.

    Attributes:
        model: the model on its device.
        criterion: the loss.
        loader: gives the test batches; a dict of loaders for several test sets.
        device: the device of the model's inputs.
        checkpoint: the file that holds the weights.
        epoch: the last epoch that was finished before the checkpoint; None if unknown.
        weights: describes the weights, for example ``EMA weights``.
        split: describes the data.
        task: the config's ``task``, or None.
        position: says when the checkpoint was written, as ``after epoch 3``.
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
    position: str = "at an unknown time"

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.checkpoint.parent

    @property
    def first_loader(self) -> Any:
        """The loader, or the first one of several test sets."""
        return list_sets(self.loader)[0][1]

    @property
    def output_device(self) -> torch.device:
        return output_device(self.model, self.device)


@dataclass
class SetResult:
    """The numbers of a test on one set of data.

    Attributes:
        name: of the set; empty for the only one.
        loader: gives its batches.
        values: the loss and the metrics by name.
        metrics: the MetricSet that computed the values; its ``rows`` may hold outputs and targets.
        n_samples: the number of samples over all ranks.
    """

    name: str
    loader: Any
    values: dict[str, float]
    metrics: MetricSet
    n_samples: int


@dataclass
class TestResult:
    """The numbers of a test.

    Attributes:
        subject: the model and the data.
        sets: the numbers of each test set.
    """

    subject: TestSubject
    sets: list[SetResult]

    @property
    def values(self) -> dict[str, float]:
        """The numbers of all sets. The name of a set begins those of its numbers."""
        prefixed = [add_prefix(result.name, result.values) for result in self.sets]
        return {name: value for numbers in prefixed for name, value in numbers.items()}

    @property
    def n_samples(self) -> int:
        """The number of samples over all sets and ranks."""
        return sum(result.n_samples for result in self.sets)


def evaluate_sets(subject: TestSubject, config: Any, logger: logging.Logger) -> Iterator[SetResult]:
    """Tests a model on each of its test sets.

    Args:
        subject: the model and the data.
        config: has the metrics, and a trainer class that may evaluate in its own way.
        logger: gets the progress.
    """
    evaluate_split = getattr(config.trainer_class(), "evaluate_split", evaluate)
    for name, loader in list_sets(subject.loader):
        rows = Collection(TaskFacts(subject.criterion, subject.task))
        metric_ftns = config.build_metrics()
        metrics = MetricSet(metric_ftns, None, subject.output_device, rows, loader, "valid")
        batches = progress(loader, num_batches(loader), f"test {name}".rstrip(), logger)
        values = evaluate_split(subject.model, batches, subject.criterion, metrics, subject.device)
        n_samples = sum(all_gather(metrics.n_samples))
        rows.merge_ranks(_list_indices(loader))
        yield SetResult(name, loader, values, metrics, n_samples)


def _list_indices(loader: Any) -> list[int] | None:
    """The indices of this rank's samples in the last pass; None if they are unknown."""
    inner = unwrap_loader(loader)
    batches = inner.list_batches() if isinstance(inner, DividedLoader) else []
    return [index for batch in batches for index in batch] or None


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

    def show(self, result: TestResult, config: Any) -> Any:
        """Returns an object that shows ``result`` in a notebook. This class returns its numbers."""
        return result.values


def make_reporters(output: Path | None) -> list[Reporter]:
    """Makes the registered reporters. Raises UserError if one cannot write to ``output``."""
    from base import features

    kinds = features.of_kind(Reporter) or [Reporter]
    return [kind(output) for kind in kinds]
