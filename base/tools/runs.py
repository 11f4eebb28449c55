"""Lists and compares runs: ``python -m base.tools.runs [list|compare A B|best NAME|clean]``."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from base.checkpoint.file import list_tensor_files, remove_unused_files
from base.tools.run_record import RunRecord, Score, find_run, list_runs, select_experiment
from utils.checkpoints import list_checkpoints
from utils.errors import UserError
from utils.main import run_main
from utils.tables import print_table

COMMANDS = {
    "list": "all runs, or those of NAME: state, epochs, best score, changed values",
    "compare": "two to six runs: scores, config, code, and a picture of their curves",
    "best": "the run of NAME with the best score",
    "clean": "deletes all checkpoints but the newest and the best of each run; asks first",
}


def show_runs(runs: list[RunRecord]) -> None:
    """Prints a line for each run."""
    if not runs:
        print("There are no runs yet.")
        return
    rows = [("run", "started", "state", "epochs", "best", "changed")]
    for run in runs:
        started = run.started[:16].replace("T", " ")
        rows.append((run.name, started, run.state, run.epochs, run.format_best(), run.changes))
    print_table(rows)


def show_best(runs: list[RunRecord]) -> None:
    """Prints the run with the best score in the number that the newest run monitors.

    Raises:
        UserError: no run has such a score.
    """
    monitor = runs[-1].monitor
    scored: list[tuple[Score, RunRecord]] = []
    for run in runs:
        score = run.best
        if score is not None and run.monitor == monitor:
            scored.append((score, run))
    if not scored:
        raise UserError(f"none of the runs has a {monitor.metric} yet")
    _, best = monitor.pick(scored, key=lambda pair: pair[0].value)
    show_runs([best])
    print(f"The best of {len(scored)} runs. To test it: python test.py -r {best.folder}")


def clean_runs(runs: list[RunRecord], is_confirmed: bool) -> None:
    """Deletes all checkpoints except for the best and the newest of each run.

    Args:
        runs: those that are running now are skipped.
        is_confirmed: if False, it asks on standard input.
    """
    old = [(run, path) for run in runs for path in _list_unneeded(run)]
    if not old:
        print("There is nothing to clean: only the newest and the best checkpoints are there.")
        return
    print("\n".join(str(path) for _, path in old))
    size = _size_of([path for _, path in old])
    print(f"{len(old)} checkpoints, {size / 1e6:,.1f} MB. The newest and the best ones stay.")
    if not is_confirmed:
        with contextlib.suppress(EOFError):
            answer = input("Delete them? [y/N] ")
            is_confirmed = answer.strip().lower() in ("y", "yes")
    deleted = 0
    for run, path in old if is_confirmed else []:
        if run.state != "running":  # somebody may have resumed it meanwhile
            path.unlink(missing_ok=True)
            remove_unused_files(run.folder)
            deleted += 1
    print(f"{deleted} deleted.")


def _list_unneeded(run: RunRecord) -> list[Path]:
    if run.state == "running":
        return []
    # A run that may continue keeps two, because the newest may be damaged.
    num_newest = 1 if run.state == "finished" else 2
    return list_checkpoints(run.folder)[num_newest:]


def _size_of(checkpoints: list[Path]) -> int:
    """Returns the bytes that deleting frees. A checkpoint that is also model_best.pt frees none."""
    freed = [path for path in checkpoints if path.stat().st_nlink == 1]
    shards = [file for path in freed for file in list_tensor_files(path)]
    return sum(path.stat().st_size for path in freed + shards)


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m base.tools.runs",
        description="Lists, compares and cleans runs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:<8} {text}" for name, text in COMMANDS.items()),
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="list")
    parser.add_argument(
        "names", nargs="*", metavar="NAME | RUN", help="an experiment; for compare, runs"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("saved"), help="the folder of the runs (default: saved)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="for compare: the picture (default: DIR/compare.svg)"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="for clean: do not ask")
    args = parser.parse_intermixed_args()
    least, most = {"compare": (2, 6), "best": (1, 1)}.get(args.command, (0, 1))
    if not least <= len(args.names) <= most:
        number = f"{least} to {most} names" if least < most else "a name"
        parser.error(f"{args.command} takes {number}")
    return args


def main() -> None:
    args = _parse_args()
    runs = list_runs(args.dir)
    if args.command == "compare":
        from base.tools.compare import compare_runs

        picture = args.output or args.dir / "compare.svg"
        compare_runs([find_run(runs, name) for name in args.names], picture)
        return
    if args.names:
        runs = select_experiment(runs, args.names[0])
    if args.command == "clean":
        clean_runs(runs, args.yes)
    elif args.command == "best":
        show_best(runs)
    else:
        show_runs(runs)


if __name__ == "__main__":
    run_main(main)
