"""The number of processes that a config asks for, found before the check and without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from utils.world import ProcessSettings

KINDS = ("ddp", "fsdp")  # the types of `parallel` that train in several processes
TIMEOUTS = ("start_timeout_seconds", "timeout_seconds")


def get_process_settings(parallel: Any, n_gpu: Any) -> ProcessSettings:
    """Reads the unchecked values of ``parallel`` and ``n_gpu``. Invalid ones give the defaults.

    Returns:
        The settings. ``num_processes`` is None for one on each accelerator that ``n_gpu`` allows.
    """
    section = {} if parallel is None else parallel
    if not isinstance(section, dict):
        section = {"type": None}
    args = section.get("args")
    args = args if isinstance(args, dict) else {}
    number = args.get("num_processes")
    is_number = number is None or type(number) is int
    can_be_several = is_number and section.get("type", KINDS[0]) in KINDS
    seconds = {name: args[name] for name in TIMEOUTS if _is_duration(args.get(name))}
    settings = ProcessSettings(num_processes=number if can_be_several else 1, **seconds)
    return replace(settings, n_gpu=n_gpu) if type(n_gpu) is int and n_gpu >= 0 else settings


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
