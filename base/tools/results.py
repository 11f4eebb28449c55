"""Turns the outputs of a model into predictions, and compares them with the targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from base.loop.task import (
    CLASS_LOSSES,
    LABEL_LOSSES,
    LEARNED,
    NUMBER_LOSSES,
    PROBABILITY_LOSSES,
    is_zero_or_one,
    simplify_loss,
)

Array = NDArray[Any]
CALIBRATION_BINS = 10


class Calibration(NamedTuple):
    """How well confidences agree with accuracies.

    Attributes:
        points: for every bin of confidence with samples, their mean confidence and accuracy.
        error: the expected calibration error; NaN for a regression.
    """

    points: list[tuple[float, float]]
    error: float


class Predictions:
    """The predictions in a model's outputs.

    Args:
        output: (N, C) or (N,) float.
        kind: ``classification``, ``multilabel``, ``regression``, or empty; see ``kind_of``.
        classes: the names of the classes or labels, or None.
        loss: the name of the loss, which shows whether outputs are probabilities or logits.

    Attributes:
        kind: the argument.
        names: of the classes or labels; their numbers if ``classes`` does not fit.
        probability: (N, C), or (N, K) for labels; None for a regression.
        prediction: (N,) int classes; (N, K) of 0 and 1 for labels; otherwise the outputs.
        confidence: (N,) the probability of the predicted class; None if there are no classes.
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
        self.probability = _probability(output, kind, loss).numpy()
        n_classes = self.probability.shape[1]
        has_names = classes is not None and len(classes) == n_classes
        self.names = classes if classes and has_names else list(map(str, range(n_classes)))
        if kind == "classification":
            self.prediction = self.probability.argmax(1)
            self.confidence = self.probability.max(1)
        else:
            self.prediction = (self.probability > 0.5).astype(np.int64)

    def describe(self, value: Any) -> str:
        """Returns one target or prediction in words: a class, the labels that are set, numbers."""
        if self.kind == "classification":
            return self.names[int(value)]
        if self.kind == "multilabel":
            return " ".join(name for name, is_set in zip(self.names, value, strict=True) if is_set)
        return " ".join(f"{number:.6g}" for number in np.ravel(value).tolist())

    def describe_prediction(self, index: int) -> list[str]:
        """Returns the prediction of a sample in words, and its confidence, as cells of a CSV."""
        confidence = "" if self.confidence is None else f"{self.confidence[index]:.6g}"
        return [self.describe(self.prediction[index]), confidence]


class Results(Predictions):
    """The predictions on a split, compared with its targets.

    Args:
        output: (N, C) or (N,) float.
        target: classes (N,) or (N, 1) int, or probabilities of classes (N, C); 0 or 1 (N,) or
            (N, K) for a BCE loss; otherwise numbers of the output's shape.
        classes: see Predictions.
        loss, task: see ``kind_of``.

    Attributes:
        target: (N,) int classes; (N, K) of 0 and 1 for labels; otherwise the argument.
        confusion: (C, C) int counts of a classification, with targets as rows; otherwise None.
    """

    def __init__(
        self,
        output: torch.Tensor,
        target: torch.Tensor,
        classes: list[str] | None,
        loss: str = "",
        task: str | None = None,
    ) -> None:
        super().__init__(output, kind_of(output, target, loss, task), classes, loss)
        self.target: Array = target.numpy()
        self.confusion: Array | None = None
        if self.kind == "classification":
            self.target = _to_classes(output, target).numpy()
            self.confusion = _count_pairs(self.target, self.prediction, len(self.names))
        elif self.kind == "multilabel":
            self.target = (target > 0.5).long().numpy()
        elif self.kind == "regression":
            self.prediction = self.prediction.reshape(self.target.shape)

    def score_classes(self) -> list[dict[str, Any]]:
        """Returns precision, recall, F1 and support of every class or label; empty if none."""
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
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(self.names, *columns, strict=True)
        ]

    def calibrate(self) -> Calibration:
        """Compares confidences with the fraction of correct predictions.

        Source: expected calibration error over 10 equal bins (a, b], Guo et al. 2017,
        https://arxiv.org/abs/1706.04599, section 2.
        """
        if self.probability is None or not len(self.target):
            return Calibration([], float("nan"))
        from sklearn.calibration import calibration_curve

        if self.confidence is not None:
            confidence = self.confidence
            is_correct = self.prediction == self.target
        else:
            confidence = self.probability.ravel()
            is_correct = self.target.ravel() == 1
        confidence = confidence.astype(float).clip(0, 1)  # rounding may lift a softmax above 1
        accuracy, mean = calibration_curve(is_correct, confidence, n_bins=CALIBRATION_BINS)
        # calibration_curve does not return the sizes of its bins.
        edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
        sizes = np.bincount(np.searchsorted(edges[1:-1], confidence))
        weights = sizes[sizes > 0] / len(confidence)
        error = float((weights * np.abs(mean - accuracy)).sum())
        return Calibration(list(zip(mean.tolist(), accuracy.tolist(), strict=True)), error)

    def most_confident_errors(self, number: int) -> list[int]:
        """Returns the indices of wrong predictions, the most confident first.

        For labels and for a regression, it returns the samples with the largest errors.
        """
        if self.confidence is not None:
            wrong = np.flatnonzero(self.prediction != self.target)
            order = np.argsort(-self.confidence[wrong], kind="stable")
            return [int(index) for index in wrong[order][:number]]
        guess = self.prediction if self.probability is None else self.probability
        if guess.shape != self.target.shape:
            return []
        errors = np.abs(guess - self.target)
        if self.kind == "regression" and errors.ndim > 1:  # the targets may have different units
            spread = self.target.reshape(-1, self.target.shape[-1]).std(0)
            errors = errors / np.where(spread > 0, spread, 1)
        errors = errors.reshape(len(self.target), -1).max(1)
        return [int(index) for index in np.argsort(-errors, kind="stable")[:number]]

    def least_confident_correct(self, number: int) -> list[int]:
        """Returns the indices of correct predictions, the least confident first."""
        if self.confidence is None:
            return []
        correct = np.flatnonzero(self.prediction == self.target)
        order = np.argsort(self.confidence[correct], kind="stable")
        return [int(index) for index in correct[order][:number]]


