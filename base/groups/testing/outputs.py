"""The outputs of one run on a set of data, the samples that they belong to, and their scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from base.loop.collector import Collection
from base.loop.evaluate import add_up
from base.loop.metrics import MetricSet
from base.loop.reporter import SetResult, TestSubject
from base.loop.task import TaskFacts
from base.loop.validation import in_eval_mode
from base.tools.samples import Samples


class Outputs(NamedTuple):
    """The outputs and targets of a pass, sorted by the indices of their samples.

    Attributes:
        output: (N, C) or (N,) float.
        target: (N,) or (N, K).
        indices: the samples' indices in their dataset, shape (N,); None if unknown.
        sizes: of the batches of the pass; one batch if unknown.
    """

    output: torch.Tensor
    target: torch.Tensor
    indices: torch.Tensor | None
    sizes: list[int]

    def is_of_same_data(self, other: Outputs) -> bool:
        """Whether both passes had the same samples and targets."""
        if (self.indices is None) != (other.indices is None):
            return False
        is_same = self.target.shape == other.target.shape
        if is_same and self.indices is not None and other.indices is not None:
            is_same = torch.equal(self.indices, other.indices)
        return is_same and torch.equal(self.target, other.target)


def read_outputs(result: SetResult) -> Outputs | None:
    """Returns the outputs of a test; None if they are not one row of numbers for each sample."""
    rows = None if result.metrics.rows is None else result.metrics.rows.get()
    if rows is None:
        return None
    output, target = rows
    batches = Samples(result.loader).order() or []
    indices = torch.tensor([index for batch in batches for index in batch], dtype=torch.int64)
    if len(indices) != len(output):
        return Outputs(output, target, None, [len(output)])
    order = indices.argsort(stable=True)
    sizes = [len(batch) for batch in batches]
    return Outputs(output[order], target[order], indices[order], sizes)


@torch.no_grad()
def score_outputs(
    outputs: Outputs, subject: TestSubject, config: Any, like: SetResult
) -> SetResult:
    """Computes the loss and the metrics of outputs, batch by batch, on the CPU.

    Args:
        outputs: whose ``sizes`` are those of the batches, because a metric may be a mean over them.
        subject: has the loss; a module is moved to the CPU.
        config: has the metrics.
        like: a test on this set of data, which has its name and its loader.
    """
    loss = subject.criterion
    criterion = loss.cpu() if isinstance(loss, nn.Module) else loss
    cpu, facts = torch.device("cpu"), TaskFacts(criterion, subject.task)
    metrics = MetricSet(config.build_metrics(), None, cpu, Collection(facts), like.loader, "valid")
    units = metrics.units
    metrics.units = None  # the outputs are in real units already
    pieces = (torch.split(rows, outputs.sizes) for rows in (outputs.output, outputs.target))
    with in_eval_mode(criterion):
        for batch in zip(*pieces, strict=True):
            scaled = batch if units is None else map(units.scale, batch)
            metrics.add_batch(add_up(criterion(*scaled)), *batch)
    numbers, metrics.units = metrics.result(), units
    return SetResult(like.name, like.loader, numbers, metrics, len(outputs.output))
