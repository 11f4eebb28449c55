"""Charts of a search over its space: parallel coordinates, and slices through each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from base.groups.report.scales import ParameterScale, ScoreScale
from base.groups.report.search_charts import (
    BEST_COLOUR,
    FINISHED_COLOUR,
    MAX_VECTOR_TRIALS,
    PRUNED_COLOUR,
    SHARP_DPI,
    get_link,
    limit_scores,
    plot_scores,
)
from base.groups.study.ranking import find_best, get_score, rank_trials
from base.groups.study.records import FINISHED, PRUNED, TrialRecord
from base.tools.charts import (
    HEIGHT_INCHES,
    INK,
    TEXT_POINTS,
    WIDTH_INCHES,
    add_axes,
    make_figure,
    to_label,
)
from base.tools.run_record import Objective

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUALITY_COLOURS = ("#8d97a5", "#5b86d6", "#8a5fd0", "#d0488c", "#ee6a1f")  # from worst to best
AXIS_INCHES = 1.3  # between two axes of the parallel coordinates
MIN_WIDTH_INCHES, PARALLEL_HEIGHT_INCHES = 8.5, 4.2
EMPHASIS = 2  # power of the quality: colours tell the good trials from the best
NUM_TOP = 5  # trials that are drawn strongly
MAX_NAMED_CATEGORIES = 12  # of an axis; of more, some have no label
SPREAD = 0.5  # of the height or width of a category, over which its trials are spread
NAME_CHARS = 17  # of a name or a tick
TICKS_CHARS = 48  # of all ticks below a chart


def draw_parallel(
    trials: Sequence[TrialRecord], objective: Objective, scales: Sequence[ParameterScale]
) -> Figure | None:
    """Draws each trial as a line through its values and its score; None without scores.

    The colour is the score. The best trials are on top. Pruned trials are dashed.
    """
    score_scale = ScoreScale.from_trials(trials, objective.mode)
    if score_scale is None or not scales:
        return None
    title = "Parameters and score of each trial"
    width = max(MIN_WIDTH_INCHES, AXIS_INCHES * (len(scales) + 1))
    figure = make_figure(title, width, PARALLEL_HEIGHT_INCHES)
    figure.set_dpi(SHARP_DPI)
    axes = figure.add_subplot()
    axes.set_axis_off()
    scored = [
        trial
        for trial in reversed(rank_trials(trials, objective))
        if trial.state in (FINISHED, PRUNED) and get_score(trial) is not None
    ]
    _plot_lines(axes, scored, scales, score_scale)
    for x, scale in enumerate(scales):
        ticks = [(scale.get_fraction(value), text) for value, text in list_ticks(scale)]
        _draw_axis(axes, x, scale.name, ticks)
    ticks = [(score_scale.get_fraction(score), text) for score, text in _list_scores(score_scale)]
    _draw_axis(axes, len(scales), objective.metric, ticks)
    axes.set_xlim(-0.15, len(scales) + 0.55)
    axes.set_ylim(-0.04, 1.12)
    return figure


def _plot_lines(
    axes: Axes,
    scored: Sequence[TrialRecord],
    scales: Sequence[ParameterScale],
    score_scale: ScoreScale,
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("quality", QUALITY_COLOURS)
    scores = [get_score(trial) or 0.0 for trial in scored]
    heights = [_spread_categories(scored, scale) for scale in scales]
    heights.append([score_scale.get_fraction(score) for score in scores])
    lines = [list(enumerate(line)) for line in zip(*heights, strict=True)]
    qualities = [score_scale.get_quality(score) ** EMPHASIS for score in scores]
    is_top = [index >= len(scored) - NUM_TOP for index in range(len(scored))]
    crowd = min(1.0, 40 / max(len(scored), 1))  # many lines are fainter
    for top in (False, True):
        chosen = [index for index, value in enumerate(is_top) if value is top]
        if not chosen:
            continue
        collection = LineCollection(
            [lines[index] for index in chosen],
            colors=[colours(qualities[index]) for index in chosen],
            alpha=[
                0.95 if top else (0.25 + 0.6 * qualities[index]) * (0.4 + 0.6 * crowd)
                for index in chosen
            ],
            linewidths=1.9 if top else 1.0,
            linestyles=["--" if scored[index].state == PRUNED else "-" for index in chosen],
        )
        collection.set_urls([get_link(scored[index]) for index in chosen])
        collection.set_rasterized(len(chosen) > MAX_VECTOR_TRIALS)
        axes.add_collection(collection)


def _spread_categories(trials: Sequence[TrialRecord], scale: ParameterScale) -> list[float]:
    """The fraction of each trial on an axis. The trials of a category lie side by side."""
    positions = [scale.get_position(trial) for trial in trials]
    if not scale.categories:
        return [position if math.isnan(position) else scale.get_fraction(position)
                for position in positions]  # fmt: skip
    return [scale.get_fraction(position) for position in spread(positions)]


def spread(positions: Sequence[float]) -> list[float]:
    """Moves equal positions apart, in their order, over ``SPREAD`` around each."""
    counts = {position: positions.count(position) for position in set(positions)}
    seen = dict.fromkeys(counts, 0)
    moved = []
    for position in positions:
        if math.isnan(position):
            moved.append(position)
            continue
        seen[position] += 1
        fraction = (seen[position] - 0.5) / counts[position] - 0.5
        moved.append(position + SPREAD * fraction)
    return moved


def _draw_axis(axes: Axes, x: float, name: str, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([x, x], [0, 1], color=INK, linewidth=1.0, alpha=0.55, zorder=3)
    style: dict[str, Any] = {"color": INK, "parse_math": False, "fontsize": TEXT_POINTS}
    axes.text(x, 1.06, to_label(name, NAME_CHARS), ha="center", weight="bold", **style)
    for y, text in ticks:
        axes.plot([x, x + 0.03], [y, y], color=INK, linewidth=0.8, alpha=0.55, zorder=3)
        axes.text(x + 0.05, y, to_label(text, NAME_CHARS), va="center_baseline", **style, zorder=4)


def list_ticks(scale: ParameterScale) -> list[tuple[float, str]]:
    """Returns (position, text) for the ticks of a parameter."""
    if scale.categories:
        labels = list(enumerate(scale.categories.values()))
        return [*labels[:: math.ceil(len(labels) / MAX_NAMED_CATEGORIES)]]
    if scale.high <= scale.low:
        return [(scale.low, f"{scale.low:g}")]
    ticks = _list_powers(scale) if scale.is_log else []
    if len(ticks) < 2:
        ticks = _list_round(scale.low, scale.high, scale.is_integer)
    return [(value, f"{value:g}") for value in ticks]


def _list_powers(scale: ParameterScale) -> list[float]:
    """The powers of ten on an axis; with less than two of them, also 2 and 5 times these."""
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    every = math.ceil((last - first) / 8)
    powers = [float(f"1e{power}") for power in range(first, last + 1)]
    inside = [value for value in powers[::every] if _is_between(value, scale)]
    if len(inside) > 2:
        return inside
    steps = [factor * value for value in powers for factor in (1, 2, 5)]
    return [value for value in steps if _is_between(value, scale)]


def _is_between(value: float, scale: ParameterScale) -> bool:
    return scale.low * (1 - 1e-9) <= value <= scale.high * (1 + 1e-9)


def _list_round(low: float, high: float, are_integers: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(6, steps=[1, 2, 5, 10], integer=are_integers, min_n_ticks=1)
    margin = 1e-9 * (high - low)
    values = locator.tick_values(low, high)
    return [float(value) for value in values if low - margin <= value <= high + margin]


def _list_scores(scale: ScoreScale) -> list[tuple[float, str]]:
    if scale.high <= scale.low:
        return [(scale.low, f"{scale.low:.4g}")]
    return [(value, f"{value:g}") for value in _list_round(scale.low, scale.high)]


def draw_slices(
    trials: Sequence[TrialRecord], objective: Objective, scales: Sequence[ParameterScale]
) -> list[Figure]:
    """Draws the score against each parameter, a chart for each. The best trial is on top."""
    score_scale = ScoreScale.from_trials(trials, objective.mode)
    if score_scale is None:
        return []
    return [_draw_slice(trials, objective, scale, score_scale) for scale in scales]


def _draw_slice(
    trials: Sequence[TrialRecord],
    objective: Objective,
    scale: ParameterScale,
    score_scale: ScoreScale,
) -> Figure:
    figure = make_figure(f"{objective.metric} by {scale.key}", WIDTH_INCHES, HEIGHT_INCHES)
    figure.set_dpi(SHARP_DPI)
    axes = add_axes(figure, scale.key)
    positions = [scale.get_position(trial) for trial in trials]
    if scale.categories:
        positions = spread(positions)
    points = [
        (position, trial)
        for position, trial in zip(positions, trials, strict=True)
        if not math.isnan(position)
    ]
    for state, colour in ((PRUNED, PRUNED_COLOUR), (FINISHED, FINISHED_COLOUR)):
        chosen = [(position, trial) for position, trial in points if trial.state == state]
        plot_scores(axes, chosen, score_scale, colour)
    best = find_best(trials, objective)
    chosen = [(position, trial) for position, trial in points if trial is best]
    plot_scores(axes, chosen, score_scale, BEST_COLOUR, size=50)
    limit_scores(axes, score_scale)
    _limit_parameter(axes, scale)
    return figure


def _limit_parameter(axes: Axes, scale: ParameterScale) -> None:
    ticks = list_ticks(scale)
    room = TICKS_CHARS // len(ticks)  # of a label that does not reach its neighbour
    names = [to_label(text, max(room, NAME_CHARS)) for _, text in ticks]
    if scale.categories:
        axes.set_xlim(-0.5, len(scale.categories) - 0.5)
        axes.grid(False, axis="x")
    elif scale.is_log and scale.high > scale.low:
        axes.set_xscale("log")
        margin = (scale.high / scale.low) ** 0.03
        axes.set_xlim(scale.low / margin, scale.high * margin)
    else:
        width = (scale.high - scale.low) or 1.0
        axes.set_xlim(scale.low - 0.03 * width, scale.high + 0.03 * width)
    axes.set_xticks([value for value, _ in ticks], names, parse_math=False)
    axes.set_xticks([], minor=True)
    if max(map(len, names)) > room:
        axes.tick_params(axis="x", labelrotation=25)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
