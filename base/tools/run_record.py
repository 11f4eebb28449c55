"""Reads the facts about a run from its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from config.read.text import to_cell
from logger.metrics_file import parse_metrics
from utils.errors import UserError, did_you_mean
from utils.files import is_locked
from utils.util import read_json

Facts = dict[str, Any]
Item = TypeVar("Item")
STATES = {
    "finished": "finished",
    "stopped": "stopped",
    "interrupted": "stopped",
    "failed": "crashed",
}  # by the first word of an outcome


class Objective(NamedTuple):
    """The number that decides which epoch is the best, and whether ``min`` or ``max`` is better."""

    mode: str
    metric: str

    def pick(self, items: Sequence[Item], key: Callable[[Item], float]) -> Item:
        """Returns the best item by the number that ``key`` gives; of equal ones the first."""
        return min(items, key=key) if self.mode == "min" else max(items, key=key)


class Score(NamedTuple):
    """The best value of a monitored number, its epoch, and its step if that was inside of it."""

    value: float
    epoch: int
    step: int | None = None


class RunRecord:
    """The record of a run. Missing or damaged files in its folder give empty values.

    Args:
        folder: ``saved/NAME/RUN_ID``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.experiment = folder.parent.name
        self.name = f"{self.experiment}/{folder.name}"
        self.config = _read_facts(folder / "config.json")
        trainer = self.config.get("trainer")
        self.trainer: Facts = trainer if isinstance(trainer, dict) else {}
        found = _read_facts(folder / "provenance.json").get("sessions")
        sessions = found if isinstance(found, list) else []
        self.sessions: list[Facts] = [item for item in sessions if isinstance(item, dict)]

    @cached_property
    def rows(self) -> list[Facts]:
        """The numbers of its epochs: the lines of metrics.jsonl."""
        path = self.folder / "log" / "metrics.jsonl"
        try:
            if path.is_file():  # reading a pipe could wait forever
                return parse_metrics(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            pass
        return []

    @property
    def started(self) -> str:
        """The time of its first start; empty if it is not known."""
        return str(self.sessions[0].get("start", "")) if self.sessions else ""

    @property
    def start_seconds(self) -> float:
        """The same since 1970; 0 if it is not known. An hour comes twice when summer time ends."""
        try:
            return datetime.fromisoformat(self.started).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0

    @property
    def outcome(self) -> str:
        """How its last session has ended, or ``running``; empty if it is not known."""
        return str(self.sessions[-1].get("outcome")) if self.sessions else ""

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``stopped`` (it can continue), ``crashed``, or empty."""
        outcome = self.outcome
        if outcome == "running":
            return "running" if is_locked(self.folder / "log" / ".lock") else "crashed"
        return next((state for word, state in STATES.items() if outcome.startswith(word)), "")

    @property
    def monitor(self) -> Objective:
        """The number that the config monitors; without one, the smallest loss."""
        mode, _, metric = str(self.trainer.get("monitor", "off")).partition(" ")
        if mode in ("min", "max") and metric.strip():
            return Objective(mode, metric.strip())
        return Objective("min", "val_loss" if self.rows and "val_loss" in self.rows[0] else "loss")

    @property
    def best(self) -> Score | None:
        """The best score; None if there is none yet."""
        name = self.monitor.metric
        rows = [row for row in self.rows if _is_number(row.get(name))]
        if not rows:
            return None
        row = self.monitor.pick(rows, key=lambda row: float(row[name]))
        return Score(row[name], row["epoch"], row.get("step") if "batch" in row else None)

    @property
    def epochs(self) -> str:
        """The numbers of finished and of all epochs, as ``3/15``; without the latter, of steps."""
        finished = [row["epoch"] for row in self.rows if "batch" not in row]
        max_steps = self.trainer.get("max_steps")
        if "epochs" not in self.trainer and max_steps is not None:
            return f"step {self.rows[-1].get('step', '?') if self.rows else 0}/{max_steps}"
        return f"{finished[-1] if finished else 0}/{self.trainer.get('epochs', '?')}"

    @property
    def changes(self) -> str:
        """The values that differ from the config file of the run, as ``KEY=VALUE``."""
        found: Facts = {}
        for session in self.sessions:
            changes = session.get("changes")
            found |= changes if isinstance(changes, dict) else {}
        return ", ".join(f"{key}={to_cell(value)}" for key, value in found.items())

    def format_best(self) -> str:
        """Returns the best score in words."""
        best = self.best
        if best is None:
            return ""
        step = "" if best.step is None else f", step {best.step}"
        return f"{self.monitor.metric} {best.value:.5g} (epoch {best.epoch}{step})"


def get_points(
    rows: Sequence[Mapping[str, Any]], name: str, x: str = "epoch"
) -> list[tuple[float, float]]:
    """Returns (x, value) for all rows that have the number ``name``; x is ``epoch`` or ``step``."""
    has_both = [row for row in rows if _is_number(row.get(x)) and _is_number(row.get(name))]
    return [(row[x], row[name]) for row in has_both]


def choose_axis(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns ``step`` if some rows are of validations inside an epoch, else ``epoch``."""
    return "step" if any("batch" in row for row in rows) else "epoch"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_facts(path: Path) -> Facts:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = read_json(path) if path.is_file() else None
        if isinstance(content, dict):
            return content
    return {}


def list_runs(root: Path) -> list[RunRecord]:
    """Returns the runs below ``root``, the oldest first.

    Raises:
        UserError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --dir says where the runs are")
    configs = root.glob("*/*/config.json")
    found = [RunRecord(path.parent) for path in configs if not path.parent.is_symlink()]
    return sorted(found, key=lambda run: (run.start_seconds, run.name))


def select_experiment(runs: list[RunRecord], name: str) -> list[RunRecord]:
    """Returns the runs of one experiment.

    Raises:
        UserError: it has no runs.
    """
    found = [run for run in runs if run.experiment == name]
    if not found:
        names = sorted({run.experiment for run in runs})
        hint = f"{did_you_mean(name, names)}; there are {', '.join(names) or 'none'}"
        raise UserError(f"{name}: no run has this name{hint}")
    return found


def find_run(runs: list[RunRecord], word: str) -> RunRecord:
    """Returns the run that ``word`` names: a folder, NAME/RUN_ID, or a RUN_ID that is unique.

    Raises:
        UserError: there is no such run, or there are several.
    """
    if (Path(word) / "config.json").is_file():
        return RunRecord(Path(word))
    found = [run for run in runs if word in (run.name, run.folder.name)]
    if len(found) > 1:
        names = " and ".join(run.name for run in found)
        raise UserError(f"{word}: {names} have this id; give NAME/RUN_ID")
    if not found:
        hint = did_you_mean(word, [run.name for run in runs])
        raise UserError(f"{word}: no such run{hint}; `list` shows them")
    return found[0]
