"""The loss of each text of a language model, for reports."""

from __future__ import annotations

from math import exp, inf
from typing import Any, NamedTuple, Self

import torch
from torch.nn.functional import cross_entropy

from base.loop.collector import Collector
from base.loop.targets import IGNORE_INDEX
from base.loop.task import CLASS_LOSSES, TaskFacts, simplify_loss

MAX_EXPONENT = 700  # exp of more overflows


class TextScore(NamedTuple):
    """The scores of one text; None if none of its tokens counts.

    Attributes:
        loss: the mean cross entropy of its tokens.
        perplexity: exp of the loss.
        tokens: the number of tokens that count.
    """

    loss: float | None
    perplexity: float | None
    tokens: int


class TokenScores(Collector):
    """Collects the loss of each text, whose tokens (N, T) are predicted by scores (N, T, V).

    A text costs two numbers. Trackers show nothing of it, so a validation in a training is left
    out. A cross entropy of torch has its scores in another form, (N, V, T).
    """

    can_merge = True

    @classmethod
    def fits(cls, output: Any, target: Any, facts: TaskFacts) -> bool:
        is_test = facts.limit == inf
        return is_test and facts.task is None and have_tokens(output, target, facts)

    def reset(self) -> None:
        self._sums: list[torch.Tensor] | None = []  # (N, 2) of each batch

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        is_known = have_tokens(output, target, self.facts) and len(target) == n_samples
        if self._sums is not None and is_known:
            self._sums.append(sum_losses(output, target, self._ignore_index))
        else:
            self._sums = None

    @property
    def _ignore_index(self) -> int:
        index = self.facts.ignore_index
        return IGNORE_INDEX if index is None else index

    def __len__(self) -> int:
        return sum(map(len, self._sums or []))

    def list_scores(self) -> list[TextScore]:
        """The scores of the texts, in order."""
        return [score for sums in self._sums or [] for score in make_scores(sums)]

    def state_dict(self) -> dict[str, Any]:
        return {"sums": [sums.cpu() for sums in self._sums or []]}

    def merge(self, states: list[dict[str, Any]]) -> Self:
        merged = type(self)(self.facts)
        merged._sums = [sums for state in states for sums in state["sums"]]
        return merged


def have_tokens(output: Any, target: Any, facts: TaskFacts) -> bool:
    """Whether these are scores (N, T, V) and the tokens (N, T) that they predict."""
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return False
    has_form = output.ndim == 3 and output.shape[:2] == target.shape
    are_tokens = output.is_floating_point() and target.dtype is torch.int64
    return has_form and are_tokens and simplify_loss(facts.loss) not in CLASS_LOSSES


def sum_losses(output: torch.Tensor, target: torch.Tensor, ignore_index: int) -> torch.Tensor:
    """The sum of the cross entropies of each text, and the number of its tokens: (N, 2) float64.

    Text by text, because the softmax of a large vocabulary needs much memory.
    """
    losses = [
        cross_entropy(scores.float(), tokens, ignore_index=ignore_index, reduction="sum")
        for scores, tokens in zip(output, target, strict=True)
    ]
    counts = (target != ignore_index).sum(1)
    return torch.stack([torch.stack(losses).double(), counts.double()], dim=1)


def make_scores(sums: torch.Tensor) -> list[TextScore]:
    """The scores of texts by what ``sum_losses`` gives."""
    scores = []
    for total, count in sums.tolist():
        if not count:
            scores.append(TextScore(None, None, 0))
            continue
        loss = total / count
        perplexity = inf if loss > MAX_EXPONENT else exp(loss)  # NaN stays NaN
        scores.append(TextScore(loss, perplexity, int(count)))
    return scores
