"""Compares the tokens that a dataset gives with what a model of texts takes."""

from __future__ import annotations

from typing import Any

from torch import nn

from base.data.fitting import find_dataset
from utils.errors import UserError

POSITIONS = ("position_embeddings", "wpe", "embed_positions", "pos_embed")  # names of embeddings


def check_tokens(model: nn.Module, loader: Any, has_new_head: bool = False) -> None:
    """Compares the data with a model of HuggingFace before the first batch.

    Otherwise, a rare token that the model does not know would end the run late, and on an
    accelerator without an explanation.

    Args:
        model: of any class.
        loader: whose dataset may have a ``tokenizer``, the ``lengths`` of its samples and
            ``classes``.
        has_new_head: whether the output layer will be replaced.

    Raises:
        UserError: the vocabulary, a text or the number of classes is too large for the model.
    """
    dataset = find_dataset(loader)
    tokenizer, config = getattr(dataset, "tokenizer", None), getattr(model, "config", None)
    embeddings = getattr(model, "get_input_embeddings", None)
    if tokenizer is None or config is None or embeddings is None:
        return
    n_known = getattr(embeddings(), "num_embeddings", None)
    if n_known is not None and len(tokenizer) > n_known:
        message = f"the tokenizer has {len(tokenizer):,} tokens, and the model embeds {n_known:,}"
        advice = "give both the same vocab_size, or the tokenizer of the model's folder"
        raise UserError(f"{message}; {advice}", key="arch")
    longest, limit = max(map(int, dataset.lengths)), _find_max_length(model)
    if limit is not None and longest > limit:
        message = f"a text has {longest:,} tokens, and the model takes {limit:,} of them"
        raise UserError(f"{message}; give the dataset max_length: {limit}", key="data_loader")
    classes, n_labels = getattr(dataset, "classes", None), getattr(config, "num_labels", None)
    if classes and not has_new_head and n_labels is not None and n_labels < len(classes):
        message = f"the data have {len(classes)} classes, and the model predicts {n_labels}"
        raise UserError(f"{message}; give it num_labels: {len(classes)}", key="arch")


def _find_max_length(model: Any) -> int | None:
    """The number of positions that the model has an embedding for; None if it has no such limit."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in POSITIONS:
            count = module.num_embeddings
            if module.padding_idx is not None:  # as in RoBERTa, whose positions begin after it
                count -= module.padding_idx + 1
            return min(count, getattr(model.config, "max_position_embeddings", count))
    return None
