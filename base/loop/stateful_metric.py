"""torchmetrics objects: their state in checkpoints, and merged over ranks."""

from __future__ import annotations

from typing import Any

import torch

from utils.batch import to_device

CPU = torch.device("cpu")


class StatefulMetric:
    """A copy of a torchmetrics object, whose state can be saved and merged over ranks.

    torchmetrics' own methods for merging have faults. ``merge_state`` refuses metrics that set
    ``full_state_update``, and weights means by the wrong counts. ``sync`` hangs if ranks have lists
    of different lengths. Both fail if a rank has no samples.

    Args:
        metric: the object, which may also be a wrapper or a composition of others.
        device: the device of the model's outputs.
    """

    def __init__(self, metric: Any, device: torch.device | None = None) -> None:
        self.device = device
        self.metric = metric.clone().to(device)
        for part in self._modules().values():
            part.persistent(True)
            part.distributed_available_fn = lambda: False  # the ranks are merged here

    def clone(self) -> StatefulMetric:
        return StatefulMetric(self.metric, self.device)

    def update(self, output: Any, target: Any) -> None:
        count = self.metric._update_count
        self.metric.update(output, target)
        self.metric._update_count = count + 1  # torchmetrics' wrappers leave it at 0

    def reset(self) -> None:
        self.metric.reset()

    def compute(self) -> Any:
        """The metric's value; NaN if it has seen nothing."""
        return self.metric.compute() if self.metric.update_called else float("nan")

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
