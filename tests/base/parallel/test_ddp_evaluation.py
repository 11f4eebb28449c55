"""Several ranks evaluate every sample once."""

from __future__ import annotations

import pytest
import torch
import torchmetrics
from torch import nn

from base.base_data_loader import BaseDataLoader
from base.loop.evaluate import evaluate
from base.loop.metrics import MetricSet
from tests.ranks import in_ranks
from utils.distributed import all_gather

CPU = torch.device("cpu")
LENGTHS = (1, 2, 3, 4, 7, 16, 31)


class Echo(nn.Module):
    """Returns its input, so that a metric sees the samples."""

    def forward(self, x):
        return x


def first_column(output, target):
    return output[:, 0].mean()


class AsOneNumber(torchmetrics.Metric):
    """Another metric, its value reduced to one number that tells all of the value's elements.

    The inner metrics have the kinds of state of torchmetrics: sums, lists of all samples, extremes.
    """

    def __init__(self, inner):
        super().__init__()
        self.inner, self.__name__ = inner, type(inner).__name__

    def update(self, output, target):
        if isinstance(self.inner, torchmetrics.CatMetric | torchmetrics.MaxMetric):
            self.inner.update(output[:, 0])
        else:
            self.inner.update(output, target)

    def compute(self):
        value = self.inner.compute()
        weights = torch.arange(1.0, 1 + value.numel()).reshape(value.shape)
        return (value.flatten().sort().values * weights.flatten()).sum()


def evaluate_length(length):
    """The numbers of a dataset of ``length`` samples, and the number of samples of all ranks."""
    samples = [
        (torch.tensor([index / length, 1 - index / length]), index % 2) for index in range(length)
    ]
    loader = BaseDataLoader(samples, 8, shuffle=True).for_evaluation()
    inner = [
        torchmetrics.AUROC(task="multiclass", num_classes=2),
        torchmetrics.CatMetric(),
        torchmetrics.ConfusionMatrix(task="multiclass", num_classes=2),
        torchmetrics.MaxMetric(),
    ]
    metrics = MetricSet([first_column, *map(AsOneNumber, inner)])
    result = evaluate(Echo(), loader, lambda output, _: output[:, 0].mean(), metrics, CPU)
    return result | {"samples": sum(all_gather(metrics.n_samples))}


def evaluate_lengths():
    return [evaluate_length(length) for length in LENGTHS]


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_several_ranks_evaluate_any_number_of_samples_as_one_process(ranks):
    expected = evaluate_lengths()
    assert [result["samples"] for result in expected] == list(LENGTHS)
    for found in in_ranks(ranks, evaluate_lengths):
        for result, one in zip(found, expected, strict=True):
            assert result == pytest.approx(one, abs=1e-6)
            for exact in ("samples", "MulticlassConfusionMatrix"):
                assert result[exact] == one[exact]
