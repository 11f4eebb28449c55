"""The loaders that a trainer holds beside its ``data_loader``: their positions in checkpoints."""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from base.checkpoint.attributes import MAX_DEPTH, SAVED_ELSEWHERE, list_items
from base.data.kept_state import decode, encode
from base.data.loader import (
    DividedLoader,
    PositionedLoader,
    find_saveable_loader,
    list_sets,
    unwrap_loader,
)
from utils.distributed import all_gather, rank
from utils.rounds import get_generator_states, set_generator_states
from utils.util import inf_loop

HELD = "held loaders"  # in a checkpoint
RUNNING = (
    _BaseDataLoaderIter,
    types.GeneratorType,
    itertools.chain,
    itertools.cycle,
    itertools.islice,
    enumerate,
    filter,
    map,
    zip,
)
ADVICE = "hold `inf_loop(loader)` and call next() on it"
OTHER_LOADER = "a loader has one position, so make one for each pass"
_LOGGED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()  # names, by the optimizer of a run


class HeldLoaders:
    """The positions of loaders. All ranks must call its methods.

    Args:
        loaders: by name; of torch, of this framework, or with a ``state_dict``; or an ``inf_loop``.
        iterators: by name; they run over one of the loaders, and continue with its position.
        running: other iterators by name, whose position cannot be saved.
        shared: for passes over a loader with another pass, the name of that one.
        owner: of the run, so that a warning comes once.
    """

    def __init__(
        self,
        loaders: dict[str, Any],
        iterators: dict[str, Any],
        running: dict[str, Any],
        shared: dict[str, str],
        owner: Any,
    ) -> None:
        self.loaders, self.iterators, self.running = loaders, iterators, running
        self.shared, self.owner = shared, owner

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to save or to warn of."""
        return bool(self.loaders or self.running or self.shared)

    def state_dict(self) -> dict[str, Any]:
        """The positions by name, and the reasons why others are missing. Those are logged once."""
        positions, unsaved = {}, {}
        for name, iterator in self.running.items():
            kind = type(iterator).__name__
            unsaved[name] = f"`{name}` is a running iterator ({kind}), which cannot be saved"
        for name, loader in self.loaders.items():
            try:
                positions[name] = self._get_position(loader)
            except (TypeError, NotImplementedError) as error:
                unsaved[name] = f"the state of `{name}` is not plain: {error}"
            if positions.get(name, ...) is None:
                kind = type(unwrap_loader(loader)).__name__
                unsaved[name] = f"`{name}` is a {kind} inside a pass, whose position is unknown"
        for name, other in self.shared.items():
            unsaved[name] = f"`{name}` is a second pass over the loader of `{other}`"
        logged = _LOGGED.setdefault(self.owner, set())
        for name, reason in unsaved.items():
            if name in logged:
                continue
            logged.add(name)
            advice = OTHER_LOADER if name in self.shared else ADVICE
            logging.getLogger("trainer").warning(
                "A resumed run will not have the same bits: %s; %s.", reason, advice
            )
        return {"positions": positions, "unsaved": unsaved}

    def _get_position(self, loader: Any) -> dict[str, Any] | None:
        """The position of a loader; None if it is unknown."""
        found = find_saveable_loader(loader)
        if isinstance(found, DividedLoader):
            state = found.state_dict()
            return {"state": state, "is_open": found.is_in_pass and state.get("left") != 0}
        if found is not None:
            return {"ranks": all_gather(encode(found.state_dict()))}
        if isinstance(loader, inf_loop):
            return {"rounds": all_gather(loader.round.state_dict())}
        if isinstance(loader, DataLoader) and _has_open_pass(loader):
            return None
        return {"generators": all_gather(get_generator_states(loader))}

    def restore(
        self, state: Any, has_same_seed: bool, is_inside: bool, is_epoch_over: bool
    ) -> list[str]:
        """Restores the positions.

        Args:
            state: of the checkpoint; None if an older version has written it.
            has_same_seed: otherwise the samples get a new order.
            is_inside: whether the checkpoint was written inside an epoch.
            is_epoch_over: whether no batch of this epoch is left: then the loop has no more use for
                an iterator that only its own variables hold.

        Returns:
            The reasons why this run does not continue exactly.
        """
        saved = state if isinstance(state, dict) else {"positions": {}, "unsaved": {}}
        positions = {n: item for n, item in saved["positions"].items() if item is not None}
        reasons = list(saved["unsaved"].values())
        for name, loader in self.loaders.items():
            if name in positions:
                is_local = not self._is_held_open(loader)
                is_open = positions[name].get("is_open") and not (is_local and is_epoch_over)
                self._restore_position(loader, positions[name], is_open, has_same_seed)
                if is_open and is_local and not is_inside:
                    reasons.append(
                        f"`{name}` has an iterator that the constructor does not make, so it is "
                        "unknown whether the next epoch continues it"
                    )
            elif name not in saved["unsaved"]:
                reasons.append(f"the checkpoint has no position of `{name}`")
        gone = positions.keys() - self.loaders.keys()
        return reasons + [f"the trainer holds no `{name}` when it starts" for name in sorted(gone)]

    def _is_held_open(self, loader: Any) -> bool:
        """Whether an attribute holds an iterator over a loader, which outlives the epochs."""
        found = unwrap_loader(loader)
        owners = map(_find_owner, self.iterators.values())
        return isinstance(loader, inf_loop) or any(owner is found for owner in owners)

    def _restore_position(
        self, loader: Any, saved: dict[str, Any], is_open: bool, has_same_seed: bool
    ) -> None:
        found = find_saveable_loader(loader)
        if isinstance(found, DividedLoader) and "state" in saved:
            seed = {} if has_same_seed else {"seed": found.seed}
            found.load_state_dict(saved["state"] | seed)
            if not is_open:
                found.set_epoch(saved["state"]["passes"])
        elif found is not None and "ranks" in saved:
            found.load_state_dict(decode(_of_this_rank(saved["ranks"])))
        elif isinstance(loader, inf_loop) and "rounds" in saved:
            loader.round.load_state_dict(_of_this_rank(saved["rounds"]))
        elif "generators" in saved:
            set_generator_states(loader, _of_this_rank(saved["generators"]))


def find_held_loaders(objects: Mapping[str, Any]) -> HeldLoaders:
    """Finds the loaders in the attributes of a trainer, also inside of containers and helpers.

    The loaders of the evaluation are left out: they begin anew.

    Args:
        objects: the attributes of a trainer, with ``optimizer``.
    """
    main = objects.get("data_loader")
    sets = [("valid_data_loader", item) for _, item in list_sets(objects.get("valid_data_loader"))]
    known: dict[int, str] = {}  # by id of a loader: the name of its pass; empty if it has none
    for name, loader in [*sets, ("data_loader", main)]:
        known[id(loader)] = known[id(unwrap_loader(loader))] = name
    found: dict[str, Any] = {}
    iterators: dict[str, Any] = {}
    running: dict[str, Any] = {}
    shared: dict[str, str] = {}
    if isinstance(main, inf_loop) and find_saveable_loader(main) is None:
        found["data_loader"] = main
    for name, item in _walk(objects):
        loader = _find_owner(item) if isinstance(item, RUNNING) else unwrap_loader(item)
        is_pass = isinstance(item, (inf_loop, *RUNNING))
        if loader is None:
            running[name] = item
            continue
        if isinstance(item, RUNNING):
            iterators[name] = item
        if id(loader) not in known:
            known[id(loader)] = name if is_pass else ""
            found[name] = loader if isinstance(item, RUNNING) else item
        elif is_pass and item is not main:
            if known[id(loader)]:
                shared[name] = known[id(loader)]
            else:
                known[id(loader)] = name
    owner = objects["model"] if objects["optimizer"] is None else objects["optimizer"]
    return HeldLoaders(found, iterators, running, shared, owner)


def _walk(objects: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields loaders and running iterators by name, ``inf_loop`` before what it may repeat."""
    level = [(name, item) for name, item in objects.items() if name not in SAVED_ELSEWHERE]
    seen: set[int] = set()
    others: list[tuple[str, Any]] = []
    for _ in range(MAX_DEPTH):
        inner: list[tuple[str, Any]] = []
        for name, item in level:
            if id(item) in seen or getattr(item, "__dict__", None) is objects:
                continue
            seen.add(id(item))
            if isinstance(item, inf_loop):
                yield name, item
            elif isinstance(item, RUNNING):
                if not _is_exhausted(item):
                    others.append((name, item))
            elif isinstance(item, DataLoader | PositionedLoader):
                others.append((name, item))
            else:
                inner += list_items(name, item)
        level = inner
    yield from others


def _find_owner(iterator: Any) -> Any:
    """The loader of this framework over which an iterator runs; None for any other iterator."""
    frame = getattr(iterator, "gi_frame", None)
    owner = None if frame is None else frame.f_locals.get("self")
    return owner if isinstance(owner, DividedLoader) else None


def _is_exhausted(iterator: Any) -> bool:
    return isinstance(iterator, types.GeneratorType) and iterator.gi_frame is None


def _has_open_pass(loader: DataLoader[Any]) -> bool:
    """Whether an iterator over a loader of torch is alive. Nothing but the iterator knows it."""
    unused = DataLoader(loader.dataset)
    if sys.getrefcount(loader._index_sampler) == sys.getrefcount(unused._index_sampler):
        return False  # nothing but the loader refers to it; an iterator would
    # Only for an open pass, which is not exact anyway, or a sampler that something else holds too:
    # the walk takes up to 0.27 s in a process that has imported transformers.
    return any(
        issubclass(type(item), _BaseDataLoaderIter)
        and getattr(item, "_index_sampler", None) is loader._index_sampler
        for item in gc.get_objects()
    )


def _of_this_rank(states: list[Any]) -> Any:
    return states[min(rank(), len(states) - 1)]
