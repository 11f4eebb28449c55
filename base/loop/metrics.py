"""The means and metrics of one pass over a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from base.loop.splitting import Splitting
from utils.util import MetricTracker, one_number

TOGETHER, SMALL = (
    8,
    100_000,
)  # batches that are measured together, if they have no more numbers than this


def name_of(metric: Any) -> str:
    """The name a metric is logged under."""
    return getattr(metric, "__name__", None) or type(metric).__name__


def is_stateful(metric: Any) -> bool:
    """Whether ``metric`` is a torchmetrics object, which gathers the whole epoch before it gives a number."""
    return isinstance(metric, torch.nn.Module) and hasattr(metric, "compute")


class MetricSet(MetricTracker):
    """The loss and the metrics of an epoch, each weighted by samples.

    A metric is a function ``(output, target) -> number``, a mean over the batch, or a torchmetrics object, of which
    every set has a copy of its own.

    Args:
        metrics: functions and torchmetrics objects.
        writer: as in MetricTracker.
        device: where the model's outputs are.

    Attributes:
        metrics: as they were given.
        splitting: of batches that the memory is too small for, on the way to be measured.
    """

    def __init__(
        self, metrics: Iterable[Any], writer: Any = None, device: torch.device | None = None
    ) -> None:
        self.metrics = list(metrics)
        self._functions = {
            name_of(metric): metric for metric in self.metrics if not is_stateful(metric)
        }
        self._objects = {
            name_of(metric): metric.clone().to(device)
            for metric in self.metrics
            if is_stateful(metric)
        }
        for metric in self._objects.values():
            for part in _parts(metric).values():
                part.distributed_available_fn = lambda: False  # `result` adds up the ranks
        self.splitting = Splitting()
        self._waiting: list[tuple[Any, Any, Any, int]] = []  # to be measured
        super().__init__("loss", *self._functions, writer=writer)

    def reset(self) -> None:
        super().reset()
        self._waiting = []
        for metric in self._objects.values():
            metric.reset()

    def measure(self, loss: torch.Tensor, output: Any, target: Any, n: int) -> None:
        """Adds one batch of ``n`` samples. Nothing is fetched from the device.

        On the CPU small batches wait for each other: between two steps, whose work has taken over the processor's
        caches, an operation takes three times as long as after its like.

        Raises:
            UserError: a metric gives more than one number.
        """
        small = (
            isinstance(output, torch.Tensor)
            and output.is_cpu
            and output.numel() * TOGETHER <= SMALL
        )
        self._waiting.append((_detached(loss), _detached(output), target, n))
        if not small or len(self._waiting) == TOGETHER:
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Measures what waits for it."""
        waiting, self._waiting = self._waiting, []
        for loss, output, target, n in waiting:
            self.add("loss", loss, n)
            for name, function in self._functions.items():
                self.add(name, function(output, target), n)
            for metric in self._objects.values():
                metric.update(output, target)

    def brief(self) -> str:
        """The loss so far and the first metric's mean, for a bar; torchmetrics objects may take long to tell."""
        return "  ".join(f"{name} {self.avg(name):.4f}" for name in ["loss", *self._functions][:2])

    def state_dict(self) -> dict[str, Any]:
        state, objects = super().state_dict(), {}
        for name, metric in self._objects.items():
            updates = {key: part._update_count for key, part in _parts(metric).items()}
            objects[name] = {"state": metric.state_dict(), "updates": updates}
        return state | {"objects": objects}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._waiting = []
        for name, metric in self._objects.items():
            _parts(metric)
            metric.load_state_dict(state["objects"][name]["state"])
            for key, count in state["objects"][name]["updates"].items():
                metric.get_submodule(key)._update_count = count

    def _twin(self) -> MetricSet:
        twin = super()._twin()
        twin._objects = {name: metric.clone() for name, metric in self._objects.items()}
        assert isinstance(twin, MetricSet)
        return twin

    def merged(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        whole = super().merged(states) | {"objects": {}}
        for name, metric in self._objects.items():
            whole["objects"][name] = _merged(metric, [state["objects"][name] for state in states])
        return whole

    def means(self) -> dict[str, float]:
        values = super().means()
        for name, metric in self._objects.items():
            values[name] = (
                float(one_number(name, metric.compute())) if metric.update_called else float("nan")
            )
        order = ["loss", *map(name_of, self.metrics), *values]
        return {name: values[name] for name in order if name in values}


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _parts(metric: Any) -> dict[str, Any]:
    """A torchmetrics object, and those that it is made of, by name; from now on their states are in its state."""
    parts = {name: part for name, part in metric.named_modules() if hasattr(part, "_update_count")}
    for part in parts.values():
        part.persistent(True)
    return parts


def _merged(metric: Any, states: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of a torchmetrics object that has seen what those of all ranks have, each state by its own reduction.

    torchmetrics' own way needs every rank to have seen something.
    """
    from torchmetrics.utilities import dim_zero_cat

    whole: dict[str, Any] = {"state": {}, "updates": {}}
    for name, part in _parts(metric).items():
        counts = [state["updates"].get(name, 0) for state in states]
        whole["updates"][name] = sum(counts)
        seen = [state["state"] for state, count in zip(states, counts, strict=True) if count] or [
            states[0]["state"]
        ]
        for key, reduce in part._reductions.items():
            full = f"{name}.{key}" if name else key
            values = [state[full] for state in seen]
            if isinstance(values[0], list):
                whole["state"][full] = [item for value in values for item in value]
            elif len(values) == 1:
                whole["state"][full] = values[0]
            else:
                parts = values if reduce is dim_zero_cat else torch.stack(values)
                whole["state"][full] = parts if reduce is None else reduce(parts)
    return {**whole, "state": states[0]["state"] | whole["state"]}
