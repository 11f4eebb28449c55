"""The optional rooms of the framework: one import line each, and the core names them nowhere else.

Deleting a line together with its room leaves a working framework. The core asks for the classes of
a kind (``of_kind(Watcher)``), and an option asks for the class that serves it.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from base.tools.report import Report  # the report of test.py
from logger.backends.wandb import WandbBackEnd  # trainer.wandb
from utils.errors import UserError

Kind = TypeVar("Kind")


def of_kind(kind: type[Kind]) -> list[type[Kind]]:
    """The registered classes that derive from ``kind``, in the order of the lines above."""
    found: list[type[Kind]] = []
    for value in globals().values():
        if inspect.isclass(value) and issubclass(value, kind) and value is not kind:
            found.append(value)
    return found


def serving(option: str) -> Any:
    """The registered class that serves an option of ``trainer``.

    Raises:
        UserError: the room of that option was taken out of this project.
    """
    for value in globals().values():
        if inspect.isclass(value) and getattr(value, "option", None) == option:
            return value
    message = "this project has no room for it any more: see base/features.py"
    raise UserError(message, key=f"trainer.{option}")
