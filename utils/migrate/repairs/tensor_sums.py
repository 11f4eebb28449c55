"""Adds up metrics that are tensors in the precision of the tensors, as pytorch-template did.

Plainloop adds them up in double precision, so the last digits of the means differ. Losses of
Plainloop's training loop stay in double precision, because the template's loop called ``item()``.
``test.py`` adds up all metrics in single precision, as before.

To remove it, delete this file and its line in utils/__init__.py. Means are then more exact.
"""

from typing import Any

from utils.util import MetricTracker, one_number, to_plain_number

add_as_double = MetricTracker.add
divide_as_double = MetricTracker.avg


def is_of_test(tracker: MetricTracker) -> bool:
    """Whether Plainloop's ``test.py`` fills it: it has no writer."""
    from base.loop.metrics import MetricSet

    return isinstance(tracker, MetricSet) and tracker.writer is None


def add(self: MetricTracker, key: str, value: Any, n: float = 1) -> None:
    """Replaces ``MetricTracker.add``. A sum of tensors is a tensor on their device."""
    import torch

    from base.loop.metrics import MetricSet

    number = one_number(value)
    is_tensor = isinstance(number, torch.Tensor)
    is_half = is_tensor and number.dtype in (torch.float16, torch.bfloat16)
    is_loss = isinstance(self, MetricSet) and (key == "loss" or key.startswith("loss_"))
    is_added_here = is_tensor or is_of_test(self)
    if number is None or n == 0 or is_half or is_loss or not is_added_here:
        add_as_double(self, key, value, n)
        return
    total: Any = self._totals.get(key, 0.0)
    term = number.detach() * n if is_tensor else number * n
    if is_of_test(self):
        device = number.device if is_tensor else None
        total = torch.as_tensor(total, dtype=torch.float32, device=device).clone()
        total += term
    else:
        total = total + term
    self._totals[key] = total
    self._counts[key] = self._counts.get(key, 0) + n


def avg(self: MetricTracker, key: str) -> float:
    """Replaces ``MetricTracker.avg``: divides a sum in its precision; in ``test.py``, in double."""
    self.measure_waiting()
    total, count = self._totals[key], self._counts[key]
    if not hasattr(total, "detach") or not count:
        return divide_as_double(self, key)
    return to_plain_number(total) / count if is_of_test(self) else float(total / count)


MetricTracker.add = add  # type: ignore[method-assign]
MetricTracker.avg = avg  # type: ignore[method-assign]
