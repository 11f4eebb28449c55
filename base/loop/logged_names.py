"""The names of the numbers that a trainer logs, to check a config, and the meaning of the loss."""

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
    added = ["*"] if "add_numbers" in overridden else []
    weights = ["val_", *(f"val_{average}_" for average in options.list_averages())]
    prefixes = ["", *(start + prefix for start in weights for prefix in sets)]
    return [*(prefix + name for prefix in prefixes for name in ("loss", *metrics)), *added]


def has_training_objective(kind: object) -> bool:
    """Whether the loss of the training is another quantity than that of the evaluations.

    This is so if a trainer overrides ``train_step`` and not ``evaluate_split``, or the reverse.

    Args:
        kind: the class of the trainer, or a function that makes one, of which nothing is known.
    """
    methods = "train_step", "evaluate_split"
    classes = kind.__mro__ if isinstance(kind, type) else ()
    definitions = [[cls for cls in classes if name in vars(cls)] for name in methods]
    are_overridden = {len(defining) > 1 for defining in definitions}
    return len(are_overridden) > 1 and all(definitions)
