"""Reads the facts about a run from its folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from config.read.text import to_cell
from config.values import DEFAULT_SEED
from logger.metrics_file import parse_metrics
from utils.checkpoints import CONFIG, GROUP
from utils.errors import UserError
from utils.files import is_locked
from utils.util import read_json

Facts = dict[str, Any]
Item = TypeVar("Item")
TOO_LARGE = 1e150  # a number whose square overflows; NaN and infinity are not below it either
MAX_WORDS = 4  # of a run id such as lr/trial-3
OUTCOMES = {
    "stopped by the pruner": "pruned",
    "finished": "finished",
    "stopped": "stopped",
    "interrupted": "stopped",
    "failed": "crashed",
}  # by the first words of an outcome


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


class Variant(NamedTuple):
    """What distinguishes the runs of a repetition; None for what a config does not have."""

    seed: int | None
    fold: int | None = None
    folds: int | None = None
    split_seed: int = 0


class RunRecord:
    """The record of a run. Missing or damaged files in its folder give empty values.

    Args:
        folder: ``saved/NAME/RUN_ID``. A run id may have several words, such as ``lr/trial-3``.
        home: the folder of the experiment, ``saved/NAME``; by default, the config tells its name.
    """

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self.folder = folder
        self.config = read_facts(folder / CONFIG)
        self.experiment, self.name = get_names(folder, home, self.config)
        trainer = self.config.get("trainer")
        self.trainer: Facts = trainer if isinstance(trainer, dict) else {}
        found = read_facts(folder / "provenance.json").get("sessions")
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
        """``running``, ``finished``, ``pruned``, ``stopped`` (to go on), ``crashed``, or empty."""
        outcome = self.outcome
        if outcome == "running":
            return "running" if is_in_use(self.folder) else "crashed"
        return next((state for word, state in OUTCOMES.items() if outcome.startswith(word)), "")

    @property
    def monitor(self) -> Objective:
        """The number that the config monitors; without one, the smallest loss."""
        objective = read_monitor(self.trainer.get("monitor"))
        if objective is not None:
            return objective
        return Objective("min", "val_loss" if self.rows and "val_loss" in self.rows[0] else "loss")

    @property
    def best_row(self) -> Facts:
        """The numbers of the best epoch, whose weights are kept; empty if there is none yet."""
        name = self.monitor.metric
        rows = [row for row in self.rows if _is_number(row.get(name))]
        return self.monitor.pick(rows, key=lambda row: float(row[name])) if rows else {}

    @property
    def best(self) -> Score | None:
        """The best score; None if there is none yet."""
        row = self.best_row
        if not row:
            return None
        step = row.get("step") if "batch" in row else None
        return Score(row[self.monitor.metric], row["epoch"], step)

    @property
    def variant(self) -> Variant:
        """Its seed and its fold of the data."""
        loader = self.config.get("data_loader")
        args = loader.get("args") if isinstance(loader, dict) else None
        items = args.items() if isinstance(args, dict) else ()
        numbers = {key: value for key, value in items if type(value) is int}
        seed = self.config.get("seed", DEFAULT_SEED) if self.config else None
        return Variant(
            seed=seed if type(seed) is int else None,
            fold=numbers.get("fold"),
            folds=numbers.get("folds"),
            split_seed=numbers.get("split_seed", 0),
        )

    @property
    def epochs(self) -> str:
        """The numbers of finished and of all epochs, as ``3/15``; without the latter, of steps."""
        finished = [row["epoch"] for row in self.rows if "batch" not in row]
        max_steps = self.trainer.get("max_steps")
        if "epochs" not in self.trainer and max_steps is not None:
            return f"step {self.rows[-1].get('step', '?') if self.rows else 0}/{max_steps}"
        return f"{finished[-1] if finished else 0}/{self.trainer.get('epochs', '?')}"

    @property
    def has_training_objective(self) -> bool:
        """Whether the loss of the training is another quantity than that of the evaluations."""
        return any(session.get("training_objective") is True for session in self.sessions)

    @property
    def changed_values(self) -> Facts:
        """The values that differ from the config file of the run, by dotted key."""
        found: Facts = {}
        for session in self.sessions:
            changes = session.get("changes")
            found |= changes if isinstance(changes, dict) else {}
        return found

    @property
    def changes(self) -> str:
        """The same as ``KEY=VALUE``."""
        return format_values(self.changed_values)

    def format_best(self) -> str:
        """Returns the best score in words."""
        best = self.best
        if best is None:
            return ""
        step = "" if best.step is None else f", step {best.step}"
        return f"{self.monitor.metric} {best.value:.5g} (epoch {best.epoch}{step})"


def format_values(values: Mapping[str, Any]) -> str:
    """Returns values of a config as ``KEY=VALUE``."""
    return ", ".join(f"{key}={to_cell(value)}" for key, value in values.items())


def get_points(
    rows: Sequence[Mapping[str, Any]], name: str, x: str = "epoch"
) -> list[tuple[float, float]]:
    """Returns (x, value) for all rows that have the number ``name``; x is ``epoch`` or ``step``."""
    has_both = [row for row in rows if _is_number(row.get(x)) and _is_number(row.get(name))]
    return [(row[x], row[name]) for row in has_both]


def is_loss(name: str) -> bool:
    """Whether a number without a prefix is a loss, or one of its terms."""
    return name == "loss" or name.startswith("loss_")


def choose_axis(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns ``step`` if some rows are of validations inside an epoch, else ``epoch``."""
    return "step" if any("batch" in row for row in rows) else "epoch"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < TOO_LARGE


