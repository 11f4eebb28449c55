"""Lets ``torch.load`` read checkpoints that hold a ConfigParser, a vocabulary or other objects.

No code from such a file is run. Tensors, numbers, texts, dicts, lists, dates, NumPy arrays and the
like are loaded. An object of an imported class of the project whose attributes are plain is loaded
too. Any other object holds its data and has none of its methods: an error says so if one is used,
and where to write ``weights_only=False``, with which ``torch.load`` works as before.

To remove it, save ``dict(config.config)`` instead of ``config`` in your checkpoints. Then delete
this file and its line in base/__init__.py.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import torch

from base.checkpoint.old_objects import load_objects


def load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """Replaces ``torch.load``."""
    if kwargs.get("weights_only") is False or kwargs.get("pickle_module") is not None:
        return torch_load(file, *args, **kwargs)
    if len(args) > 1:  # the third argument is a pickle_module
        return torch_load(file, *args, **kwargs)
    if args:
        kwargs["map_location"] = args[0]
    start = file.tell() if hasattr(file, "seek") else 0
    try:
        return torch_load(file, **{**kwargs, "weights_only": True})
    except pickle.UnpicklingError:
        if hasattr(file, "seek"):
            file.seek(start)
    caller = sys._getframe(1)
    where = f"{os.path.relpath(caller.f_code.co_filename)}:{caller.f_lineno}"
    return load_objects(file, is_strict=False, where=where, **kwargs)


torch_load = torch.load
torch.load = load  # type: ignore[assignment]
