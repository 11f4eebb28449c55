"""Draws charts by matplotlib. Each becomes SVG text or pixels.

Only the object-oriented API is used: no pyplot, no global state, no display. matplotlib takes
0.4 s to import, so only the functions that draw import it.
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.errors import printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

INK = "#1c2430"  # of text and axes; in a page, an SVG has the page's text colour instead
COLOURS = ("#2f6fde", "#d9601a", "#2a9461", "#a246b8", "#b58a00", "#0e8f9c")
RIGHT_RGB, WRONG_RGB = (0.11, 0.55, 0.30), (0.80, 0.17, 0.20)
WIDTH_INCHES, HEIGHT_INCHES = 4.6, 2.9  # of a chart with axes
TITLE_POINTS, TEXT_POINTS = 11.0, 9.5  # font sizes
PIXELS_PER_INCH = 100
MAX_MARKED_POINTS = 40  # a longer line has no markers
MAX_VECTOR_POINTS = 200  # a larger scatter plot is a picture inside of the SVG
MAX_COUNTED_CLASSES = 25  # of a confusion matrix with counts: each takes a millisecond to draw
MAX_MAGNITUDE = 1e100  # of a number: the margins that matplotlib adds must not overflow


class LineChart(NamedTuple):
    """Lines over one x axis.

    Attributes:
        title: above the chart.
        series: by name the points (x, y). A y that is not finite leaves a gap.
        x_label: below the x axis.
        log_x: a logarithmic x axis, if all values are positive.
        log_y: a logarithmic y axis, if all values are positive.
    """

    title: str
    series: Mapping[str, Points]
    x_label: str
    log_x: bool = False
    log_y: bool = False

    def drawable(self) -> dict[str, Points]:
        """The series that have a finite point."""
        return {name: points for name, points in self.series.items() if len(_finite(points))}


def draw_lines(charts: Sequence[LineChart], max_columns: int = 2) -> Figure | None:
    """Draws charts of lines into one figure; None if no chart has a finite point."""
    charts = [chart for chart in charts if chart.drawable()]
    if not charts:
        return None
    columns = min(max_columns, len(charts))
    rows = math.ceil(len(charts) / columns)
    title = ", ".join(chart.title for chart in charts)
    figure = make_figure(title, columns * WIDTH_INCHES, rows * HEIGHT_INCHES)
    for number, chart in enumerate(charts, 1):
        _plot_lines(add_axes(figure, chart.title, (rows, columns, number)), chart)
    return figure


def _plot_lines(axes: Axes, chart: LineChart) -> None:
    series = chart.drawable()
    for points, colour in zip(series.values(), itertools.cycle(COLOURS)):
        marker_size = 3.0 if len(points) <= MAX_MARKED_POINTS else 0.0
        axes.plot(*_with_gaps(points).T, color=colour, marker="o", markersize=marker_size)
    finite = np.concatenate([_finite(points) for points in series.values()])
    if chart.log_x and finite[:, 0].min() > 0:
        axes.set_xscale("log")
    if chart.log_y and finite[:, 1].min() > 0:
        axes.set_yscale("log")
    set_ticks(axes.xaxis, are_integers=bool((finite[:, 0] % 1 == 0).all()))
    set_ticks(axes.yaxis)
    axes.set_xlabel(to_label(chart.x_label), parse_math=False)
    if len(chart.series) > 1:
        names = [to_label(name, 24) for name in series]
        columns = 2 if max(map(len, names)) > 12 else 3
        legend = axes.legend(
            axes.lines, names, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.2),
            frameon=False, labelcolor=INK, fontsize=TEXT_POINTS, borderpad=0.0,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def draw_scatter(
    title: str, points: Points, x_label: str, y_label: str, is_joined: bool = False
) -> Figure | None:
    """Draws points against the diagonal; None if no point is finite.

    Args:
        title: above the chart.
        points: (x, y), in the same unit.
        x_label: below the x axis.
        y_label: beside the y axis.
        is_joined: whether a line joins them, as for a calibration curve.
    """
    finite = _finite(points)
    if not len(finite):
        return None
    figure = make_figure(title, WIDTH_INCHES, HEIGHT_INCHES)
    axes = add_axes(figure, title)
    ends = [finite.min(), finite.max()]
    axes.plot(ends, ends, color=INK, alpha=0.6, linestyle="--", linewidth=1)
    if is_joined:
        axes.plot(*finite.T, color=COLOURS[0], marker="o", markersize=4)
    else:
        (dots,) = axes.plot(*finite.T, "o", color=COLOURS[0], alpha=0.5, markersize=3)
        dots.set(markeredgewidth=0, rasterized=len(finite) > MAX_VECTOR_POINTS)
    set_ticks(axes.xaxis)
    set_ticks(axes.yaxis)
    axes.set_xlabel(to_label(x_label), parse_math=False)
    axes.set_ylabel(to_label(y_label), parse_math=False, color=INK, fontsize=TEXT_POINTS)
    return figure


def draw_confusion_matrix(counts: NDArray[Any], names: Sequence[str]) -> Figure:
    """Draws a confusion matrix. The shade of a cell is its fraction of the row.

    Args:
        counts: (C, C) int. Rows are targets, columns are predictions.
        names: of the C classes.
    """
    cell = max(0.22, min(0.45, 6.6 / len(names)))  # inches
    labels = [to_label(name, 18) for name in names]
    label_inches = 0.09 * max(map(len, labels))
    is_upright = label_inches <= cell
    width = 0.4 + label_inches + cell * len(names)
    height = 0.8 + (0 if is_upright else label_inches) + cell * len(names)
    figure = make_figure("Confusion matrix", max(width, 2.8), height)
    axes = add_axes(figure, "Confusion matrix")
    axes.grid(False)
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    is_right = np.eye(len(names), dtype=bool)
    strength = np.where(is_right, 0.65 * fractions, 0.1 + 2 * fractions).clip(0.04, 0.65)
    alpha = np.where(counts > 0, strength, 0.04)
    colours = np.where(is_right[..., None], RIGHT_RGB, WRONG_RGB)
    axes.imshow(np.concatenate([colours, alpha[..., None]], axis=2), interpolation="none")
    font_size = min(TEXT_POINTS, 72 * cell / (0.7 * len(str(counts.max())) + 1))
    counted = np.nonzero(counts) if len(names) <= MAX_COUNTED_CLASSES else ((), ())
    for row, column in zip(*counted, strict=True):
        text = axes.text(column, row, str(counts[row, column]), color=INK, fontsize=font_size)
        text.set(ha="center", va="center_baseline", in_layout=False)
    ticks = range(len(names))
    axes.set_yticks(ticks, labels, parse_math=False)
    axes.set_xticks(ticks, labels, parse_math=False, rotation=0 if is_upright else 90)
    axes.xaxis.tick_top()
    axes.set_xlabel("rows: target, columns: prediction")
    return figure


def to_svg(figure: Figure | None, is_standalone: bool = False) -> str:
    """Returns a figure as SVG text; an empty text for None. Equal figures give equal texts.

    Args:
        figure: the figure.
        is_standalone: dark on white, for a file. Otherwise the text is for a page: transparent,
            in the page's colour and font.
    """
    if figure is None:
        return ""
    import matplotlib

    file = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    background = "white" if is_standalone else "none"
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plainloop"}),
        warnings.catch_warnings(action="ignore"),  # about letters that its font lacks
    ):
        figure.savefig(file, format="svg", metadata=no_metadata, facecolor=background)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]  # an XML prolog cannot stand in a page
    # matplotlib gives every element an id. The ids of two charts in one page would collide.
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r" font-family: [^;]+;| transform=\"rotate\(-0 [^\"]*\"", "", svg)
    svg = re.sub(r">\s+<", "><", re.sub(r"<style.*?</style>", "", svg))
    if not is_standalone:
        size = f' style="max-width: {125 * figure.get_figwidth():.0f}px"'
        svg = re.sub(r' width="[^"]*pt" height="[^"]*pt"', size, svg, count=1)
        svg = svg.replace(INK, "currentColor")
    attributes = f'role="img" aria-label="{escape(str(figure.get_label()))}"'
    attributes += ' font-family="system-ui, sans-serif" stroke-linejoin="round"'
    return svg.replace("<svg ", f"<svg {attributes} ", 1)


def to_pixels(figure: Figure) -> NDArray[np.uint8]:
    """Returns a figure as pixels, (H, W, 3) uint8, on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(action="ignore"):  # about letters that its font lacks
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def import_matplotlib() -> None:
    """Imports matplotlib. The first import on a machine also builds its font cache."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would log about the font cache
    import matplotlib.figure  # noqa: F401


def make_figure(title: str, width: float, height: float) -> Figure:
    """Makes a figure with a size in inches. The title is for screen readers."""
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=PIXELS_PER_INCH, layout="constrained")
    figure.set_label(printable(title))
    return figure


def add_axes(figure: Figure, title: str, position: tuple[int, int, int] = (1, 1, 1)) -> Axes:
    """Adds axes with the title above them. The position is (rows, columns, number)."""
    axes = figure.add_subplot(*position)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.grid(color=INK, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, labelsize=TEXT_POINTS, length=0)
    axes.xaxis.label.set(color=INK, fontsize=TEXT_POINTS)
    title = to_label(title, 60)
    axes.set_title(title, loc="left", color=INK, fontsize=TITLE_POINTS, parse_math=False)
    return axes


def set_ticks(axis: Axis, are_integers: bool = False) -> None:
    """Writes round numbers in full at an axis. matplotlib would factor out a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    is_log = axis.get_scale() == "log"
    linear = MaxNLocator(6, steps=[1, 2, 5, 10], integer=are_integers, min_n_ticks=1)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if is_log else linear)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _with_gaps(points: Points) -> NDArray[np.float64]:
    """The points, (N, 2). Those that are not finite are NaN."""
    array = np.array(points, dtype=float).reshape(-1, 2)
    array[~np.isfinite(array).all(axis=1)] = math.nan
    return array.clip(-MAX_MAGNITUDE, MAX_MAGNITUDE)


def _finite(points: Points) -> NDArray[np.float64]:
    array = _with_gaps(points)
    return array[~np.isnan(array[:, 0])]


def to_label(text: str, limit: int = 40) -> str:
    """Returns a text that fits into a chart."""
    return shorten(printable(text), limit)
