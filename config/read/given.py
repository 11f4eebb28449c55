"""Names of classes and functions that a program gives as objects, such as those of a notebook."""

from __future__ import annotations

from typing import Any

MARKER = "__main__."  # no module of a project or a library has this name


class GivenName(str):
    """The name of a class or function in a config that was not read from a file.

    It carries the object. In ``config.json``, only the text is left: ``__main__.NAME``.

    Attributes:
        found: the class or function.
    """

    found: Any

    def __new__(cls, text: str, found: Any = None) -> GivenName:
        """Makes the name. ``copy.deepcopy`` passes the text only, and copies ``found`` later."""
        name = super().__new__(cls, text)
        name.found = found
        return name


def is_given_name(name: str) -> bool:
    """Whether a name is that of an object that an earlier program has given."""
    return name.startswith(MARKER)
