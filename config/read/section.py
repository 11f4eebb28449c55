"""Sections of a config: dicts whose keys are attributes too, and their plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


class Section(dict[str, Any]):
    """A dict whose keys are attributes too: ``section.epochs`` is ``section['epochs']``.

    It remembers which keys were read.
    """

    def __new__(cls, *_: Any) -> Section:  # and not __init__, which copy and pickle do not call
        section = super().__new__(cls)
        section.__dict__["_read"] = set()
        return section

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__({key: _to_sections(value) for key, value in (values or {}).items()})

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        self._read.update(self.keys())
        return super().__iter__()

    def items(self) -> Any:
        self._read.update(self.keys())
        return super().items()

    def values(self) -> Any:
        self._read.update(self.keys())
        return super().values()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            message = f"no '{name}' here; there are: {', '.join(self)}"
            raise AttributeError(message) from None

    # A program that sets a key knows it. dict's own methods do not call those above.

    def __setitem__(self, name: str, value: Any) -> None:
        self._read.add(name)
        super().__setitem__(name, value)

    def pop(self, name: str, *default: Any) -> Any:
        self._read.add(name)
        return super().pop(name, *default)

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return dict(self.items()) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self.items())

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def list_components(config: Any, name: str) -> list[tuple[str, Any]]:
    """Lists a section that is one component or a list of them, each with its key."""
    section = config[name]
    if isinstance(section, list):
        return [(f"{name}.{index}", component) for index, component in enumerate(section)]
    return [(name, section)]


def get_read_keys(section: Mapping[str, Any]) -> set[str]:
    """Returns the keys that were read; all keys of a plain dict, which a program may put here."""
    return set(section._read) if isinstance(section, Section) else set(section)


def forget_read_keys(section: Mapping[str, Any]) -> None:
    """Makes every key of a section, and of the sections in it, unread."""
    if isinstance(section, Section):
        section._read.clear()
        for value in dict.values(section):
            if isinstance(value, Section):
                forget_read_keys(value)


def _to_sections(value: Any) -> Any:
    if isinstance(value, dict):
        return Section(value)
    return [_to_sections(item) for item in value] if isinstance(value, list) else value


def copy_values(value: Any) -> Any:
    """Returns a copy in which every Section is a dict, for code that expects the plain types."""
    if isinstance(value, dict):
        # dict.items, because Section.items would mark every key as read.
        return {key: copy_values(item) for key, item in dict.items(value)}
    return [copy_values(item) for item in value] if isinstance(value, list) else value


def to_plain(value: Any) -> Any:
    """Returns a copy in dicts, lists, numbers and strings only, for JSON and for a checkpoint."""
    if isinstance(value, Mapping):
        # dict.items, because Section.items would mark every key as read.
        items = dict.items(value) if isinstance(value, dict) else value.items()
        return {str(key): to_plain(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return value if value is None or type(value) in (bool, int, float, str) else str(value)
