"""The outputs and targets that a MetricSet collects on request."""

from __future__ import annotations

import pytest
import torch

from base.loop.metrics import MetricSet
from base.loop.rows import Rows

LOSS = torch.tensor(1.0)


def test_rows_hold_the_samples_in_their_order() -> None:
    metrics = MetricSet([], rows=Rows())
    metrics.reset()
    batches = [(torch.rand(2, 3), torch.tensor([0, 1])), (torch.rand(1, 3), torch.tensor([2]))]
    for output, target in batches:
        metrics.add_batch(LOSS, output, target)
    assert metrics.rows is not None
    found = metrics.rows.get()
    assert found is not None
    assert torch.equal(found[0], torch.cat([output for output, _ in batches]))
    assert found[1].tolist() == [0, 1, 2]


def test_outputs_that_are_not_rows_are_not_kept_but_measured() -> None:
    metrics = MetricSet([], rows=Rows())
    metrics.reset()
    metrics.add_batch(LOSS, torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4))
    assert metrics.rows is not None
    assert metrics.rows.get() is None
    assert metrics.result()["loss"] == 1.0


@pytest.mark.parametrize(("limit", "is_kept"), [(8, True), (7, False)])
def test_a_pass_with_more_numbers_than_the_limit_is_not_kept(limit: int, is_kept: bool) -> None:
    metrics = MetricSet([], rows=Rows(limit))
    for _ in range(2):
        metrics.add_batch(LOSS, torch.zeros(2), torch.zeros(2))
    assert metrics.rows is not None
    assert (metrics.rows.get() is not None) is is_kept


def test_a_new_pass_forgets_the_rows_of_the_one_before() -> None:
    metrics = MetricSet([], rows=Rows())
    metrics.add_batch(LOSS, torch.zeros(2), torch.zeros(2))
    metrics.reset()
    assert metrics.rows is not None
    assert metrics.rows.get() is None
