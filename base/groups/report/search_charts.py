"""Charts of a search over its trials and over the validations of each trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from base.groups.report.scales import ScoreScale
from base.groups.study.ranking import find_best, get_score
from base.groups.study.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from base.tools.charts import (
    COLOURS,
    HEIGHT_INCHES,
    INK,
    TEXT_POINTS,
    WIDTH_INCHES,
    add_axes,
    make_figure,
    set_ticks,
    to_label,
)
from base.tools.run_record import Objective

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Every colour can be seen on white and on black: a picture inside of an SVG keeps its colours.
FINISHED_COLOUR, BEST_COLOUR, PRUNED_COLOUR = COLOURS[0], COLOURS[1], "#8d97a5"
FAILED_COLOUR, RUNNING_COLOUR = "#dc3e48", COLOURS[2]
STATE_COLOURS = {
    FINISHED: FINISHED_COLOUR,
    PRUNED: PRUNED_COLOUR,
    RUNNING: RUNNING_COLOUR,
    FAILED: FAILED_COLOUR,
}
MARGIN = 0.06  # of the height, above and below the scores
MAX_VECTOR_TRIALS = 200  # more of them are a picture inside of the SVG
MAX_VECTOR_POINTS = 4000  # of all learning curves
SHARP_DPI = 150  # of such a picture


def draw_history(trials: Sequence[TrialRecord], objective: Objective) -> Figure | None:
    """Draws the score of each trial and the best score so far; None if no trial has a score."""
    scale = ScoreScale.from_trials(trials, objective.mode)
    if scale is None:
        return None
    title = f"{objective.metric} of each trial"
    figure = make_figure(title, WIDTH_INCHES, HEIGHT_INCHES)
    figure.set_dpi(SHARP_DPI)
    axes = add_axes(figure, title)
    _plot_failures(axes, trials, scale)
    for state in (PRUNED, RUNNING, FINISHED):
        chosen = [(trial.number, trial) for trial in trials if trial.state == state]
        plot_scores(axes, chosen, scale, STATE_COLOURS[state], state)
    best = find_running_best(trials, objective)
    if best:
        numbers, scores = zip(*best, strict=True)
        last = max(trial.number for trial in trials)
        axes.step(
            [*numbers, last], [*map(scale.clip, scores), scale.clip(scores[-1])],
            where="post", color=BEST_COLOUR, linewidth=1.6, label="best so far", zorder=3,
        )  # fmt: skip
    limit_scores(axes, scale)
    set_ticks(axes.xaxis, are_integers=True)
    axes.set_xlabel("trial")
    _add_legend(axes)
    return figure


def find_running_best(
    trials: Sequence[TrialRecord], objective: Objective
) -> list[tuple[int, float]]:
    """Returns (number, score) of each finished trial that was better than all before it."""
    found: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        score = get_score(trial)
        if trial.state != FINISHED or score is None:
            continue
        is_better = not found or objective.pick((found[-1][1], score), key=float) != found[-1][1]
        if is_better:
            found.append((trial.number, score))
    return found


def plot_scores(
    axes: Axes,
    trials: Sequence[tuple[float, TrialRecord]],
    scale: ScoreScale,
    colour: str,
    name: str = "",
    size: float = 20.0,
) -> None:
    """Plots the score of each (x, trial) as a dot, with a link to its row of the table.

    A score outside of the limits is a triangle at the edge.

    Args:
        axes: to plot on.
        trials: those without a score are left out.
        scale: of the scores.
        colour: of the dots.
        name: for a legend.
        size: the area of a dot in square points.
    """
    scored = [
        (x, score, get_link(trial))
        for x, trial in trials
        if (score := get_score(trial)) is not None
    ]
    inside = [point for point in scored if not scale.is_outside(point[1])]
    outside = [point for point in scored if scale.is_outside(point[1])]
    for marker, points in (("o", inside), ("^" if scale.is_min else "v", outside)):
        if not points:
            continue
        xs, scores, links = zip(*points, strict=True)
        dots = axes.scatter(xs, list(map(scale.clip, scores)), s=size, marker=marker, color=colour)
        dots.set(alpha=0.8, linewidth=0, zorder=2.5)
        if len(scored) > MAX_VECTOR_TRIALS:
            dots.set_rasterized(True)
        else:
            dots.set_urls(links)
        dots.set_label(name if marker == "o" or not inside else "")


def get_link(trial: TrialRecord) -> str:
    """Returns the link to the row of a trial in the table of the same page."""
    return f"#{trial.name}"


def _plot_failures(axes: Axes, trials: Sequence[TrialRecord], scale: ScoreScale) -> None:
    failed = [trial.number for trial in trials if trial.state == FAILED]
    if failed:
        heights = [scale.worst] * len(failed)
        axes.plot(failed, heights, "x", color=FAILED_COLOUR, markersize=4.5, label="failed")


def draw_learning_curves(trials: Sequence[TrialRecord], objective: Objective) -> Figure | None:
    """Draws the monitored number of each trial over its validations; None without reports.

    A cross marks the end of a pruned trial. The best trial is on top.
    """
    curves = {trial.number: _list_reports(trial) for trial in trials}
    curves = {number: points for number, points in curves.items() if points}
    scores = [score for points in curves.values() for _, score in points]
    scale = ScoreScale.from_scores(scores, objective.mode)
    if scale is None or all(len(points) < 2 for points in curves.values()):
        return None
    title = f"{objective.metric} after each validation"
    figure = make_figure(title, WIDTH_INCHES, HEIGHT_INCHES)
    figure.set_dpi(SHARP_DPI)
    axes = add_axes(figure, title)
    best = find_best(trials, objective)
    is_picture = len(scores) > MAX_VECTOR_POINTS or len(curves) > MAX_VECTOR_TRIALS
    for state, colour in STATE_COLOURS.items():
        lines = {
            get_link(trial): [(x, scale.clip(y)) for x, y in curves[trial.number]]
            for trial in trials
            if trial.state == state and trial is not best and trial.number in curves
        }
        _plot_curves(axes, lines, colour, state, is_picture)
    if best is not None and best.number in curves:
        points = [(x, scale.clip(y)) for x, y in curves[best.number]]
        (line,) = axes.plot(*zip(*points, strict=True), color=BEST_COLOUR, linewidth=2.0)
        line.set(label=f"trial {best.number}, the best", zorder=4)
    limit_scores(axes, scale)
    set_ticks(axes.xaxis, are_integers=True)
    axes.set_xlabel("validation")
    _add_legend(axes)
    return figure


def _list_reports(trial: TrialRecord) -> list[tuple[int, float]]:
    reports = sorted(trial.reports.items())
    return [(step, score) for step, score in reports if score is not None and math.isfinite(score)]


def _plot_curves(
    axes: Axes,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    colour: str,
    state: str,
    is_picture: bool,
) -> None:
    if not lines:
        return
    from matplotlib.collections import LineCollection

    alpha = 0.9 if len(lines) < 10 else 0.55
    if len(lines) > 60:
        alpha = 0.3
    collection = LineCollection(list(lines.values()), colors=colour, alpha=alpha, linewidths=1.0)
    collection.set(label=state, urls=list(lines), rasterized=is_picture)
    axes.add_collection(collection)
    if state in (PRUNED, FAILED):
        ends = zip(*(line[-1] for line in lines.values()), strict=True)
        (crosses,) = axes.plot(*ends, "x", color=colour, markersize=4, zorder=3)
        crosses.set_rasterized(is_picture)
    axes.autoscale_view()


def draw_importances(importances: Mapping[str, float]) -> Figure | None:
    """Draws the importance of each parameter as a bar, the most important one on top."""
    ranked = sorted(importances.items(), key=lambda item: item[1])
    ranked = [(name, value) for name, value in ranked if math.isfinite(value)]
    if not ranked:
        return None
    title = "Importance"
    figure = make_figure(title, WIDTH_INCHES, max(HEIGHT_INCHES, 0.9 + 0.26 * len(ranked)))
    axes = add_axes(figure, title)
    axes.grid(False)
    names = [to_label(name, 24) for name, _ in ranked]
    values = [value for _, value in ranked]
    ticks = range(len(ranked))
    axes.barh(ticks, values, color=FINISHED_COLOUR, height=0.62)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set_ylim(-0.7, max(len(ranked), 4) - 0.3)
    for row, value in enumerate(values):
        axes.text(value, row, f" {value:.2f}", va="center", color=INK, fontsize=TEXT_POINTS)
    axes.set_xlim(0, 1.15 * max(*values, 1e-9))
    axes.set_xticks([])
    return figure


def limit_scores(axes: Axes, scale: ScoreScale) -> None:
    """Sets the limits of the y axis to those of the scores."""
    height = scale.high - scale.low
    margin = MARGIN * height
    if height <= 0:
        margin = 0.1 * abs(scale.low) if scale.low else 1.0
    axes.set_ylim(scale.low - margin, scale.high + margin)
    set_ticks(axes.yaxis)


def _add_legend(axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    if len(names) < 2:
        return
    legend = axes.legend(
        handles, names, ncols=min(len(names), 4), loc="upper center", bbox_to_anchor=(0.5, -0.2),
        frameon=False, labelcolor=INK, fontsize=TEXT_POINTS, borderpad=0.0, columnspacing=1.2,
        handlelength=1.4, handletextpad=0.5,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)  # lines of many trials are faint
