"""The register of optional features: one import line each.

Deleting a feature's files together with its line leaves a framework that works without it.
"""

from __future__ import annotations

from typing import TypeVar

from logger.backends.wandb import WandbBackEnd as WandbBackEnd

Base = TypeVar("Base")


def of_kind(base: type[Base]) -> list[type[Base]]:
    """Returns the registered subclasses of ``base``, in the order of their lines."""
    classes = [value for value in globals().values() if isinstance(value, type)]
    return [kind for kind in classes if issubclass(kind, base)]
