"""ConfigValues: the values of a config, read like a dict or by attribute."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from config.read.merge import get_value, set_value
from config.read.references import interpolate
from config.read.section import Section, to_plain
from config.read.tree import Mark, Tree, join_keys
from utils.errors import UserError

DEFAULT_SEED = 123  # pytorch-template's


class ConfigValues:
    """The values of a config, and where each was written.

    Args:
        config: the values; ``ConfigParser.from_args`` reads them from files.
        modification: values to set, by targets such as ``optimizer;args;lr``; None sets nothing.

    Attributes:
        tree: the values, and where each was written.
        referenced: the keys that a ``${…}`` somewhere refers to.
    """

    def __init__(
        self, config: Mapping[str, Any] | Tree, modification: Mapping[str, Any] | None = None
    ) -> None:
        self.tree = config if isinstance(config, Tree) else Tree(deepcopy(dict(config)))
        for target, value in (modification or {}).items():
            if value is not None:
                set_value(self.tree, tuple(target.split(";")), value, Mark(f"{target}={value}"))
        self.referenced = interpolate(self.tree)
        self.tree.data = Section(self.tree.data)

    @property
    def config(self) -> Section:
        """The values, as a dict."""
        data = self.tree.data
        assert isinstance(data, Section)
        return data

    def __getitem__(self, name: str) -> Any:
        return self.config[name]

    def __getattr__(self, name: str) -> Any:  # contract
        if name.startswith("_") or name == "tree" or name not in self.config:
            raise AttributeError(f"the config has no '{name}'")
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self.config

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the value of a top-level key, or ``default``."""
        return self[name] if name in self.config else default

    @property
    def seed(self) -> int:
        return int(self.get("seed", DEFAULT_SEED))

    def plain(self) -> dict[str, Any]:
        """Returns the resolved config in plain values, which ``-c`` takes again."""
        return {key: to_plain(value) for key, value in dict.items(self.config)}

    def changes(self) -> dict[str, Any]:
        """Returns, by key, the values that replaced others or came from the command line."""
        found = {}
        for keys in (*self.tree.replaced, *self.tree.raw):
            with contextlib.suppress(KeyError):  # replaced once more, with the section around it
                found[join_keys(keys)] = to_plain(get_value(self.tree.data, keys))
        return found

    @contextlib.contextmanager
    def locating_errors(self) -> Iterator[None]:
        """Adds file, line and column to a UserError that is raised inside."""
        try:
            yield
        except UserError as error:
            located = self.tree.locate(error)
            if located is error:
                raise
            raise located from error
