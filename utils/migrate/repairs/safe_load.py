"""``torch.load`` reads checkpoints that hold a ConfigParser, paths or loggers, without running any code of theirs.

What is no tensor, number or text in them becomes a Stranger, which holds its data and does nothing.
To be rid of it: save ``dict(config.config)`` in place of ``config``; then delete this file and its line in
base/__init__.py. A ``torch.load(…, weights_only=False)`` of your own is left as it is, and runs whatever the file says.
"""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import torch

import base.checkpoint  # noqa: F401  (knows paths, NumPy's numbers and the template's ConfigParser)


class Stranger:
    """Stands for an object of a class that is not loaded."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __getitem__(self, name: Any) -> Any:
        data = vars(self)
        return data.get("_config", data.get("config", data))[name]


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """``torch.load``."""
    if kwargs.get("weights_only") is False or kwargs.get("pickle_module") is not None:
        return load_of_torch(file, *args, **kwargs)
    while True:
        try:
            return load_of_torch(file, *args, **{**kwargs, "weights_only": True})
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            if found is None or found[1] in strangers:
                raise
        name = found[1]
        strangers[name] = type(name.rpartition(".")[2], (Stranger,), {})
        torch.serialization.add_safe_globals([(ARRAYS.get(name, strangers[name]), name)])
        if hasattr(file, "seek"):
            file.seek(0)


strangers: dict[str, type] = {}
ARRAYS: dict[str, Any] = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
load_of_torch = torch.load
torch.load = load  # type: ignore[assignment]
