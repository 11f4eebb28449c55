"""``torch.load`` reads checkpoints that hold a ConfigParser, paths or loggers, without running any code of theirs.

What is no tensor, number or text in them becomes a Stranger, which holds its data and does nothing.
To be rid of it: save ``dict(config.config)`` in place of ``config``; then delete this file and its line in
base/__init__.py. A ``torch.load`` of yours that sets ``weights_only`` is left as it is.
"""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import torch

import base.checkpoint.file  # noqa: F401  (knows paths, NumPy's numbers and the template's ConfigParser)


class Stranger:
    """Stands for an object of a class that is not loaded."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state if isinstance(state, dict) else {"state": state})

    def __getitem__(self, name: Any) -> Any:
        data = vars(self)
        return data.get("_config", data.get("config", data))[name]


class Array(Stranger):
    """Stands for a NumPy array of numbers, and passes on what it is asked for."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.values = (
            np.frombuffer(data, dtype.name).reshape(shape, order="F" if fortran else "C").copy()
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return np.asarray(self.values, *args)

    def __getitem__(self, name: Any) -> Any:
        return self.values[name]

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Any:
        return (
            getattr(vars(self)["values"], name)
            if "values" in vars(self)
            else getattr(np.ndarray, name)
        )


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """``torch.load``."""
    if kwargs.get("weights_only") is False or kwargs.get("pickle_module") is not None:
        return load_of_torch(file, *args, **kwargs)
    while True:
        try:
            return load_of_torch(file, *args, **{**kwargs, "weights_only": True})
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            if found is None or {found[1], f"builtins.{found[1]}"} & {*strangers}:
                raise
        name = found[1] if "." in found[1] else f"builtins.{found[1]}"
        parent = Array if name.endswith("multiarray._reconstruct") else Stranger
        strangers[name] = type(name.rpartition(".")[2], (parent,), {})
        torch.serialization.add_safe_globals([(strangers[name], name)])
        if hasattr(file, "seek"):
            file.seek(0)


strangers: dict[str, type] = {}
load_of_torch = torch.load
torch.load = load  # type: ignore[assignment]
