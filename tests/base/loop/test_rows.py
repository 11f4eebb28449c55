"""The outputs and targets of a pass are kept if somebody wants to look at them afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from base.loop.metrics import MetricSet
from base.loop.rows import Rows
from base.loop.task import TaskFacts

LOSS = torch.tensor(0.0)


def test_rows_are_those_of_the_last_pass_in_order() -> None:
    rows = Rows()
    metrics = MetricSet([], rows=rows)
    metrics.add_batch(LOSS, torch.ones(2, 3), torch.zeros(2))
    metrics.reset()
    metrics.add_batch(LOSS, torch.full((2, 3), 1.0, requires_grad=True), torch.tensor([0, 1]))
    metrics.add_batch(LOSS, torch.full((1, 3), 2.0, dtype=torch.bfloat16), torch.tensor([2]))
    output, target = rows.get()
    assert output.tolist() == [[1.0] * 3, [1.0] * 3, [2.0] * 3]
    assert (output.dtype, output.requires_grad) == (torch.float32, False)
    assert target.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [(torch.ones(2, 3, 4, 4), torch.zeros(2, 4, 4))],  # images
        [({"logits": torch.ones(2, 3)}, torch.zeros(2))],
        [(torch.ones(6, 3), torch.zeros(2))],  # several rows a sample
        [(torch.ones(2, 3), torch.zeros(2)), (torch.ones(2, 4), torch.zeros(2))],
        [(torch.ones(2, 3), torch.zeros(2)), (torch.ones(2, 3), None)],
    ],
    ids=["nothing", "images", "a dict", "boxes", "rows of several lengths", "no target"],
)
def test_nothing_is_kept_of_outputs_that_are_no_rows(batches: list[Any]) -> None:
    rows = Rows()
    metrics = MetricSet([], rows=rows)
    for output, target in batches:
        metrics.add_batch(LOSS, output, target, torch.zeros(2))
    assert rows.get() is None


def test_nothing_is_kept_of_a_pass_above_the_limit() -> None:
    rows = Rows(TaskFacts(limit=16))
    for _ in range(2):
        rows.add(torch.ones(2, 3), torch.zeros(2), 2)
    assert rows.get() is not None
    rows.add(torch.ones(2, 3), torch.zeros(2), 2)
    assert rows.get() is None
    rows.reset()
    rows.add(torch.ones(2, 3), torch.zeros(2), 2)
    assert rows.get() is not None
