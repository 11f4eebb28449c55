"""MetricTracker works as pytorch-template's projects use it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from utils import MetricTracker
from utils.errors import UserError


@pytest.mark.parametrize(
    "value",
    [
        0.25,
        np.float64(0.25),
        np.float32(0.25),
        np.array(0.25),
        torch.tensor(0.25),
        torch.tensor(0.25, dtype=torch.float64),
        torch.tensor(0.25, dtype=torch.bfloat16),
        torch.tensor(0.25, requires_grad=True),
        torch.tensor([0.25]),
        nn.Parameter(torch.tensor(0.25)) * 1.0,
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_metric_tracker_takes_any_number(value: Any) -> None:
    tracker = MetricTracker("loss", "accuracy")
    tracker.update("loss", value)
    tracker.update("loss", value * 3, n=3)
    assert tracker.avg("loss") == 0.625
    assert tracker.result() == {"loss": 0.625, "accuracy": 0.0}
    assert type(tracker.result()) is dict
    assert type(tracker.result()["loss"]) is float


@pytest.mark.parametrize(
    "value", [3, np.int64(3), True, np.bool_(True), torch.tensor(3), torch.tensor(True)]
)
def test_metric_tracker_takes_counts(value: Any) -> None:
    tracker = MetricTracker("hits")
    tracker.update("hits", value)
    tracker.update("hits", value)
    assert tracker.avg("hits") == float(value)
    assert type(tracker.result()["hits"]) is float


def test_metric_tracker_keeps_no_graph() -> None:
    class Token:
        """Lives as long as the graph, of which it is in a hook."""

    tracker = MetricTracker("loss")
    tokens = []
    for _ in range(2):
        loss = nn.Parameter(torch.tensor(2.0)) * 2
        token = Token()
        loss.register_hook(lambda _, token=token: None)
        tracker.update("loss", loss)
        tokens.append(weakref.ref(token))
        del loss, token
    gc.collect()
    assert [token() for token in tokens] == [None, None]
    assert tracker.avg("loss") == 4.0


def test_metric_tracker_sums_in_full_precision() -> None:
    tracker = MetricTracker("half")
    for _ in range(1000):
        tracker.update("half", torch.tensor(0.5, dtype=torch.bfloat16), n=64)
    assert tracker.avg("half") == 0.5, "a sum in bfloat16 stops growing at 256"


def test_metric_tracker_resets_and_writes() -> None:
    class Writer:
        def __init__(self) -> None:
            self.calls: list[tuple[str, Any]] = []

        def add_scalar(self, key: str, value: Any) -> None:
            self.calls.append((key, value))

    writer = Writer()
    tracker = MetricTracker("loss", writer=writer)
    tracker.update("loss", 4.0, n=2)
    tracker.update("loss", 1.0)
    assert writer.calls == [("loss", 4.0), ("loss", 1.0)]
    assert tracker.result() == {"loss": 3.0}
    tracker.reset()
    assert tracker.result() == {"loss": 0.0}
    assert list(MetricTracker("b", "a").result()) == ["b", "a"]


def test_metric_tracker_takes_a_number_for_each_class() -> None:
    tracker = MetricTracker("recall")
    tracker.update("recall", np.array([0.5, 1.0]), n=8)
    assert tracker.result() == {"recall_0": 0.5, "recall_1": 1.0}


def test_metric_tracker_names_a_metric_that_is_not_a_number() -> None:
    tracker = MetricTracker("recall")

    def measure() -> None:
        tracker.update("recall", np.ones((2, 2)))
        tracker.result()

    with pytest.raises(UserError, match="recall"):
        measure()
