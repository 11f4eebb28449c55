"""The differences between a resumed run and its checkpoint, and how each object was restored."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.loop.phases import Phases
from config.read.section import to_plain
from config.read.text import flatten, to_text
from config.read.tree import join_keys
from utils.errors import UserError


@dataclass
class RestoreReport:
    """How a run was restored from a checkpoint.

    Attributes:
        path: the file of the checkpoint.
        epoch: the last finished epoch.
        step: the number of optimizer steps that the run had made.
        batch: the batches of the next epoch that were trained.
        outcomes: says for each object that it was kept, or why it was reset.
        changes: a line for each value of the config that has changed.
        inexact: the changes by which this run cannot have the same bits as an uninterrupted one.
        unsaved: other reasons for that: a loader whose position the checkpoint does not hold.
    """

    path: Path
    epoch: int
    step: int
    batch: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    inexact: list[str] = field(default_factory=list)
    unsaved: list[str] = field(default_factory=list)

    def log(self, logger: logging.Logger, on_inexact_resume: str) -> None:
        """Warns of changes and of reasons for an inexact resume, if there are any.

        Raises:
            UserError: ``on_inexact_resume`` is ``stop``, and the resume is not exact.
        """
        if self.changes:
            outcomes = [f"  {name:<22} {outcome}" for name, outcome in self.outcomes.items()]
            lines = [
                "Changed since the checkpoint:",
                *self.changes,
                "How the run was restored:",
                *outcomes,
            ]
            logger.warning("\n".join(lines))
        if self.inexact:
            logger.warning(
                "The resume is not exact, because of changes: %s.", ", ".join(self.inexact)
            )
        if self.unsaved:
            logger.warning("The resume is not exact: %s.", "; ".join(self.unsaved))
        if (self.inexact or self.unsaved) and on_inexact_resume == "stop":
            message = f"the resume is not exact: {', '.join(self.inexact + self.unsaved)}"
            raise UserError(message, key="trainer.on_inexact_resume")


def list_changes(old: Any, new: dict[str, Any]) -> list[str]:
    """Describes each value that differs between two configs: ``  key: old -> new``."""
    before, after = flatten(to_plain(old)), flatten(new)
    rows = [(keys, before.get(keys), after.get(keys)) for keys in {**before, **after}]
    return [
        f"  {join_keys(keys)}: {to_text(was)} -> {to_text(now)}"
        for keys, was, now in rows
        if was != now
    ]


def get_section(config: Any, name: str) -> dict[str, Any]:
    """A section of a checkpoint's config, in any format; empty if there is none."""
    try:
        section = config[name]
    except (KeyError, TypeError):
        return {}
    return section if isinstance(section, dict) else {}


def changed_args(old: Any, new: Any, section: str) -> list[str]:
    """The names of a section's ``args`` that differ."""
    return compare_args(get_section(old, section), get_section(new, section))


def compare_args(old: Any, new: Any) -> list[str]:
    """The names of the ``args`` that differ between two components."""
    before, after = get_section(old, "args"), get_section(new, "args")
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


def list_optimizer_sections(config: Any) -> list[dict[str, Any]]:
    """The optimizers in a checkpoint's config: one, or those of a list; empty if it has none."""
    try:
        section = config["optimizer"]
    except (KeyError, TypeError):
        return []
    components = section if isinstance(section, list) else [section]
    return [component for component in components if isinstance(component, dict)]


def has_other_patterns(old: Any, new: Any) -> bool:
    """Whether the patterns that give each of several optimizers its parameters have changed."""
    before, after = list_optimizer_sections(old), list_optimizer_sections(new)
    patterns = [item.get("params") for item in before]
    return bool(before) and patterns != [item.get("params") for item in after]


def is_regrouped(old: Any, new: Any) -> bool:
    """Whether the optimizer now has other parameters or parameter groups."""
    from base.features import of_kind

    for kind in of_kind(Phases):
        before, after = get_section(old, kind.section), get_section(new, kind.section)
        if any(before.get(key) != after.get(key) for key in kind.grouping_options):
            return True
    return False


def is_same_loss(old: Any, new: Any) -> bool:
    """Whether two configs have the same loss, whatever the weights of its terms.

    The config of a foreign checkpoint may be unreadable.
    """
    try:
        return bool(_without_weights(old.get("loss")) == _without_weights(new.get("loss")))
    except (AttributeError, TypeError):
        return True


def _without_weights(loss: Any) -> Any:
    """A loss, or each of a list of them, without its ``weight``."""
    if isinstance(loss, list):
        return [_without_weights(term) for term in loss]
    if not isinstance(loss, dict):
        return loss
    return {key: value for key, value in loss.items() if key != "weight"}


def is_rescheduled(old: Any, new: Any) -> bool:
    """Whether the scheduler or its initial learning rate has changed."""
    return _schedule_of(old) != _schedule_of(new)


def _schedule_of(config: Any) -> tuple[Any, ...]:
    optimizers = [
        (optimizer.get("type"), get_section(optimizer, "args").get("lr"))
        for optimizer in list_optimizer_sections(config)
    ]
    return get_section(config, "lr_scheduler"), optimizers
