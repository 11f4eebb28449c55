"""The batches of a validation; protects the training from one inside an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

from base.loop.evaluate import iterate_in_lockstep
from base.loop.watcher import Watcher
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
        watchers: are told.
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
