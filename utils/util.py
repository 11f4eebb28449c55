"""pytorch-template's helpers, under its names and with its meaning."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.distributed import all_gather, broadcast, local_rank, world_size
from utils.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["MetricTracker", "ensure_dir", "inf_loop", "prepare_device", "read_json", "write_json"]


def ensure_dir(dirname: str | Path) -> None:
    """Makes the folder ``dirname`` and its parents; one that is there stays as it is."""
    Path(dirname).mkdir(parents=True, exist_ok=True)


def read_json(fname: str | Path) -> Any:
    """Reads a JSON file; objects become dicts in the file's order."""
    return json.loads(Path(fname).read_text(encoding="utf-8"))


def write_json(content: Any, fname: str | Path) -> None:
    """Writes ``content`` as indented JSON."""
    Path(fname).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


class inf_loop:  # noqa: N801  (pytorch-template's name)
    """Goes round ``data_loader`` for ever; ``.loader`` is what it goes round."""

    def __init__(self, data_loader: Iterable[Any]) -> None:
        self.loader = data_loader
        self._batches = self._rounds()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def _rounds(self) -> Iterator[Any]:
        empty_rounds = 0
        while empty_rounds < 2:  # one can be the end of a resumed round
            empty_rounds += 1
            for batch in self.loader:
                empty_rounds = 0
                yield batch
        raise UserError("the data loader gives no batches to go round")


@cache  # once
def _tell_devices(wanted: int, available: int) -> None:
    logger = logging.getLogger("device")
    if wanted > max(available, 1):
        logger.warning("%d accelerators are asked for, and this machine has %d.", wanted, available)
    elif wanted and not available:
        logger.info("No accelerator here: running on the CPU.")


def prepare_device(n_gpu_use: int) -> tuple[torch.device, list[int]]:
    """Picks the device to train on.

    Args:
        n_gpu_use: how many accelerators (CUDA, MPS, XPU, …) at most; 0 means the CPU.

    Returns:
        The main device, and the indices of all that are used (empty on the CPU). Each of the processes that train
        together has one of its own.

    Raises:
        UserError: this machine has fewer than there are processes on it.
    """
    import torch

    available = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    _tell_devices(n_gpu_use, available)
    used = min(n_gpu_use, available)
    accelerator = torch.accelerator.current_accelerator() if used else None
    if accelerator is None:
        return torch.device("cpu"), []
    index = local_rank()
    if index >= available:
        raise UserError(
            f"n_gpu: {index + 1} processes want an accelerator each, and this machine has {available}"
        )
    return torch.device(accelerator.type, index), [index] if world_size() > 1 else list(range(used))


MAX_UNFETCHED = 1000  # tensors that a mean keeps before it adds them up


def one_number(name: str, value: Any) -> Any:
    """``value`` if it is one number: a Python or NumPy one, or a tensor of one element, which stays on its device.

    Raises:
        UserError: it is anything else.
    """
    if isinstance(value, int | float):
        return value
    if hasattr(value, "detach") and value.numel() == 1:
        return value if value.ndim == 0 else value.reshape(())
    if getattr(value, "size", None) == 1:
        return value.item()
    shape = getattr(value, "shape", None)
    got = (
        type(value).__name__
        if shape is None
        else f"{type(value).__name__.lower()} of shape {tuple(shape)}"
    )
    hint = "if it averages classes, try average: macro"
    raise UserError(f"the metric '{name}' must give one number, not a {got} ({hint})")


def to_plain_number(value: Any) -> Any:
    """An epoch's value as a plain float; what a project returns beside its numbers stays as it is."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return value


class MetricTracker:
    """Sample-weighted means of named numbers: sum, count, divide at the end.

    A value may be a tensor on any device. It is fetched when a mean is asked for, so that following
    a number costs no synchronisation.

    Args:
        keys: the names that will be followed; ``update`` may add others.
        writer: if given, ``update`` also sends each value to ``writer.add_scalar``.
    """

    def __init__(self, *keys: str, writer: Any = None) -> None:
        self.writer = writer
        self._totals: dict[str, float] = dict.fromkeys(keys, 0.0)
        self._counts: dict[str, int] = dict.fromkeys(keys, 0)
        self._unfetched: dict[str, list[tuple[Any, int]]] = {}  # tensors that are on their device

    def reset(self) -> None:
        """Forgets all values; the names stay."""
        self._totals = dict.fromkeys(self._totals, 0.0)
        self._counts = dict.fromkeys(self._counts, 0)
        self._unfetched.clear()

    def update(self, key: str, value: Any, n: int = 1) -> None:
        """Adds ``value``, a mean over ``n`` samples (a float, int, NumPy number or 0-d tensor)."""
        if self.writer is not None:
            self.writer.add_scalar(key, value)
        self.add(key, value, n)

    def add(self, key: str, value: Any, n: int = 1) -> None:
        """``update`` without the writer: what a loop calls at every step."""
        value = one_number(key, value)
        self._counts[key] = self._counts.get(key, 0) + n
        total = self._totals.setdefault(key, 0.0)
        if not hasattr(value, "detach"):
            self._totals[key] = total + value * n
            return
        unfetched = self._unfetched.setdefault(key, [])
        value = value.detach()
        # A view would keep the memory of the tensor that it belongs to.
        unfetched.append((value if value._base is None else value.clone(), n))
        if len(unfetched) == MAX_UNFETCHED:
            self._fetch(key)

    def _fetch(self, key: str) -> None:
        """Adds up the tensors that wait, in double precision: half would lose them in a long sum.

        One after the other, so that the sum has the same bits whenever somebody asks in between.
        """
        import torch

        unfetched = self._unfetched.pop(key, [])
        if unfetched:
            values = torch.stack([value for value, _ in unfetched]).cpu().double().tolist()
            for value, (_, n) in zip(values, unfetched, strict=True):
                self._totals[key] += value * n

    def measure_waiting(self) -> None:
        """Adds what a subclass has put off; called before anybody looks."""

    def state_dict(self) -> dict[str, Any]:
        """The sums and counts so far, for a checkpoint in the middle of an epoch."""
        self.measure_waiting()
        for key in list(self._unfetched):
            self._fetch(key)
        return {"totals": dict(self._totals), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what ``state_dict`` gave."""
        self._totals, self._counts = dict(state["totals"]), dict(state["counts"])
        self._unfetched.clear()

    @property
    def n_samples(self) -> int:
        """How many samples the first name was followed over."""
        self.measure_waiting()
        return next(iter(self._counts.values()), 0)

    def avg(self, key: str) -> float:
        """The mean of ``key`` so far; 0.0 if nothing was added."""
        self.measure_waiting()
        self._fetch(key)
        count = self._counts[key]
        return float(self._totals[key]) / count if count else 0.0

    def result(self) -> dict[str, float]:
        """The means of all names over the samples of all ranks, which must all call this."""
        if world_size() == 1:
            return dict(self.means())
        merged = self.clone()
        merged.load_state_dict(self.merge_states(all_gather(self.state_dict())))
        return dict(broadcast(merged.means()))

    def means(self) -> dict[str, float]:
        """The means over this rank's samples."""
        return {key: self.avg(key) for key in self._totals}

    def clone(self) -> Any:
        """A tracker of the same names, for another state."""
        twin = copy.copy(self)
        twin._unfetched = {}
        return twin

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """The ``state_dict`` of a tracker that has seen the samples of all these."""
        merged: dict[str, Any] = {"totals": {}, "counts": {}}
        for state in states:
            for kind, sums in merged.items():
                for key, value in state[kind].items():
                    sums[key] = sums.get(key, 0) + value
        return merged
