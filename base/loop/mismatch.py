"""Explains why a model does not take the inputs that the data give."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from config.check.project import locate_in_project
from utils.errors import UserError, one_line, text_of

# How torch's errors name dtypes.
DTYPE_NAMES = {
    torch.float64: "Double",
    torch.float16: "Half",
    torch.bfloat16: "BFloat16",
    torch.int64: "Long",
    torch.int32: "Int",
    torch.uint8: "Byte",
    torch.bool: "Bool",
}
OF_DTYPES = ("same dtype", "scalar type", "should be the same")
SHOWN = 10  # names of fields


def check_inputs(error: BaseException, model: nn.Module, inputs: Any, target: Any = None) -> None:
    """Explains ``error`` if the form of the inputs is its cause.

    Args:
        error: of the call of the model.
        model: of any class, which may be wrapped.
        inputs: of the model: one, a tuple, or a mapping of keyword arguments.
        target: that the model gets too, if it computes its loss.

    Raises:
        UserError: the model takes no such fields, types or dtypes.
    """
    check_targets(error, model, target)
    text = text_of(error)
    fields = _list_fields(inputs)
    reason = None
    if isinstance(error, TypeError):
        if isinstance(inputs, Mapping):
            is_of_names = "argument" in text or "keywords must be strings" in text
            reason = _explain_names(model, inputs) if is_of_names else None
        elif "positional argument" in text and isinstance(inputs, list | tuple):
            reason = _explain_count(model, inputs)
        if reason is None and "must be Tensor, not" in text:
            reason = _explain_types(fields)
    elif isinstance(error, AttributeError):
        kind = text.partition("'")[2].partition("'")[0]
        reason = _explain_types({k: v for k, v in fields.items() if type(v).__name__ == kind})
    elif any(words in text for words in OF_DTYPES):
        reason = _explain_dtypes(model, fields, text)
    if reason is not None:
        found = f"{one_line(error)}{locate_in_project(error)}"
        raise UserError(f"{reason}: {found}", key="data_loader") from error


def check_targets(error: BaseException, model: nn.Module, target: Any) -> None:
    """Explains ``error`` if the boxes or labels that a detector gets are its cause.

    Raises:
        UserError: the detector takes no such targets.
    """
    from base.data.boxes import explain_targets

    reason = None if target is None else explain_targets(error, model, target)
    if reason is not None:
        found = f"{one_line(error)}{locate_in_project(error)}"
        raise UserError(f"{reason}: {found}", key="data_loader") from error


def _list_fields(inputs: Any) -> dict[str, Any]:
    """The inputs, each with words for it."""
    if isinstance(inputs, Mapping):
        return {f"the field '{name}'": value for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return {f"input {number}": value for number, value in enumerate(inputs)}
    return {"the input": inputs}


def _explain_names(model: nn.Module, inputs: Mapping[Any, Any]) -> str | None:
    """Explains fields that the model's ``forward`` does not take, or misses."""
    for name in inputs:
        if not isinstance(name, str):
            return f"the samples have a field {name!r}; a field is an argument of forward: a text"
    parameters = _get_parameters(model)
    kinds = {parameter.kind for parameter in parameters.values()}
    takes = ", ".join([*parameters][:SHOWN])
    unknown = [name for name in inputs if name not in parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        names = ", ".join(f"'{name}'" for name in unknown[:SHOWN])
        return (
            f"{type(model).__name__}.forward takes no {names}, but {takes}; leave such fields out "
            "of the samples, or let forward take **kwargs"
        )
    for name, parameter in parameters.items():
        is_single = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_single and parameter.default is parameter.empty and name not in inputs:
            found = ", ".join([*inputs][:SHOWN])
            return f"{type(model).__name__}.forward needs '{name}', and the samples have {found}"
    return None


def _explain_count(model: nn.Module, inputs: list[Any] | tuple[Any, ...]) -> str | None:
    """Explains that a model takes fewer inputs, or more, than a batch has."""
    parameters = _get_parameters(model)
    needed = [p for p in parameters.values() if p.default is p.empty]
    if len(needed) <= len(inputs) <= len(parameters):
        return None
    if isinstance(inputs, list) and (reason := _explain_types({"the input": inputs})):
        return reason
    takes = ", ".join([*parameters][:SHOWN])
    return f"the batch has {len(inputs)} inputs, and {type(model).__name__}.forward takes {takes}"


def _get_parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    """The parameters of ``forward``; those of the inner model if it is wrapped, as by DDP."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return inspect.signature(model.forward).parameters


def _explain_types(fields: dict[str, Any]) -> str | None:
    """Explains the first field that is no tensor."""
    for name, value in fields.items():
        if isinstance(value, list | tuple) and value:
            first = value[0]
            if all(isinstance(item, torch.Tensor) for item in value):
                return (
                    f"{name} is a list of {len(value)} tensors, because the samples have lists of "
                    "numbers; give tensors (HuggingFace: with_format('torch')), or "
                    "`collate_fn: PadCollate`"
                )
            if isinstance(first, str | bytes):
                return f"{name} is a list of texts; give numbers, such as those of a tokenizer"
            return f"{name} is a {type(value).__name__} of {type(first).__name__}"
        if value is None:
            return f"{name} is None"
        if not isinstance(value, torch.Tensor):
            return f"{name} is a {type(value).__name__}"
    return None


def _explain_dtypes(model: nn.Module, fields: dict[str, Any], text: str) -> str | None:
    """Explains the first tensor with a dtype that the error names, and that no parameter has."""
    of_model = {parameter.dtype for parameter in model.parameters()}
    for name, value in fields.items():
        dtype = value.dtype if isinstance(value, torch.Tensor) else None
        if dtype is None or dtype in of_model or len(of_model) != 1:
            continue
        wanted = str(next(iter(of_model))).removeprefix("torch.")
        if DTYPE_NAMES.get(dtype, "?").lower() in text.lower():
            found = str(dtype).removeprefix("torch.")
            advice = f"give {wanted}, for example by .to(torch.{wanted}) in the dataset"
            return f"{name} is {found}, and the model {wanted}; {advice}"
    return None
