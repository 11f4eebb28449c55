"""Makes a batch of samples, and explains why some samples make none."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from numbers import Number
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils.collate import collate as collate_by_type
from torch.utils.data._utils.collate import default_collate_fn_map

from base.data.walk import find_user_module
from config.check.project import locate_in_project
from utils.describe import describe_values
from utils.errors import UserError, abbreviate, is_out_of_memory, name_error

SHOWN = 4  # shapes, lengths or names in an error
NUMBERS = (bool, int, float, np.number, np.bool_)
KINDS = "?biufc"  # of arrays that torch takes: bool, integers, floats, complex
PAD = "pad them by `collate_fn: PadCollate`, or make them equal in the dataset"
OTHER = "give tensors, numbers, texts or dicts of them, or write a collate_fn"
REMEDIES = {
    "Image": "end the dataset's transform with ToImage and ToDtype, or ToTensor",
    "Series": "give row.to_numpy(dtype='float32'), or row.to_dict()",
    "DataFrame": "give frame.to_numpy(dtype='float32')",
}


def collate(samples: list[Any]) -> Any:
    """Makes a batch as torch's ``default_collate`` does.

    A field that is None in all samples is None in the batch, which torch refuses.

    Raises:
        UserError: the samples make no batch. The text names the field, and what helps.
    """
    try:
        return collate_by_type(samples, collate_fn_map=default_collate_fn_map | {NoneType: _none})
    except Exception as error:
        reason = explain(samples)
        if reason is None and (isinstance(error, RuntimeError) or is_out_of_memory(error)):
            raise
        reason = name_error(error) if reason is None else reason
        raise UserError(f"its samples make no batch: {reason}") from error


def _none(values: list[Any], **_: Any) -> None:
    if any(value is not None for value in values):
        raise TypeError("None in some samples")


def explain(samples: list[Any]) -> str | None:
    """The reason why samples make no batch, and what helps; None if it is unknown."""
    try:
        return _explain(samples, "")
    except Exception:  # objects of the user may do anything
        return None


def _explain(values: list[Any], path: str) -> str | None:
    """Explains the values of one field, or the samples if ``path`` is empty."""
    if not path and any(map(_is_of_boxes, _list_items(values[0]))):
        return "pictures have different numbers of boxes; set `collate_fn: ListCollate`"
    name = f"the field '{path}'" if path else "a sample"
    first = values[0]
    num_none = sum(value is None for value in values)
    if num_none == len(values):
        return None
    if num_none:
        return (
            f"{name} is None in {num_none} of {len(values)} samples; "
            "give a value in each, None in all, or leave such samples out"
        )
    for kinds, check in _CHECKS:
        if isinstance(first, kinds):
            if not all(isinstance(value, kinds) for value in values):
                break
            return check(values, path, name)
    names = list(dict.fromkeys(type(value).__name__ for value in values))
    if len(names) > 1 and not all(hasattr(value, "thumbnail") for value in values):
        return f"{name} is of several types: {abbreviate(names, SHOWN)}; give one type"
    return f"{name} is a {_describe_type(first)}; {_find_remedy(first)}"


def _list_items(sample: Any) -> list[Any]:
    if isinstance(sample, Mapping):
        return list(sample.values())
    return list(sample) if isinstance(sample, tuple | list) else []


def _is_of_boxes(value: Any) -> bool:
    return isinstance(value, Mapping) and "boxes" in value


def _explain_tensors(values: list[Any], path: str, name: str) -> str | None:
    for value in values:
        if value.is_nested or value.layout != torch.strided:
            kind = "nested" if value.is_nested else "sparse"
            return f"{name} is a {kind} tensor; give dense ones, or write a collate_fn"
    shapes = list(dict.fromkeys(str(tuple(value.shape)) for value in values))
    return f"{name} has the shapes {abbreviate(shapes, SHOWN)}; {PAD}" if len(shapes) > 1 else None


def _explain_arrays(values: list[Any], path: str, name: str) -> str | None:
    for value in values:
        if value.dtype.kind not in KINDS:
            what = "give a list of texts" if value.dtype.kind in "US" else "give numbers"
            return f"{name} is an array of {value.dtype}; {what}"
    shapes = list(dict.fromkeys(str(value.shape) for value in values))
    return f"{name} has the shapes {abbreviate(shapes, SHOWN)}; {PAD}" if len(shapes) > 1 else None


def _explain_numbers(values: list[Any], path: str, name: str) -> str | None:
    is_large = any(isinstance(value, int) and abs(value) >= 2**63 for value in values)
    return f"{name} has numbers of more than 64 bits; give texts, or floats" if is_large else None


def _explain_mappings(values: list[Any], path: str, name: str) -> str | None:
    for key in values[0]:
        missing = sum(key not in value for value in values)
        if missing:
            field = f"{path}.{key}" if path else str(key)
            return f"{missing} of {len(values)} samples have no field '{field}'"
        items = [value[key] for value in values]
        reason = _explain(items, f"{path}.{key}" if path else str(key))
        if reason is not None:
            return reason
    return None


def _explain_sequences(values: list[Any], path: str, name: str) -> str | None:
    lengths = list(dict.fromkeys(str(len(value)) for value in values))
    if len(lengths) > 1:
        is_of_texts = any(isinstance(item, str) for value in values for item in value)
        advice = "`collate_fn: PadCollate` keeps such lists as they are" if is_of_texts else PAD
        advice = advice if path or not isinstance(values[0], tuple) else "give equal ones"
        return f"{name} has the lengths {abbreviate(lengths, SHOWN)}; {advice}"
    for index in range(len(values[0])):
        items = [value[index] for value in values]
        reason = _explain(items, f"{path}.{index}" if path else str(index))
        if reason is not None:
            return reason
    return None


def _explain_nothing(values: list[Any], path: str, name: str) -> None:
    return None


_CHECKS: tuple[tuple[Any, Callable[[list[Any], str, str], str | None]], ...] = (
    (torch.Tensor, _explain_tensors),
    (np.ndarray, _explain_arrays),
    (NUMBERS, _explain_numbers),
    ((str, bytes), _explain_nothing),
    (Mapping, _explain_mappings),
    ((list, tuple), _explain_sequences),
)


def _find_remedy(value: Any) -> str:
    for kind in type(value).__mro__:
        if kind.__name__ in REMEDIES:
            return REMEDIES[kind.__name__]
    if isinstance(value, Enum):
        return "give its value or its name"
    if isinstance(value, datetime.date | np.datetime64):
        return "give a number, such as timestamp(), or a text"
    if isinstance(value, Number):
        return "give a tensor"
    if hasattr(type(value), "__dataclass_fields__"):
        return "give vars(sample), a dict"
    return OTHER


def _describe_type(value: Any) -> str:
    kind = type(value)
    is_builtin = kind.__module__ == "builtins"
    if is_builtin or find_user_module(kind.__module__) is not None:
        return kind.__qualname__
    return f"{kind.__module__.partition('.')[0]} {kind.__qualname__}"


def explain_failure(error: Exception, function: Any, samples: list[Any]) -> str:
    """Describes the failure of the user's collate function: its name, a sample, and the line."""
    name = getattr(function, "__name__", type(function).__name__)
    found = describe_values(samples[0]) if samples else "nothing"
    reason = f"{name_error(error)}{locate_in_project(error)}"
    return f"'{name}' failed on samples such as {found}: {reason}"


def name_sample(
    error: UserError,
    function: Callable[[list[Any]], Any],
    samples: list[Any],
    dataset: Any,
    indices: Sequence[int],
) -> UserError:
    """Returns the error of the first sample that cannot be collated alone, with its index.

    Args:
        error: of the batch. It is returned if no sample fails alone, or if all of several do.
        function: makes a batch.
        samples: of the batch.
        dataset: gives the samples.
        indices: of the samples.
    """
    if function is collate:  # its errors are of several samples
        return error
    failures = []
    for index, sample in zip(indices, samples, strict=False):
        try:
            function([sample])
        except UserError as failure:
            failures.append((index, failure))
        except Exception:  # a function of the user may need several samples
            return error
    if not failures or len(failures) == len(samples) > 1:
        return error
    index, first = failures[0]
    name = describe_sample(dataset, index).rstrip(",")
    return UserError(
        problem._replace(message=f"{name}: {problem.message}") for problem in first.problems
    )


def describe_sample(dataset: Any, index: int) -> str:
    """The number of a sample and, if the dataset lists its files as torchvision does, its file."""
    try:
        return f"sample {index} of the dataset, {os.fspath(dataset.samples[index][0])},"
    except Exception:
        return f"sample {index} of the dataset"
