"""Where code may come from: the project's folders and the trusted libraries."""

from __future__ import annotations

import importlib
import re
import tomllib
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

from utils.errors import UserError, name_error, one_line, text_of

ROOT = Path(__file__).parents[2]
USER_FOLDERS = ("data_loader", "model", "trainer")
FRAMEWORK = "base"  # its classes pass their **kwargs to their parents and nowhere else
PROJECT_FOLDERS = (*USER_FOLDERS, FRAMEWORK, "logger", "utils")


@cache
def get_trusted_packages() -> frozenset[str]:
    """Returns the libraries that a config may name: ``[tool.plainloop] trusted`` in pyproject.toml.

    Raises:
        UserError: pyproject.toml cannot be read or has no such list.
    """
    try:
        table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        return frozenset(table["tool"]["plainloop"]["trusted"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        message = f"pyproject.toml: [tool.plainloop] trusted: cannot be read ({one_line(error)})"
        raise UserError(message) from None


def import_module(name: str) -> Any:
    """Imports a module.

    Returns:
        The module, or None if there is no such module.

    Raises:
        UserError: the module exists, but its import fails. The text names the file and the line.
    """
    try:
        return importlib.import_module(name)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # code may raise anything; pytest's `skip` is no Exception
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            return None
        file = Path(f"{name.replace('.', '/')}.py")
        shown = str(file) if (ROOT / file).is_file() else name
        reason = f"{name_error(error)}{locate_in_project(error)}"
        raise UserError(f"{shown} cannot be imported: {reason}") from error


class Frame(NamedTuple):
    """One line of a traceback. ``path`` is relative to the project."""

    path: Path
    line: int
    function: str
    text: str


def get_user_frames(error: BaseException) -> list[Frame]:
    """Returns the lines of a traceback that are in the user's own folders, the innermost last.

    The traceback of a data loader's worker is text in the error's message, and is searched too.
    """
    frames = [
        (frame.filename, frame.lineno, frame.name, frame.line)
        for frame in extract_tb(error.__traceback__)
    ]
    frames += re.findall(r'File "(.+)", line (\d+), in (.+)\n\s+(.*)', text_of(error))
    return [
        Frame(Path(path).relative_to(ROOT), int(line or 0), function, text or "")
        for path, line, function, text in frames
        if is_user_file(Path(path))
    ]


def is_user_file(path: Path) -> bool:
    """Whether a file is in one of the user's own folders."""
    return path.parent in [ROOT / name for name in USER_FOLDERS]


def locate_in_project(error: BaseException) -> str:
    """Returns `` (model/model.py:7)`` for the innermost line of user code, or an empty string."""
    frames = get_user_frames(error)
    return f" ({frames[-1].path}:{frames[-1].line})" if frames else ""
