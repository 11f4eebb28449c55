"""Transforms of targets, whose inverses give metrics, reports and predictions in real units."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from utils.errors import UserError, one_line

State = dict[str, Any]
PROBES = (-2.0, -1.0, 0.0, 1.0, 3.0)  # scaled values, to see whether an inverse is a line


class Scaler(Protocol):
    """A transformer of scikit-learn."""

    def inverse_transform(self, values: Any, /) -> Any: ...


class TargetTransform:
    """The base class of invertible transforms of targets, such as a standardisation.

    Each output (the last dimension) has its own parameters. With a single output, a target may have
    any shape, such as (N, H) for the steps of a forecast.
    """

    state: State | None = None  # plain values; None before ``fit``

    def fit(self, values: torch.Tensor) -> None:
        """Computes the parameters from the training targets, shape (N, C) float.

        A subclass with parameters keeps them in ``state``.
        """
        self.state = {}

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Transforms targets (…) or (…, C) in real units."""
        raise NotImplementedError

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """Transforms scaled targets or outputs back into real units."""
        raise NotImplementedError

    def _get(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """A parameter of each output, on the device of ``like``: shape (C,), or () for C = 1."""
        if self.state is None:
            raise UserError(f"{type(self).__name__} is used before it was fitted on training data")
        return _to_tensor(tuple(self.state[name]), like.device)


def get_std(values: torch.Tensor) -> torch.Tensor:
    """The standard deviation of each column of (N, C) float; 1 for a constant one, shape (C,).

    Rounding may give a constant column a tiny standard deviation, which must not be a divisor.
    """
    std = values.std(0, correction=0)
    varies = (std > 0) & (values != values[:1]).any(0)
    return torch.where(varies, std, torch.ones_like(std))


@functools.lru_cache(maxsize=64)  # without it, each step would copy to the device, and wait
def _to_tensor(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    tensor = torch.tensor(numbers, dtype=torch.float32, device=device)
    return tensor[0] if len(numbers) == 1 else tensor


class Standardize(TargetTransform):
    """Scales each output to mean 0 and standard deviation 1 over the training part."""

    def fit(self, values: torch.Tensor) -> None:
        values = values.double()
        self.state = {"mean": values.mean(0).tolist(), "std": get_std(values).tolist()}

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return (values - self._get("mean", values)) / self._get("std", values)

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return values * self._get("std", values) + self._get("mean", values)


class LogStandardize(Standardize):
    """Takes the logarithm of ``target + offset``, and standardises it.

    Args:
        offset: added before the logarithm, for targets that may be 0. In real units.
    """

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def fit(self, values: torch.Tensor) -> None:
        low = float(values.min())
        if low + self.offset <= 0:
            message = f"a training target is {low:g}, and the logarithm needs more than "
            raise UserError(f"{message}{-self.offset:g}; set its offset", key="target_transform")
        super().fit((values.double() + self.offset).log())

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return super().__call__((values + self.offset).log())

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return super().inverse(values).exp() - self.offset


AnyTransform = TargetTransform | Scaler


class Sklearn(TargetTransform):
    """A transformer of scikit-learn with ``inverse_transform``.

    If its inverse is linear, as for ``StandardScaler``, ``MinMaxScaler`` and ``RobustScaler``, it
    runs on the device. Any other one, such as ``PowerTransformer``, runs on the CPU, so each batch
    waits for the device.

    Args:
        transformer: of scikit-learn.
    """

    _state: State | None = None
    _line: tuple[list[float], list[float]] | None = None  # slopes and offsets; None if not linear

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit(self, values: torch.Tensor) -> None:
        """See TargetTransform.

        Raises:
            UserError: the transformer changes the number of columns, or keeps its parameters where
                a checkpoint cannot find them, as a ``Pipeline`` does.
        """
        from sklearn.base import clone

        rows = values.double().cpu().numpy()
        try:
            self.transformer.fit(rows)
            self.state = get_state(self.transformer)
            resumed = Sklearn(clone(self.transformer))
            resumed.state = self.state
            expected = self.transformer.transform(rows)
            found = resumed.transformer.transform(rows)
        except Exception as error:  # of a transformer of any kind
            raise self._refuse(one_line(error)) from error
        if expected.shape != rows.shape or not np.array_equal(found, expected, equal_nan=True):
            raise self._refuse("it does not keep all its parameters in its own attributes")

    def _refuse(self, reason: str) -> UserError:
        message = f"{type(self.transformer).__name__} cannot transform targets: {reason}"
        return UserError(message, key="target_transform")

    @property
    def state(self) -> State | None:  # type: ignore[override]
        return self._state

    @state.setter
    def state(self, state: State | None) -> None:
        self._state = state
        self._line = None
        if state is not None:
            set_state(self.transformer, state)
            self._line = self._find_line()

    def _find_line(self) -> tuple[list[float], list[float]] | None:
        """The slope and the offset of the inverse for each output; None if it is not linear."""
        probes = np.repeat(np.array(PROBES)[:, None], self._num_outputs(), axis=1)
        found = self.transformer.inverse_transform(probes)
        offset = found[PROBES.index(0.0)]
        slope = found[PROBES.index(1.0)] - offset
        is_line = np.allclose(found, probes * slope + offset, rtol=1e-9, atol=1e-9)
        if not is_line or (slope == 0).any():
            return None
        is_exact = np.allclose(self.transformer.transform(found), probes)  # it may clip
        return (slope.tolist(), offset.tolist()) if is_exact else None

    def _num_outputs(self) -> int:
        return int(self.transformer.n_features_in_)

    def _apply(self, function: Callable[[Any], Any], values: torch.Tensor) -> torch.Tensor:
        rows = values.detach().double().cpu().numpy().reshape(-1, self._num_outputs())
        found = torch.from_numpy(np.asarray(function(rows))).float()
        return found.reshape(values.shape).to(values.device)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        if self._line is None:
            return self._apply(self.transformer.transform, values)
        slope, offset = (_to_tensor(tuple(line), values.device) for line in self._line)
        return (values - offset) / slope

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        if self._line is None:
            return self._apply(self.transformer.inverse_transform, values)
        slope, offset = (_to_tensor(tuple(line), values.device) for line in self._line)
        return values * slope + offset


def as_target_transform(transform: Any) -> Any:
    """Returns a transform with ``fit``, ``inverse`` and ``state``; None stays None.

    Raises:
        UserError: it has no inverse, or is of another class.
    """
    if transform is None or isinstance(transform, TargetTransform):
        return transform
    if callable(getattr(transform, "inverse_transform", None)):
        return Sklearn(transform)
    kind = type(transform).__name__
    if callable(getattr(transform, "inverse", None)):
        message = f"{kind} must derive from base.data.target_transforms.TargetTransform"
        raise UserError(message, "target_transform")
    message = f"{kind} has no inverse; use Standardize, LogStandardize, a scaler of scikit-learn, "
    raise UserError(f"{message}or a class that derives from TargetTransform", "target_transform")


def fit_target_transform(transform: Any, values: torch.Tensor) -> State:
    """Fits a transform on training targets in real units, shape (N, C) float.

    Returns:
        Its parameters, for checkpoints.

    Raises:
        UserError: its ``fit`` does not set ``state``.
    """
    transform.fit(values)
    if transform.state is None:
        message = "must set self.state to a dict of plain values, which checkpoints hold"
        raise UserError(f"{type(transform).__name__}.fit {message}", key="target_transform")
    return dict(transform.state)


def get_state(transformer: Any) -> State:
    """The fitted attributes of a transformer of scikit-learn, as plain values."""
    return {
        name: _to_plain(value)
        for name, value in vars(transformer).items()
        if name.endswith("_") or hasattr(value, "get_params")
    }


def set_state(transformer: Any, state: Mapping[str, Any]) -> None:
    """Gives a transformer what ``get_state`` has returned."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            inner = getattr(transformer, name, None)
            if inner is None:  # PowerTransformer makes it when it is fitted
                from sklearn.preprocessing import StandardScaler

                inner = StandardScaler()
                setattr(transformer, name, inner)
            set_state(inner, value)
        else:
            setattr(transformer, name, np.asarray(value) if isinstance(value, list) else value)


def _to_plain(value: Any) -> Any:
    if hasattr(value, "get_params"):
        return get_state(value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
