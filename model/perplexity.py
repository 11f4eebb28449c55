"""Perplexity of language models."""

from typing import Any

import torchmetrics.text


class Perplexity(torchmetrics.text.Perplexity):
    """exp of the mean cross entropy over all tokens of the pass, also over batches and ranks.

    The output has logits (N, T, V), and the target the tokens (N, T) that they predict. A causal
    model of HuggingFace predicts the next token; where it makes its own loss, metrics get its
    logits and labels aligned. With a ``loss`` in the config, shift the labels in the dataset.

    Args:
        ignore_index: the class of tokens that do not count.
    """

    def __init__(self, ignore_index: int | None = -100, **kwargs: Any) -> None:
        super().__init__(ignore_index=ignore_index, **kwargs)
