"""Ensemble: the mean of the outputs of several models on the same test data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from base.groups.testing.outputs import Outputs, read_outputs, score_outputs
from base.loop.reporter import TestResult
from base.loop.task import LEARNED, PROBABILITY_LOSSES, describe_loss
from base.tools.results import kind_of

MAX_NUMEL = 2**27  # of the outputs of one model; their sum takes 1 GB, and 2 GB for labels
CLASSES, LABELS, PLAIN = "the probabilities of the classes", "the probabilities", "the outputs"


class Ensemble:
    """Averages the outputs of models, one after another, so that only a sum is kept in memory.

    What is averaged follows from the loss. A cross-entropy, and any other loss of a classification,
    takes scores whose softmax gives probabilities: these are averaged, and the ensemble outputs
    their logarithms. A binary cross-entropy averages the sigmoids of its logits likewise. With a
    loss that takes probabilities, a regression, or a loss of an unknown kind, the outputs are
    averaged as they are.

    Source: the mean of predicted probabilities, Lakshminarayanan et al. 2017,
    https://arxiv.org/abs/1612.01474, section 2.4.

    Attributes:
        count: the number of models.
        averaged: what is averaged.
        problem: why there is no ensemble; empty if there may be one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.averaged = ""
        self.problem = ""
        self._facts: dict[str, Any] = {}
        self._sums: dict[str, torch.Tensor] = {}  # by the name of the test set, float64
        self._outputs: dict[str, Outputs] = {}  # of the last model
        self._last: TestResult | None = None

    def add(self, name: str, result: TestResult, config: Mapping[str, Any]) -> None:
        """Adds the outputs of a model.

        Args:
            name: of the run, for ``problem``.
            result: of its test.
            config: of the run.
        """
        self.count += 1
        found = {item.name: read_outputs(item) for item in result.sets}
        self.problem = (
            self.problem
            or self._compare_facts(name, result, config)
            or self._compare_outputs(name, found)
        )
        if self.problem:
            self._sums, self._outputs, self._last = {}, {}, None
            return
        self._last = result
        for set_name, outputs in found.items():
            assert outputs is not None
            self._outputs[set_name] = outputs
            self.averaged = self.averaged or _choose_averaged(outputs, result)
            new = _to_summands(outputs.output, self.averaged)
            if set_name not in self._sums:
                self._sums[set_name] = new
            elif self.averaged == PLAIN:
                self._sums[set_name] += new
            else:
                torch.logaddexp(self._sums[set_name], new, out=self._sums[set_name])

    def _compare_facts(self, name: str, result: TestResult, config: Mapping[str, Any]) -> str:
        """Returns how this run differs from the others, so that outputs cannot be averaged."""
        if describe_loss(result.subject.criterion) == LEARNED:
            return "the loss has parameters, which differ from run to run"
        facts = {key: config.get(key) for key in ("loss", "metrics", "task")}
        facts["split"] = (result.subject.split, [item.name for item in result.sets])
        self._facts = self._facts or facts
        changed = [key for key, value in facts.items() if value != self._facts[key]]
        if "split" in changed:
            return _describe_other_data(name)
        return f"{name} differs from the runs before in {' and '.join(changed)}" if changed else ""

    def _compare_outputs(self, name: str, found: Mapping[str, Outputs | None]) -> str:
        for set_name, outputs in found.items():
            if outputs is None:
                return "the outputs are not one row of numbers for each sample"
            if outputs.output.numel() > MAX_NUMEL:
                return f"the outputs of a run have more than {MAX_NUMEL:,} numbers"
            known = self._outputs.get(set_name, outputs)
            if not known.is_of_same_data(outputs):
                return _describe_other_data(name)
            if known.output.shape != outputs.output.shape:
                return f"{name} has outputs of another shape than the runs before"
        return ""

    def get_result(self, config: Any) -> TestResult | None:
        """Computes the numbers of the ensemble; None if there is none, or only one model.

        Args:
            config: has the metrics.
        """
        if self.count < 2:
            self.problem = self.problem or "there is only one run"
        if self.problem or self._last is None:
            return None
        sets = []
        for item in self._last.sets:
            output = _to_output(self._sums[item.name], self.averaged, self.count)
            outputs = self._outputs[item.name]._replace(output=output)
            sets.append(score_outputs(outputs, self._last.subject, config, item))
        return TestResult(self._last.subject, sets)

    def get_indices(self, set_name: str) -> list[int] | None:
        """Returns the indices of the samples in the rows of the result; None if unknown."""
        indices = self._outputs[set_name].indices
        return None if indices is None else indices.tolist()


def _describe_other_data(name: str) -> str:
    return f"{name} was tested on other data than the runs before"


def _choose_averaged(outputs: Outputs, result: TestResult) -> str:
    loss, output = describe_loss(result.subject.criterion), outputs.output
    kind = kind_of(output, outputs.target, loss, result.subject.task)
    if loss in PROBABILITY_LOSSES or kind not in ("classification", "multilabel"):
        return PLAIN
    has_scores = kind == "classification" and output.ndim == 2 and output.shape[1] > 1
    return CLASSES if has_scores else LABELS


def _to_summands(output: torch.Tensor, averaged: str) -> torch.Tensor:
    """Returns the outputs, or the logarithms of probabilities, so that small ones are not lost.

    For labels, the last dimension of 2 holds those of a label and of its complement.
    """
    output = output.double()
    if averaged == CLASSES:
        return output.log_softmax(1)
    if averaged == LABELS:
        return torch.stack([F.logsigmoid(output), F.logsigmoid(-output)], -1)
    return output


def _to_output(total: torch.Tensor, averaged: str, count: int) -> torch.Tensor:
    """Returns what a model would output that predicts the mean probabilities."""
    if averaged == CLASSES:
        return (total - math.log(count)).float()
    if averaged == LABELS:
        return (total[..., 0] - total[..., 1]).float()
    return (total / count).float()
