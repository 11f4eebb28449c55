"""Texts from CSV files and folders, and their data loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from base import BaseDataLoader
from base.data.buckets import BucketBatchSampler
from base.data.split import Split
from data_loader.text_dataset import Target, TextDataset
from data_loader.text_files import list_empty_folders, list_files, read_table, read_text
from data_loader.tokenizer import NewTokenizer
from utils.errors import UserError


class CsvTexts(TextDataset):
    """Texts in a column of a CSV file with a header, or of a TSV file.

    Args:
        file: the file.
        tokenizer, max_length, target, classes: as for ``TextDataset``.
        text, label: the names of the columns; models of language need no ``label``.
        encoding: of the file.
    """

    def __init__(
        self,
        file: Path,
        tokenizer: Path | NewTokenizer | None = None,
        text: str = "text",
        label: str = "label",
        max_length: int | None = None,
        target: Target = "class",
        classes: list[str] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self.text_column, self.encoding = text, encoding
        columns = {"text": text, "label": label}
        if target in ("next_token", "masked_token"):
            del columns["label"]
        rows = read_table(file, columns, encoding)
        labels = [values[-1].strip() for _, values in rows] if "label" in columns else None
        for (line, _), value in zip(rows, labels or [], strict=False):
            if not value:
                raise UserError(f"{file}: line {line}: the column '{label}' is empty", key="label")
        texts = [values[0] for _, values in rows]
        super().__init__(texts, labels, tokenizer, max_length, target, classes)


class FolderTexts(TextDataset):
    """Text files (``.txt``) in a folder, with a subfolder for each class.

    Args:
        folder: the folder. For models of language, its files may lie anywhere in it.
        tokenizer, max_length, target, classes: as for ``TextDataset``.
        encoding: of the files.

    Attributes:
        samples: the file and the label of each text.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Path | NewTokenizer | None = None,
        max_length: int | None = None,
        target: Literal["class", "next_token", "masked_token"] = "class",
        classes: list[str] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self.encoding = encoding
        files = list_files(folder)
        labels = None
        if target == "class":
            labels = [path.relative_to(folder).parts[0] for path in files]
            if loose := next((path for path in files if path.parent == folder), None):
                message = f"{loose} is in no subfolder, whose name would be its class"
                raise UserError(message, key="folder")
            if empty := list_empty_folders(folder, {*labels, *(classes or [])}):
                message = f"{folder / empty[0]} holds no .txt files; delete it, or name all classes"
                raise UserError(message, key="folder")
        texts = [read_text(path, encoding) for path in files]
        super().__init__(texts, labels, tokenizer, max_length, target, classes)
        if self.targets is not None:
            self.samples = [
                (str(path), int(label)) for path, label in zip(files, self.targets, strict=True)
            ]


class TextDataLoader(BaseDataLoader):
    """Pads texts to batches of similar lengths: dicts of tensors (N, L), with ``labels``.

    Args:
        dataset: ``texts.CsvTexts``, ``texts.FolderTexts``, or one that derives from
            ``text_dataset.TextDataset``.
        similar_lengths: whether the texts of a batch have similar lengths, so that little is
            padded. Validation and test data are sorted by length then.
        pad_to_multiple_of: pads each batch to a multiple of this number of tokens.
        stratify: split each class in the same proportion; null does so if there are classes.
        batch_size, shuffle, validation_split, num_workers, split_seed, folds, fold, groups: as for
            ``BaseDataLoader``.
        drop_last: leave out the last batch of an epoch if it is smaller.
    """

    def __init__(
        self,
        dataset: TextDataset,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        similar_lengths: bool = True,
        pad_to_multiple_of: int | None = None,
        split_seed: int = 0,
        stratify: bool | None = None,
        folds: int | None = None,
        fold: int | None = None,
        groups: str | list[Any] | None = None,
        drop_last: bool = False,
    ) -> None:
        if not isinstance(dataset, TextDataset):
            message = f"is a {type(dataset).__name__}, and must derive from TextDataset"
            raise UserError(message, key="dataset")
        if stratify is None:
            stratify = dataset.classes is not None
        options: dict[str, Any] = {"num_workers": num_workers}
        options["collate_fn"] = dataset.make_collate(pad_to_multiple_of)
        split = Split(validation_split, split_seed, stratify, folds, fold, groups)
        self._valid: Any = None  # the indices of the validation part
        train: Any = None
        if similar_lengths:
            if split.is_needed:
                train, self._valid = split.find_indices(dataset)
            options["batch_sampler"] = BucketBatchSampler(
                dataset, batch_size, shuffle=shuffle, drop_last=drop_last, indices=train
            )
        else:
            options |= {"drop_last": drop_last, "validation_split": validation_split}
            options |= {"split_seed": split_seed, "stratify": stratify}
            options |= {"folds": folds, "fold": fold, "groups": groups}
        super().__init__(dataset, batch_size, shuffle, **options)
        if train is not None:
            self.n_samples = len(train)
        self.validation_split = validation_split

    def split_validation(self) -> BaseDataLoader | None:
        if self._valid is None:
            return super().split_validation()
        size = self.init_kwargs["batch_size"]
        sampler = BucketBatchSampler(self.dataset, size, shuffle=False, indices=self._valid)
        options: dict[str, Any] = {"num_workers": self.num_workers, "collate_fn": self.collate_fn}
        loader = BaseDataLoader(self.dataset, size, batch_sampler=sampler, **options)
        loader.n_samples = len(self._valid)
        return loader.for_evaluation()
