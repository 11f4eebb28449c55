"""The names of the numbers that a trainer logs, to check a config before anything is made."""

from __future__ import annotations

from base.options import TrainerOptions


def list_logged_names(
    kind: type, parent: type, metrics: list[str], options: TrainerOptions, sets: list[str]
) -> list[str] | None:
    """Lists the names of an epoch's numbers for a trainer with the usual loop.

    Args:
        kind: the class of the trainer.
        parent: the class with the usual loop, of whose methods ``kind`` may replace some.
        metrics: the names of the metrics, and of the terms of the loss.
        options: of the trainer.
        sets: a prefix for each validation set: ``[""]`` for a single one.

    Returns:
        The names, or patterns of them; None if they are unknown.
    """
    subclasses = kind.__mro__[: kind.__mro__.index(parent)]
    overridden = {name for subclass in subclasses for name in vars(subclass)}
    if overridden & {"_train_epoch", "_valid_epoch", "evaluate_split", "measure"}:
        return None
    if "train_step" in overridden:  # it may return a dict of losses
        metrics = ["loss_*", *metrics]
    weights = ["val_", *(f"val_{average}_" for average in options.list_averages())]
    prefixes = ["", *(start + prefix for start in weights for prefix in sets)]
    return [prefix + name for prefix in prefixes for name in ("loss", *metrics)]
