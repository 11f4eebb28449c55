"""The rounds of ``inf_loop`` over a loader that cannot save its position itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from utils.seed import get_random_state, set_random_state


class Round:
    """One pass over a loader, which can be repeated up to the same batch.

    A resumed run begins the round with the random numbers that it began with, and reads the batches
    before its position again.

    Attributes:
        taken: the number of batches that the round has given.
        start: the random state when it began; None before the first round, and for a loader with a
            ``state_dict`` of its own.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.start: dict[str, Any] | None = None
        self._is_resumed = False

    def begin(self, loader: Any) -> Iterator[Any]:
        """Begins the next round, or continues the one of ``load_state_dict``."""
        batches: Iterator[Any]
        if hasattr(loader, "load_state_dict"):
            batches = iter(loader)
            return batches
        if not self._is_resumed or self.start is None:
            generators = get_generator_states(loader)
            self.start, self.taken = {"random": get_random_state(), "generators": generators}, 0
            batches = iter(loader)
            return batches
        self._is_resumed = False
        present = get_random_state()
        set_random_state(self.start["random"])
        set_generator_states(loader, self.start["generators"])
        batches = iter(loader)
        for _ in range(self.taken):
            next(batches, None)
        set_random_state(present)
        return batches

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "start": self.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken, self.start = state["taken"], state["start"]
        self._is_resumed = True


def _list_generators(loader: Any) -> dict[str, Any]:
    """The generators of torch's DataLoader and of its sampler, which draw the order."""
    owners = {"loader": loader, "sampler": getattr(loader, "sampler", None)}
    found = {name: getattr(owner, "generator", None) for name, owner in owners.items()}
    return {name: item for name, item in found.items() if hasattr(item, "get_state")}


def get_generator_states(loader: Any) -> dict[str, Any]:
    """The states of the generators that a DataLoader of torch and its sampler were given."""
    return {name: item.get_state() for name, item in _list_generators(loader).items()}


def set_generator_states(loader: Any, states: dict[str, Any]) -> None:
    """Restores what ``get_generator_states`` gave."""
    for name, item in _list_generators(loader).items():
        if name in states:
            item.set_state(states[name])
