"""Compares runs: the differences in scores, configs and code, and a picture of the curves."""

from __future__ import annotations

from pathlib import Path

from base.tools.charts import LineChart, draw_lines, to_svg
from base.tools.run_record import Facts, RunRecord, choose_axis, get_points, is_loss
from config.read.text import compare_configs
from utils.files import write_text
from utils.numbers import find_families
from utils.provenance import run_git
from utils.tables import print_table

NOT_DRAWN = ("epoch", "batch", "step", "seconds")


def compare_runs(runs: list[RunRecord], picture: Path) -> None:
    """Prints how runs differ, and draws their curves.

    Args:
        runs: two or more.
        picture: the SVG file to write.

    Raises:
        UserError: the picture cannot be written.
    """
    are_unique = len({run.name for run in runs}) == len(runs)
    names = [run.name if are_unique else str(run.folder) for run in runs]
    print_table([("score", *names), *_score_rows(runs)])
    print()
    print_configs(names, [run.config for run in runs])
    print("\n" + describe_code(runs))
    _draw(dict(zip(names, runs, strict=True)), picture)


def print_configs(names: list[str], configs: list[Facts]) -> None:
    """Prints the values of configs that differ."""
    rows = compare_configs(configs)
    if rows:
        print_table([("config", *names), *rows])
    else:
        print("Their configs are the same.")


def _score_rows(runs: list[RunRecord]) -> list[tuple[str, ...]]:
    rows = [
        ("state", *(run.state for run in runs)),
        ("epochs", *(run.epochs for run in runs)),
        ("best", *(run.format_best() for run in runs)),
    ]
    if all(run.rows for run in runs):
        last = [
            {key: f"{value:.5g}" for key, value in run.rows[-1].items() if isinstance(value, float)}
            for run in runs
        ]
        keys = dict.fromkeys(key for numbers in last for key in numbers)
        rows += [
            (f"last {key}", *(numbers.get(key, "-") for numbers in last))
            for key in keys
            if key != "seconds"
        ]
    return rows


def describe_code(runs: list[RunRecord]) -> str:
    """Returns how the code of the runs differs: in its commits and in uncommitted changes."""
    sessions = [run.sessions[-1] if run.sessions else {} for run in runs]
    commits = [str(session.get("git_commit") or "") for session in sessions]
    lines = []
    for commit in dict.fromkeys(commits[1:]):
        if commit and commits[0] and commit != commits[0]:
            changes = run_git("diff", "--stat", commits[0], commit)
            lines.append(f"Code, {commits[0][:8]} to {commit[:8]}:")
            lines.append(changes or "this repository does not have both commits")
    if len({session.get("git_diff") for session in sessions}) > 1:
        counts = [str(session.get("git_diff") or "").count("\n") for session in sessions]
        sizes = [f"{run.name} {count}" for run, count in zip(runs, counts, strict=True)]
        lines.append(f"Lines of uncommitted changes (see provenance.json): {', '.join(sizes)}")
    return "\n".join(lines) or "Their code is the same."


def _draw(runs: dict[str, RunRecord], picture: Path) -> None:
    numbers = dict.fromkeys(key for run in runs.values() for row in run.rows for key in row)
    # If training and validation have the same number, only that of validation is drawn.
    drawn = [key for key in numbers if key not in NOT_DRAWN and f"val_{key}" not in numbers]
    for members in find_families(drawn).values():  # such as the error of each step of a forecast
        drawn = [key for key in drawn if key not in members[1:-1]]
    objectives = [key for key in numbers if is_loss(key) and key not in drawn]
    x = choose_axis([row for run in runs.values() for row in run.rows])

    def make_chart(title: str, key: str, shown: dict[str, RunRecord]) -> LineChart:
        series = {name: get_points(run.rows, key, x) for name, run in shown.items()}
        return LineChart(title, series, x, log_y="loss" in key)

    charts = [make_chart(key, key, runs) for key in drawn]
    trained = {name: run for name, run in runs.items() if run.has_training_objective}
    charts += [make_chart(f"{key}, training objective", key, trained) for key in objectives]
    svg = to_svg(draw_lines(charts), is_standalone=True)
    if svg:
        print(f"Their curves: {write_text(picture, svg)}")
