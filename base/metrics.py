"""The means and metrics of one pass over a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from utils.util import MetricTracker, one_number


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
    """

    def __init__(self, metrics: Iterable[Any], writer: Any = None, device: torch.device | None = None) -> None:
        metrics = list(metrics)
        self._functions = {name_of(metric): metric for metric in metrics if not is_stateful(metric)}
        self._objects = {name_of(metric): metric.clone().to(device) for metric in metrics if is_stateful(metric)}
        self._order = ["loss", *(name_of(metric) for metric in metrics)]
        super().__init__("loss", *self._functions, writer=writer)

    def reset(self) -> None:
        super().reset()
        for metric in self._objects.values():
            metric.reset()

    @torch.no_grad()
    def measure(self, loss: torch.Tensor, output: Any, target: Any, n: int) -> None:
        """Adds one batch of ``n`` samples. Nothing is fetched from the device.

        Raises:
            UserError: a metric gives more than one number.
        """
        self.add("loss", loss, n)
        if isinstance(output, torch.Tensor):
            output = output.detach()
        for name, function in self._functions.items():
            self.add(name, function(output, target), n)
        for metric in self._objects.values():
            metric.update(output, target)

    def brief(self) -> str:
        """The loss so far and the first metric's mean, for a bar; torchmetrics objects may take long to tell."""
        return "  ".join(f"{name} {self.avg(name):.4f}" for name in ["loss", *self._functions][:2])

    def state_dict(self) -> dict[str, Any]:
        objects = {}
        for name, metric in self._objects.items():
            metric.persistent(True)
            updates = {
                key: part._update_count for key, part in metric.named_modules() if hasattr(part, "_update_count")
            }
            objects[name] = {"state": metric.state_dict(), "updates": updates}
        return super().state_dict() | {"objects": objects}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name, metric in self._objects.items():
            metric.persistent(True)
            metric.load_state_dict(state["objects"][name]["state"])
            for key, count in state["objects"][name]["updates"].items():
                metric.get_submodule(key)._update_count = count

    def result(self) -> dict[str, float]:
        values = super().result()
        for name, metric in self._objects.items():
            values[name] = float(one_number(name, metric.compute())) if metric.update_called else float("nan")
        return {name: values[name] for name in [*self._order, *values] if name in values}
