"""Predictions of language models: the loss of a text, or its masked tokens."""

from __future__ import annotations

from typing import Any

import torch

from base.loop.losses import ModelLoss
from base.loop.targets import IGNORE_INDEX
from base.tools.collectors.tokens import make_scores, sum_losses
from base.tools.predict.outputs import Facts, OutputKind, Row

INPUTS = ("input_ids", "attention_mask")


class TextLosses(OutputKind):
    """The mean cross entropy of the tokens of a text, by a model that predicts the next one."""

    def __init__(self, output: torch.Tensor, facts: Facts) -> None:
        super().__init__(output, facts)
        self.columns = ["loss", "perplexity", "tokens"]

    def list_rows(self, output: torch.Tensor, names: list[str], batch: Any) -> list[list[Row]]:
        ids, mask = (batch[name] for name in INPUTS)
        labels = ids.where(mask.bool(), IGNORE_INDEX)[:, 1:]
        scores = make_scores(sum_losses(output[:, :-1], labels, IGNORE_INDEX))
        return [[list(score)] for score in scores]


class FilledMasks(OutputKind):
    """A text with the most likely token in place of each mask."""

    def __init__(self, output: torch.Tensor, facts: Facts) -> None:
        super().__init__(output, facts)
        self.columns = ["prediction"]

    def list_rows(self, output: torch.Tensor, names: list[str], batch: Any) -> list[list[Row]]:
        ids, mask = (batch[name] for name in INPUTS)
        tokenizer = self.facts.tokenizer
        filled = output.argmax(2).where(ids == tokenizer.mask_token_id, ids)
        texts = [row[known.bool()].tolist() for row, known in zip(filled, mask, strict=True)]
        return [[[tokenizer.decode(text, skip_special_tokens=True)]] for text in texts]


def choose_text_kind(output: Any, target: Any, facts: Facts) -> OutputKind | None:
    """Chooses the kind of outputs (N, T, V) with targets (N, T); None if they are of no text."""
    if facts.tokenizer is None or output.ndim != 3 or output.shape[:2] != target.shape:
        return None
    criterion = facts.task.criterion
    if isinstance(criterion, ModelLoss) and criterion.shifts_labels:
        return TextLosses(output, facts)
    has_mask = getattr(facts.tokenizer, "mask_token_id", None) is not None
    if has_mask and output.shape[2] >= len(facts.tokenizer):
        return FilledMasks(output, facts)
    return None
