"""The report of a search: what it shows, and odd searches."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from base.groups.plan.space import Choices, Range
from base.groups.report.scales import make_scales
from base.groups.report.search_charts import draw_history, draw_learning_curves, find_running_best
from base.groups.report.search_report import list_failures, write_report
from base.groups.report.space_charts import draw_parallel, draw_slices
from base.groups.study.ranking import find_best, rank_trials
from base.groups.study.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from base.tools.run_record import Objective
from tests.base.groups.report.trial_records import ACCURACY, SPACE, make_trials
from tests.forked import run_forked
from tests.helpers import ROOT

VALUES = {
    "optimizer.args.lr": 0.01,
    "data_loader.args.batch_size": 64,
    "arch": {"type": "SmallConvNet"},
}
SECTIONS = ("Summary", "Progress", "Parameters", "Score by parameter", "Failed trials", "Trials")


class Table(HTMLParser):
    """Collects the rows of the table of trials: the texts of the cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(html[html.index('<table class="trials">') :])

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def write(
    folder: Path,
    trials: list[TrialRecord],
    space: dict[str, Choices | Range] = SPACE,
    objective: Objective = ACCURACY,
) -> str:
    """Writes a report, and returns its text."""
    importances = dict.fromkeys(space, 1 / max(len(space), 1))
    config = {"name": "digits"}
    path = write_report(folder, "digits · lr", trials, space, objective, importances, config)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_a_report_has_every_section_and_needs_no_network(tmp_path: Path) -> None:
    html = write(tmp_path, make_trials(30))
    assert [name for name in SECTIONS if f"<h2>{name}</h2>" not in html] == []
    for chart in ("of each trial", "after each validation", "Importance", "Parameters and score"):
        assert chart in html
    assert all(f"val_accuracy by {key}" in html for key in SPACE)
    links = re.findall(r'(?:src|href)="?([^" >]+)', html)
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_cards_tell_the_best_score_the_states_and_the_time(tmp_path: Path) -> None:
    trials = make_trials(40)
    html = write(tmp_path, trials)
    best = max(trial.score or 0 for trial in trials if trial.state == FINISHED)
    assert f"<b>{best:.5g}</b>" in html
    assert "<b>40</b><small>32 finished, 5 pruned, 3 failed</small>" in html
    assert "<b>1 h 00 min</b><small>1 min 30 s for a trial</small>" in html


def test_the_table_is_best_first_and_names_the_folders(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    trials = make_trials(30)
    head, *rows = Table(write(folder, trials)).rows
    names = ["lr", "batch_size", "arch"]
    assert head == ["trial", "state", "val_accuracy", *names, "validations", "duration", "folder"]
    assert [int(row[0]) for row in rows] == [item.number for item in rank_trials(trials, ACCURACY)]
    states = [row[1] for row in rows]
    assert states == sorted(states, key=[FINISHED, PRUNED, FAILED].index)
    finished = [float(row[2]) for row in rows if row[1] == FINISHED]
    assert finished == sorted(finished, reverse=True)
    assert rows[0][6:8] == ["5", "1 min 30 s"]
    assert rows[0][8] == f"'{folder}/trial-{rows[0][0]}'"


def test_the_best_at_the_edge_is_a_warning(tmp_path: Path) -> None:
    values = VALUES | {"optimizer.args.lr": 0.1}
    sentence = "The best lies at the upper end of optimizer.args.lr (0.1): widen the range."
    assert sentence in write(tmp_path, [TrialRecord(0, FINISHED, values, 0.5)])
    assert "The best lies" not in write(tmp_path, [TrialRecord(0, FINISHED, VALUES, 0.5)])


def test_failures_with_the_same_reason_are_one_row() -> None:
    messages = ["Traceback\nRuntimeError: needs 20 MiB", "KeyError: 'x'\n\n", "", "x\n needs 3 MiB"]
    trials = [TrialRecord(n, FAILED, {}, message=text) for n, text in enumerate(messages)]
    trials += [replace(trials[0], number=n) for n in range(4, 24)]
    assert list_failures([*trials, TrialRecord(30, FINISHED, {}, 1.0)]) == [
        {
            "reason": "RuntimeError: needs 20 MiB",
            "number": "21",
            "trials": "0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 and 9 more",
        },
        {"reason": "KeyError: 'x'", "number": "1", "trials": "1"},
        {"reason": "unknown", "number": "1", "trials": "2"},
        {"reason": "needs 3 MiB", "number": "1", "trials": "3"},
    ]


def test_names_are_no_markup(tmp_path: Path) -> None:
    space = {"<i>key</i>": Choices(["<script>x", "$a"]), "b": Range(0, 1)}
    trials = [
        TrialRecord(0, FINISHED, {"<i>key</i>": "<script>x", "b": 0.5}, 0.5, {1: 0.5, 2: 0.5}),
        TrialRecord(1, FAILED, {"<i>key</i>": "$a", "b": 0.5}, message="<b>bad</b> \x1b[31m"),
    ]
    html = write(tmp_path, trials, space, Objective("min", "val_<u>loss"))
    for text in ("<i>", "<script>x", "<u>", "<b>bad", "\x1b"):
        assert text not in html


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "trials",
    [
        pytest.param([], id="none"),
        pytest.param([TrialRecord(0, FAILED, VALUES)], id="failed"),
        pytest.param([TrialRecord(0, RUNNING, {})], id="running"),
        pytest.param([TrialRecord(0, FINISHED, VALUES, 0.5, {1: 0.5})], id="one"),
        pytest.param([TrialRecord(n, FINISHED, VALUES, 0.0) for n in range(3)], id="equal"),
        pytest.param(
            [TrialRecord(n, FINISHED, VALUES, x) for n, x in enumerate((math.nan, math.inf, None))],
            id="null",
        ),
        pytest.param(
            [
                TrialRecord(0, FINISHED, {}, 1.7e308, {1: math.nan, 2: 1e308}),
                TrialRecord(1, PRUNED, {"optimizer.args.lr": 7.0, "arch": "unseen"}, -1.7e308),
                TrialRecord(2, FINISHED, {"optimizer.args.lr": None, "other": 1}, 1e-320),
            ],
            id="odd",
        ),
    ],
)
@pytest.mark.parametrize("space", [SPACE, {}, {"n": Choices([3]), "x": Range(1, 1)}])
def test_odd_searches_have_a_report(
    trials: list[TrialRecord], mode: str, space: dict[str, Choices | Range], tmp_path: Path
) -> None:
    html = write(tmp_path, trials, space, Objective(mode, "loss"))
    assert f"<b>{len(trials)}</b>" in html
    if not any(trial.score is not None and math.isfinite(trial.score) for trial in trials):
        assert "no finished trial has a score" in html


