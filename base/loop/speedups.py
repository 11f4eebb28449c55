"""What makes a step cheaper and changes nothing that is promised; each is said in the log, and can be turned off."""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import Any

import torch
from torch import nn

from base.parallel.strategy import FUSED_CUT

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_FUSED_ON = ("cpu", "cuda")
_CHOICES = {
    "fused",
    "foreach",
    "capturable",
    "differentiable",
}  # arguments that choose an optimizer's kernel


def cheaper_steps(config: Any, model: nn.Module, logger: logging.Logger) -> dict[str, Any]:
    """Makes the steps of a run cheaper, before its optimizer is made; returns arguments for that.

    Args:
        config: whose ``trainer`` may say ``compile``, ``channels_last`` and ``keep_memory``, and ``optimizer.args``
            ``fused``.
        model: on its device; its convolutions' weights may be laid out anew.
        logger: is told what was done.
    """
    trainer, done = config["trainer"], []
    arguments = fused(config, model)
    if arguments:
        done.append("a fused optimizer")
    if trainer.get("channels_last", False):
        channels_last(model)
        done.append("channels_last")
    if trainer.get("compile", False):
        model.compile()
        done.append("compiled")
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if trainer.get("keep_memory", True) and on_cpu and keep_freed_memory():
        done.append("freed memory kept")
    if done:
        logger.info("Steps made cheaper: %s.", ", ".join(done))
    return arguments


def fused(config: Any, model: nn.Module) -> dict[str, Any]:
    """``{"fused": True}``, if the optimizer has one kernel for all of its step and the config chooses no other."""
    section = config["optimizer"]
    if _CHOICES & section.get("args", {}).keys() or not config.takes("optimizer", "fused"):
        return {}
    if (
        config.get("parallel")
        and config["parallel"]["type"] == "fsdp"
        and section["type"] not in FUSED_CUT
    ):
        return {}
    sparse = any(
        getattr(module, "sparse", False) is True for module in model.modules()
    )  # an Embedding's gradient
    fits = all(p.device.type in _FUSED_ON and p.is_floating_point() for p in model.parameters())
    return {"fused": True} if fits and not sparse else {}


def channels_last(model: nn.Module) -> None:
    """Lays 2d convolutions' weights out as (N, H, W, C), in which their kernels are faster; shapes stay as they are.

    ``to`` and not ``contiguous``, which leaves a weight of one input channel as it is, and with it the whole network.
    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def keep_freed_memory() -> bool:
    """Has the process keep what tensors free for the next step, which else faults every page of it in again.

    Returns:
        Whether the C library can: glibc's ``mallopt(3)``.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    large = mallopt(_M_MMAP_THRESHOLD, 1 << 30) or mallopt(
        _M_MMAP_THRESHOLD, 1 << 25
    )  # older ones refuse more
    return bool(large and mallopt(_M_TRIM_THRESHOLD, 1 << 30))
