"""Protects the training from a validation inside an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

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
