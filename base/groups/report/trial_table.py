"""The table of trials in the report of a search. A click on a header sorts it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from base.groups.plan.space import format_value, is_number
from base.groups.report.scales import ParameterScale
from base.groups.study.ranking import find_best, get_score, rank_trials
from base.groups.study.records import FAILED, TrialRecord
from base.tools.run_record import Objective
from utils.errors import printable, shorten
from utils.tables import format_duration

MAX_CHARS = 32  # of a value; the cell's title has all of it
NOTE = (
    "Best first; a click on a header sorts, a click on a folder selects it. "
    "<code>python test.py -r FOLDER</code> tests a trial, "
    "<code>python train.py -r FOLDER</code> continues one."
)
STYLE = """<style>
.trials th { white-space: nowrap; vertical-align: bottom; }
.trials td { white-space: nowrap; }
.trials th, .trials td { font-size: .88rem; padding: 3px 7px; }
.trials.sortable th { cursor: pointer; }
.trials.sortable th:hover { text-decoration: underline; }
.trials th[aria-sort=ascending]::after { content: " ▴"; }
.trials th[aria-sort=descending]::after { content: " ▾"; }
.trials tr.best td { font-weight: 600; }
.trials tr.pruned td, .trials tr.running td { color: var(--soft); }
.trials tr:target td { background: color-mix(in srgb, var(--warn) 25%, transparent); }
.trials code { user-select: all; cursor: copy; font-size: .8rem; }
</style>"""
# Numbers before texts, both ascending at the first click; a missing value is always last.
SCRIPT = """<script>
for (const table of document.querySelectorAll("table.trials")) {
  table.classList.add("sortable");
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
  };
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const isText = isNaN(a), otherIsText = isNaN(b);
    if (isText !== otherIsText) return isText - otherIsText;
    return sign * (isText ? a.localeCompare(b) : a - b);
  };
  table.querySelectorAll("th").forEach((head, column) => {
    const sort = () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(key(a, column), key(b, column), sign));
      table.tBodies[0].append(...rows);
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
</script>"""


def make_trial_table(
    trials: Sequence[TrialRecord],
    objective: Objective,
    scales: Sequence[ParameterScale],
    folder: Path,
) -> str:
    """Returns the trials as HTML, best first; an empty text if there are none.

    Args:
        trials: in any order.
        objective: names the score.
        scales: of the parameters: a column for each.
        folder: of the search. The folders of the trials are below it.
    """
    if not trials:
        return ""
    heads = [_head("trial"), _head("state"), _head(objective.metric)]
    heads += [_head(scale.name, scale.key) for scale in scales]
    heads += [_head("validations"), _head("duration"), _head("folder")]
    best = find_best(trials, objective)
    rows = []
    for trial in rank_trials(trials, objective):
        css = "best" if trial is best else trial.state
        cells = _make_cells(trial, scales, folder)
        rows.append(f'<tr class="{css}" id="{trial.name}">{"".join(cells)}</tr>')
    table = f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody>"
    card = f'<div class="card scroll"><table class="trials">{table}</table></div>'
    return f"{STYLE}<p>{NOTE}</p>{card}{SCRIPT}"


def _head(text: str, title: str = "") -> str:
    hint = f' title="{escape(title)}"' if title and title != text else ""
    return f"<th{hint}>{escape(printable(text))}</th>"


def _make_cells(trial: TrialRecord, scales: Sequence[ParameterScale], folder: Path) -> list[str]:
    score = get_score(trial)
    state = f'<span class="bad">{FAILED}</span>' if trial.state == FAILED else trial.state
    cells = [f"<td>{trial.number}</td>", f"<td>{state}</td>"]
    cells.append("<td></td>" if score is None else _number_cell(f"{score:.5g}", score))
    for scale in scales:
        is_known = scale.key in trial.values
        cells.append(_value_cell(trial.values[scale.key], scale) if is_known else "<td></td>")
    cells.append(f"<td>{len(trial.reports) or ''}</td>")
    seconds = get_seconds(trial)
    duration = "" if seconds is None else format_duration(seconds)
    cells.append(_number_cell(duration, seconds) if seconds is not None else "<td></td>")
    name = shlex.quote(str(folder / trial.name))
    cells.append(f'<td data-value="{trial.number}"><code>{escape(name)}</code></td>')
    return cells


def _number_cell(text: str, value: float) -> str:
    exact = f"{value:.9g}"
    data = "" if text == exact else f' data-value="{exact}"'
    return f"<td{data}>{escape(text)}</td>"


def _value_cell(value: Any, scale: ParameterScale) -> str:
    text = printable(scale.format(value))
    if is_number(value):
        return _number_cell(text, value)
    full, short = printable(format_value(value)), shorten(text, MAX_CHARS)
    title = "" if short == full else f' title="{escape(full)}"'
    return f"<td{title}>{escape(short)}</td>"


def get_seconds(trial: TrialRecord) -> float | None:
    """Returns the duration of a trial; None while it runs or if its times are unknown."""
    if trial.started is None or trial.ended is None:
        return None
    return max(0.0, (trial.ended - trial.started).total_seconds())
