"""The means and metrics of one pass over a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import torch

from utils.batch import count_samples
from utils.util import MetricTracker

if TYPE_CHECKING:
    from base.loop.collector import Collector

# On a CPU, the metrics of several small batches are computed in one go. A step evicts the
# processor's caches, so an operation right after the step takes three times as long.
BATCHES_AT_ONCE = 8
MAX_SMALL_NUMEL = 100_000  # in the outputs of these batches in total
LOSSES_ONLY = object()  # the output of a model that gives no predictions in training


class MetricSet(MetricTracker):
    """The loss and the metrics over one pass, as means over its samples.

    Args:
        metrics: functions ``(output, target)``, which return a mean over the batch, or a vector or
            dict of means, and torchmetrics objects, which are copied.
        writer: as for MetricTracker.
        device: the device of the model's outputs.
        rows: collects the outputs and targets of the pass; None collects nothing.
        loader: gives the batches; its dataset may name the classes, and the units of targets.
        phase: ``train`` or ``valid``; leaves out metrics that are limited to the other one.
    """

    batch_size: int | None = None  # the samples that the loader has read for the next batch
    counts: Mapping[str, float] = {}  # by mean: its targets in the next batch, if not its samples

    def __init__(
        self,
        metrics: Iterable[Any],
        writer: Any = None,
        device: torch.device | None = None,
        rows: Collector | None = None,
        loader: Any = None,
        phase: str = "",
    ) -> None:
        from base.data.classes import list_labels
        from base.data.units import find_units
        from base.loop.stateful_metric import StatefulMetrics, is_stateful

        metrics = list(metrics)
        self.metrics = select(metrics, phase)
        keys = enumerate(metrics)  # of the config, for errors
        self._keys = {name_of(m): f"metrics.{i}" for i, m in keys if select([m], phase)}
        self.rows, self.loader = rows, loader
        self.functions = {name_of(m): m for m in self.metrics if not is_stateful(m)}
        self._objects = StatefulMetrics(filter(is_stateful, self.metrics), device, self._keys)
        self._waiting: list[tuple[dict[str, Any], Any, Any, int, Mapping[str, float]]] = []
        self.labels, self.units = list_labels(loader), find_units(loader)
        super().__init__("loss", *self.functions, writer=writer)

    def reset(self) -> None:
        super().reset()
        self._waiting = []
        self._objects.reset()
        if self.rows is not None:
            self.rows.reset()

    def add_batch(
        self, loss: Any, output: Any, target: Any, batch: Any = None, weight: float = 1.0
    ) -> None:
        """Adds a batch, without waiting for the device.

        Args:
            loss: the mean over the batch, which may have ``terms`` (``add_up``); None for none.
            output, target: the arguments of the metrics.
            batch: the batch, whose number of samples is the weight of its means.
            weight: the loader's ``loss_weight``; 0 marks a filler, which does not count.
        """
        n_samples = self.count_samples(target, output, batch)
        if weight == 0 or n_samples == 0:
            return
        if isinstance(output, torch.Tensor) and output.dtype is torch.float32:
            output = output.detach()
        else:
            from base.loop.losses import get_metric_arguments

            output, target = get_metric_arguments(output, target)
        if self.units is not None:
            output, target = self.units.to_real(output, target)
        if self.rows is not None:
            self.rows.add(output, target, n_samples)
        losses = {} if loss is None else {"loss": loss.detach(), **getattr(loss, "terms", {})}
        self._waiting.append((losses, output, target, n_samples, self.counts))
        on_cpu = isinstance(output, torch.Tensor) and output.is_cpu
        is_small = on_cpu and output.numel() * BATCHES_AT_ONCE <= MAX_SMALL_NUMEL
        if not is_small or len(self._waiting) == BATCHES_AT_ONCE:
            self.measure_waiting()

    def count_samples(self, target: Any, output: Any = None, batch: Any = None) -> int:
        """The number of samples in a batch."""
        return count_samples(self.batch_size, target, output, batch)

    @torch.no_grad()
    def measure_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for losses, output, target, n_samples, counts in waiting:
            for name, loss in losses.items():
                self.add(name, loss, counts.get("loss", n_samples))
            self.surplus += n_samples - (counts.get("loss", n_samples) if losses else 0)
            if output is LOSSES_ONLY:
                continue
            for name, function in self.functions.items():
                try:
                    self.add(name, function(output, target), counts.get(name, n_samples))
                except Exception as error:
                    from base.loop.blame import blame_metric

                    blame_metric(error, name, output, target, self._keys[name])
            self._objects.update(output, target)

    def summary(self) -> str:
        """The loss and the first function so far, as text. torchmetrics objects are too slow."""
        self.measure_waiting()
        shown = [name for name, count in self._counts.items() if count][:2]
        return "  ".join(f"{name} {self.avg(name):.4f}" for name in shown)

    def means(self) -> dict[str, float]:
        self.measure_waiting()
        values = {name: self.avg(name) for name, count in self._counts.items() if count}
        values |= self._objects.compute_numbers(self.labels)
        losses = [name for name in values if name == "loss" or name.startswith("loss_")]
        order = [*losses, *map(name_of, self.metrics), *values]
        return {name: values[name] for name in order if name in values}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"objects": self._objects.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._waiting = []
        self._objects.load_state_dict(state["objects"])

    def clone(self) -> Self:
        twin = super().clone()
        twin._objects = self._objects.clone()
        return twin

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        objects = self._objects.merge_states([state["objects"] for state in states])
        return super().merge_states(states) | {"objects": objects}


def select(metrics: Iterable[Any], phase: str) -> list[Any]:
    """Leaves out the metrics that the config limits to another phase, their attribute ``phase``."""
    other = {"train": "valid", "valid": "train"}.get(phase)
    return [m for m in metrics if other is None or getattr(m, "phase", None) != other]


def name_of(metric: Any) -> str:
    """The name under which a metric is logged."""
    return getattr(metric, "__name__", None) or type(metric).__name__
