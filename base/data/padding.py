"""PadCollate: batches of sequences of different lengths, or pictures of different sizes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from base.data.collate import KINDS, NUMBERS, collate, explain
from utils.errors import UserError

Number = int | float


class PadCollate:
    """Pads the tensors, arrays and lists of numbers of each field to the largest in the batch.

    Any other field stays a list with one item for each sample: texts, lists of texts, and a field
    that is None in some samples. Single numbers, and None in all samples, need no padding.

    Args:
        padding_value: fills up the fields; or a value for each field, and 0 for the others. A field
            inside a field is named ``outer.inner``, and one of a tuple by its number, ``0``.
        pad_to_multiple_of: pads the length of the fields that ``padding_value`` names to a multiple
            of this, so that the model sees few different lengths.
        masks: new fields of samples that are dicts, each with the name of the field that it
            describes. A mask has the shape (N, length), and is true where a value is.
        lengths: new fields, given like ``masks``, with the lengths before padding: (N,), int64.

    Raises:
        UserError: an argument does not fit the others.
    """

    def __init__(
        self,
        padding_value: Number | dict[str, Number] = 0,
        pad_to_multiple_of: int | None = None,
        masks: dict[str, str] | None = None,
        lengths: dict[str, str] | None = None,
    ) -> None:
        is_by_field = isinstance(padding_value, dict)
        if pad_to_multiple_of is not None:
            if pad_to_multiple_of < 1:
                message = f"{pad_to_multiple_of} must be at least 1"
                raise UserError(message, key="pad_to_multiple_of")
            if not is_by_field:
                message = "needs the names of fields: padding_value: {input_ids: 0, labels: -100}"
                raise UserError(message, key="pad_to_multiple_of")
        self.values = padding_value if isinstance(padding_value, dict) else {}
        self.default = 0 if isinstance(padding_value, dict) else padding_value
        self.multiple = pad_to_multiple_of
        self.masks, self.lengths = masks or {}, lengths or {}

    def __call__(self, samples: list[Any]) -> Any:
        """Makes a batch.

        Raises:
            UserError: the samples differ in more than the sizes of their fields.
        """
        first = samples[0]
        if self.values and isinstance(first, Mapping | list | tuple):
            self._check_names(first)
        is_of_fields = isinstance(first, tuple) or (
            isinstance(first, list) and not _is_of_numbers(first)
        )
        batch = self._join_items(samples, "") if is_of_fields else self._join(samples, "")
        if self.masks or self.lengths:
            self._add_fields(batch, samples)
        return batch

    def _check_names(self, first: Any) -> None:
        fields = first.keys() if isinstance(first, Mapping) else range(len(first))
        names = [str(field) for field in fields]
        for name in self.values:
            if name.partition(".")[0] not in names:
                message = f"no field '{name}'; the samples have {', '.join(names)}"
                raise UserError(f"PadCollate: padding_value: {message}")

    def _join(self, values: list[Any], path: str) -> Any:
        """Joins the values of one field."""
        if all(isinstance(value, Mapping) for value in values):
            return self._join_mappings(values, path)
        if all(map(_is_of_numbers, values)):
            return self._pad(self._make_tensors(values, path), path)
        if all(isinstance(value, NUMBERS) or value is None for value in values):
            is_mixed = len({value is None for value in values}) > 1
            return values if is_mixed else collate(values)
        are_tuples = all(isinstance(value, tuple) for value in values)
        if are_tuples and len({len(value) for value in values}) == 1:
            return self._join_items(values, path)
        return values

    def _join_mappings(self, values: list[Any], path: str) -> dict[str, Any]:
        keys = list(values[0])
        if any(key not in value for value in values for key in keys):
            raise UserError(f"its samples make no batch: {explain(values)}")
        return {
            key: self._join([value[key] for value in values], f"{path}.{key}" if path else str(key))
            for key in keys
        }

    def _join_items(self, values: list[Any], path: str) -> Any:
        first = values[0]
        if len({len(value) for value in values}) > 1:
            raise UserError(f"its samples make no batch: {explain(values)}")
        items = [
            self._join(list(column), f"{path}.{index}" if path else str(index))
            for index, column in enumerate(zip(*values, strict=True))
        ]
        is_named = isinstance(first, tuple) and hasattr(first, "_fields")
        return type(first)(*items) if is_named else items

    def _make_tensors(self, values: list[Any], path: str) -> list[torch.Tensor]:
        """Makes a tensor of each value; inner lists are padded too.

        An empty list does not show its dtype and inner sizes: they are those of another value.
        """
        tensors = [self._make_tensor(value, path) for value in values]
        known = [tensor for tensor in tensors if tensor.numel()]
        like = known[0] if known else torch.empty(0, dtype=torch.int64)
        return [
            like.new_empty(0, *like.shape[1:]) if isinstance(value, list) and not value else tensor
            for value, tensor in zip(values, tensors, strict=True)
        ]

    def _make_tensor(self, value: Any, path: str) -> torch.Tensor:
        if isinstance(value, torch.Tensor):
            return value
        if isinstance(value, np.ndarray):
            return torch.as_tensor(value)
        if any(isinstance(item, list | tuple | torch.Tensor) for item in value):
            return self._stack(self._make_tensors(value, path), path)
        return torch.tensor(value)

    def _pad(self, tensors: list[torch.Tensor], path: str) -> torch.Tensor:
        """Stacks the tensors of a field, and pads to the multiple."""
        batch = self._stack(tensors, path)
        if self.multiple is None or path not in self.values or batch.ndim < 2:
            return batch
        length = ceil(batch.shape[1] / self.multiple) * self.multiple
        sizes = [len(batch), length, *batch.shape[2:]]
        return _pad_to(batch, sizes, self._get_value(path, batch.dtype))

    def _stack(self, tensors: list[torch.Tensor], path: str) -> torch.Tensor:
        """Stacks tensors after padding: (N, *the largest sizes)."""
        dims = {tensor.ndim for tensor in tensors}
        if len(dims) > 1:
            found = ", ".join(map(str, sorted(dims)))
            message = f"the field '{path}' has {found} dimensions; give equally many"
            raise UserError(f"its samples make no batch: {message}")
        dtype = functools.reduce(torch.promote_types, {tensor.dtype for tensor in tensors})
        tensors = [tensor.to(dtype) for tensor in tensors]
        if dims == {0}:
            return torch.stack(tensors)
        value = self._get_value(path, dtype)
        sizes = [max(column) for column in zip(*(tensor.shape for tensor in tensors), strict=True)]
        if any(tensor.shape[1:] != tensors[0].shape[1:] for tensor in tensors):
            tensors = [_pad_to(tensor, [len(tensor), *sizes[1:]], value) for tensor in tensors]
        return pad_sequence(tensors, batch_first=True, padding_value=value)

    def _get_value(self, path: str, dtype: torch.dtype) -> Any:
        value = self.values.get(path, self.default)
        fits = dtype.is_floating_point or dtype.is_complex
        if dtype is torch.bool:
            fits = value in (0, 1)
        elif not fits:
            limits = torch.iinfo(dtype)
            fits = float(value).is_integer() and limits.min <= value <= limits.max
        if not fits:
            raise UserError(f"PadCollate: padding_value {value} does not fit '{path}' of {dtype}")
        return value

    def _add_fields(self, batch: Any, samples: list[Any]) -> None:
        for option, names in (("masks", self.masks), ("lengths", self.lengths)):
            for name, field in names.items():
                padded = batch.get(field) if isinstance(batch, dict) else None
                problem = ""
                if not isinstance(padded, torch.Tensor) or padded.ndim < 2:
                    problem = f"the samples have no field '{field}' with a length"
                elif name in batch:
                    problem = f"the samples have a field '{name}' already"
                if problem:
                    raise UserError(f"PadCollate: {option}: {name}: {problem}")
                assert padded is not None
                lengths = torch.tensor([len(sample[field]) for sample in samples])
                mask = torch.arange(padded.shape[1]) < lengths[:, None]
                batch[name] = mask if option == "masks" else lengths


def _is_of_numbers(value: Any) -> bool:
    """Whether a value can be a tensor: a dense tensor, an array, or nested lists of numbers.

    A tuple of tensors has a field for each, as with torch's ``default_collate``.
    """
    if isinstance(value, torch.Tensor):
        return value.layout == torch.strided and not value.is_nested
    if isinstance(value, np.ndarray):
        return value.dtype.kind in KINDS
    if isinstance(value, list | tuple):
        if isinstance(value, tuple) and any(
            isinstance(v, torch.Tensor | np.ndarray) for v in value
        ):
            return False
        return all(isinstance(item, NUMBERS) or _is_of_numbers(item) for item in value)
    return False


def _pad_to(tensor: torch.Tensor, sizes: list[int], value: Any) -> torch.Tensor:
    """Pads a tensor at the end of each dimension."""
    missing = [size - have for size, have in zip(sizes, tensor.shape, strict=True)]
    amounts = [amount for count in reversed(missing) for amount in (0, count)]
    return pad(tensor, amounts, value=value) if any(amounts) else tensor
