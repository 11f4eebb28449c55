"""Charts as SVG text, in the colours of the page around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 70, 14, 34, 40  # margins
COLOURS = ("#2f6fde", "#d9601a", "#2a9461", "#a246b8", "#b58a00", "#0e8f9c")
STYLE = """
svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
svg .title { font-weight: 600; font-size: 15px; }
svg .axis { stroke: currentColor; stroke-opacity: .2; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
"""
Series = Mapping[str, Sequence[tuple[float, float]]]
Tick = tuple[float, float]  # where it is in the picture, and its number


def lines(title: str, series: Series, x_title: str, log_y: bool = False) -> str:
    """A chart of lines; points that are not finite leave a gap. Empty if no point is left.

    Args:
        series: by name the points (x, y).
        log_y: a logarithmic y axis, where all are positive.
    """
    kept = {
        name: [point for point in points if all(map(math.isfinite, point))]
        for name, points in series.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    log_y = log_y and all(y > 0 for points in kept.values() for _, y in points)
    scaled = math.log10 if log_y else float
    xs = [x for points in kept.values() for x, _ in points]
    ys = [scaled(y) for points in kept.values() for _, y in points]
    x_of, y_of = (
        _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT),
        _scale(*_wider(ys), HEIGHT - BOTTOM, TOP),
    )
    y_ticks = _log_ticks(*_wider(ys)) if log_y else _ticks(*_wider(ys))
    x_ticks = _ticks(min(xs), max(xs), 6, whole=all(x == int(x) for x in xs))
    parts = _frame(
        title, x_title, [(x_of(x), x) for x in x_ticks], [(y_of(scaled(y)), y) for y in y_ticks]
    )
    x = LEFT - 56.0
    for place, (name, points) in enumerate(kept.items()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{x_of(a):.1f},{y_of(scaled(b)):.1f}" for a, b in points)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        if len(points) <= 40:
            radius = 2.5 if len(points) > 1 else 5
            dots = (
                f'<circle r="{radius}" cx="{x_of(a):.1f}" cy="{y_of(scaled(b)):.1f}"/>'
                for a, b in points
            )
            parts.append(f'<g fill="{colour}">{"".join(dots)}</g>')
        if len(series) > 1:
            shown = name if len(name) <= 24 else name[:23] + "…"
            parts.append(
                f'<rect x="{x:.0f}" y="{HEIGHT - 15}" width="10" height="10" fill="{colour}"/>'
            )
            parts.append(_text(x + 14, HEIGHT - 6, shown))
            x += 26 + 7.2 * len(shown)
    return _svg(parts, title, WIDTH, HEIGHT)


def scatter(
    title: str, points: Sequence[tuple[float, float]], x_title: str, y_title: str, dots: bool = True
) -> str:
    """Points against the diagonal: predictions against targets, or a calibration (joined, not ``dots``)."""
    points = [point for point in points if all(map(math.isfinite, point))]
    if not points:
        return ""
    low, high = _wider([value for point in points for value in point])
    x_of, y_of = _scale(low, high, LEFT, WIDTH - RIGHT), _scale(low, high, HEIGHT - BOTTOM, TOP)
    ticks = _ticks(low, high)
    axes = [[(of(value), value) for value in ticks] for of in (x_of, y_of)]
    parts = _frame(title, f"{y_title} over {x_title}", *axes)
    diagonal = f"M{x_of(low)} {y_of(low)}L{x_of(high)} {y_of(high)}"
    parts.append(
        f'<path class="axis" style="stroke-opacity:.6" stroke-dasharray="4 4" d="{diagonal}"/>'
    )
    if dots:
        circles = (f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5"/>' for x, y in points)
        parts.append(f'<g fill="{COLOURS[0]}" fill-opacity=".5">{"".join(circles)}</g>')
    else:
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="line" stroke="{COLOURS[0]}" points="{path}"/>')
        parts += [
            f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="4" fill="{COLOURS[0]}"/>'
            for x, y in points
        ]
    return _svg(parts, title, WIDTH, HEIGHT)


def matrix(title: str, counts: Any, names: Sequence[str]) -> str:
    """A confusion matrix (C, C): rows are targets, columns predictions; the colour is the share of its row."""
    side = max(16, min(44, 660 // len(names)))
    longest = max(len(name) for name in names)
    margin = min(150, 18 + round(7.6 * longest))
    upright = longest <= side // 8
    top = 58 if upright else 44 + margin
    parts = [_text(4, 18, title, css="title"), _text(4, 36, "rows: target, columns: predicted")]
    for row, name in enumerate(names):
        shown = name if len(name) <= 18 else name[:17] + "…"
        at = margin + side * (row + 0.5)
        parts.append(_text(margin - 6, top + side * (row + 0.5) + 4, shown, "end"))
        if upright:
            parts.append(_text(at, top - 6, shown, "middle"))
        else:
            parts.append(_text(at + 4, top - 6, shown, turn=f"rotate(-90 {at + 4:.1f} {top - 6})"))
        total = max(int(sum(counts[row])), 1)
        for column, count in enumerate(counts[row]):
            share, x, y = count / total, margin + side * column, top + side * row
            colour = COLOURS[2] if row == column else "#cf3038"
            opacity = (
                max(0.04, min(1.0, share if row == column else 0.15 + 3 * share)) if count else 0.04
            )
            parts.append(
                f'<rect x="{x}" y="{y}" width="{side - 1}" height="{side - 1}" fill="{colour}"'
                f' fill-opacity="{opacity:.2f}"><title>{escape(name)} → {escape(names[column])}: {count}</title></rect>'
            )
            if count and side >= 26:
                parts.append(_text(x + side / 2, y + side / 2 + 4, str(int(count)), "middle"))
    width = margin + side * len(names) + 8
    svg = _svg(parts, title, max(width, 240), top + side * len(names) + 8)
    return svg.replace(">", f' style="max-width:{1.2 * max(width, 240):.0f}px">', 1)


def standalone(svg: str) -> str:
    """A chart as a file of its own."""
    return svg.replace(">", f' style="color:#222;background:#fff"><style>{STYLE}</style>', 1)


def stacked(charts: Sequence[str], columns: int = 2) -> str:
    """Several charts of lines as one picture."""
    rows = -(-len(charts) // columns)
    placed = [
        chart.replace("<svg ", f'<svg x="{place % columns * WIDTH}" y="{place // columns * HEIGHT}" '
                      f'width="{WIDTH}" height="{HEIGHT}" ', 1)
        for place, chart in enumerate(charts)
    ]  # fmt: skip
    return _svg(placed, "", WIDTH * min(columns, len(charts)), HEIGHT * rows)


def _frame(title: str, x_title: str, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> list[str]:
    """What is around the lines and points: the titles, and what stands at the axes."""
    parts = [
        _text(LEFT - 56, 18, title, css="title"),
        _text(WIDTH - RIGHT, HEIGHT - 6, x_title, "end"),
    ]
    for y, value in y_ticks:
        parts.append(f'<path class="axis" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    return parts + [_text(x, HEIGHT - BOTTOM + 18, f"{value:g}", "middle") for x, value in x_ticks]


def _svg(parts: Sequence[str], title: str, width: float, height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
    )
    return f'{head} aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _text(
    x: float, y: float, text: str, anchor: str = "start", css: str = "", turn: str = ""
) -> str:
    extra = (f' class="{css}"' if css else "") + (f' transform="{turn}"' if turn else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _scale(low: float, high: float, start: float, end: float) -> Any:
    span = high - low or 1.0
    return lambda value: (
        start + (value - low) / span * (end - start) if high > low else (start + end) / 2
    )


def _wider(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _ticks(low: float, high: float, number: int = 5, whole: bool = False) -> list[float]:
    """Round numbers between ``low`` and ``high``."""
    if high <= low:
        return [low]
    raw = (high - low) / number
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    step = max(1.0, round(step)) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between 10**low and 10**high."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    found = [value for value in found if low <= math.log10(value) <= high]
    if len(found) > 7:  # over many powers of ten
        found = [value for value in found if math.log10(value).is_integer()]
    return found if len(found) > 2 else _ticks(10**low, 10**high)
