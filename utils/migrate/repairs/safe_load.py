"""Lets ``torch.load`` read checkpoints that hold a ConfigParser, paths or loggers.

No code from such a file is run. Tensors, numbers and texts are loaded. An object of any other class
becomes a placeholder, which holds the data of the object but has none of its methods. A
``torch.load`` that turns ``weights_only`` off or sets a ``pickle_module`` works as before.

To remove it, save ``dict(config.config)`` instead of ``config`` in your checkpoints. Then delete
this file and its line in base/__init__.py.
"""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import torch

from base.checkpoint import template  # noqa: F401  (adds safe globals)


class Placeholder:
    """An object of a class that is not loaded."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state if isinstance(state, dict) else {"state": state})

    def __getitem__(self, name: Any) -> Any:
        data = vars(self)
        return data.get("_config", data.get("config", data))[name]


class ArrayPlaceholder(Placeholder):
    """A NumPy array of numbers; it behaves like the array that it holds."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        order: Any = "F" if is_fortran else "C"
        self.values = np.frombuffer(data, dtype.name).reshape(shape, order=order).copy()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return np.asarray(self.values, *args)

    def __getitem__(self, name: Any) -> Any:
        return self.values[name]

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Any:
        if "values" not in vars(self):
            return getattr(np.ndarray, name)
        return getattr(vars(self)["values"], name)


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Replaces ``torch.load``. Adds a placeholder for each class that torch refuses."""
    if kwargs.get("weights_only") is False or kwargs.get("pickle_module") is not None:
        return torch_load(file, *args, **kwargs)
    while True:
        try:
            return torch_load(file, *args, **{**kwargs, "weights_only": True})
        except pickle.UnpicklingError as error:
            refused = re.search(r"GLOBAL ([\w.]+)", str(error))
            if refused is None or {refused[1], f"builtins.{refused[1]}"} & {*placeholders}:
                raise
        name = refused[1] if "." in refused[1] else f"builtins.{refused[1]}"
        parent = ArrayPlaceholder if name.endswith("multiarray._reconstruct") else Placeholder
        placeholders[name] = type(name.rpartition(".")[2], (parent,), {})
        torch.serialization.add_safe_globals([(placeholders[name], name)])
        if hasattr(file, "seek"):
            file.seek(0)


placeholders: dict[str, type] = {}
torch_load = torch.load
torch.load = load  # type: ignore[assignment]
