"""What a model gave on a split, sample by sample, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from base.loop.metrics import MetricSet, is_stateful, name_of
from utils.distributed import world_size
from utils.util import one_number

Array = np.ndarray[Any, Any]
BLOCKS = 2000  # of samples that are drawn together, for means
DRAWS, WHOLE_DRAWS = 1000, 200  # resamples for a mean, and for what must be computed anew for each


class Recorder(MetricSet):
    """A MetricSet that keeps the outputs and targets of the pass, if they are one row of numbers a sample.

    Args:
        limit: how many numbers it keeps at most; of a larger pass it keeps nothing.
        The others are MetricSet's.
    """

    def __init__(
        self,
        metrics: Iterable[Any],
        writer: Any = None,
        device: torch.device | None = None,
        limit: float = math.inf,
    ) -> None:
        super().__init__(metrics, writer, device)
        self._limit = limit if world_size() == 1 else 0  # of several processes, none has all
        self.reset()

    def reset(self) -> None:
        super().reset()
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] | None = []
        self._room = self._limit

    def measure(self, loss: torch.Tensor, output: Any, target: Any, n: int) -> None:
        super().measure(loss, output, target, n)
        if self._rows is None:
            return
        tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
        if not tensors or not (
            1 <= output.ndim <= 2 and 1 <= target.ndim <= 2 and len(output) == len(target) == n
        ):
            self._rows = None
            return
        self._room -= output.numel() + target.numel()
        self._rows.append((output.detach(), target.detach()))
        if self._room < 0:
            self._rows = None

    def recorded(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """``(output, target)`` of all samples in their order, on the CPU; None if they are no such rows."""
        if not self._rows:
            return None
        try:
            outputs, targets = zip(*self._rows, strict=True)
            return torch.cat(outputs).float().cpu(), torch.cat(targets).cpu()
        except RuntimeError:  # rows of several lengths
            return None


class Predictions:
    """What a model's outputs say.

    Args:
        output: (N, C) or (N,) float.
        kind: ``classification``, ``multilabel``, ``regression``, or empty for what is none of them: see ``kind_of``.
        classes: their names, or None.
        loss: the name of the loss: ``BCELoss`` has probabilities for its outputs, others have logits.

    Attributes:
        kind: the same.
        names: of the classes or labels.
        probability: (N, C), for labels (N, K), else None.
        prediction: (N,) int for a classification, (N, K) of 0 and 1 for labels, else the outputs.
        confidence: (N,) the probability of the class that is predicted, else None.
    """

    def __init__(
        self, output: torch.Tensor, kind: str, classes: list[str] | None, loss: str = ""
    ) -> None:
        self.kind = kind
        self.names: list[str] = []
        self.probability: Array | None = None
        self.confidence: Array | None = None
        self.prediction: Array = output.numpy()
        if kind not in ("classification", "multilabel"):
            return
        binary = kind == "classification" and (output.ndim == 1 or output.shape[1] == 1)
        if kind == "classification" and not binary:
            probability = output.softmax(1)
        else:
            probability = (
                output if loss in ("BCELoss", "binary_cross_entropy") else output.sigmoid()
            )
        if binary:  # it is of the second of two classes
            probability = torch.stack([1 - probability.reshape(-1), probability.reshape(-1)], 1)
        self.probability = probability.numpy()
        n_classes = self.probability.shape[1]
        self.names = (
            classes
            if classes and len(classes) == n_classes
            else [str(label) for label in range(n_classes)]
        )
        if kind == "classification":
            self.prediction, self.confidence = self.probability.argmax(1), self.probability.max(1)
        else:
            self.prediction = (self.probability > 0.5).astype(np.int64)

    def told(self, value: Any) -> str:
        """A target or a prediction of one sample in words: a class, the labels that are set, or numbers."""
        if self.kind == "classification":
            return self.names[int(value)]
        if self.kind == "multilabel":
            return " ".join(name for name, is_set in zip(self.names, value, strict=True) if is_set)
        return " ".join(f"{number:.6g}" for number in np.ravel(value).tolist())

    def row(self, place: int) -> list[str]:
        """The prediction of one sample in words, and its confidence; for a CSV."""
        sure = "" if self.confidence is None else f"{self.confidence[place]:.6g}"
        return [self.told(self.prediction[place]), sure]


class Results(Predictions):
    """What the rows of a split mean.

    Args:
        output: of the model, (N, C) or (N,) float.
        target: classes (N,) int; 0 or 1 (N,) or (N, K) for BCE losses; else numbers of the output's shape.
        classes, loss: as in Predictions.

    Attributes:
        target: (N,) int for a classification, (N, K) of 0 and 1 for labels, else as it was given.
        confusion: of a classification (C, C) counts, rows are targets; else None.
    """

    def __init__(
        self, output: torch.Tensor, target: torch.Tensor, classes: list[str] | None, loss: str = ""
    ) -> None:
        super().__init__(output, kind_of(output, target), classes, loss)
        self.target: Array = target.numpy()
        self.confusion: Array | None = None
        if self.kind == "classification":
            self.target = target.reshape(-1).long().numpy()
            n_classes = len(self.names)
            pairs = np.bincount(self.target * n_classes + self.prediction, minlength=n_classes**2)
            self.confusion = pairs.reshape(n_classes, n_classes)
        elif self.kind == "multilabel":
            self.target = target.long().numpy()
        elif self.kind == "regression":
            self.prediction = self.prediction.reshape(self.target.shape)

    def classes(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support of every class or label; empty for a regression."""
        if self.probability is None:
            return []
        from sklearn.metrics import precision_recall_fscore_support

        labels = list(range(len(self.names)))
        columns = precision_recall_fscore_support(
            self.target, self.prediction, labels=labels, zero_division=0.0
        )
        return [
            {
                "class": name,
                "precision": float(p),
                "recall": float(r),
                "f1": float(f1),
                "support": int(support),
            }
            for name, p, r, f1, support in zip(self.names, *columns, strict=True)
        ]

    def calibration(self, bins: int = 10) -> tuple[list[tuple[float, float, int]], float]:
        """Of every bin of confidence its mean, the share that is right and its size; and the calibration error.

        Source: expected calibration error, Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2.
        """
        if self.probability is None:
            return [], float("nan")
        if self.confidence is not None:
            sure, right = self.confidence, self.prediction == self.target
        else:
            sure, right = self.probability.ravel(), self.target.ravel() == 1
        place = np.minimum((sure * bins).astype(int), bins - 1)
        inside = [place == index for index in range(bins)]
        found = [
            (float(sure[own].mean()), float(right[own].mean()), int(own.sum()))
            for own in inside
            if own.any()
        ]
        return found, sum(abs(mean - share) * size for mean, share, size in found) / max(
            len(sure), 1
        )

    def worst(self, number: int) -> list[int]:
        """The places of the surest mistakes; of a regression, or of labels, the largest errors."""
        if self.confidence is not None:
            wrong = np.flatnonzero(self.prediction != self.target)
            return [
                int(place)
                for place in wrong[np.argsort(-self.confidence[wrong], kind="stable")][:number]
            ]
        guess = self.prediction if self.probability is None else self.probability
        if guess.shape != self.target.shape:
            return []
        errors = np.abs(guess - self.target).reshape(len(self.target), -1).max(1)
        return [int(place) for place in np.argsort(-errors, kind="stable")[:number]]

    def least_sure(self, number: int) -> list[int]:
        """The places of the right answers with the least confidence."""
        if self.confidence is None:
            return []
        right = np.flatnonzero(self.prediction == self.target)
        return [
            int(place)
            for place in right[np.argsort(self.confidence[right], kind="stable")][:number]
        ]