def kind_of(
    output: torch.Tensor, target: torch.Tensor, loss: str = "", task: str | None = None
) -> str:
    """Finds the kind of task from the config's ``task``, the loss and the shapes.

    Args:
        output: (N, C) or (N,) float.
        target: (N,) or (N, K).
        loss: the name of the loss, or ``LEARNED``.
        task: the config's ``task``, or None.

    Returns:
        ``classification``, ``multilabel``, ``regression``, or an empty text if it is unknown, or
        does not fit the shapes.
    """
    has_scores = output.ndim == 2 and output.shape[1] > 1
    is_column = target.ndim == 1 or target.shape[1] == 1
    if task == "segmentation":
        return ""
    kind = task or _kind_of_loss(loss, output)
    if not kind and loss != LEARNED:  # a loss of the project
        if has_scores and is_column and not target.is_floating_point():
            kind = "classification"
        elif not is_zero_or_one(target) and not is_distribution(target):
            kind = "regression"
    if kind == "classification" and has_scores:
        if target.shape == output.shape:
            return kind
        fits = is_column and len(target) > 0 and int(target.min()) >= 0
        return kind if fits and int(target.max()) < output.shape[1] else ""
    return kind if output.numel() == target.numel() else ""


def _kind_of_loss(loss: str, output: torch.Tensor) -> str:
    """The kind of task that a loss of torch is for; empty for any other loss."""
    name = simplify_loss(loss)
    if name in CLASS_LOSSES:
        return "classification"
    if name in LABEL_LOSSES:
        return "multilabel" if output.ndim == 2 and output.shape[1] > 1 else "classification"
    return "regression" if name in NUMBER_LOSSES else ""


def is_distribution(target: torch.Tensor) -> bool:
    """Whether each row has the probabilities of several classes."""
    if target.ndim != 2 or target.shape[1] < 2 or not target.is_floating_point():
        return False
    ones = torch.ones(len(target), dtype=target.dtype)
    return bool((target >= 0).all()) and torch.allclose(target.sum(1), ones, atol=1e-3)


def _to_classes(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The classes (N,) in a target: of probabilities of classes the highest counts."""
    if target.ndim == 2 and target.shape[1] > 1 and target.shape == output.shape:
        return target.argmax(1)
    is_binary = output.ndim == 1 or output.shape[1] == 1
    target = target.reshape(-1)
    return (target > 0.5).long() if is_binary else target.long()


def _probability(output: torch.Tensor, kind: str, loss: str) -> torch.Tensor:
    """Returns (N, C) probabilities. A single output is the probability of the second class."""
    is_binary = kind == "classification" and (output.ndim == 1 or output.shape[1] == 1)
    if kind == "classification" and not is_binary:
        return output.softmax(1)
    probability = output if loss in PROBABILITY_LOSSES else output.sigmoid()
    if is_binary:
        second = probability.reshape(-1)
        probability = torch.stack([1 - second, second], 1)
    return probability


def _count_pairs(target: Array, prediction: Array, n_classes: int) -> Array:
    """Returns (C, C) counts of target and prediction.

    sklearn's confusion_matrix gives the same counts. But every training with TensorBoard needs
    them at its end, and the import of sklearn would add 0.9 s.
    """
    pairs = np.bincount(target * n_classes + prediction, minlength=n_classes**2)
    return pairs.reshape(n_classes, n_classes)
