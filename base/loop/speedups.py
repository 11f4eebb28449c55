"""Optimizations that make a step faster or smaller. The log names those that are in use."""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import Any

import torch
from torch import nn

from base.parallel.strategy import KERNEL_CHOICES, Parallel

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
KEPT_BYTES = 1 << 30
KEPT_BYTES_OLD_GLIBC = 1 << 25  # older versions refuse larger values
FUSED_DEVICES = ("cpu", "cuda")


def speed_up_steps(
    config: Any, model: nn.Module, parallel: Parallel, logger: logging.Logger
) -> Any:
    """Makes training steps faster, or smaller. It must run before the optimizer is made.

    Args:
        config: has ``trainer.compile``, ``channels_last``, ``keep_memory``,
            ``activation_checkpointing`` and ``optimizer.args``.
        model: the model on its device; the memory layout of its weights may change.
        parallel: the strategy, which may forbid a fused optimizer.
        logger: gets a line that names the optimizations in use.

    Returns:
        Additional arguments for the optimizer; for a list of optimizers, those of each.
    """
    trainer, optimizer = config["trainer"], config["optimizer"]
    done = []
    count = len(optimizer) if isinstance(optimizer, list) else 1
    arguments = [choose_fused(config, model, parallel, index) for index in range(count)]
    if any(arguments):
        done.append("a fused optimizer")
    if trainer.get("channels_last", False):
        use_channels_last(model)
        done.append("channels_last")
    if patterns := trainer.get("activation_checkpointing"):
        from base.loop.recomputation import checkpoint_activations

        checkpoint_activations(model, patterns, logger)
    if trainer.get("compile", False):
        model.compile()
        done.append("compiled")
    if trainer.get("keep_memory", True) and keep_freed_memory():
        done.append("freed memory kept")
    if done:
        logger.info("Faster steps: %s.", ", ".join(done))
    return arguments if isinstance(optimizer, list) else arguments[0]


def choose_fused(
    config: Any, model: nn.Module, parallel: Parallel, index: int = 0
) -> dict[str, Any]:
    """Returns ``{"fused": True}`` if the optimizer has a fused kernel that fits the model.

    ``index`` is that of the optimizer, if the config lists several.
    """
    section = config["optimizer"]
    section = section[index] if isinstance(section, list) else section
    if KERNEL_CHOICES & (section.get("args") or {}).keys():
        return {}
    if not config.takes("optimizer", "fused", index) or not parallel.allows_fused(section["type"]):
        return {}
    # No fused kernel takes sparse gradients, which an nn.Embedding may have.
    has_sparse = any(getattr(module, "sparse", False) is True for module in model.modules())
    fits = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in model.parameters())
    return {"fused": True} if fits and not has_sparse else {}


def use_channels_last(model: nn.Module) -> None:
    """Stores the weights of 2d convolutions in the order (N, H, W, C), which is faster.

    The shapes do not change. ``contiguous`` would skip a weight with one input channel, and then
    all activations after it would keep the slower layout. ``to`` does not skip it.
    Source: https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


def keep_freed_memory() -> bool:
    """Keeps the memory of freed tensors for the next step, which saves page faults.

    This also helps training on an accelerator, whose batches are read into the CPU's memory: a
    batch of 40 MB takes ten times as long in new pages.

    Returns:
        Whether the C library supports it. It needs glibc's ``mallopt(3)``.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    is_kept = mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
    if not is_kept:
        is_kept = mallopt(M_MMAP_THRESHOLD, KEPT_BYTES_OLD_GLIBC)
    return bool(is_kept and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
