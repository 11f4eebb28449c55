"""Converts outputs and targets that a ``target_transform`` has scaled to real units, and back."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from base.data.fitting import find_dataset, locate
from base.data.target_transforms import Sklearn
from utils.errors import UserError, one_line


class TargetUnits:
    """Converts scaled outputs and targets to real units, and back.

    Args:
        transform: of a dataset; has ``inverse`` or, as in scikit-learn, ``inverse_transform``.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    @property
    def name(self) -> str:
        """The class of the transform, or of the transformer of scikit-learn in it."""
        inner = self.transform.transformer if isinstance(self.transform, Sklearn) else None
        return type(self.transform if inner is None else inner).__name__

    def to_real(self, output: Any, target: Any) -> tuple[Any, Any]:
        """Returns the arguments of a metric in real units.

        The last dimension of an output may have several numbers for each target, as quantiles. If
        one of them is no tensor, such as an output with hidden states, both stay scaled.
        """
        if isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor):
            has_several = output.shape[:-1] == target.shape
            return invert_several(self, output, has_several), self.invert(target)
        _warn_of_scaled(type(output).__name__, type(target).__name__)
        return output, target

    def invert(self, values: Any) -> Any:
        """Returns a tensor in real units, as float32.

        Raises:
            UserError: the inverse does not take the values.
        """
        if not isinstance(values, torch.Tensor):
            return values
        inverse = getattr(self.transform, "inverse", None)
        function = inverse if callable(inverse) else _on_rows(self.transform.inverse_transform)
        return self._apply(function, values)

    def scale(self, values: torch.Tensor) -> torch.Tensor:
        """Returns a tensor as the loss takes it."""
        function = self.transform if callable(self.transform) else self.transform.transform
        is_of_rows = not callable(self.transform)
        return self._apply(_on_rows(function) if is_of_rows else function, values)

    def _apply(self, function: Callable[[Any], Any], values: torch.Tensor) -> torch.Tensor:
        try:
            return torch.as_tensor(function(values.detach().float()))
        except UserError:
            raise
        except Exception as error:  # of the user's transform
            kind, shape = type(self.transform).__name__, tuple(values.shape)
            message = f"{kind} does not take values of shape {shape}: {one_line(error)}"
            raise UserError(message, key="target_transform") from error


def invert_several(units: TargetUnits, output: Any, has_several: bool) -> Any:
    """Inverts an output whose last dimension may have several numbers for each target."""
    if not has_several:
        return units.invert(output)
    return torch.stack([units.invert(values) for values in output.unbind(-1)], -1)


@functools.cache
def _warn_of_scaled(output: str, target: str) -> None:
    message = "The metrics are of scaled values, because the output is a %s and the target a %s. "
    message += "For real units, override the trainer's forward so that it returns two tensors."
    logging.getLogger("data_loader").warning(message, output, target)


def _on_rows(function: Callable[[Any], Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Calls a function of scikit-learn, which takes arrays (N, C), with a tensor."""

    def call(values: torch.Tensor) -> torch.Tensor:
        rows = values.double().cpu().numpy()
        found = np.asarray(function(rows.reshape(-1, 1) if rows.ndim == 1 else rows))
        return torch.from_numpy(found).float().reshape(values.shape).to(values.device)

    return call


def find_units(loader: Any) -> TargetUnits | None:
    """The units of a loader's targets; None if its dataset has no transform with an inverse."""
    dataset = locate(find_dataset(loader))
    transform = getattr(dataset, "target_transform", None)
    names = ("inverse", "inverse_transform")
    has_inverse = any(callable(getattr(transform, name, None)) for name in names)
    return TargetUnits(transform) if has_inverse else None
