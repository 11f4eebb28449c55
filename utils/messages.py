"""Values as bytes, for other processes."""

from __future__ import annotations

import io
import pickle
from typing import Any


def pack(value: Any) -> bytes:
    """A value of any class as bytes, for ``pickle.loads``.

    pickle alone writes tensors of uint16, uint32 and uint64 in a form that torch cannot load.
    States of NumPy's generators have them.
    """
    import torch

    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}

    class Pickler(pickle.Pickler):
        def reducer_override(self, found: Any) -> Any:
            if type(found) is torch.Tensor and found.dtype in signed:
                return torch.Tensor.view, (found.view(signed[found.dtype]), found.dtype)
            return NotImplemented

    file = io.BytesIO()
    Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()
