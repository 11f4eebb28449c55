"""The batches of a validation; protects the training from one inside an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

from base.data.loader import find_divided_loader
from base.loop.watcher import Watcher
from utils.batch import num_batches
from utils.seed import get_random_state, set_random_state


@contextlib.contextmanager
def restoring_state(model: nn.Module) -> Iterator[None]:
    """Restores the random state, and the train or eval mode of each module, at the end."""
    random_state = get_random_state()
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:  # a stopped validation is repeated
        for module, is_training in modes:
            module.training = is_training
        set_random_state(random_state)


def watch_batches(
    batches: Iterable[Any], name: str, watchers: Iterable[Watcher], poll: Callable[[], None]
) -> Iterator[Any]:
    """Yields the batches of a validation set, which the watchers see.

    Args:
        batches: of this rank.
        name: of the set; empty for the only one.
        watchers: see each batch.
        poll: is called before each batch, also before those that only other ranks have.
    """
    for watcher in watchers:
        watcher.begin_validation(name)
    for batch in iterate_in_lockstep(batches):
        poll()
        if batch is None:  # only other ranks have another batch
            continue
        for watcher in watchers:
            watcher.valid_batch(batch)
        yield batch


@contextlib.contextmanager
def in_eval_mode(criterion: Any) -> Iterator[None]:
    """Keeps a loss that is a module in eval mode, so that a validation changes nothing in it."""
    if not isinstance(criterion, nn.Module):
        yield
        return
    was_training = criterion.training
    criterion.eval()
    try:
        yield
    finally:
        criterion.train(was_training)


def iterate_in_lockstep(batches: Iterable[Any]) -> Iterator[Any]:
    """Yields ``batches``, and then None for each batch that only other ranks have."""
    given, loader = 0, find_divided_loader(batches)
    if loader is not None:
        loader.gives_fillers = True  # of a stream, which does not know when other ranks end
    try:
        for batch in batches:
            given += 1
            yield batch
    finally:
        if loader is not None:
            loader.gives_fillers = False
    total = num_batches(batches) or 0 if loader is None else loader.num_given
    for _ in range(given, total):
        yield None
