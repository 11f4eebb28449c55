"""TrialRecord: the facts about one trial of a search, as they stand in the storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from base.tools.member_names import name_trial

RUNNING, FINISHED, PRUNED, FAILED = "running", "finished", "pruned", "failed"


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Attributes:
        number: counted from 0.
        state: ``running``, ``finished``, ``pruned`` or ``failed``.
        values: for the dotted key of each varied value, that value. A whole part of the config,
            such as ``{"type": …}``, is a mapping here.
        score: the monitored number; None if there is none. A pruned trial has its last report.
        reports: the monitored number after each validation, counted from 1.
        message: why the trial has failed.
        started, ended: the times; None if unknown.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    score: float | None = None
    reports: Mapping[int, float] = field(default_factory=dict)
    message: str = ""
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return name_trial(self.number)
