"""torchmetrics objects: their state in checkpoints, and merged over ranks."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from base.loop.blame import blame_metric, compute_value
from base.loop.metrics import name_of
from config.check.project import locate_in_project
from utils.batch import to_device
from utils.errors import UserError, name_error
from utils.log import get_logger
from utils.numbers import split_numbers

CPU = torch.device("cpu")


class StatefulMetric:
    """A copy of a torchmetrics object, whose state can be saved and merged over ranks.

    torchmetrics' own methods for merging have faults. ``merge_state`` refuses metrics that set
    ``full_state_update``, and weights means by the wrong counts. ``sync`` hangs if ranks have lists
    of different lengths. Both fail if a rank has no samples.

    Args:
        metric: the object, which may also be a wrapper or a composition of others.
        device: the device of the model's outputs.
        key: of the config, for errors.

    Raises:
        UserError: the object is a collection of metrics.
    """

    def __init__(
        self, metric: Any, device: torch.device | None = None, key: str = "metrics"
    ) -> None:
        if not hasattr(metric, "_update_count"):
            kind = type(metric).__name__
            message = f"a {kind} does not give one number; list the metrics inside it one by one"
            raise UserError(message, key="metrics")
        self.device, self.key = device, key
        self._reasons: set[str] = set()  # those that were logged, also by clones
        self.metric = metric.clone().to(device)
        states = []
        for part in self._modules().values():
            states += part._defaults.values()
            part.persistent(True)
            part.distributed_available_fn = lambda: False  # the ranks are merged here
        self._only_counts = bool(states) and all(map(_is_count, states))

    def clone(self) -> Self:
        twin = type(self)(self.metric, self.device, self.key)
        twin._reasons = self._reasons
        return twin

    def update(self, output: Any, target: Any) -> None:
        """Adds a batch.

        Raises:
            UserError: the metric does not take such values or shapes.
        """
        count = self.metric._update_count
        try:
            with self._choosing_algorithms(output):
                self.metric.update(output, fit_target(self.metric, output, target))
        except Exception as error:
            blame_metric(error, name_of(self.metric), output, target, self.key)
        self.metric._update_count = count + 1  # torchmetrics' wrappers leave it at 0

    @contextlib.contextmanager
    def _choosing_algorithms(self, output: Any) -> Iterator[None]:
        """Lets a metric that only counts use any algorithm: the sums of integers are the same.

        Under deterministic algorithms, torchmetrics compares each pixel with each pair of classes,
        which needs ten times as long, and gigabytes. On an accelerator, ``torch.bincount`` waits,
        as the metric does if it validates its arguments.
        """
        on_cpu = isinstance(output, torch.Tensor) and output.is_cpu
        is_free = self._only_counts and (on_cpu or getattr(self.metric, "validate_args", False))
        mode = torch.get_deterministic_debug_mode()
        if not is_free or mode == 0:
            yield
            return
        torch.set_deterministic_debug_mode("default")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(mode)

    def reset(self) -> None:
        self.metric.reset()

    @property
    def has_samples(self) -> bool:
        """Whether it has seen anything since the last reset."""
        return bool(self.metric.update_called)

    def compute(self) -> Any:
        """The metric's value; NaN if it has seen nothing, or has no value for what it has seen."""
        if not self.has_samples:
            return float("nan")
        try:
            value, reason = compute_value(self.metric)
        except Exception as error:
            message = f"the metric '{name_of(self.metric)}' failed in compute()"
            reason = f"{name_error(error)}{locate_in_project(error)}"
            raise UserError(f"{message}: {reason}", key=self.key) from error
        if reason and reason not in self._reasons:
            line = "The metric '%s' is undefined here, and shown as nan: %s."
            get_logger("metrics", logging.INFO).warning(line, name_of(self.metric), reason)
            self._reasons.add(reason)
        return value

    def compute_numbers(self, name: str, labels: Sequence[str]) -> dict[str, float]:
        """The numbers in the metric's value, by the names under which they are logged."""
        numbers = split_numbers(name, self.compute(), labels)
        return {key: float(number) for key, number in numbers.items()}

    def _modules(self) -> dict[str, Any]:
        """The metric and the metrics inside it, by name."""
        modules = self.metric.named_modules()
        return {name: module for name, module in modules if hasattr(module, "_update_count")}

    def state_dict(self) -> dict[str, Any]:
        """The state on the CPU, because another rank may load it, which has another device."""
        updates = {name: module._update_count for name, module in self._modules().items()}
        return {"state": to_device(self.metric.state_dict(), CPU), "updates": updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.metric.load_state_dict(state["state"])
        self.metric.to(self.device)
        for name, count in state["updates"].items():
            self.metric.get_submodule(name)._update_count = count

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Combines the states of all ranks into the state of one metric for all samples."""
        merged: dict[str, Any] = {"state": dict(states[0]["state"]), "updates": {}}
        for name, module in self._modules().items():
            counts = [state["updates"].get(name, 0) for state in states]
            merged["updates"][name] = sum(counts)
            seen = [s["state"] for s, count in zip(states, counts, strict=True) if count]
            for key, reduce in module._reductions.items():
                full_key = f"{name}.{key}" if name else key
                values = [state[full_key] for state in seen or [states[0]["state"]]]
                merged["state"][full_key] = _reduce(values, reduce)
        return merged


class StatefulMetrics:
    """The objects of metrics, and those in each MetricCollection, by their names in the log.

    The names of a collection are its keys, after its own name if the config gives it one.

    Args:
        metrics: torchmetrics objects.
        device: the device of the model's outputs.
        keys: of the config, by the names of the metrics, for errors.

    Raises:
        UserError: two metrics have the same name.
    """

    def __init__(
        self, metrics: Iterable[Any], device: torch.device | None, keys: Mapping[str, str]
    ) -> None:
        from torchmetrics import MetricCollection

        self._metrics: dict[str, StatefulMetric] = {}
        for metric in metrics:
            items = [(name_of(metric), metric)]
            if isinstance(metric, MetricCollection):
                prefix = "" if items[0][0] == type(metric).__name__ else f"{items[0][0]}_"
                inner = metric.items(keep_base=False, copy_state=True)
                items = [(f"{prefix}{key}", item) for key, item in inner]
            for name, item in items:
                if name in self._metrics:
                    message = f"two metrics are named '{name}'; give one of them another \"name\""
                    raise UserError(message, key="metrics")
                self._metrics[name] = _make_object(item, device, keys[name_of(metric)])

    def clone(self) -> StatefulMetrics:
        twin = copy.copy(self)
        twin._metrics = {name: metric.clone() for name, metric in self._metrics.items()}
        return twin

    def reset(self) -> None:
        for metric in self._metrics.values():
            metric.reset()

    def update(self, output: Any, target: Any) -> None:
        for metric in self._metrics.values():
            metric.update(output, target)

    def compute_numbers(self, labels: Sequence[str]) -> dict[str, float]:
        """The numbers of all metrics that have seen anything, by their names in the log."""
        numbers: dict[str, float] = {}
        for name, metric in self._metrics.items():
            if metric.has_samples:
                numbers |= metric.compute_numbers(name, labels)
        return numbers

    def state_dict(self) -> dict[str, Any]:
        return {name: metric.state_dict() for name, metric in self._metrics.items()}

    def load_state_dict(self, states: dict[str, Any]) -> None:
        for name in self._metrics.keys() & states.keys():  # the config may have others now
            self._metrics[name].load_state_dict(states[name])

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """The states of metrics that have seen the samples of all ranks."""
        return {
            name: metric.merge_states([state[name] for state in states])
            for name, metric in self._metrics.items()
        }


def _make_object(metric: Any, device: torch.device | None, key: str) -> StatefulMetric:
    from base.loop.box_metric import NAME, BoxMetric

    return (BoxMetric if type(metric).__name__ == NAME else StatefulMetric)(metric, device, key)


def _is_count(state: Any) -> bool:
    return isinstance(state, torch.Tensor) and not state.is_floating_point()


def is_stateful(metric: Any) -> bool:
    """Whether this is a torchmetrics object, which computes its number from the full pass."""
    return isinstance(metric, torch.nn.Module) and hasattr(metric, "compute")


def fit_target(metric: Any, output: Any, target: Any) -> Any:
    """The target in the shape that torchmetrics wants for an output.

    (N, 1) and (N,) fit each other. A metric of classes takes classes instead of one-hot vectors or
    probabilities of classes. A binary one takes the floats of a BCE loss as integers.
    """
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return target
    kind = type(metric).__name__
    is_of_classes = kind.startswith("Multiclass")
    if kind.startswith("Binary") and target.is_floating_point() and metric.validate_args:
        target = target.long()  # of 0 and 1, as a BCE loss takes them
    if target.shape == output.shape:
        is_vector = is_of_classes and output.ndim > 1 and output.is_floating_point()
        return target.argmax(dim=1) if is_vector else target
    if target.numel() == output.numel() and target.squeeze().shape == output.squeeze().shape:
        return target.reshape(output.shape)
    shape = (len(target), *output.shape[2:])
    is_column = is_of_classes and target.ndim == output.ndim and target.shape[1] == 1
    return target.reshape(shape) if is_column else target


def _reduce(values: list[Any], reduce: Any) -> Any:
    """Combines the values of one state over ranks, by the reduction that torchmetrics gives it."""
    from torchmetrics.utilities import dim_zero_cat

    if isinstance(values[0], list):
        return [item for value in values for item in value]
    if len(values) == 1:
        return values[0]
    if reduce is dim_zero_cat:
        return reduce(values)
    stacked = torch.stack(values)
    return stacked if reduce is None else reduce(stacked)
