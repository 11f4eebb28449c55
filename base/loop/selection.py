"""Selects parameters by patterns over their names."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from utils.errors import UserError, abbreviate, did_you_mean


def select_parameters(model: nn.Module, patterns: list[str] | str, key: str) -> set[str]:
    """Returns the names of the parameters that match ``patterns``.

    A tied parameter matches by any of its names, and is returned under its first one.

    Args:
        model: its parameters' names are matched.
        patterns: globs over parameter names (``features.*``), or the name of a module for all
            parameters inside it. A leading ``!`` excludes. A later pattern overrides earlier ones.
        key: of the config, for the error.

    Raises:
        UserError: a pattern matches nothing.
    """
    first_names = get_first_names(model)
    names = list(first_names)
    selected: set[str] = set()
    for index, pattern in enumerate([patterns] if isinstance(patterns, str) else patterns):
        glob = pattern.removeprefix("!")
        matches = {
            first
            for name, first in first_names.items()
            if fnmatchcase(name, glob) or name.startswith(f"{glob}.")
        }
        if not matches:
            modules = [
                name
                for name, module in model.named_modules()
                if name and next(module.parameters(), None) is not None
            ]
            hint = did_you_mean(glob, [*modules, *names]) or f"; there are {abbreviate(names, 4)}"
            raise UserError(
                f"'{pattern}' matches no parameter{hint}",
                key=key if isinstance(patterns, str) else f"{key}.{index}",
            )
        if pattern.startswith("!"):
            selected -= matches
        else:
            selected |= matches
    return selected


def get_first_names(model: nn.Module) -> dict[str, str]:
    """Returns every name of every parameter, each with the first name of the same parameter.

    A tied parameter has several names, such as an embedding that is the output layer too.
    """
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(parameter), name)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }
