"""The optional features: one import line each.

The core finds a feature here by the class that it extends, and names it nowhere else. To remove a
feature, delete its folder and its line.
"""

from __future__ import annotations

from typing import TypeVar

from base.transfer.transfer import Transfer  # noqa: F401

Base = TypeVar("Base")


def of_kind(base_class: type[Base]) -> list[type[Base]]:
    """Returns the registered subclasses of ``base_class``, in the order of their lines."""
    return [
        value
        for value in globals().values()
        if isinstance(value, type) and issubclass(value, base_class) and value is not base_class
    ]
