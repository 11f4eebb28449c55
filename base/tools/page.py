"""``report.html``: a tested run in one file, for a phone as for a desk, light and dark, without network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from base.tools import charts
from base.tools.pictures import Image, data_uri
from logger.metrics_file import parse_metrics

CSS = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5d6878; --rule: #dfe3e9;
  --good: #1c7a46; --bad: #c22d37; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --card: #1b2129; --ink: #e4e9f0; --soft: #9aa6b5;
  --rule: #313a46; --good: #5cc98c; --bad: #ff7a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 20px 14px 60px; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 30px 0 10px; }
p { margin: 4px 0; color: var(--soft); overflow-wrap: anywhere; }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.card, details { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px; }
.scores { display: flex; flex-wrap: wrap; gap: 12px; } .scores b { display: block; font-size: 1.5rem; }
.scores small { color: var(--soft); display: block; }
.samples { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
.samples figure { margin: 0; } .samples img { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px;
  background: var(--card); } .samples img.small { image-rendering: pixelated; }
figcaption { font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); }
svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 8px; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
details { margin-top: 10px; } summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 13px/1.45 ui-monospace, monospace; margin: 8px 0 0; }
"""


class Sample(NamedTuple):
    """One sample to look at: what it is in words, what was predicted, whether that is right, and its picture."""

    title: str
    caption: str
    right: bool
    picture: Image | None


class Page:
    """The page, from top to bottom; a part without content leaves no heading.

    Args:
        title: of the page.
        subtitle: a line below it.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self.title = title
        self.parts = [f"<h1>{escape(title)}</h1><p>{escape(subtitle)}</p>"]

    def scores(
        self, values: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
    ) -> None:
        cards = []
        for name, value in values.items():
            span = intervals.get(name)
            extra = f"<small>95 %: {span[0]:.4g} – {span[1]:.4g}</small>" if span else ""
            cards.append(f'<div class="card">{escape(name)}<b>{value:.4g}</b>{extra}</div>')
        self._section("Scores", "".join(cards), "scores")

    def charts(self, heading: str, drawn: Sequence[str]) -> None:
        self._section(
            heading, "".join(f'<div class="card">{chart}</div>' for chart in drawn if chart), "grid"
        )

    def matrix(self, heading: str, drawn: str) -> None:
        self._section(heading, f'<div class="card matrix scroll">{drawn}</div>' if drawn else "")

    def table(self, heading: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
            body = "".join(
                f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>"
                for row in rows
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            self._section(heading, f'<div class="card scroll">{table}</div>')

    def samples(self, heading: str, samples: Sequence[Sample]) -> None:
        if samples and all(sample.picture is None for sample in samples):
            self.table(
                heading, [{"sample": sample.title, "": sample.caption} for sample in samples]
            )
            return
        figures = []
        for sample in samples:
            css, image = "good" if sample.right else "bad", ""
            if sample.picture is not None:
                small = ' class="small"' if max(sample.picture.shape[:2]) < 100 else ""
                image = (
                    f'<img{small} alt="{escape(sample.title)}" src="{data_uri(sample.picture)}">'
                )
            text = f'<b class="{css}">{escape(sample.caption)}</b><br>{escape(sample.title)}'
            figures.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")
        self._section(heading, "".join(figures), "samples")

    def text(self, heading: str, text: str, is_open: bool = False) -> None:
        if text.strip():
            start = f"<details{' open' if is_open else ''}><summary>{escape(heading)}</summary>"
            self.parts.append(f"{start}<pre>{escape(text)}</pre></details>")

    def _section(self, heading: str, content: str, css: str = "") -> None:
        if content:
            self.parts.append(f'<h2>{escape(heading)}</h2><div class="{css}">{content}</div>')

    def html(self) -> str:
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{charts.STYLE}{CSS}</style></head><body>"
        )
        return f"{head}{''.join(self.parts)}</body></html>\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none where it cannot be read."""
    try:
        return (
            parse_metrics(path.read_text(encoding="utf-8", errors="replace"))
            if path.is_file()
            else []
        )  # no pipe
    except OSError:
        return []


def curves(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A chart for each number of an epoch, training and validation in one; the learning rate last."""
    names = [
        name
        for name in dict.fromkeys(key for row in rows for key in row)
        if name not in ("epoch", "step")
    ]
    bases = dict.fromkeys(name.removeprefix("val_").removeprefix("ema_") for name in names)
    drawn = []
    for base in bases:
        if base in ("seconds", "lr"):
            continue
        series = {
            name: points(rows, name)
            for name in (base, f"val_{base}", f"val_ema_{base}")
            if name in names
        }
        drawn.append(charts.lines(base, series, "epoch", log_y=base.startswith("loss")))
    drawn.append(charts.lines("learning rate", {"lr": points(rows, "lr")}, "epoch"))
    return [chart for chart in drawn if chart]


def points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """(epoch, value) where the epoch has that number."""
    found = [(row["epoch"], row.get(name)) for row in rows]
    return [
        (epoch, value)
        for epoch, value in found
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def provenance_text(session: Mapping[str, Any]) -> str:
    """Where a run came from, in lines; without its diff, which stands by itself."""
    lines = []
    for key, value in session.items():
        if isinstance(value, dict):
            lines += [f"{key}.{inner}: {item}" for inner, item in value.items()]
        elif key != "git_diff":
            lines.append(
                f"{key}: {' '.join(map(str, value)) if isinstance(value, list) else value}"
            )
    return "\n".join(lines)
