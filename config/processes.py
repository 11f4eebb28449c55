"""The number of processes that a config asks for, found before the check and without torch."""

from __future__ import annotations

from typing import Any

from utils.world import ProcessSettings

KINDS = ("ddp", "fsdp")  # the types of `parallel` that train in several processes


def get_process_settings(parallel: Any, n_gpu: Any) -> ProcessSettings:
    """Reads the unchecked values of ``parallel`` and ``n_gpu``. Invalid ones give the defaults.

    Returns:
        The settings. ``num_processes`` is None for one on each accelerator that ``n_gpu`` allows.
    """
    default = ProcessSettings()
    section = parallel if isinstance(parallel, dict) else {}
    args = section.get("args")
    if not isinstance(args, dict):
        args = {}
    if type(n_gpu) is not int or n_gpu < 0:
        n_gpu = default.n_gpu
    is_readable = parallel is None or isinstance(parallel, dict)
    can_be_several = is_readable and section.get("type", KINDS[0]) in KINDS
    return ProcessSettings(
        num_processes=_get_number(args.get("num_processes")) if can_be_several else 1,
        n_gpu=n_gpu,
        start_timeout_seconds=_get_seconds(
            args.get("start_timeout_seconds"), default.start_timeout_seconds
        ),
        timeout_seconds=_get_seconds(args.get("timeout_seconds"), default.timeout_seconds),
    )


def _get_number(num_processes: Any) -> int | None:
    if num_processes is None or type(num_processes) is int:
        return num_processes
    return 1


def _get_seconds(value: Any, default: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and value > 0 else default
