"""pytorch-template's helpers, with its names and their meaning (contract)."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from utils.distributed import all_gather, broadcast, local_rank, world_size
from utils.errors import UserError

if TYPE_CHECKING:
    import torch

    from utils.rounds import Round

__all__ = ["MetricTracker", "ensure_dir", "inf_loop", "prepare_device", "read_json", "write_json"]


def ensure_dir(dirname: str | Path) -> None:
    """Makes the folder ``dirname`` and its parents. An existing folder stays as it is."""
    Path(dirname).mkdir(parents=True, exist_ok=True)


def read_json(fname: str | Path) -> Any:
    """Reads a JSON file. Objects become dicts with the keys in the order of the file."""
    return json.loads(Path(fname).read_text(encoding="utf-8"))


def write_json(content: Any, fname: str | Path) -> None:
    """Writes ``content`` as indented JSON."""
    Path(fname).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


class inf_loop:  # noqa: N801  (pytorch-template's name)
    """Repeats the batches of a data loader without end.

    Args:
        data_loader: each pass over it gives the batches of one round.

    Attributes:
        loader: the data loader.
        round: its current pass, for checkpoints.

    Raises:
        UserError: a whole round has no batches.
    """

    def __init__(self, data_loader: Iterable[Any]) -> None:
        from utils.rounds import Round

        self.loader, self.round = data_loader, Round()
        self._batches = self._repeat(data_loader, self.round)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    @staticmethod  # with a reference to `self`, the loader's workers would outlive this object
    def _repeat(data_loader: Iterable[Any], current: Round) -> Iterator[Any]:
        empty_rounds = 0
        while empty_rounds < 2:  # a resumed round may have no batches left
            empty_rounds += 1
            for batch in current.begin(data_loader):
                empty_rounds = 0
                current.taken += 1
                yield batch
        raise UserError("the data loader has no batches to repeat")


@cache  # each message once
def _log_devices(wanted: int, available: int) -> None:
    logger = logging.getLogger("device")
    if wanted > max(available, 1):
        message = "n_gpu asks for %d accelerators, and this machine has %d."
        logger.warning(message, wanted, available)
    elif wanted and not available:
        logger.info("No accelerator here: running on the CPU.")


def prepare_device(n_gpu_use: int) -> tuple[torch.device, list[int]]:
    """Picks the device to train on. Processes that train together get different devices.

    Args:
        n_gpu_use: the most accelerators (CUDA, MPS, XPU, …) to use; 0 means the CPU.

    Returns:
        The main device, and the indices of all devices in use, which are none for the CPU.

    Raises:
        UserError: this machine has more processes than accelerators.
    """
    import torch

    available = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    _log_devices(n_gpu_use, available)
    num_used = min(n_gpu_use, available)
    accelerator = torch.accelerator.current_accelerator() if num_used else None
    if accelerator is None:
        return torch.device("cpu"), []
    index = local_rank()
    if index >= available:
        message = (
            f"{index + 1} processes want an accelerator each, and this machine has {available}"
        )
        raise UserError(message, key="n_gpu")
    indices = [index] if world_size() > 1 else list(range(num_used))
    return torch.device(accelerator.type, index), indices


MAX_UNFETCHED = 1000  # tensors that a mean keeps before it adds them up


def one_number(value: Any) -> Any:
    """Returns the value of a metric as a scalar.

    Args:
        value: a number of Python or NumPy, or an array or tensor with one element.

    Returns:
        A number, or a 0-d tensor that stays on its device, because fetching it would wait. None for
        any other value.
    """
    if isinstance(value, int | float):
        return value
    if hasattr(value, "detach") and value.numel() == 1:
        return value if value.ndim == 0 else value.reshape(())
    if getattr(value, "size", None) == 1:
        return value.item()
    return None


def to_plain_number(value: Any) -> Any:
    """Converts a number of an epoch to a float. Any other value of a project stays as it is."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return value


