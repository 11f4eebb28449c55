"""The random generators that a model, a loss or a trainer keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from base.data.generators import GENERATORS, get_state, set_state
from base.data.kept_state import decode, encode
from utils.distributed import all_gather, rank

NAME = "generators"  # in a checkpoint
MAX_ITEMS = 1000  # a longer list holds numbers
OF_TORCH = frozenset(vars(nn.Module()))  # attributes of every module


class KeptGenerators:
    """The states of random generators, of each rank.

    Args:
        generators: by name.
    """

    def __init__(self, generators: dict[str, Any]) -> None:
        self.generators = generators

    def state_dict(self) -> dict[str, Any]:
        state = {name: encode(get_state(item)) for name, item in self.generators.items()}
        return {"ranks": all_gather(state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        states = state["ranks"]
        for name, value in states[min(rank(), len(states) - 1)].items():
            if name in self.generators:
                set_state(self.generators[name], decode(value))


def find_kept_generators(objects: Mapping[str, Any]) -> dict[str, KeptGenerators]:
    """Finds generators in the attributes of a trainer, and of its modules.

    Args:
        objects: the attributes of the trainer.

    Returns:
        The generators as one object by its name in a checkpoint; empty if there are none.
    """
    found: dict[str, Any] = {}
    known: set[int] = set()
    for name, item in _list_candidates(objects):
        is_readable = isinstance(item, GENERATORS) and _has_state(item)
        if is_readable and id(item) not in known:
            known.add(id(item))
            found[name] = item
    return {NAME: KeptGenerators(found)} if found else {}


def _list_candidates(objects: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in objects.items():
        yield from _list_items(name, item)
        if isinstance(item, nn.Module):
            for path, module in item.named_modules(prefix=name):
                path = path.replace("model.module", "model", 1)  # of DDP
                for key, value in vars(module).items():
                    if key not in OF_TORCH:
                        yield from _list_items(f"{path}.{key}", value)


def _list_items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value, and what a list or dict of the user holds."""
    yield name, value
    if isinstance(value, dict) and len(value) <= MAX_ITEMS:
        yield from ((f"{name}.{key}", item) for key, item in value.items())
    elif isinstance(value, list | tuple) and len(value) <= MAX_ITEMS:
        yield from ((f"{name}.{index}", item) for index, item in enumerate(value))


def _has_state(generator: Any) -> bool:
    try:
        get_state(generator)
    except NotImplementedError:  # as of random.SystemRandom
        return False
    return True
