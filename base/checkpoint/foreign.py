"""Checkpoints that ``torch.load(weights_only=True)`` refuses."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.errors import UserError, one_line

# Functions that read such a checkpoint as plain data; `template.py` adds one. Each takes the path
# and the `map_location` of torch.load, and raises pickle.UnpicklingError.
READERS: list[Callable[[Path, Any], Any]] = []


def read_refused(path: Path, map_location: Any, refusal: pickle.UnpicklingError) -> Any:
    """Reads a checkpoint that torch has refused.

    Args:
        path: of the checkpoint.
        map_location: of torch.load.
        refusal: torch's error.

    Raises:
        UserError: no reader takes it either; the error names what the file would call.
    """
    for read in READERS:
        try:
            return read(path, map_location)
        except pickle.UnpicklingError as error:
            refusal = error
        except Exception as error:  # a damaged file raises almost anything
            raise UserError(f"{path}: damaged checkpoint: {one_line(error)}") from None
    names = sorted(set(re.findall(r"GLOBAL ([\w.]+)", str(refusal))))
    found = f": {', '.join(names)}" if names else ""
    message = f"{path}: not loaded: it holds more than tensors and plain values{found}"
    raise UserError(message) from None