class MetricTracker:
    """Sample-weighted means of named numbers: sum, count, divide at the end.

    A value may be a tensor on any device. It is fetched when a mean is read, so an update costs no
    synchronisation.

    Args:
        keys: the names of the numbers; ``update`` may add others.
        writer: if given, ``update`` also sends each value to ``writer.add_scalar``.
    """

    labels: Sequence[str] = ()  # of classes, for metrics that give a number for each
    surplus: float = 0  # samples minus the count of the first name, which may count tokens

    def __init__(self, *keys: str, writer: Any = None) -> None:
        self.writer = writer
        self._totals: dict[str, float] = dict.fromkeys(keys, 0.0)
        self._counts: dict[str, float] = dict.fromkeys(keys, 0)
        self._unfetched: dict[str, list[tuple[Any, float]]] = {}  # tensors that are on their device

    def reset(self) -> None:
        """Forgets all values; the names stay."""
        self._totals = dict.fromkeys(self._totals, 0.0)
        self._counts = dict.fromkeys(self._counts, 0)
        self._unfetched.clear()
        self.surplus = 0

    def update(self, key: str, value: Any, n: float = 1) -> None:
        """Adds ``value``, a mean over ``n`` samples: a number of any kind, or several of them."""
        if self.writer is not None and one_number(value) is not None:
            self.writer.add_scalar(key, value)
        self.add(key, value, n)

    def add(self, key: str, value: Any, n: float = 1) -> None:
        """``update`` without the writer: what a loop calls at every step."""
        number = one_number(value)
        if number is None:
            self._add_several(key, value, n)
            return
        self._counts[key] = self._counts.get(key, 0) + n
        total = self._totals.setdefault(key, 0.0)
        if n == 0:  # the mean over no samples is NaN
            return
        if not hasattr(number, "detach"):
            self._totals[key] = total + number * n
        elif number.is_cpu:
            self._totals[key] = total + number.item() * n
        else:
            self._keep(key, number.detach(), n)

    def _add_several(self, key: str, value: Any, n: float) -> None:
        """Adds the numbers of a vector or a dict, each under a name of its own."""
        from utils.numbers import split_numbers

        numbers = split_numbers(key, value, self.labels)
        is_new = self._counts.keys().isdisjoint(numbers)
        are_of_samples = len(numbers) == n != len(self.labels) and not isinstance(value, Mapping)
        if is_new and are_of_samples:
            message = f"gave {n} numbers for {n} samples; take their mean(), or return a dict"
            raise UserError(f"the metric '{key}' {message}")
        self._totals.pop(key, None)  # else its mean would be a false zero
        self._counts.pop(key, None)
        for name, number in numbers.items():
            self.add(name, number, n)

    def _keep(self, key: str, value: Any, n: float) -> None:
        """Keeps a tensor on its device, because fetching it would wait."""
        unfetched = self._unfetched.setdefault(key, [])
        # A view would keep the memory of the tensor that it belongs to.
        unfetched.append((value if value._base is None else value.clone(), n))
        if len(unfetched) == MAX_UNFETCHED:
            self._fetch(key)

    def _fetch(self, key: str) -> None:
        """Adds the unfetched tensors to the sum, in double precision: half is too coarse for it.

        They are added one by one, so that reading a mean in between does not change the bits.
        """
        import torch

        unfetched = self._unfetched.pop(key, [])
        if unfetched:
            values = torch.stack([value for value, _ in unfetched]).cpu().double().tolist()
            for value, (_, n) in zip(values, unfetched, strict=True):
                self._totals[key] += value * n

    def measure_waiting(self) -> None:
        """Adds the values that a subclass has not computed yet. Called before every read."""

    def state_dict(self) -> dict[str, Any]:
        """The sums and counts so far, for a checkpoint in the middle of an epoch."""
        self.measure_waiting()
        for key in list(self._unfetched):
            self._fetch(key)
        state = {"totals": dict(self._totals), "counts": dict(self._counts)}
        return state | ({"surplus": self.surplus} if self.surplus else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what ``state_dict`` gave."""
        self._totals, self._counts = dict(state["totals"]), dict(state["counts"])
        self.surplus = state.get("surplus", 0)
        self._unfetched.clear()

    @property
    def n_samples(self) -> int:
        """The number of samples that the first name has seen."""
        self.measure_waiting()
        return round(next(iter(self._counts.values()), 0) + self.surplus)

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

    def clone(self) -> Self:
        """A tracker of the same names, for another state."""
        twin = copy.copy(self)
        twin._unfetched = {}
        return twin

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """The ``state_dict`` of a tracker that has seen the samples of all these."""
        merged: dict[str, Any] = {"totals": {}, "counts": {}}
        surplus = sum(state.get("surplus", 0) for state in states)
        for state in states:
            for kind, sums in merged.items():
                for key, value in state[kind].items():
                    sums[key] = sums.get(key, 0) + value
        return merged | ({"surplus": surplus} if surplus else {})
