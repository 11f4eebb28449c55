"""Checks the values of the options of ``trainer``, and their combinations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from utils.errors import Problem
from utils.options import find_too_small

if TYPE_CHECKING:
    from base.options import TrainerOptions


def find_problems(options: TrainerOptions) -> list[Problem]:
    """Returns a problem for each option that is out of its range or contradicts another one."""
    return [
        *_find_wrong_values(options),
        *_find_wrong_combinations(options),
        *_find_wrong_averages(options),
    ]


def _find_wrong_values(options: TrainerOptions) -> list[Problem]:
    problems = find_too_small(
        options,
        epochs=1,
        max_steps=1,
        validate_steps=1,
        limit_batches=1,
        save_period=1,
        save_steps=1,
        keep_last=1,
        keep_best=1,
        accumulation_steps=1,
        image_period=1,
        histogram_period=1,
        warmup_steps=0,
    )
    above_zero = {
        "grad_clip_norm": options.grad_clip_norm,
        "grad_clip_value": options.grad_clip_value,
        "save_minutes": options.save_minutes,
        "max_minutes": options.max_minutes,
    }
    for name, value in above_zero.items():
        if value is not None and not value > 0:
            problems.append(Problem(name, f"{value} must be above 0, or null"))
    return problems


def _find_wrong_combinations(options: TrainerOptions) -> list[Problem]:
    problems = []
    validate_steps, max_steps = options.validate_steps or 0, options.max_steps
    if max_steps is not None and 0 < max_steps < validate_steps:
        message = f"{options.validate_steps} is more than max_steps, {options.max_steps}"
        problems.append(Problem("validate_steps", message))
    if options.sharded_checkpoint and options.save != "all":
        message = f"{options.save} does not work with sharded_checkpoint; turn one of them off"
        problems.append(Problem("save", message))
    uploads = options.wandb is not None and options.wandb.artifact
    if options.sharded_checkpoint and (options.async_save or uploads):
        message = "works neither with async_save nor with wandb.artifact; turn it off"
        problems.append(Problem("sharded_checkpoint", message))
    if options.warmup is not None and options.warmup_steps:
        message = "is the short form of trainer.warmup.steps; remove one of the two"
        problems.append(Problem("warmup_steps", message))
    if options.compile and options.debug is not None and options.debug.inspects_layers:
        message = "statistics and detect_nan do not work with compile, which fuses layers"
        problems.append(Problem("debug", message))
    if options.grad_clip_value is not None and options.grad_clip_norm is not None:
        message = "does not work with grad_clip_norm; remove one of the two"
        problems.append(Problem("grad_clip_value", message))
    if options.compile and options.activation_checkpointing:
        message = "does not work with compile; turn one of the two off"
        problems.append(Problem("activation_checkpointing", message))
    return problems


def _find_wrong_averages(options: TrainerOptions) -> list[Problem]:
    problems = []
    if options.ema_decay is not None and not 0 < options.ema_decay < 1:
        message = f"{options.ema_decay} must lie between 0 and 1, or be null"
        problems.append(Problem("ema_decay", message))
    if options.ema_warmup and options.ema_decay is None:
        problems.append(Problem("ema_warmup", "has no effect without ema_decay"))
    for name in ("ema_warmup_gamma", "ema_warmup_power"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            problems.append(Problem(name, f"{value} must be above 0"))
        if value != getattr(type(options), name) and not options.ema_warmup:
            problems.append(Problem(name, "has no effect without ema_warmup"))
    if options.swa is not None and options.swa.first_epoch(options.epochs) > options.epochs:
        message = f"{options.swa.start:g} is after the last epoch, {options.epochs}"
        problems.append(Problem("swa.start", message))
    if options.swa is not None and options.max_steps is not None:
        message = "counts epochs; give the length of the run in epochs, with trainer.len_epoch"
        problems.append(Problem("swa", message))
    return problems
