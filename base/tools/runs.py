"""Looks at the runs there are: ``python -m base.tools.runs [list|compare A B|best NAME|clean]``; see ``--help``."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from base.tools import charts
from base.tools.page import points, read_metrics
from utils.checkpoints import SHARDS, list_checkpoints, sweep_shards
from utils.errors import UserError, did_you_mean
from utils.files import atomic_write, is_locked
from utils.main import run_main
from utils.provenance import run_git
from utils.tables import print_table
from utils.util import read_json

COMMANDS = {
    "list": "every run, or those of NAME: state, epochs, best score, what it changed in its config",
    "compare": "two or more runs: scores, config, code, and their curves in an SVG picture",
    "best": "the run of NAME with the best score",
    "clean": "deletes old checkpoints, all but the newest and the best of each run; asks first",
}
Facts = dict[str, Any]


class Run:
    """A run's folder; what is missing there, or damaged, is empty.

    Args:
        folder: ``saved/NAME/RUN_ID``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"{folder.parent.name}/{folder.name}"
        self.config = _read(folder / "config.json")
        trainer = self.config.get("trainer")
        self.trainer: Facts = trainer if isinstance(trainer, dict) else {}
        sessions = _read(folder / "provenance.json").get("sessions")
        self.sessions = (
            [item for item in sessions if isinstance(item, dict)]
            if isinstance(sessions, list)
            else []
        )

    @cached_property
    def rows(self) -> list[Facts]:
        """The numbers of its epochs."""
        return read_metrics(self.folder / "log" / "metrics.jsonl")

    @property
    def started(self) -> str:
        return str(self.sessions[0].get("start", "")) if self.sessions else ""

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``stopped`` (it can go on), ``crashed``; empty if nothing tells."""
        outcome = str(self.sessions[-1].get("outcome")) if self.sessions else ""
        if outcome == "running":
            return "running" if is_locked(self.folder / "log" / ".lock") else "crashed"
        words = {
            "finished": "finished",
            "stopped": "stopped",
            "interrupted": "stopped",
            "failed": "crashed",
        }
        return next((word for start, word in words.items() if outcome.startswith(start)), "")

    @property
    def monitor(self) -> tuple[str, str]:
        """What decides which epoch is the best: ``("max", "val_accuracy")``; the smallest loss where nothing does."""
        mode, _, metric = str(self.trainer.get("monitor", "off")).partition(" ")
        if mode in ("min", "max") and metric.strip():
            return mode, metric.strip()
        return "min", "val_loss" if self.rows and "val_loss" in self.rows[0] else "loss"

    @property
    def best(self) -> tuple[float, int] | None:
        """The best score and its epoch."""
        mode, metric = self.monitor
        scores = [(value, int(epoch)) for epoch, value in points(self.rows, metric)]
        pick: Callable[..., tuple[float, int]] = min if mode == "min" else max
        return pick(scores, key=lambda score: score[0]) if scores else None

    @property
    def epochs(self) -> str:
        return f"{self.rows[-1]['epoch'] if self.rows else 0}/{self.trainer.get('epochs', '?')}"

    @property
    def changes(self) -> str:
        """What it said otherwise than the config that it started from; of all its sessions."""
        found: Facts = {}
        for session in self.sessions:
            found |= changes if isinstance(changes := session.get("changes"), dict) else {}
        return ", ".join(f"{key}={_written(value)}" for key, value in found.items())

    def score(self) -> str:
        return f"{self.monitor[1]} {top[0]:.5g} (epoch {top[1]})" if (top := self.best) else ""


def _read(path: Path) -> Facts:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = read_json(path) if path.is_file() else None
        if isinstance(content, dict):
            return content
    return {}


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"


def runs_in(root: Path) -> list[Run]:
    """The runs under ``root``, the oldest first. Raises UserError if it is no folder."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --dir says where the runs are")
    found = [
        Run(path.parent) for path in root.glob("*/*/config.json") if not path.parent.is_symlink()
    ]
    return sorted(found, key=lambda run: (run.started, run.name))


def of_name(runs: list[Run], name: str) -> list[Run]:
    """The runs of one experiment. Raises UserError if there is none."""
    found = [run for run in runs if run.folder.parent.name == name]
    if not found:
        names = sorted({run.folder.parent.name for run in runs})
        raise UserError(
            f"{name}: no run has this name{did_you_mean(name, names)}; there are {', '.join(names) or 'none'}"
        )
    return found


