"""The means and metrics of one pass over a split."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, Self

import torch

from utils.batch import batch_size_of
from utils.util import MetricTracker, one_number

# Small batches of a CPU wait until this many can be measured at once: between two steps, whose work
# has taken over the processor's caches, an operation takes three times as long.
BATCHES_AT_ONCE = 8
MAX_SMALL_NUMEL = 100_000  # numbers in the outputs of so many batches


def name_of(metric: Any) -> str:
    """The name a metric is logged under."""
    return getattr(metric, "__name__", None) or type(metric).__name__


def is_stateful(metric: Any) -> bool:
    """Whether this is a torchmetrics object, which needs the full epoch to give a number."""
    return isinstance(metric, torch.nn.Module) and hasattr(metric, "compute")


class MetricSet(MetricTracker):
    """The loss and the metrics of an epoch, weighted by samples.

    A metric is a function ``(output, target) -> number``, a mean over the batch, or a torchmetrics
    object, of which every set has its own copy.

    Args:
        metrics: functions and torchmetrics objects.
        writer: as for MetricTracker.
        device: of the model's outputs.
        rows: keeps outputs and targets of the pass, if somebody wants to look at them afterwards.

    Attributes:
        metrics: as they were given.
    """

    def __init__(
        self,
        metrics: Iterable[Any],
        writer: Any = None,
        device: torch.device | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.metrics = list(metrics)
        self.rows = rows
        self._functions = {name_of(m): m for m in self.metrics if not is_stateful(m)}
        self._objects = {
            name_of(m): StatefulMetric(m, device) for m in self.metrics if is_stateful(m)
        }
        self._waiting: list[tuple[Any, Any, Any, int]] = []
        super().__init__("loss", *self._functions, writer=writer)

    def reset(self) -> None:
        super().reset()
        self._waiting = []
        for metric in self._objects.values():
            metric.reset()
        if self.rows is not None:
            self.rows.reset()

    def add_batch(
        self, loss: torch.Tensor, output: Any, target: Any, batch: Any = None, weight: float = 1.0
    ) -> None:
        """Measures a batch. Nothing is fetched from the device.

        Args:
            loss: one number, a mean over the batch.
            output, target: as the metrics take them. They also tell the number of samples.
            batch: tells the number of samples if neither of them does.
            weight: 0 for a batch that only keeps this rank in lockstep, and is not measured.

        Raises:
            UserError: a metric gives more than one number.
        """
        if weight == 0:
            return
        n_samples = self.count_samples(target, output, batch)
        output = _detach(output)
        if self.rows is not None:
            self.rows.add(output, target, n_samples)
        self._waiting.append((_detach(loss), output, target, n_samples))
        is_small = isinstance(output, torch.Tensor) and output.is_cpu
        is_small = is_small and output.numel() * BATCHES_AT_ONCE <= MAX_SMALL_NUMEL
        if not is_small or len(self._waiting) == BATCHES_AT_ONCE:
            self.measure_waiting()

    def count_samples(self, *values: Any) -> int:
        """The number of samples, as the first of ``values`` that tells it does."""
        return batch_size_of(*values)

    @torch.no_grad()
    def measure_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for loss, output, target, n_samples in waiting:
            self.add("loss", loss, n_samples)
            for name, function in self._functions.items():
                self.add(name, function(output, target), n_samples)
            for metric in self._objects.values():
                metric.update(output, target)

    def summary(self) -> str:
        """The loss and the first metric so far, for a progress bar; cheap, unlike torchmetrics."""
        shown = ["loss", *self._functions][:2]
        return "  ".join(f"{name} {self.avg(name):.4f}" for name in shown)

    def means(self) -> dict[str, float]:
        values = super().means()
        for name, metric in self._objects.items():
            values[name] = float(one_number(name, metric.compute()))
        order = ["loss", *map(name_of, self.metrics), *values]
        return {name: values[name] for name in order if name in values}

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return state | {"objects": {name: m.state_dict() for name, m in self._objects.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._waiting = []
        for name, metric in self._objects.items():
            metric.load_state_dict(state["objects"][name])

    def clone(self) -> Self:
        twin = super().clone()
        twin._objects = {name: StatefulMetric(m.metric) for name, m in self._objects.items()}
        return twin

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        merged = super().merge_states(states) | {"objects": {}}
        for name, metric in self._objects.items():
            of_ranks = [state["objects"][name] for state in states]
            merged["objects"][name] = metric.merge_states(of_ranks)
        return merged


class StatefulMetric:
    """A copy of a torchmetrics object, whose state is saved and merged over ranks.

    torchmetrics' own merging does not serve: ``merge_state`` refuses metrics that set
    ``full_state_update`` and weights means by the wrong counts, ``sync`` waits for ever where ranks
    have lists of different lengths, and both need every rank to have seen something.

    Args:
        metric: the object; a wrapper or a collection of others serves too.
        device: of the model's outputs.
    """

    def __init__(self, metric: Any, device: torch.device | None = None) -> None:
        self.metric = metric.clone().to(device)
        for part in self._modules().values():
            part.persistent(True)
            part.distributed_available_fn = lambda: False  # the ranks are merged here

    def update(self, output: Any, target: Any) -> None:
        self.metric.update(output, target)

    def reset(self) -> None:
        self.metric.reset()

    def compute(self) -> Any:
        """The metric's value; NaN if it has seen nothing."""
        return self.metric.compute() if self.metric.update_called else float("nan")

    def _modules(self) -> dict[str, Any]:
        """The metric and those inside it, by name."""
        modules = self.metric.named_modules()
        return {name: module for name, module in modules if hasattr(module, "_update_count")}

    def state_dict(self) -> dict[str, Any]:
        updates = {name: module._update_count for name, module in self._modules().items()}
        return {"state": self.metric.state_dict(), "updates": updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.metric.load_state_dict(state["state"])
        for name, count in state["updates"].items():
            self.metric.get_submodule(name)._update_count = count

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """The state of a metric that has seen everything, from those of all ranks."""
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


def _reduce(values: list[Any], reduce: Any) -> Any:
    """One state of a torchmetrics object from those of several ranks, by its own reduction."""
    from torchmetrics.utilities import dim_zero_cat

    if isinstance(values[0], list):
        return [item for value in values for item in value]
    if len(values) == 1:
        return values[0]
    if reduce is dim_zero_cat:
        return reduce(values)
    stacked = torch.stack(values)
    return stacked if reduce is None else reduce(stacked)


class Rows:
    """The outputs and targets of a pass, if they are one row of numbers a sample.

    Args:
        limit: how many numbers are kept at most; of a larger pass nothing is kept.
    """

    def __init__(self, limit: float = inf) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] | None = []
        self._numel = 0

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        """Keeps a batch: ``output`` and ``target`` of shapes (N,) or (N, C)."""
        if self._rows is None:
            return
        tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
        if not tensors or not (output.ndim in (1, 2) and target.ndim in (1, 2)):
            self._rows = None
            return
        self._numel += output.numel() + target.numel()
        if len(output) == len(target) == n_samples and self._numel <= self.limit:
            self._rows.append((output.detach(), target.detach()))
        else:
            self._rows = None

    def get(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """``(output, target)`` of all samples in order, on the CPU; None if there are none."""
        if not self._rows:
            return None
        outputs, targets = zip(*self._rows, strict=True)
        try:
            return torch.cat(outputs).float().cpu(), torch.cat(targets).cpu()
        except RuntimeError:  # rows of several lengths
            return None


def _detach(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value
