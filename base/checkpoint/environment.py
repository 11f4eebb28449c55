"""The facts on which the bits of a run depend, beside its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from base.data.loader import describe_data, find_saveable_loader
from base.loop.schedule_plan import get_plan
from utils.distributed import world_size

LENGTH = "length of lr_scheduler"


def describe_environment(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what must not change if a resumed run shall have the same bits.

    Args:
        objects: the attributes of a trainer, with ``device`` and ``optimizer``.
    """
    plan = get_plan(objects["optimizer"])
    return {
        "torch": str(torch.__version__),
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "device": objects["device"].type,
        **describe_data(find_saveable_loader(objects.get("data_loader"))),
        **({} if plan is None else {LENGTH: str(plan)}),
    }
