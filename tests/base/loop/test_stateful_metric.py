"""torchmetrics objects see the full epoch, in one rank or in several, and after a resume."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Any

import pytest
import torch
import torchmetrics
from torchmetrics.wrappers import BinaryTargetTransformer

from base.loop.stateful_metric import StatefulMetric
from tests.ranks import in_ranks
from utils.distributed import all_gather, rank

Batch = tuple[torch.Tensor, torch.Tensor]
# Each batch has one class only, and so no AUROC; the ranks have two, one and no batches.
BATCHES = [([0.1, 0.4, 0.9], [0, 0, 0]), ([0.35, 0.8], [1, 1]), ([0.7], [1])]
OF_RANKS = {0: [0, 2], 1: [1], 2: []}
KINDS: dict[str, Callable[[], Any]] = {
    "sums": lambda: torchmetrics.Accuracy(task="binary"),
    "lists": lambda: torchmetrics.AUROC(task="binary"),
    "a matrix": lambda: torchmetrics.AUROC(task="binary", thresholds=[0.2, 0.5, 0.75]),
    "means": lambda: torchmetrics.MeanSquaredError(),
    "a wrapper": lambda: BinaryTargetTransformer(torchmetrics.AUROC(task="binary")),
    "a composition": lambda: 1 - torchmetrics.Accuracy(task="binary"),
}


def get_batches(numbers: list[int]) -> list[Batch]:
    return [(torch.tensor(BATCHES[n][0]), torch.tensor(BATCHES[n][1])) for n in numbers]


def measure(make: Callable[[], Any], batches: list[Batch]) -> str:
    """The value of plain torchmetrics, as text."""
    metric = make()
    for output, target in batches:
        metric.update(output, target)
    return str(metric.compute())


def measure_in_rank() -> dict[str, str]:
    """What ``measure`` gives, for the batches of all ranks."""
    found = {}
    for name, make in KINDS.items():
        metric = StatefulMetric(make())
        for batch in get_batches(OF_RANKS[rank()]):
            metric.update(*batch)
        merged = metric.clone()
        merged.load_state_dict(metric.merge_states(all_gather(metric.state_dict())))
        found[name] = str(merged.compute())
    return found


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, str]]:
    return in_ranks(3, measure_in_rank)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ranks_get_the_number_of_all_samples(ranks: list[dict[str, str]], kind: str) -> None:
    """Also where a rank has seen nothing."""
    expected = measure(KINDS[kind], get_batches([0, 2, 1]))
    assert [found[kind] for found in ranks] == [expected] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_metric_continues_from_its_state(kind: str, tmp_path: Any) -> None:
    first, second = StatefulMetric(KINDS[kind]()), StatefulMetric(KINDS[kind]())
    first.update(*get_batches([0])[0])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for batch in get_batches([1, 2]):
        second.update(*batch)
    assert str(second.compute()) == measure(KINDS[kind], get_batches([0, 1, 2]))


@pytest.mark.parametrize("kind", ["lists", "a wrapper"])
def test_a_metric_that_has_seen_nothing_is_nan(kind: str) -> None:
    metric = StatefulMetric(KINDS[kind]())
    assert isnan(metric.compute())
    for batch in get_batches([0, 1]):
        metric.update(*batch)
    assert not isnan(metric.compute())
    metric.reset()
    assert isnan(metric.compute())


@pytest.mark.parametrize(
    ("metric", "output", "reason"),
    [
        (torchmetrics.AUROC(task="binary"), [0.2, 0.7], "one class only"),
        (torchmetrics.AUROC("multiclass", num_classes=2), [[0.2, 0.8], [0.7, 0.3]], "one class"),
        (torchmetrics.R2Score(), [0.2], "two samples"),
    ],
)
def test_a_metric_without_a_value_is_nan_and_says_why_once(
    metric: Any, output: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    stateful = StatefulMetric(metric)
    target = torch.ones(len(output), dtype=torch.long)
    for _ in range(2):
        stateful.update(torch.tensor(output), target)
        assert isnan(stateful.compute())
        assert isnan(stateful.clone().compute())  # ranks merge their states in a clone
        stateful.reset()
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_the_objects_of_the_user_stay_as_they_are() -> None:
    original = KINDS["sums"]()
    metric = StatefulMetric(original)
    metric.update(*get_batches([0])[0])
    clone = metric.clone()
    clone.reset()
    assert not original.update_called
    assert not isnan(metric.compute())


@pytest.mark.parametrize("kind", ["sums", "lists", "a wrapper"])
def test_a_loaded_state_is_on_the_device_of_the_metric(kind: str) -> None:
    """Otherwise the next batch on an accelerator would fail. ``meta`` is another device."""
    first = StatefulMetric(KINDS[kind]())
    first.update(*get_batches([0])[0])
    state = first.state_dict()
    resumed = StatefulMetric(KINDS[kind](), torch.device("meta"))
    resumed.load_state_dict(state)
    found = [
        tensor.device.type
        for value in resumed.metric.state_dict().values()
        for tensor in (value if isinstance(value, list) else [value])
    ]
    assert found
    assert set(found) == {"meta"}


@pytest.mark.parametrize(("state", "is_free"), [(torch.tensor(0), True), (torch.zeros(1), False)])
def test_only_a_metric_that_counts_may_use_any_algorithm(state: Any, is_free: bool) -> None:
    """Under deterministic ones, torchmetrics needs pixels x classes x classes numbers to count."""
    modes = []

    class Probe(torchmetrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", state, dist_reduce_fx="sum")

        def update(self, output: torch.Tensor, target: torch.Tensor) -> None:
            modes.append(torch.are_deterministic_algorithms_enabled())

        def compute(self) -> torch.Tensor:
            return self.total

    metric = StatefulMetric(Probe())
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        metric.update(torch.zeros(2), torch.zeros(2))
        modes.append(torch.are_deterministic_algorithms_enabled())
    finally:
        torch.set_deterministic_debug_mode(before)
    assert modes == [not is_free, True]
