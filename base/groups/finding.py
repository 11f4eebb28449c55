"""Finds the runs of a group, and the best trial of a search."""

from __future__ import annotations

import contextlib
import re
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from base.tools.run_record import RunRecord
from utils.checkpoints import CONFIG, GROUP, holds_runs
from utils.errors import UserError
from utils.util import read_json


class BestTrial(NamedTuple):
    """The finished trial of a search with the best score.

    Attributes:
        folder: of the trial: a run, or a group of runs.
        is_run: whether it is a run.
        description: a sentence about the choice.
    """

    folder: Path
    is_run: bool
    description: str


def list_folders(group: Path) -> list[Path]:
    """Lists the folders of the runs and groups in a group: ``trial-2`` before ``trial-10``."""
    found = [
        path
        for path in group.iterdir()
        if not path.is_symlink() and ((path / CONFIG).is_file() or holds_runs(path))
    ]
    return sorted(found, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    return [(int(number or -1), text) for text, number in re.findall(r"(\D*)(\d*)", path.name)]


def list_runs(group: Path) -> list[RunRecord]:
    """Lists the runs one level below the folder of a group.

    Raises:
        UserError: there is none, or the folder is that of an experiment.
    """
    folders = list_folders(group)
    runs = [RunRecord(path) for path in folders if (path / CONFIG).is_file()]
    if not runs:
        raise UserError(f"{group}: holds no run yet")
    name, folder = runs[0].config.get("name"), group.absolute()
    is_experiment = name == folder.name and name not in [path.name for path in folder.parents]
    if is_experiment and not (group / GROUP).is_file():
        names = ", ".join(path.name for path in folders[:5]) + (", …" if len(folders) > 5 else "")
        raise UserError(f"{group}: is the folder of all runs of an experiment; give one: {names}")
    return runs


def read_group_config(group: Path) -> dict[str, Any]:
    """Returns the config of a search or a repetition; empty for a group that a user has made."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = read_json(group / GROUP)
        if isinstance(content, dict):
            return content
    return {}


def find_best_trial(group: Path) -> BestTrial | None:
    """Finds the best finished trial of a search; None if the group is no search.

    Raises:
        UserError: no trial is finished.
    """
    if not read_group_config(group).get("search"):
        return None
    scored: list[tuple[float, Path]] = []
    runs: list[RunRecord] = []
    for path in list_folders(group):
        is_run = (path / CONFIG).is_file()
        found = [RunRecord(path)] if is_run else list_runs(path)
        scores = [run.best.value for run in found if run.state == "finished" and run.best]
        if found and len(scores) == len(found):
            scored.append((statistics.fmean(scores), path))
            runs += found
    if not scored:
        raise UserError(f"{group}: no trial is finished yet, so there is none to test")
    monitor = runs[0].monitor
    score, folder = monitor.pick(scored, key=lambda pair: pair[0])
    text = f"{folder.name} is the best of {len(scored)} finished trials of {group}"
    return BestTrial(folder, (folder / CONFIG).is_file(), f"{text}: {monitor.metric} {score:.6g}")
