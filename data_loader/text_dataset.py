"""TextDataset: tokenized texts, as the inputs of HuggingFace's models."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from base.data.padding import PadCollate
from data_loader.csv_table import parse_number
from data_loader.text_files import iterate_texts
from data_loader.tokenizer import NewTokenizer, get_tokenizer
from utils.errors import UserError, abbreviate, did_you_mean

IGNORE_INDEX = -100  # of the losses of torch and of HuggingFace
MASKED_FRACTION = 0.15  # of the tokens, Devlin et al. 2018, https://arxiv.org/abs/1810.04805
Target = Literal["class", "number", "next_token", "masked_token"]
Inputs = dict[str, torch.Tensor]


class TextDataset(Dataset[Inputs]):
    """Texts, which are tokenized once.

    A sample is a dict of tensors: ``input_ids`` (L,), ``attention_mask`` (L,) and other inputs of
    the tokenizer, and ``labels``: a class (), a number () or tokens (L,).

    Args:
        texts: the texts.
        labels: of the texts: names of classes, or numbers; None for models of language.
        tokenizer: the folder of a model, or a tokenizer to train: ``{vocab_size: 8000, …}``. It is
            kept in the folder of the run.
        max_length: of a text, in tokens; longer ones are truncated, or divided into several samples
            for models of language. By default, the limit of the tokenizer, if it has one.
        target: what the model predicts.
        classes: the names of the classes in the order of their labels; sorted by default.

    Attributes:
        texts, tokenizer, classes: as above; ``classes`` is None unless the target is a class.
        targets: a label for each sample, shape (N,); None for models of language.
        lengths: the number of tokens of each sample, shape (N,).

    Raises:
        UserError: there is no text or no label, or the tokenizer does not fit.
    """

    text_column, encoding = "text", "utf-8"  # of files

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[str] | None,
        tokenizer: Path | NewTokenizer | None,
        max_length: int | None = None,
        target: Target = "class",
        classes: list[str] | None = None,
    ) -> None:
        self.texts, self.target = list(texts), target
        self.classes: list[str] | None = None
        self.targets: Any = None
        if not self.is_of_language:
            if labels is None:
                raise UserError("the texts have no labels", key="target")
            self.targets = self._read_labels(list(labels), classes)
        self.tokenizer = get_tokenizer(tokenizer, lambda: self.list_training_texts(tokenizer))
        self.max_length = self._find_limit(max_length)
        self._encode()

    @property
    def is_of_language(self) -> bool:
        """Whether the tokens themselves are the target."""
        return self.target in ("next_token", "masked_token")

    def list_training_texts(self, tokenizer: Any) -> Iterable[str]:
        """Lists the texts for a new tokenizer, those of its ``source``."""
        if tokenizer.source is None:
            message = "is missing; name the training data, also for validation and test data"
            raise UserError(message, key="tokenizer.source")
        texts = iterate_texts(tokenizer.source, self.text_column, self.encoding)
        return (text for _, text in texts)

    def _read_labels(self, labels: list[str], classes: list[str] | None) -> torch.Tensor:
        if self.target == "number":
            return torch.tensor(_read_numbers(labels))
        found = set(labels)
        if classes is None and len(found) == 1:
            message = f"the texts have one label only, '{labels[0]}'; name all classes"
            raise UserError(message, key="classes")
        self.classes = _sort_classes(found) if classes is None else [str(name) for name in classes]
        if not self.classes:
            raise UserError("names no class", key="classes")
        if len(set(self.classes)) < len(self.classes):
            raise UserError("a name is given twice", key="classes")
        numbers = {name: number for number, name in enumerate(self.classes)}
        if unknown := sorted(found - numbers.keys()):
            hint = did_you_mean(unknown[0], self.classes)
            message = f"{abbreviate(self.classes)} lack the label '{unknown[0]}' of a text{hint}"
            raise UserError(message, key="classes")
        return torch.tensor([numbers[label] for label in labels])

    def _find_limit(self, max_length: int | None) -> int | None:
        limit = self.tokenizer.model_max_length
        special = self.tokenizer.num_special_tokens_to_add()
        if max_length is not None:
            if max_length <= special:
                message = f"{max_length} must be more than the {special} special tokens"
                raise UserError(message, key="max_length")
            return max_length
        return limit if limit < 10**9 else None  # HuggingFace's number for no limit

    def _encode(self) -> None:
        """Keeps all tokens in flat arrays, which workers share."""
        overflows = self.is_of_language and self.max_length is not None
        inputs = self._tokenize(self.texts, return_overflowing_tokens=overflows)
        self.rows = list(inputs.pop("overflow_to_sample_mapping", range(len(self.texts))))
        self.names = list(inputs)
        self.lengths = np.array([len(ids) for ids in inputs["input_ids"]])
        self._ends = np.cumsum(self.lengths)
        self._tokens = {
            name: torch.tensor(list(itertools.chain.from_iterable(values)), dtype=torch.int32)
            for name, values in inputs.items()
        }
        logger = logging.getLogger("data_loader")
        if empty := sum(not text.strip() for text in self.texts):
            logger.warning("%d of %d texts are empty.", empty, len(self.texts))
        if self.max_length is not None and not self.is_of_language:
            count = int((self.lengths == self.max_length).sum())
            if count:
                logger.info(
                    "%d of %d texts have %d tokens or more; the rest of them is left out.",
                    *(count, len(self.texts), self.max_length),
                )

    def _tokenize(self, texts: list[str], **options: Any) -> dict[str, Any]:
        is_limited = self.max_length is not None
        found = self.tokenizer(
            texts, truncation=is_limited, max_length=self.max_length, verbose=False, **options
        )
        names = [*self.tokenizer.model_input_names, "overflow_to_sample_mapping"]
        inputs = {name: found[name] for name in names if name in found}
        filler = self._get_pad() if self.tokenizer.eos_token_id is None else self._get_eos()
        for row, ids in enumerate(inputs["input_ids"]):
            if not ids:  # a model takes no empty text
                inputs["input_ids"][row] = [filler]
                for name in self.tokenizer.model_input_names:
                    if name in inputs and name != "input_ids":
                        inputs[name][row] = [int(name == "attention_mask")]
        return inputs

    def _get_eos(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def _get_pad(self) -> int:
        number = self.tokenizer.pad_token_id
        return int((self.tokenizer.eos_token_id or 0) if number is None else number)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Inputs:
        if index < 0:
            index += len(self)
        end = int(self._ends[index])
        start = end - int(self.lengths[index])
        sample = {name: self._tokens[name][start:end].long() for name in self.names}
        if self.targets is not None:
            sample["labels"] = self.targets[index]
        elif self.target == "next_token":
            sample["labels"] = sample["input_ids"].clone()
        else:
            sample["input_ids"], sample["labels"] = self._mask(sample["input_ids"])
        return sample

    def _mask(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks tokens at random: 80 % by the mask, 10 % by others, 10 % stay as they are."""
        tokenizer = self.tokenizer
        if tokenizer.mask_token_id is None:
            raise UserError("the tokenizer has no mask token", key="target")
        special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
        chosen = (torch.rand(len(ids)) < MASKED_FRACTION) & ~special
        labels = torch.where(chosen, ids, IGNORE_INDEX)
        draw = torch.rand(len(ids))
        ids = torch.where(chosen & (draw < 0.8), tokenizer.mask_token_id, ids)
        others = torch.randint(len(tokenizer), (len(ids),))
        return torch.where(chosen & (draw >= 0.9), others, ids), labels

    def describe(self, index: int) -> str:
        """The text of a sample, for reports."""
        if self.is_of_language:
            end = int(self._ends[index])
            ids = self._tokens["input_ids"][end - int(self.lengths[index]) : end]
            return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True))
        return self.texts[index]

    def read(self, path: str | Path) -> Iterator[tuple[str, Inputs]]:
        """Reads texts without labels, for predictions: their names, and their inputs.

        Args:
            path: a text file with a text in each line; a CSV file with a column ``text``, or the
                one that this dataset reads; or a folder of text files.

        Raises:
            UserError: there is no text, or it cannot be read.
        """
        for name, text in iterate_texts(Path(path), self.text_column, self.encoding):
            inputs = self._tokenize([text])
            yield name, {key: torch.tensor(inputs[key][0]) for key in self.names}

    def make_collate(self, pad_to_multiple_of: int | None = None) -> PadCollate:
        """Makes the function that pads samples to batches."""
        values: dict[str, int | float] = dict.fromkeys(self.names, 0)
        values["input_ids"] = self._get_pad()
        if "token_type_ids" in values:
            values["token_type_ids"] = self.tokenizer.pad_token_type_id
        if self.is_of_language:
            values["labels"] = IGNORE_INDEX
        return PadCollate(values, pad_to_multiple_of)


def _sort_classes(names: set[str]) -> list[str]:
    """Sorts the names of classes; numbers by their value. Warns of a name that is no class."""
    if missing := sorted(name for name in names if name.lower() == "nan"):
        message = "Some texts have the label '%s', which is taken for a class."
        logging.getLogger("data_loader").warning(message, missing[0])
        return sorted(names)
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)


def _read_numbers(labels: list[str]) -> list[float]:
    numbers = []
    for row, label in enumerate(labels, 1):
        number = parse_number(label)
        if math.isnan(number):
            message = f"the label of text {row:,} is not a finite number: '{label}'"
            raise UserError(message, key="target")
        numbers.append(number)
    return numbers