def test_a_pruned_trial_or_one_without_a_number_is_never_the_best() -> None:
    trials = [
        TrialRecord(0, PRUNED, {}, 0.99),
        TrialRecord(1, FINISHED, {}, math.inf),
        TrialRecord(2, FINISHED, {}, 0.5),
        TrialRecord(3, FINISHED, {}, 0.5),
    ]
    assert find_best(trials, ACCURACY) is trials[2]
    assert find_best(trials[:2], ACCURACY) is None
    assert [trial.number for trial in rank_trials(trials, ACCURACY)] == [2, 3, 0, 1]


def test_the_best_score_so_far_only_improves() -> None:
    scores = [0.5, 0.4, math.nan, 0.7, 0.7, 0.6]
    trials = [TrialRecord(n, FINISHED, {}, score) for n, score in enumerate(scores)]
    assert find_running_best(trials[::-1], ACCURACY) == [(0, 0.5), (3, 0.7)]
    assert find_running_best(trials, Objective("min", "loss")) == [(0, 0.5), (1, 0.4)]


def test_charts_show_every_trial_and_the_best_on_top() -> None:
    trials = make_trials(30)
    numbers = {trial.number for trial in trials if trial.state != FAILED}
    best = find_best(trials, ACCURACY)
    assert best is not None
    scales = make_scales(SPACE, trials)
    parallel = draw_parallel(trials, ACCURACY, scales)
    assert parallel is not None
    links = [link for lines in parallel.axes[0].collections for link in lines.get_urls()]
    assert {int(link.removeprefix("#trial-")) for link in links} == numbers
    assert links[-1] == f"#trial-{best.number}"
    for figure in draw_slices(trials, ACCURACY, scales):
        dots = figure.axes[0].collections
        assert sum(len(group.get_offsets()) for group in dots) == len(numbers) + 1
        assert list(dots[-1].get_urls()) == [f"#trial-{best.number}"]
    assert draw_slices(trials, ACCURACY, scales)[0].axes[0].get_xscale() == "log"
    curves = draw_learning_curves(trials, ACCURACY)
    assert curves is not None
    assert sum(len(lines.get_segments()) for lines in curves.axes[0].collections) == (
        len(numbers) - 1
    )
    history = draw_history(trials, ACCURACY)
    assert history is not None
    legend = history.axes[0].get_legend()
    assert legend is not None
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {"finished", "pruned", "failed", "best so far"}


def test_searches_without_reports_have_no_learning_curves() -> None:
    trials = [replace(trial, reports={}) for trial in make_trials(5)]
    assert draw_learning_curves(trials, ACCURACY) is None


def test_a_password_of_the_storage_is_not_in_the_report(tmp_path: Path) -> None:
    config = {"search": {"storage": "postgresql+psycopg://me:secret@host/optuna"}}
    path = write_report(tmp_path, "digits", make_trials(3), SPACE, ACCURACY, {}, config)
    text = path.read_text()
    assert "secret" not in text
    assert "@host/optuna" in text


def test_a_thousand_trials_are_a_small_file(tmp_path: Path) -> None:
    started = time.process_time()
    html = write(tmp_path, make_trials(1000))
    assert time.process_time() - started < 10
    assert len(html) < 3_000_000


def test_a_folder_that_is_no_search_is_one_line(tmp_path: Path) -> None:
    done = run_forked("-m", "base.groups.report.search_report", str(tmp_path), cwd=ROOT)
    assert done.returncode == 2
    assert "is not the folder of a search" in done.stderr
    assert "Traceback" not in done.stderr
