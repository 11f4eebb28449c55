"""Saves the state of a stream after a batch, so that a resumed run need not read it again."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from base.data.generators import get_state, set_state
from base.data.kept_state import decode, encode
from base.data.walk import find_generators
from utils.seed import get_cpu_state, set_cpu_state

MIN_INTERVAL_BATCHES = 16  # between two snapshots; a resumed run reads as many batches again
BYTES_PER_BATCH = 65536  # that snapshots may take on average


def is_resumable(dataset: Any) -> bool:
    """Whether a stream has ``state_dict`` and ``load_state_dict``."""
    return all(callable(getattr(dataset, name, None)) for name in ("state_dict", "load_state_dict"))


def takes_counts(dataset: Any) -> bool:
    """Whether the state of a stream is made from the number of samples, as in litdata."""
    if not is_resumable(dataset):
        return False
    names = ("num_samples_yielded", "num_workers", "batch_size")
    return set(names) <= inspect.signature(dataset.state_dict).parameters.keys()


def find_inexact_state(dataset: Any) -> str | None:
    """Why a stream continues with other samples from its own state; None if no reason is known."""
    inner = getattr(dataset, "_ex_iterable", None)  # of HF datasets
    while inner is not None:
        if "BufferShuffled" in type(inner).__name__:
            return "it does not hold the shuffle buffer"
        inner = getattr(inner, "ex_iterable", None)
    return None


def tell_batching(dataset: Any, batch_size: int | None, num_workers: int) -> None:
    """Tells a stream that ``takes_counts`` how it is read, if it asks for it, as litdata does.

    Otherwise its length would be wrong, and litdata would read a state of batches of this size as
    one of another run, and divide the rest of the samples anew.
    """
    values = {"set_batch_size": batch_size, "set_num_workers": num_workers}
    for name, value in values.items():
        tell = getattr(dataset, name, None)
        if value is not None and callable(tell):
            tell(value)


@contextlib.contextmanager
def continuing(dataset: Any, samples: int, num_workers: int, batch_size: int) -> Iterator[None]:
    """Lets one pass of a stream that ``takes_counts`` begin after ``samples`` samples."""
    state = dataset.state_dict(samples, max(1, num_workers), batch_size)
    dataset.load_state_dict(state)
    try:
        yield
    finally:
        reset = getattr(dataset, "reset_state_dict", None)  # else later passes would begin there
        if reset is not None:
            reset()


def count_interval(packed: bytes) -> int:
    """The number of batches after a snapshot until the next one is due."""
    return max(MIN_INTERVAL_BATCHES, len(packed) // BYTES_PER_BATCH)


def unpack(packed: bytes, batches: int, samples: int) -> dict[str, Any]:
    """A snapshot as plain values, and the numbers of batches and samples that it comes after."""
    snapshot = torch.load(io.BytesIO(packed), weights_only=True)
    numbers = {"batches": batches, "samples": samples, "interval": count_interval(packed)}
    return dict(snapshot | numbers)


class Snapshots:
    """Takes snapshots of a stream now and then, in the process that reads it.

    A snapshot holds the stream's own state, and the states of the random generators. It is taken
    after the first batch, and then after every ``MIN_INTERVAL_BATCHES`` batches, or less often if
    it is large. The moments depend on the number of the batch only, also after a resume.

    Args:
        dataset: the stream.
        collate_fn: may have random generators.
        last: the snapshot from which the pass continues, or None.
    """

    def __init__(self, dataset: Any, collate_fn: Any, last: dict[str, Any] | None) -> None:
        self.dataset, self.collate_fn = dataset, collate_fn
        self._next: float = 1 if last is None else last["batches"] + last["interval"]
        self._generators: dict[str, Any] | None = None

    def take(self, batches: int) -> bytes | str | None:
        """Takes a snapshot if it is due.

        Args:
            batches: the number of those that were read in this pass.

        Returns:
            The snapshot, for ``unpack``, or the reason why there is none; None if none is due.
        """
        if batches < self._next:
            return None
        if self._generators is None:
            self._generators = self._find_generators()
        generators = {}
        for path, generator in self._generators.items():
            with contextlib.suppress(NotImplementedError):
                generators[path] = encode(get_state(generator))
        try:
            state = encode(self.dataset.state_dict())
        except (TypeError, NotImplementedError) as error:
            self._next = math.inf
            return str(error)
        random = encode(get_cpu_state())
        file = io.BytesIO()
        torch.save({"state": state, "random": random, "generators": generators}, file)
        packed = file.getvalue()
        self._next = batches + count_interval(packed)
        return packed

    def begin(self, snapshot: dict[str, Any]) -> Iterator[Any]:
        """Iterates over the stream from a snapshot on."""
        self.dataset.load_state_dict(decode(snapshot["state"]))
        # The iterator may draw the numbers that it drew at the start of the pass.
        samples: Iterator[Any] = iter(self.dataset)
        for path, generator in self._find_generators().items():
            if path in snapshot["generators"]:
                set_state(generator, decode(snapshot["generators"][path]))
        set_cpu_state(decode(snapshot["random"]))
        return samples

    def _find_generators(self) -> dict[str, Any]:
        return find_generators({"dataset": self.dataset, "collate": self.collate_fn})


def restoring_generators(dataset: Any) -> Callable[[], None]:
    """Returns a function that restores the present states of a stream's random generators."""
    before = {}
    for generator in find_generators({"dataset": dataset}).values():
        with contextlib.suppress(NotImplementedError):
            before[id(generator)] = generator, get_state(generator)

    def restore() -> None:
        for generator, state in before.values():
            set_state(generator, state)

    return restore
