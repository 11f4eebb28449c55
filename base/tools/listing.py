"""Lists runs and groups in a table, and finds the best of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, log10

from base.tools.group_record import FAILED, SEARCH, GroupRecord, Record, get_score, get_state
from base.tools.registry import list_all_runs
from base.tools.run_record import RunRecord, format_values
from base.tools.statistics import Estimate
from utils.errors import UserError, abbreviate
from utils.tables import print_table

Row = tuple[str, ...]
NOT_BEGUN = "not begun"
HEADER = ("run", "started", "state", "epochs", "best", "changed")


def show_records(records: Sequence[Record], num_levels: int = 0) -> None:
    """Prints a line for each record.

    Args:
        records: runs and groups.
        num_levels: of members to show; with 1, the members of groups, but not those of trials.
    """
    if not records:
        print("There are no runs yet.")
        return
    print_table([HEADER, *_make_rows(records, num_levels)])


def _make_rows(records: Sequence[Record], num_levels: int, indent: str = "") -> Iterator[Row]:
    for record in records:
        started = record.started[:16].replace("T", " ")
        if isinstance(record, RunRecord):
            state = record.state if record.config or not indent else NOT_BEGUN
            facts = (record.epochs, record.format_best(), record.changes)
            yield indent + record.name, started, state, *facts
            continue
        yield indent + record.name, started, record.state, *_describe_group(record)
        if num_levels:
            yield from _make_rows(record.members, num_levels - 1, f"{indent}  ")
            for name in record.missing:
                yield f"{indent}  {record.name}/{name}", "", NOT_BEGUN, "", "", ""


def _describe_group(group: GroupRecord) -> Row:
    """Returns how many of its members are done, its best trial or its mean, and its kind."""
    states = [get_state(member) for member in group.members]
    num_failed, num_pruned = sum(state in FAILED for state in states), states.count("pruned")
    done = f"{group.num_done}/{group.total} {'trials' if group.kind == SEARCH else 'runs'}"
    if num_pruned:
        done += f", {num_pruned} pruned"
    if num_failed:
        done += f", {num_failed} failed"
    return done, _format_best(group), _describe_kind(group)


def _format_best(group: GroupRecord) -> str:
    metric, best = group.monitor.metric, group.best
    if group.mean is not None:
        return f"{metric} {format_estimate(group.mean)}"
    if best is None:
        return ""
    score = get_score(best)
    return "" if score is None else f"{metric} {format_estimate(score)} ({best.folder.name})"


def _describe_kind(group: GroupRecord) -> str:
    """Returns the kind of a group, and the changed values that all of its runs have."""
    if group.kind == SEARCH:
        space = group.options.get("space")
        return f"search: {', '.join(map(str, space)) if isinstance(space, dict) else ''}"
    runs = list(group.runs)
    shared = dict(runs[0].changed_values) if runs else {}
    for run in runs[1:]:
        found = run.changed_values
        shared = {key: value for key, value in shared.items() if found.get(key, shared) == value}
    options = {key: value for key, value in group.options.items() if value is not None}
    kind = f"repeat: {format_values(options)}" if options else "group"
    return f"{kind}; {format_values(shared)}" if shared else kind


def format_estimate(estimate: Estimate) -> str:
    """Formats a mean and half the width of its interval, such as ``0.912 ± 0.013``."""
    if not estimate.half_width:
        return f"{estimate.mean:.5g}"
    digits = count_decimals(estimate.half_width)
    return f"{estimate.mean:.{digits}f} ± {estimate.half_width:.{digits}f}"


def count_decimals(width: float) -> int:
    """The decimals of a number that is known up to ``width``, of which two digits are shown."""
    return min(max(1 - floor(log10(width)), 0), 12)


def show_best(records: Sequence[Record], group: GroupRecord | None = None) -> None:
    """Prints the record with the best score in the number that the newest run monitors.

    The trials of a search count as runs. A repetition counts once, by its mean, because its best
    seed is no better a model than the others. A member of a group counts once it is finished.

    Args:
        records: runs and groups.
        group: compares the members of this group instead.

    Raises:
        UserError: none has such a score.
    """
    runs = list_all_runs(records)
    if not runs:
        raise UserError(f"{abbreviate([record.name for record in records])}: there are no runs yet")
    monitor = max(runs, key=lambda run: run.start_seconds).monitor
    found = _list_scores(records) if group is None else _list_member_scores(group)
    scored = [(score, record) for score, record in found if record.monitor == monitor]
    if not scored:
        raise UserError(f"none of the runs has a {monitor.metric} yet")
    _, best = monitor.pick(scored, key=lambda pair: pair[0])
    show_records([best])
    kind = "runs" if all(isinstance(item, RunRecord) for _, item in scored) else "runs and groups"
    print(f"The best of {len(scored)} {kind}. To test it: python test.py -r {best.folder}")


def _list_scores(records: Sequence[Record]) -> Iterator[tuple[float, Record]]:
    for record in records:
        if isinstance(record, GroupRecord) and not record.is_repetition:
            yield from _list_member_scores(record)
            continue
        if isinstance(record, GroupRecord):
            estimate = get_score(record)
            score = None if estimate is None else estimate.mean
        else:
            score = None if record.best is None else float(record.best.value)
        if score is not None:
            yield score, record


def _list_member_scores(group: GroupRecord) -> Iterator[tuple[float, Record]]:
    for member in group.members:
        score = get_score(member)
        if score is not None:
            yield score.mean, member
