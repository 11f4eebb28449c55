"""What makes a step faster without changing a promise; the log names what is on."""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import Any

import torch
from torch import nn

from base.parallel.strategy import Parallel

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
KEPT_BYTES = 1 << 30
KEPT_BYTES_OLD_GLIBC = 1 << 25  # older versions refuse more
FUSED_DEVICES = ("cpu", "cuda")
KERNEL_CHOICES = {"fused", "foreach", "capturable", "differentiable"}  # an optimizer's arguments


def speed_up_steps(
    config: Any, model: nn.Module, parallel: Parallel, logger: logging.Logger
) -> dict[str, Any]:
    """Applies what makes steps faster, before the optimizer is made.

    Args:
        config: ``trainer.compile``, ``channels_last`` and ``keep_memory``, ``optimizer.args``.
        model: on its device; the memory layout of its weights may change.
        parallel: the strategy, which may not allow a fused optimizer.
        logger: is told what was done.

    Returns:
        Arguments for the optimizer.
    """
    trainer, done = config["trainer"], []
    arguments = choose_fused(config, model, parallel)
    if arguments:
        done.append("a fused optimizer")
    if trainer.get("channels_last", False):
        use_channels_last(model)
        done.append("channels_last")
    if trainer.get("compile", False):
        model.compile()
        done.append("compiled")
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    if trainer.get("keep_memory", True) and is_on_cpu and keep_freed_memory():
        done.append("freed memory kept")
    if done:
        logger.info("Faster steps: %s.", ", ".join(done))
    return arguments


def choose_fused(config: Any, model: nn.Module, parallel: Parallel) -> dict[str, Any]:
    """``{"fused": True}`` if the optimizer has one kernel for a step, and it may be used."""
    section = config["optimizer"]
    if KERNEL_CHOICES & (section.get("args") or {}).keys():
        return {}
    if not config.takes("optimizer", "fused") or not parallel.allows_fused(section["type"]):
        return {}
    # The gradient of an nn.Embedding may be sparse, which no fused kernel takes.
    has_sparse = any(getattr(module, "sparse", False) is True for module in model.modules())
    fits = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in model.parameters())
    return {"fused": True} if fits and not has_sparse else {}


def use_channels_last(model: nn.Module) -> None:
    """Stores the weights of 2d convolutions as (N, H, W, C), for which their kernels are faster.

    Their shapes stay as they are. This uses ``to`` because ``contiguous`` would leave a weight with
    one input channel as it is, and with it all activations after it.
    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def keep_freed_memory() -> bool:
    """Keeps the memory of freed tensors for the next step, which saves a page fault for each page.

    Returns:
        Whether the C library can: glibc's ``mallopt(3)``.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    keeps = mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(M_MMAP_THRESHOLD, KEPT_BYTES_OLD_GLIBC)
    return bool(keeps and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
