"""Metrics that are not means over samples, such as F1 or R2 computed batch by batch.

The framework takes the mean of a function over batches, weighted by their samples. That is the
value over all samples only if the function itself is a mean over samples.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from base.loop.collector import Collector
from base.loop.metrics import name_of
from base.loop.stateful_metric import is_stateful
from utils.numbers import split_numbers

SPLITS = 3  # of a batch into halves
MIN_SAMPLES = 4
TOLERANCE = 1e-4  # relative; single precision, and means of half precision
# A part of a metric's name, and the class of torchmetrics that adds up what it needs.
ADVICE = {
    "r2": "R2Score",
    "f1": "F1Score",
    "fbeta": "FBetaScore",
    "average_precision": "AveragePrecision",
    "auprc": "AveragePrecision",
    "auc": "AUROC",
    "auroc": "AUROC",
    "roc": "AUROC",
    "balanced_acc": "Accuracy with average: macro",
    "precision": "Precision",
    "recall": "Recall",
    "sensitivity": "Recall",
    "specificity": "Specificity",
    "iou": "JaccardIndex",
    "jaccard": "JaccardIndex",
    "dice": "segmentation.DiceScore",
    "rmse": "MeanSquaredError with squared: false",
    "root_mean": "MeanSquaredError with squared: false",
    "pearson": "PearsonCorrCoef",
    "spearman": "SpearmanCorrCoef",
    "matthews": "MatthewsCorrCoef",
    "mcc": "MatthewsCorrCoef",
    "kappa": "CohenKappa",
    "explained_variance": "ExplainedVariance",
    "perplexity": "text.Perplexity",
}


def is_close(value: float, other: float) -> bool:
    """Whether two numbers are the same up to rounding."""
    return bool(np.isclose(value, other, rtol=TOLERANCE, atol=1e-6))


@torch.no_grad()
def is_mean_over_samples(function: Any, output: Any, target: Any) -> bool | None:
    """Compares the value on a batch with the weighted mean of its values on two halves.

    Args:
        function: ``(output, target)`` to a number, or several in a vector or dict.
        output, target: of a batch, with the samples in the first dimension.

    Returns:
        None if it is unknown: the batch is too small, or the function does not take a half.
    """
    are_tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
    if not are_tensors or not output.ndim or len(output) != len(target):
        return None
    count = len(output)
    if count < MIN_SAMPLES:
        return None
    random = np.random.default_rng(0)
    try:
        full = _compute(function, output, target)
        for _ in range(SPLITS):
            order = torch.from_numpy(random.permutation(count)).to(output.device)
            # Halves of different sizes also find a function that weights its batches wrongly.
            halves = order[: count // 3], order[count // 3 :]
            first, second = (_compute(function, output[i], target[i]) for i in halves)
            for name, value in full.items():
                mean = (first[name] * len(halves[0]) + second[name] * len(halves[1])) / count
                if np.isfinite(value) and not is_close(mean, value):
                    return False
    except Exception:  # the user's metric may raise anything
        return None
    return True


def _compute(function: Any, output: Any, target: Any) -> dict[str, float]:
    return {k: float(v) for k, v in split_numbers("", function(output, target)).items()}


def advise(metric: Any) -> str:
    """Names the class of torchmetrics to use instead of a function; empty if there is none."""
    function = metric.func if isinstance(metric, functools.partial) else metric
    names = [getattr(function, "__name__", ""), name_of(metric)]
    if str(getattr(function, "__module__", "")).startswith("torchmetrics"):
        found = _find_class(names[0])
        if found:
            return found
    for name in names:
        matching = [key for key in ADVICE if key in name.lower()]
        if matching:
            return f"torchmetrics' {ADVICE[max(matching, key=len)]}"
    return ""


def _find_class(name: str) -> str:
    """The class of torchmetrics beside a function of it: ``r2_score`` has ``R2Score``."""
    import torchmetrics

    for module, prefix in ((torchmetrics, ""), (torchmetrics.classification, "classification.")):
        classes = {key.lower(): key for key in dir(module) if key[:1].isupper()}
        if found := classes.get(name.replace("_", "")):
            return f"torchmetrics' {prefix}{found}"
    return ""


def explain(metric: Any) -> str:
    """Says why the mean of a function over batches is not its value over the data."""
    advice = advise(metric)
    text = "its mean over batches is not its value over all samples"
    return f"{text}; use {advice}" if advice else f"{text}; write it as a torchmetrics Metric"


def find_batch_means(metrics: list[Any], output: Any, target: Any) -> dict[str, str]:
    """Finds the functions that are not means over samples. Returns an explanation by name.

    Args:
        metrics: functions and torchmetrics objects.
        output, target: of a batch, as the metrics get them.
    """
    functions = [metric for metric in metrics if not is_stateful(metric)]
    return {
        name_of(function): explain(function)
        for function in functions
        if is_mean_over_samples(function, output, target) is False
    }


class FirstBatch(Collector):
    """Keeps the outputs and targets of the first batch that a MetricSet gets."""

    batch: tuple[Any, Any] | None = None

    def reset(self) -> None:
        """A pass begins; the batch stays."""

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        if self.batch is None:
            self.batch = output, target

    def __len__(self) -> int:
        return 0
