"""What a trial does after a kill of its run or of its worker."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from base.groups.running.group import Member
from base.groups.running.member import STOPPED, Ending
from base.groups.running.trial import PRUNER, TrialTask
from base.groups.study.records import RUNNING, TrialRecord
from base.tools.run_record import Objective
from utils.link import GO_ON

PRUNED_EPOCH = 2


def find_reason(folder: Path) -> str:
    """The reason to stop, before the start of the only run of a trial, which is in ``folder``."""
    study: Any = SimpleNamespace(report=lambda number, step, score: step == PRUNED_EPOCH)
    search: Any = SimpleNamespace(
        study=study, objective=Objective("min", "val_loss"), by_step=False
    )
    group: Any = SimpleNamespace(make_member=lambda name, changes: Member(name, folder, changes))
    reasons: list[str] = []

    class Runner:
        def run(self, member: Member, answer: Any, find_reason: Any) -> Ending:
            reasons.append(find_reason())
            return Ending(STOPPED)

    runner: Any = Runner()
    TrialTask(search, group, TrialRecord(0, RUNNING, {}), {"": {}}).run(runner)
    return reasons[0]


@pytest.mark.parametrize(
    ("num_rows", "checkpoint", "reason"),
    [
        (0, "", GO_ON),
        (1, "checkpoint-epoch1.pt", GO_ON),
        (2, "", GO_ON),
        (2, "checkpoint-epoch1.pt", GO_ON),
        (2, "checkpoint-epoch2-step18.pt", GO_ON),
        (2, "checkpoint-epoch2.pt", PRUNER),
        (2, "checkpoint-epoch3-step21.pt", PRUNER),
    ],
)
def test_a_pruned_run_that_was_killed_starts_again_only_if_it_had_not_saved(
    tmp_path: Path, num_rows: int, checkpoint: str, reason: str
) -> None:
    (tmp_path / "log").mkdir()
    rows = [{"epoch": epoch, "val_loss": 1.0, "step": 10 * epoch} for epoch in (1, 2)][:num_rows]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "log/metrics.jsonl").write_text(lines)
    if checkpoint:
        (tmp_path / checkpoint).touch()
    assert find_reason(tmp_path) == reason