def find(runs: list[Run], word: str) -> Run:
    """The run that ``word`` means: its folder, NAME/RUN_ID, or a RUN_ID that only one has. Raises UserError."""
    if (Path(word) / "config.json").is_file():
        return Run(Path(word))
    found = [run for run in runs if word in (run.name, run.folder.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{word}: {' and '.join(run.name for run in found)} have this id; give NAME/RUN_ID"
        )
    raise UserError(
        f"{word}: no such run{did_you_mean(word, [run.name for run in runs])}; `list` shows them"
    )


def show(runs: list[Run]) -> None:
    """Prints a line for each run."""
    head = ("run", "started", "state", "epochs", "best", "changed")
    rows = [
        (r.name, r.started[:16].replace("T", " "), r.state, r.epochs, r.score(), r.changes)
        for r in runs
    ]
    print_table([head, *rows]) if rows else print("There are no runs yet.")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a config that is no section, with its dotted key."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, _written(value)


def differences(sides: list[dict[str, str]]) -> list[tuple[str, ...]]:
    """The rows that are not the same for all: the key, then each one's value."""
    keys = dict.fromkeys(key for side in sides for key in side)
    rows = [(key, *(side.get(key, "-") for side in sides)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def compare(runs: list[Run], target: Path) -> None:
    """Prints what tells the runs apart, and draws their curves into ``target``."""
    names = [
        run.name if len({r.name for r in runs}) == len(runs) else str(run.folder) for run in runs
    ]
    last = [
        {k: f"{v:.5g}" for k, v in run.rows[-1].items() if isinstance(v, float)}
        for run in runs
        if run.rows
    ]
    scores: list[tuple[str, ...]] = [
        ("state", *(run.state for run in runs)),
        ("epochs", *(run.epochs for run in runs)),
    ]
    scores.append(("best", *(run.score() for run in runs)))
    if len(last) == len(runs):
        keys = dict.fromkeys(key for side in last for key in side)
        scores += [
            (f"last {key}", *(side.get(key, "-") for side in last))
            for key in keys
            if key != "seconds"
        ]
    print_table([("score", *names), *scores])
    rows = differences([dict(flat(run.config)) for run in runs])
    print()
    print_table([("config", *names), *rows]) if rows else print("Their configs are the same.")
    print("\n" + _code(runs))
    metrics = dict.fromkeys(key for run in runs for row in run.rows for key in row)
    drawn = [
        key
        for key in metrics
        if key not in ("epoch", "step", "seconds") and f"val_{key}" not in metrics
    ]
    series = [
        (key, {name: points(run.rows, key) for name, run in zip(names, runs, strict=True)})
        for key in drawn
    ]
    pictures = [
        chart
        for key, values in series
        if (chart := charts.lines(key, values, "epoch", log_y="loss" in key))
    ]
    if pictures:
        try:
            with atomic_write(target) as file:
                file.write(charts.standalone(charts.stacked(pictures)).encode())
        except OSError as error:
            raise UserError(f"{target}: cannot be written: {error.strerror}") from None
        print(f"Their curves: {target}")


def _code(runs: list[Run]) -> str:
    """How the code of the runs differs: by commit, and by what was not committed."""
    sessions = [run.sessions[-1] if run.sessions else {} for run in runs]
    commits = [str(session.get("git_commit") or "") for session in sessions]
    lines = []
    for commit in dict.fromkeys(commits[1:]):
        if commit and commits[0] and commit != commits[0]:
            told = run_git("diff", "--stat", commits[0], commit)
            lines.append(
                f"Code, {commits[0][:8]} to {commit[:8]}:\n{told or 'this repository does not have both'}"
            )
    if len({session.get("git_diff") for session in sessions}) > 1:
        counts = [str(session.get("git_diff") or "").count("\n") for session in sessions]
        sizes = (f"{run.name} {count}" for run, count in zip(runs, counts, strict=True))
        lines.append(f"Lines of uncommitted changes (see provenance.json): {', '.join(sizes)}")
    return "\n".join(lines) or "Their code is the same."


def best(runs: list[Run]) -> None:
    """Prints the run whose score is the best, by what the newest one monitors."""
    monitor = runs[-1].monitor
    scored = [(run.best[0], run) for run in runs if run.monitor == monitor and run.best is not None]
    if not scored:
        raise UserError(f"none of the runs has a {monitor[1]} yet")
    pick: Callable[..., tuple[float, Run]] = min if monitor[0] == "min" else max
    run = pick(scored, key=lambda pair: pair[0])[1]
    show([run])
    print(f"Of {len(scored)} runs. To test it: python test.py -r {run.folder}")


def clean(runs: list[Run], yes: bool) -> None:
    """Deletes the checkpoints that nothing needs: neither the best ones, nor a run's newest."""
    old = []
    for run in runs:
        keep = (
            1 if run.state == "finished" else 2
        )  # one that goes on may need the one before a damaged newest
        old += [
            (run, path) for path in list_checkpoints(run.folder)[keep:] if run.state != "running"
        ]
    if not old:
        print("There is nothing to clean: only the best checkpoints are there, and the newest.")
        return
    print("\n".join(str(path) for _, path in old))
    freed = [path for _, path in old if path.stat().st_nlink == 1]
    shards = [file for path in freed for file in path.parent.glob(f"{path.stem}.*{SHARDS}/*")]
    size = sum(path.stat().st_size for path in freed + shards)
    print(f"{len(old)} checkpoints, {size / 1e6:,.1f} MB. The best ones stay, and the newest.")
    with contextlib.suppress(EOFError):
        yes = yes or input("Delete them? [y/N] ").strip().lower() in ("y", "yes")
    done = 0
    for run, path in old if yes else []:
        if run.state != "running":  # it may have been resumed meanwhile
            path.unlink(missing_ok=True)
            sweep_shards(run.folder)
            done += 1
    print(f"{done} deleted.")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m base.tools.runs",
        description="Looks at runs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.epilog = "\n".join(f"{name:<8} {text}" for name, text in COMMANDS.items())
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="list")
    parser.add_argument(
        "names", nargs="*", metavar="NAME | RUN", help="an experiment; of compare, runs"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("saved"), help="where the runs are (default: saved)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="of compare: the picture (default: compare.svg in --dir)"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="of clean: delete without asking")
    args = parser.parse_intermixed_args()
    least, most = {"compare": (2, 6), "best": (1, 1)}.get(args.command, (0, 1))
    if not least <= len(args.names) <= most:
        parser.error(
            f"{args.command} takes {f'{least} to {most} names' if least < most else 'a name'}"
        )
    runs = runs_in(args.dir)
    if args.command == "compare":
        compare([find(runs, name) for name in args.names], args.output or args.dir / "compare.svg")
        return
    runs = of_name(runs, args.names[0]) if args.names else runs
    if args.command == "clean":
        clean(runs, args.yes)
    else:
        (best if args.command == "best" else show)(runs)


if __name__ == "__main__":
    run_main(main)