def kind_of(output: torch.Tensor, target: torch.Tensor) -> str:
    """What the shapes and values tell: ``classification``, ``multilabel``, ``regression``, or empty."""
    if (
        target.ndim == 1
        and output.ndim == 2
        and output.shape[1] > 1
        and not target.is_floating_point()
    ):
        fits = len(target) > 0 and int(target.min()) >= 0 and int(target.max()) < output.shape[1]
        return "classification" if fits else ""
    if output.numel() != target.numel():
        return ""
    if bool(((target == 0) | (target == 1)).all()):
        return "classification" if target.ndim == 1 or target.shape[1] == 1 else "multilabel"
    return "regression"


def intervals(
    rows: tuple[torch.Tensor, torch.Tensor] | None,
    criterion: Any,
    metrics: list[Any],
    values: dict[str, float],
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of the loss and the metrics; without those that cannot be computed on any rows.

    Source: the percentile bootstrap, Efron and Tibshirani 1993, chapter 13.
    """
    if rows is None:
        return {}
    functions: dict[str, Any] = {
        "loss": criterion.cpu() if isinstance(criterion, torch.nn.Module) else criterion
    }
    functions |= {
        name_of(metric): _Stateful(metric) if is_stateful(metric) else metric for metric in metrics
    }
    found = {}
    for name, function in functions.items():
        try:
            span = _interval(function, *rows, values[name])
        except Exception:  # a metric that wants a batch as the loader gives it
            continue
        if np.isfinite(span).all():
            found[name] = span
    return found


class _Stateful:
    def __init__(self, metric: Any) -> None:
        self.metric = metric.clone().cpu()

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> Any:
        self.metric.reset()
        self.metric.update(output, target)
        return self.metric.compute()


@torch.no_grad()
def _interval(
    function: Any, output: torch.Tensor, target: torch.Tensor, value: float
) -> tuple[float, float]:
    draw = np.random.default_rng(0)
    n = len(output)
    if not isinstance(function, _Stateful):
        blocks = np.array_split(draw.permutation(n), min(n, BLOCKS))
        sizes = np.array([len(block) for block in blocks], dtype=float)
        means = np.array(
            [float(one_number("", function(output[block], target[block]))) for block in blocks]
        )
        if np.isclose(
            (means * sizes).sum() / n, value, rtol=1e-3, atol=1e-6
        ):  # else it is no mean over samples
            times = draw.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=DRAWS)
            return _middle((times * means * sizes).sum(1) / (times * sizes).sum(1))
    drawn = [draw.integers(0, n, n) for _ in range(WHOLE_DRAWS)]
    return _middle([float(one_number("", function(output[rows], target[rows]))) for rows in drawn])


def _middle(values: Any) -> tuple[float, float]:
    low, high = np.quantile(np.asarray(values, dtype=float), (0.025, 0.975))
    return float(low), float(high)