def read_monitor(text: Any) -> Objective | None:
    """Returns the number that ``trainer.monitor`` names; None if that is off."""
    mode, _, metric = str(text).partition(" ")
    if mode in ("min", "max") and metric.strip():
        return Objective(mode, metric.strip())
    return None


def is_in_use(folder: Path) -> bool:
    """Whether a process is training in the folder of a run."""
    return is_locked(folder / "log" / ".lock")


def get_names(folder: Path, home: Path | None, config: Facts) -> tuple[str, str]:
    """Returns the name of a run's or group's experiment, and its full name ``NAME/RUN_ID``."""
    if home is None:
        folder = folder.absolute()
        above = list(folder.parents)[:MAX_WORDS]
        named = [parent for parent in above if parent.name == config.get("name")]
        outside = [parent for parent in above if not (parent / GROUP).is_file()]
        home = (named or outside or above)[0]
    return home.name, f"{home.name}/{folder.relative_to(home).as_posix()}"


def read_facts(path: Path) -> Facts:
    """Reads a JSON object; any other content, or none, gives an empty one."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = read_json(path) if path.is_file() else None
        if isinstance(content, dict):
            return content
    return {}


def list_runs(root: Path) -> list[RunRecord]:
    """Returns the runs below ``root``, members of groups too, the oldest first.

    Raises:
        UserError: ``root`` is not a folder.
    """
    found = [
        RunRecord(folder, home) for home in list_homes(root) for folder in find_run_folders(home)
    ]
    return sorted(found, key=lambda run: (run.start_seconds, run.name))


def list_homes(root: Path) -> list[Path]:
    """Returns the folders of the experiments below ``root``.

    Raises:
        UserError: ``root`` is not a folder that can be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --dir says where the runs are")
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"{root}: cannot be read: {error.strerror}") from None


def find_run_folders(folder: Path, max_words: int = MAX_WORDS) -> Iterator[Path]:
    """Finds the runs below an experiment or a group. A run is not searched for others."""
    for child in list_folders(folder):
        if is_member(child) or (max_words == MAX_WORDS and (child / CONFIG).is_file()):
            yield child
        elif max_words > 1:
            yield from find_run_folders(child, max_words - 1)


def is_member(folder: Path) -> bool:
    """Whether a folder in a group is a run. That of an exported model may have a config too."""
    return (folder / CONFIG).is_file() and (folder / "log").is_dir()


def list_folders(folder: Path) -> list[Path]:
    """Returns the folders in ``folder``, without symbolic links; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in names]
