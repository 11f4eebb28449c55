"""The last lines of a search: its best trials, and the commands to use next."""

from __future__ import annotations

import shlex

from base.commands import format_commands, get_command, get_python_command
from base.groups.plan.engine import GRID
from base.groups.report.edges import find_edges
from base.groups.report.scales import make_scales
from base.groups.running.group import Member
from base.groups.study.opened_search import OpenedSearch
from base.groups.study.ranking import STATES
from base.groups.study.records import TrialRecord
from utils.checkpoints import CONFIG, GROUP
from utils.tables import format_table

BEST_SHOWN = 5


def format_result(search: OpenedSearch, is_repeated: bool) -> list[str]:
    """Returns the lines.

    Args:
        search: with its trials.
        is_repeated: whether each trial is a repetition.
    """
    trials, best = search.study.list_trials(), search.rank_trials()
    counts = {state: sum(trial.state == state for trial in trials) for state in STATES}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [f"{len(trials)} of {search.study.num_trials} trials: {states or 'none'}"]
    if best:
        scales = make_scales(search.space, best)
        rows = [("trial", search.objective.metric, *(scale.name for scale in scales))]
        for trial in best[:BEST_SHOWN]:
            values = [scale.format(trial.values[scale.key]) for scale in scales]
            rows.append((str(trial.number), f"{trial.score:.6g}", *values))
        lines += [*format_table(rows), *find_edges(best[0], search.space)]
    lines.append(f"Folder: {search.folder}")
    return lines + format_commands(list_commands(search, best, is_repeated))


def list_commands(
    search: OpenedSearch, best: list[TrialRecord], is_repeated: bool
) -> dict[str, str]:
    """Returns the commands to use after a search, by their purpose."""
    folder, train = shlex.quote(str(search.folder)), get_command("train.py")
    commands = {}
    if best:
        winner = search.folder / best[0].name
        run_id = f"{search.folder.name}-best"
        arguments = ["-c", str(winner / CONFIG), "--run-id", run_id]
        if is_repeated:
            member = Member(run_id, winner, best[0].values)
            arguments = member.list_arguments(search.folder / GROUP, ["search"])
        commands["test"] = f"{get_command('test.py')} -r {shlex.quote(str(winner))}"
        commands["train"] = f"{train} {shlex.join(arguments)}"
    more = "" if search.options.sampler == GRID else " search.trials=N"
    commands["go on"] = f"{train} -r {folder}{more}"
    commands["watch"] = f"{get_python_command()} -m tensorboard.main --logdir {folder}"
    return commands
