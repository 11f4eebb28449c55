"""A run of a group in a process of its own, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from base.groups.running.group import Member
from base.groups.running.member import (
    BLOCKED,
    FAILED,
    FINISHED,
    STOPPED,
    Ending,
    MemberRunner,
    Signals,
)
from utils.errors import UserError
from utils.link import GO_ON


def run_member(
    folder: Path, *endings: tuple[int, str], reasons: Sequence[str] = ()
) -> tuple[Ending, int]:
    """Runs a member whose processes end with these statuses and lines.

    Args:
        folder: of the run.
        endings: of its processes.
        reasons: to stop, before each start.

    Returns:
        Its ending, and the number of its processes.
    """
    commands = []

    def list_command(member: Member) -> list[str]:
        status, line = endings[len(commands)]
        code = f"import sys; print({line!r}, file=sys.stderr); sys.exit({status})"
        commands.append(code)
        return [sys.executable, "-c", code]

    group: Any = SimpleNamespace(list_command=list_command)
    runner = MemberRunner(group, Signals())
    left = iter(reasons)
    ending = runner.run(Member("lr/trial-0", folder, {}), find_reason=lambda: next(left, GO_ON))
    return ending, len(commands)


def test_the_last_line_says_why_a_run_has_failed(tmp_path: Path) -> None:
    assert run_member(tmp_path, (2, "no data")) == (Ending(FAILED, "no data"), 1)


@pytest.mark.parametrize(
    "line",
    [
        "saved/a: another process is training in this folder",
        "saved/a: holds a run already; continue it with -r, or choose another --run-id",
    ],
)
def test_a_run_waits_for_one_that_a_killed_worker_has_left_behind(
    tmp_path: Path, line: str
) -> None:
    """It had not locked the folder yet when the worker looked."""
    assert run_member(tmp_path, (2, line), (0, "")) == (Ending(FINISHED), 2)


def test_a_finished_run_is_not_started(tmp_path: Path) -> None:
    sessions = {"sessions": [{"outcome": "finished"}]}
    (tmp_path / "provenance.json").write_text(json.dumps(sessions))
    assert run_member(tmp_path) == (Ending(FINISHED), 0)


def test_a_run_that_is_killed_after_the_request_to_stop_is_not_started_again(
    tmp_path: Path,
) -> None:
    found = run_member(tmp_path, (137, ""), reasons=[GO_ON, "the pruner"])
    assert found == (Ending(STOPPED, "the pruner"), 1)


def test_a_run_whose_checkpoint_cannot_be_read_is_no_failure(tmp_path: Path) -> None:
    """It can go on when the user has repaired the folder."""
    (tmp_path / "checkpoint-epoch1.pt").touch()
    line = "checkpoint-epoch1.pt: is damaged"
    assert run_member(tmp_path, (2, line)) == (Ending(BLOCKED, line), 1)


def test_a_file_instead_of_the_folder_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "trial-0").touch()
    ending, _ = run_member(tmp_path / "trial-0", (2, "File exists"))
    assert ending == Ending(BLOCKED, "File exists")


def test_a_run_with_a_killed_rank_is_started_again(tmp_path: Path) -> None:
    killed = (1, "rank 1 (host, process 601) is gone, in the training of epoch 3")
    assert run_member(tmp_path, killed, (0, "")) == (Ending(FINISHED), 2)
    assert run_member(tmp_path, killed, killed, killed) == (Ending(FAILED, killed[1]), 3)


def test_a_full_disk_stops_the_search_and_fails_no_trial(tmp_path: Path) -> None:
    line = "checkpoint-epoch1.pt: the checkpoint could not be written: No space left on device"
    with pytest.raises(UserError, match="No space left"):
        run_member(tmp_path, (2, line))


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"optimizer.type": "Adam", "optimizer.args.lr": 0.1}, ""),
        ({"optimizer.type": "SGD"}, "optimizer.type"),
        ({"optimizer.args.lr": 0.2}, "optimizer.args.lr"),
        ({"optimizer": {"type": "SGD"}, "optimizer.args.lr": 0.1}, ""),  # the inner one decides
        ({"arch": {"type": "Net", "args": {"weights": "~/net.pt"}}}, ""),
    ],
)
def test_a_run_with_other_values_is_recognised(
    tmp_path: Path, changes: dict[str, Any], other: str
) -> None:
    config = {
        "optimizer": {"type": "Adam", "args": {"lr": 0.1}},
        "arch": {"type": "Net", "args": {"weights": "/home/me/net.pt"}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Member("lr/trial-0", tmp_path, changes).find_other_value() == other
