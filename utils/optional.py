"""Libraries that only some features need."""

from __future__ import annotations

import importlib
import os
from typing import Any

from utils.errors import UserError

TEXT = "text"  # the group of transformers, tokenizers and peft


def import_optional(name: str, group: str) -> Any:
    """Imports a library of an optional group of ``pyproject.toml``.

    Raises:
        UserError: it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        message = f'{name} is not installed; pip install -e ".[{group}]" installs it'
        raise UserError(message) from None


def import_transformers() -> Any:
    """Imports ``transformers``, and keeps its messages and progress bars out of the run's log.

    Raises:
        UserError: it is not installed.
    """
    # Without a value, tokenizers warns in each worker process. The workers do not tokenize.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    transformers = import_optional("transformers", TEXT)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
