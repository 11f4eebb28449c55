"""``report.html`` of a search: one file that needs no network.

``python -m base.groups.report.search_report saved/digits/lr`` writes it again.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from base.groups.plan.space import Space, describe_entry, format_value
from base.groups.report.edges import find_edges
from base.groups.report.scales import (
    ParameterScale,
    ScoreScale,
    get_scores,
    make_scales,
    shorten_keys,
)
from base.groups.report.search_charts import (
    MAX_VECTOR_TRIALS,
    draw_history,
    draw_importances,
    draw_learning_curves,
)
from base.groups.report.space_charts import draw_parallel, draw_slices
from base.groups.report.trial_table import get_seconds, make_trial_table
from base.groups.study.opened_search import OpenedSearch, read_search
from base.groups.study.ranking import STATES, find_best, get_score
from base.groups.study.records import FAILED, TrialRecord
from base.groups.study.storage import mask
from base.tools.charts import to_svg
from base.tools.page import Page
from base.tools.run_record import Objective
from utils.errors import printable, shorten
from utils.files import write_text
from utils.main import run_main
from utils.tables import format_duration

MAX_MESSAGE_CHARS = 300
MAX_NAMED_TRIALS = 12  # of a reason
MAX_SPACE_CHARS = 120  # of the values that were tried
PARALLEL_NOTE = (
    "Each line is a trial. Its colour is its score, from grey (worst) to orange (best); the five "
    "best are thick. The lines of pruned trials are dashed."
)
LINKS_NOTE = "A click on a line or on a dot leads to its trial in the table."
PIXELS_PER_AXIS = 105  # of the parallel coordinates: a narrow screen scrolls
STYLE = "<style>.halo text { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }</style>"


def write_report(
    folder: Path,
    title: str,
    trials: list[TrialRecord],
    space: Space,
    objective: Objective,
    importances: dict[str, float],
    config: dict[str, Any],
) -> Path:
    """Writes ``report.html`` of a search.

    Args:
        folder: of the search.
        title: of the page.
        trials: all of them, in any order and state.
        space: by dotted key.
        objective: the number that is optimised.
        importances: of the parameters, by dotted key; empty if unknown.
        config: of the search, as in ``group.json``.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
    """
    best = find_best(trials, objective)
    page = Page(title, _describe(trials, objective))
    page.add_cards("Summary", _make_cards(trials, objective, best))
    if best is not None:
        page.add_notice(find_edges(best, space))
        _add_best(page, folder, best, space)
    scales = make_scales(space, trials)
    _add_charts(page, trials, scales, objective, importances)
    page.add_text_table("Failed trials", list_failures(trials))
    page.add_html("Trials", make_trial_table(trials, objective, scales, folder))
    page.add_text("Config", mask(json.dumps(config, indent=2, default=str)))
    return write_text(folder / "report.html", page.to_html())


def _describe(trials: Sequence[TrialRecord], objective: Objective) -> str:
    direction = "lowest" if objective.mode == "min" else "highest"
    noun = "trial" if len(trials) == 1 else "trials"
    return f"Search for the {direction} {objective.metric}, {len(trials):,} {noun}"


def _make_cards(
    trials: Sequence[TrialRecord], objective: Objective, best: TrialRecord | None
) -> dict[str, tuple[str, str]]:
    counts = Counter(trial.state for trial in trials)
    states = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
    score = None if best is None else get_score(best)
    first = ("–", "no finished trial has a score")
    if best is not None and score is not None:
        first = (f"{score:.5g}", f"trial {best.number}")
    seconds = [value for value in map(get_seconds, trials) if value is not None]
    total = sum(seconds)
    mean = f"{format_duration(total / len(seconds))} for a trial" if seconds else ""
    return {
        f"best {objective.metric}": first,
        "trials": (f"{len(trials):,}", states),
        "time of all trials": (format_duration(total) if seconds else "–", mean),
    }


def _add_best(page: Page, folder: Path, best: TrialRecord, space: Space) -> None:
    rows = [
        {
            "key": key,
            "value": printable(format_value(best.values[key])),
            "tried": printable(shorten(describe_entry(entry), MAX_SPACE_CHARS)),
        }
        for key, entry in space.items()
        if key in best.values
    ]
    page.add_text_table(f"Trial {best.number}, the best", rows)
    run = shlex.quote(str(folder / best.name))
    page.add_note("To test it:", f"python test.py -r {run}")


def _add_charts(
    page: Page,
    trials: list[TrialRecord],
    scales: list[ParameterScale],
    objective: Objective,
    importances: dict[str, float],
) -> None:
    names = shorten_keys(importances)
    named = {names[key]: value for key, value in importances.items()}
    figures = [draw_history(trials, objective), draw_learning_curves(trials, objective)]
    figures.append(draw_importances(named))
    titles = {trial.number: _name_trial(trial, objective) for trial in trials}
    page.add_charts("Progress", [_title_links(to_svg(figure), titles) for figure in figures])
    page.add_note(_explain_edge(trials, objective))
    parallel = _title_links(to_svg(draw_parallel(trials, objective, scales)), titles)
    if parallel:
        width = PIXELS_PER_AXIS * (len(scales) + 1)
        card = f'<div class="card scroll halo"><div style="min-width: {width}px">{parallel}</div>'
        page.add_html("Parameters", f"{STYLE}{card}</div>")
        is_linked = len(trials) <= MAX_VECTOR_TRIALS
        page.add_note(f"{PARALLEL_NOTE} {LINKS_NOTE}" if is_linked else PARALLEL_NOTE)
    slices = draw_slices(trials, objective, scales)
    page.add_charts("Score by parameter", [_title_links(to_svg(item), titles) for item in slices])


def _name_trial(trial: TrialRecord, objective: Objective) -> str:
    score = get_score(trial)
    text = "" if score is None else f", {objective.metric} {score:.5g}"
    return escape(printable(f"trial {trial.number}{text}, {trial.state}"))


def _title_links(svg: str, titles: Mapping[int, str]) -> str:
    """Gives each link to a trial a title, which a browser shows at the mouse pointer."""

    def add_title(match: re.Match[str]) -> str:
        return f'<a href="#trial-{match[1]}"><title>{titles[int(match[1])]}</title>'

    return re.sub(r'<a xlink:href="#trial-(\d+)"[^>]*>', add_title, svg)


def _explain_edge(trials: Sequence[TrialRecord], objective: Objective) -> str:
    scale = ScoreScale.from_trials(trials, objective.mode)
    count = 0 if scale is None else scale.count_outside(get_scores(trials))
    if not count:
        return ""
    if count == 1:
        return "One score is far from the others: a triangle at the edge of the charts."
    return f"{count:,} scores are far from the others: triangles at the edge of the charts."


def list_failures(trials: Sequence[TrialRecord]) -> list[dict[str, str]]:
    """Returns a row for each reason why trials have failed, the most frequent one first.

    The reason is the last line of the message. Reasons that differ only in their numbers, such as
    sizes of memory, count as one.
    """
    reasons: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state == FAILED:
            reasons.setdefault(re.sub(r"\d+", "0", _get_last_line(trial)), []).append(trial)
    ranked = sorted(reasons.values(), key=len, reverse=True)
    return [
        {
            "reason": shorten(_get_last_line(failed[0]), MAX_MESSAGE_CHARS),
            "number": f"{len(failed):,}",
            "trials": _join_numbers([trial.number for trial in failed]),
        }
        for failed in ranked
    ]


def _get_last_line(trial: TrialRecord) -> str:
    lines = [line.strip() for line in trial.message.splitlines() if line.strip()]
    return printable(lines[-1]) if lines else "unknown"


def _join_numbers(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:MAX_NAMED_TRIALS]))
    rest = len(numbers) - MAX_NAMED_TRIALS
    return f"{text} and {rest} more" if rest > 0 else text


def write_report_of(search: OpenedSearch) -> Path:
    """Writes the report of a search from its storage."""
    return write_report(
        search.folder,
        f"{search.config['name']} · {search.folder.name}",
        search.study.list_trials(),
        search.space,
        search.objective,
        search.study.compute_importances(),
        search.config.plain(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the report of a search again.")
    parser.add_argument("folder", type=Path, help="the folder of a search: saved/NAME/RUN_ID")
    print(write_report_of(read_search(parser.parse_args().folder)))


if __name__ == "__main__":
    run_main(main)
