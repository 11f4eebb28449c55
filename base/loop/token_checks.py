"""Compares the tokens that a dataset gives with what a model of texts takes."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from base.data.fitting import find_dataset
from base.data.loader import list_sets
from utils.errors import UserError

POSITIONS = ("position_embeddings", "wpe", "embed_positions", "pos_embed")  # names of embeddings


def check_texts(config: Any, model: nn.Module, loader: Any, valid: Any = None) -> None:
    """Compares the data of a training with a model of HuggingFace.

    Args:
        config: of the run.
        model: of any class.
        loader: of the training.
        valid: of the validation, or a dict of them; None for none.

    Raises:
        UserError: as for ``check_tokens``.
    """
    transfer = config.get("transfer") or {}
    check_tokens(model, loader, has_new_head=bool(transfer.get("head")))
    check_set_lengths(model, valid, "valid_data_loader")
    has_weights = config.resume is not None or transfer.get("init_from") is not None
    warn_of_random_adapters(model, has_weights)


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
    if not check_lengths(model, loader, "data_loader"):
        return
    dataset = find_dataset(loader)
    _check_padding(model, dataset.tokenizer)
    n_labels = getattr(model.config, "num_labels", None)
    if n_labels is not None and not has_new_head:
        _check_outputs(n_labels, dataset)


def _check_outputs(n_labels: int, dataset: Any) -> None:
    """Compares the number of a model's outputs with the classes or numbers to predict."""
    count = len(getattr(dataset, "classes", None) or ())
    if count and n_labels < count:
        message = f"the data have {count} classes, and the model predicts {n_labels}"
        raise UserError(f"{message}; give it num_labels: {count}", key="arch")
    if count and n_labels > count:
        message = "arch: the model predicts %d classes, and the data have %d."
        logging.getLogger("train").warning(message, n_labels, count)
    targets = getattr(dataset, "targets", None)
    if not isinstance(targets, torch.Tensor) or not targets.is_floating_point():
        return
    if targets.ndim == 1 and n_labels != 1:
        message = f"the targets are numbers, and the model predicts {n_labels} classes"
        raise UserError(f"{message}; give it num_labels: 1", key="arch")


def check_set_lengths(model: nn.Module, loader: Any, section: str) -> None:
    """Calls ``check_lengths`` for each data set of a loader, or of a dict of loaders."""
    for name, item in list_sets(loader):
        check_lengths(model, item, f"{section}.{name}" if name else section)


def check_lengths(model: nn.Module, loader: Any, key: str) -> bool:
    """Compares the vocabulary and the longest text of the data with a model of HuggingFace.

    Args:
        model: of any class.
        loader: as for ``check_tokens``; None for none.
        key: of the loader in the config.

    Returns:
        Whether the model and the data are of texts, so that they could be compared.

    Raises:
        UserError: the vocabulary or a text is too large for the model.
    """
    dataset = find_dataset(loader)
    tokenizer, config = getattr(dataset, "tokenizer", None), getattr(model, "config", None)
    embeddings = getattr(model, "get_input_embeddings", None)
    if tokenizer is None or config is None or embeddings is None:
        return False
    n_known = getattr(embeddings(), "num_embeddings", None)
    if n_known is not None and len(tokenizer) > n_known:
        message = f"the tokenizer has {len(tokenizer):,} tokens, and the model embeds {n_known:,}"
        advice = "give both the same vocab_size, or the tokenizer of the model's folder"
        raise UserError(f"{message}; {advice}", key="arch")
    lengths = getattr(dataset, "lengths", None)
    longest = 0 if lengths is None else max(map(int, lengths))
    limit = _find_max_length(model)
    if limit is not None and longest > limit:
        message = f"a text has {longest:,} tokens, and the model takes {limit:,} of them"
        raise UserError(f"{message}; give the dataset max_length: {limit}", key=key)
    return True


def _check_padding(model: Any, tokenizer: Any) -> None:
    """Raises UserError if the model and the tokenizer have different padding tokens.

    A model that classifies by the last token of a text would read a padding token instead.
    """
    padding = getattr(tokenizer, "pad_token_id", None)
    padding = getattr(tokenizer, "eos_token_id", None) if padding is None else padding
    known = getattr(model.config, "pad_token_id", None)
    if padding is None or known is None or padding == known:
        return
    message = f"the tokenizer pads with the token {padding}, but the model expects {known}"
    raise UserError(f"{message}; give its config {{pad_token_id: {padding}}}", key="arch")


def warn_of_random_adapters(model: Any, has_start_weights: bool) -> None:
    """Warns of adapters by ``peft`` on frozen weights that no training has made.

    Args:
        model: of HuggingFace, which knows the folder that its weights are from.
        has_start_weights: whether the run loads weights from elsewhere.
    """
    is_random = not getattr(model.config, "name_or_path", "")
    if hasattr(model, "peft_config") and is_random and not has_start_weights:
        logging.getLogger("train").warning(
            "arch: lora: the frozen weights are random; only adapters and head are trained. "
            "Give a folder with trained weights."
        )


def _find_max_length(model: Any) -> int | None:
    """The number of positions that the model has an embedding for; None if it has no such limit."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in POSITIONS:
            count = module.num_embeddings
            if module.padding_idx is not None:  # as in RoBERTa, whose positions begin after it
                count -= module.padding_idx + 1
            return min(count, getattr(model.config, "max_position_embeddings", count))
    return None
