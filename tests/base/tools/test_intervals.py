"""Bootstrap intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.nn import Identity
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassF1Score
from torchmetrics.functional import r2_score

from base.data.units import TargetUnits
from base.loop.metrics import MetricSet
from base.loop.reporter import SetResult, TestSubject
from base.loop.rows import Rows
from base.tools.intervals import OTHER_RESAMPLES, bootstrap_intervals
from base.tools.scores import Scores
from model.metric import accuracy, mae_by_step
from tests.base.tools.scores import make_scores


def make_f1() -> Any:
    metric = MulticlassF1Score(3, average="macro")
    metric.__name__ = "f1"
    return metric


def test_a_mean_has_the_interval_that_theory_gives() -> None:
    output, target = make_scores(3000)
    value = float(accuracy(output, target))
    values = {"accuracy": value, "loss": 0.0}
    found = bootstrap_intervals((output, target), F.cross_entropy, [accuracy], values)
    low, high = found.found["accuracy"]
    half = 1.96 * (value * (1 - value) / 3000) ** 0.5
    assert low == pytest.approx(value - half, abs=half / 4)
    assert high == pytest.approx(value + half, abs=half / 4)


def test_a_number_that_is_not_a_mean_is_computed_anew_for_every_resample() -> None:
    output, target = make_scores(200)
    metric = make_f1()
    value = float(metric(output, target))
    values = {"f1": value, "loss": 0.0}
    intervals = bootstrap_intervals((output, target), F.cross_entropy, [metric], values)
    low, high = intervals.found["f1"]
    assert 0 < low < value < high < 1
    assert 0.02 < high - low < 0.3


def test_the_interval_is_the_percentile_bootstrap() -> None:
    """Efron and Tibshirani's recipe by hand, with the same random numbers."""
    output, target = make_scores(50)
    metric, draw = make_f1(), np.random.default_rng(0)
    resampled = []
    for _ in range(OTHER_RESAMPLES):
        indices = draw.integers(0, 50, 50)
        resampled.append(float(make_f1()(output[indices], target[indices])))
    values = {"f1": float(make_f1()(output, target)), "loss": 0.0}
    found = bootstrap_intervals((output, target), F.cross_entropy, [metric], values).found["f1"]
    assert found == pytest.approx(tuple(np.quantile(resampled, (0.025, 0.975))))


def test_the_same_rows_give_the_same_interval() -> None:
    values = {"accuracy": 0.7, "loss": 0.6}
    runs = [
        bootstrap_intervals(make_scores(), F.cross_entropy, [accuracy], values) for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_a_metric_that_refuses_a_resample_has_no_interval() -> None:
    def refuse(output: Any, target: Any) -> Any:
        raise ValueError("not like this")

    rows = make_scores()
    values = {"refuse": 0.0, "loss": float(F.cross_entropy(*rows))}
    intervals = bootstrap_intervals(rows, F.cross_entropy, [refuse], values)
    assert set(intervals.found) == {"loss"}
    assert "cannot be computed" in intervals.reasons["refuse"]


def test_one_sample_has_no_interval() -> None:
    rows = torch.zeros(1, 3), torch.tensor([1])
    value = float(F.cross_entropy(*rows))
    assert bootstrap_intervals(rows, F.cross_entropy, [], {"loss": value}).found == {}


@pytest.mark.parametrize("shuffle", [False, True])  # a random split hides the overlap
def test_windows_whose_targets_overlap_have_no_intervals(shuffle: bool) -> None:
    windows = torch.rand(40).unfold(0, 4, 1)
    loader = DataLoader(TensorDataset(windows, windows), 10, shuffle)
    metrics = MetricSet([], None, None, Rows(), loader)
    metrics.reset()
    for output, target in loader:
        metrics.add_batch(F.mse_loss(output + 1, target), output + 1, target)
    result = SetResult("", loader, metrics.result(), metrics, len(windows))
    subject = TestSubject(Identity(), F.mse_loss, loader, torch.device("cpu"), Path(), 1, "", "")
    scores = Scores(result, subject)
    assert scores.intervals == {}
    assert scores.reasons["loss"] == "neighbouring windows have targets in common"


def test_several_ranks_are_the_reason_for_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("base.tools.intervals.world_size", lambda: 2)
    reasons = bootstrap_intervals(None, F.mse_loss, [], {"loss": 1.0}).reasons
    assert reasons["loss"] == "each process has some samples only; test with one process"


def test_a_mean_over_batches_that_is_no_mean_over_samples_has_a_reason_instead() -> None:
    output, target = torch.rand(90), torch.rand(90)
    pieces = zip(output.split(30), target.split(30), strict=True)
    by_batches = sum(float(r2_score(*piece)) for piece in pieces) / 3
    values = {"loss": float(F.mse_loss(output, target)), "r2_score": by_batches}
    intervals = bootstrap_intervals((output, target), F.mse_loss, [r2_score], values)
    assert set(intervals.found) == {"loss"}
    assert "use torchmetrics' R2Score" in intervals.reasons["r2_score"]
    values["r2_score"] = float(r2_score(output, target))  # of one batch: what it says
    intervals = bootstrap_intervals((output, target), F.mse_loss, [r2_score], values)
    assert set(intervals.found) == {"loss", "r2_score"}


def test_a_loss_of_other_targets_than_the_rows_has_no_interval() -> None:
    rows = torch.rand(50) * 9, torch.rand(50) * 9
    units = TargetUnits(StandardScaler().fit(rows[1].reshape(-1, 1).numpy()))
    value = float(F.mse_loss(units.scale(rows[0]), units.scale(rows[1])))
    plain = bootstrap_intervals(rows, F.mse_loss, [], {"loss": value})
    assert plain.found == {}
    low, high = bootstrap_intervals(rows, F.mse_loss, [], {"loss": value}, units).found["loss"]
    assert low < value < high


def test_each_number_of_a_vector_has_an_interval() -> None:
    rows = torch.rand(80, 2), torch.rand(80, 2)
    values = {f"mae_by_step_{key}": float(v) for key, v in mae_by_step(*rows).items()}
    found = bootstrap_intervals(rows, F.mse_loss, [mae_by_step], values).found
    for name, value in values.items():
        assert found[name][0] < value < found[name][1]
