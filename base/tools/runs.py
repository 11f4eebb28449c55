"""Lists and compares runs: ``python -m base.tools.runs [list|compare A B|best NAME|clean]``.

A search or a repetition is a group of runs, which is listed as one line.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from base.checkpoint.file import list_tensor_files, remove_unused_files
from base.tools.group_record import GroupRecord, Record, list_records
from base.tools.listing import show_best, show_records
from base.tools.registry import find_record, list_all_runs, select_records
from base.tools.run_record import MAX_WORDS, RunRecord
from utils.checkpoints import list_checkpoints
from utils.errors import UserError
from utils.main import run_main

COMMANDS = {
    "list": "all runs and groups, or those of NAME: state, epochs, best score, changed values",
    "compare": "two to six runs: scores, config, code, and a picture of their curves;\n"
    f"{'':9}two groups: which one is better, by the pairs of runs with one seed and fold",
    "best": "the run of NAME with the best score; the trials of a search are runs too",
    "clean": "deletes all checkpoints but the newest and the best of each run; asks first",
}


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
        "names", nargs="*", metavar="NAME | RUN", help="an experiment, a group or a run"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("saved"), help="the folder of the runs (default: saved)"
    )
    parser.add_argument(
        "-a", "--all", action="store_true", help="for list: the members of groups too"
    )
    parser.add_argument(
        "-m",
        "--metric",
        help="for compare of groups: another number of metrics.jsonl, such as "
        "val_loss or 'max val_f1', at the best epoch of each run",
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
    records = list_records(args.dir)
    if args.command == "compare":
        compare([find_record(records, name) for name in args.names], args)
        return
    group = None
    if args.names:
        records = select_records(records, args.names[0])
        if isinstance(records[0], GroupRecord) and records[0].experiment != args.names[0]:
            group = records[0]
    if args.command == "clean":
        clean_runs(list_all_runs(records), args.yes)
    elif args.command == "best":
        show_best(records, group)
    else:
        show_records(records, MAX_WORDS if args.all else int(group is not None))


def compare(records: list[Record], args: argparse.Namespace) -> None:
    """Compares runs, or two groups.

    Raises:
        UserError: there are runs and groups, or more than two groups.
    """
    groups = [record for record in records if isinstance(record, GroupRecord)]
    runs = [record for record in records if isinstance(record, RunRecord)]
    if runs and groups:
        message = f"{groups[0].name} is a group of runs and {runs[0].name} is a run"
        member = next((member.name for member in groups[0].members), f"{groups[0].name}/MEMBER")
        raise UserError(f"{message}; give two groups, or runs such as {member}")
    if len(groups) > 2:
        raise UserError(f"compare takes two groups, not {len(groups)}")
    if groups:
        from base.tools.compare_groups import compare_groups

        if args.output is not None:
            raise UserError("--output is for the curves of runs; for groups there is no picture")
        compare_groups(groups[0], groups[1], args.metric)
        return
    from base.tools.compare import compare_runs

    if args.metric is not None:
        raise UserError("--metric is for groups; for runs, all numbers are shown")
    compare_runs(runs, args.output or args.dir / "compare.svg")


if __name__ == "__main__":
    run_main(main)
