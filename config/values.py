"""ConfigValues: the values of a config, read like a dict, by attribute, or as options."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from config.call import get_component_args
from config.check.schema import Schema
from config.check.signature import Signature
from config.check.slots import resolve
from config.culprit import add_culprit
from config.read.merge import get_value, set_value
from config.read.references import escape_references, interpolate
from config.read.section import Section, copy_values, to_plain
from config.read.tree import Keys, Mark, Tree, join_keys
from utils.errors import UserError
from utils.options import make_options

DEFAULT_SEED = 123  # pytorch-template's


class ConfigValues:
    """The values of a config, and where each was written.

    Args:
        config: the values; ``ConfigParser.from_args`` reads them from files.
        modification: values to set, by targets such as ``optimizer;args;lr``; None sets nothing.

    Attributes:
        tree: the values, and where each was written.
        unresolved: the values as they were written, with references such as ``${name}``.
        referenced: the top-level keys that a ``${…}`` refers to.
        schema: what the names in the config mean; None until ``ConfigParser.check``.
        resolved: the class or function of each component; empty until ``ConfigParser.check``.
    """

    def __init__(
        self, config: Mapping[str, Any] | Tree, modification: Mapping[str, Any] | None = None
    ) -> None:
        self.tree = config if isinstance(config, Tree) else Tree(deepcopy(dict(config)))
        for target, value in (modification or {}).items():
            if value is not None:
                set_value(self.tree, tuple(target.split(";")), value, Mark(f"{target}={value}"))
        self.unresolved: dict[str, Any] = deepcopy(self.tree.data)
        self.referenced = interpolate(self.tree)
        self.tree.data = Section(self.tree.data)
        self.schema: Schema | None = None
        self.resolved: Mapping[Keys, Any] = {}

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
        values = {key: to_plain(value) for key, value in dict.items(self.config)}
        return {key: escape_references(value) for key, value in values.items()}

    def changes(self) -> dict[str, Any]:
        """Returns, by key, the values that replaced others or came from the command line."""
        found = {}
        values = self.plain()  # reading a Section would mark its keys as used
        for keys in (*self.tree.replaced, *self.tree.raw):
            with contextlib.suppress(KeyError):  # the section around it was replaced later
                found[join_keys(keys)] = get_value(values, keys)
        return found

    @contextlib.contextmanager
    def locating_errors(self) -> Iterator[None]:
        """Adds file, line and column to a UserError that is raised inside.

        Any other error gets a note with the component of the config in whose code it was raised.
        """
        try:
            yield
        except UserError as error:
            located = self.tree.locate(error)
            if located is error:
                raise
            raise located from error
        except Exception as error:
            add_culprit(error, self.tree, self.resolved)
            raise

    # -- with the schema ---------------------------------------------------------------------------

    def get_schema(self) -> Schema:
        if self.schema is None:
            raise RuntimeError("call check(schema) first: it says what the names in a config mean")
        return self.schema

    def options(self, name: str) -> Any:
        """Returns the options of a flat section such as ``transfer``; the defaults if it is absent.

        Raises:
            UserError: the options do not fit each other.
        """
        section = self.get(name)
        kind = self.get_schema().sections[name]
        try:
            return make_options(kind, {} if section is None else copy_values(section))
        except UserError as error:
            raise self.tree.locate(error.under(name)) from None

    def takes(self, name: str, argument: str, index: int = 0) -> bool:
        """Whether the class or function that the section ``name`` names has such a parameter.

        ``index`` is that of the component, if the section is a list.
        """
        return argument in self._get_parameters(name, index)

    def get_argument(self, name: str, argument: str, index: int = 0) -> Any:
        """Returns an argument of the section ``name``, else its default, else None."""
        args = get_component_args(self._get_component(name, index))
        parameter = self._get_parameters(name, index).get(argument)
        if argument in args or parameter is None or parameter.default is parameter.empty:
            return args.get(argument)
        return parameter.default

    def _get_component(self, name: str, index: int) -> Any:
        return self[name][index] if isinstance(self[name], list) else self[name]

    def _get_parameters(self, name: str, index: int) -> dict[str, inspect.Parameter]:
        found = resolve(self._get_component(name, index)["type"], self.get_schema().slots[name])
        return Signature.from_callable(found).parameters
