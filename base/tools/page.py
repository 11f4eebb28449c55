"""``report.html``: one file that needs no network, for small and large screens, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from base.tools.charts import LineChart, draw_lines, to_svg
from base.tools.pictures import Image, data_uri
from base.tools.run_record import choose_axis, get_points, is_loss
from utils.numbers import find_families

MAX_PIXELS, WIDE_PIXELS = 160, 640  # the sides of pictures
MAX_LINES = 6  # of a chart
NO_CURVES = ("epoch", "batch", "step", "seconds", "lr")
FRAGMENT = "plainloop-report"  # the class of a page inside another one
CSS = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1c2430;
  --soft: #5d6878; --rule: #dfe3e9; --good: #1c7a46; --bad: #c22d37; --warn: #c98a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --card: #1b2129;
  --ink: #e4e9f0; --soft: #9aa6b5; --rule: #313a46; --good: #5cc98c; --bad: #ff7a80;
  --warn: #e8b54a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 20px 14px 60px; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 30px 0 10px; }
p { margin: 4px 0; color: var(--soft); overflow-wrap: anywhere; }
.grid { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.card, details { background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 12px; }
.scores { display: flex; flex-wrap: wrap; gap: 12px; }
.scores b { display: block; font-size: 1.5rem; }
.scores small { color: var(--soft); display: block; }
.samples { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
.samples figure { margin: 0; }
.samples img { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px;
  background: var(--card); }
.samples.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
.samples.wide img { aspect-ratio: auto; }
.samples img.small { image-rendering: pixelated; }
figcaption { font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); }
svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 8px; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.notice { border-left: 4px solid var(--warn); margin-top: 12px; }
.notice p { color: var(--ink); }
table.texts th, table.texts td { text-align: left; overflow-wrap: normal; }
table.texts td:first-child { white-space: nowrap; }
details { margin-top: 10px; } summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 13px/1.45 ui-monospace, monospace; margin: 8px 0 0; }
"""


class Sample(NamedTuple):
    """A sample to look at.

    Attributes:
        title: its name.
        caption: the prediction in words.
        is_correct: whether the prediction is correct; None if it is neither right nor wrong.
        picture: (H, W, 3) uint8, if the sample is a picture.
        text: describes a sample that is not a picture.
    """

    title: str
    caption: str
    is_correct: bool | None
    picture: Image | None
    text: str = ""


class Page:
    """A page, written from top to bottom. A section without content gets no heading.

    Args:
        title: of the page.
        subtitle: a line below it.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self.title, self.subtitle = title, subtitle
        self._sections = [f"<h1>{escape(title)}</h1><p>{escape(subtitle)}</p>"]

    def add_scores(
        self, values: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
    ) -> None:
        """Adds a card for each number, with its interval if it has one."""
        cards = {}
        for name, value in values.items():
            interval = ""
            if name in intervals:
                low, high = intervals[name]
                interval = f"95 %: {low:.4g} – {high:.4g}"
            cards[name] = (f"{value:.4g}", interval)
        self.add_cards("Scores", cards)

    def add_cards(self, heading: str, cards: Mapping[str, tuple[str, str]]) -> None:
        """Adds a card for each name, with a large text and a small one, which may be empty."""
        texts = []
        for name, (value, remark) in cards.items():
            small = f"<small>{escape(remark)}</small>" if remark else ""
            texts.append(f'<div class="card">{escape(name)}<b>{escape(value)}</b>{small}</div>')
        self._add_section(heading, "".join(texts), "scores")

    def add_notice(self, sentences: Sequence[str]) -> None:
        """Adds a box with warnings, if there are any."""
        if sentences:
            lines = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
            self._sections.append(f'<div class="card notice">{lines}</div>')

    def add_note(self, text: str, command: str = "") -> None:
        """Adds a paragraph below the last section, unless the text is empty."""
        code = f" <code>{escape(command)}</code>" if command else ""
        if text:
            self._sections.append(f"<p>{escape(text)}{code}</p>")

    def add_html(self, heading: str, content: str, css: str = "") -> None:
        """Adds a section of HTML, in which the caller has escaped every text."""
        self._add_section(heading, content, css)

    def add_charts(self, heading: str, charts: Sequence[str]) -> None:
        """Adds SVG charts side by side; empty ones are left out."""
        cards = [f'<div class="card scroll">{chart}</div>' for chart in charts if chart]
        self._add_section(heading, "".join(cards), "grid" if len(cards) > 1 else "")

    def add_text_table(self, heading: str, rows: Sequence[Mapping[str, str]]) -> None:
        """Adds a table of texts, aligned to the left. Its columns are the keys of the first row."""
        self.add_table(heading, rows, "texts")

    def add_table(
        self, heading: str, rows: Sequence[Mapping[str, Any]], css: str = "numbers"
    ) -> None:
        """Adds a table whose columns are the keys of the first row."""
        if not rows:
            return
        head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
        lines = ["".join(f"<td>{_format(cell)}</td>" for cell in row.values()) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        table = f'<table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        self._add_section(heading, f'<div class="card scroll">{table}</div>')

    def add_samples(self, heading: str, samples: Sequence[Sample], is_wide: bool = False) -> None:
        """Adds samples as pictures, or as a table if none of them has a picture.

        Args:
            is_wide: whether the pictures are large, because they have details or several parts.
        """
        if all(sample.picture is None for sample in samples):
            rows = [{"sample": sample.title, "": sample.caption} for sample in samples]
            has_texts = any(sample.text for sample in samples)
            if has_texts:
                rows = [row | {"text": s.text} for row, s in zip(rows, samples, strict=True)]
            self.add_table(heading, rows, "texts" if has_texts else "numbers")
        else:
            figures = [
                _figure(sample, WIDE_PIXELS if is_wide else MAX_PIXELS) for sample in samples
            ]
            self._add_section(heading, "".join(figures), "samples wide" if is_wide else "samples")

    def add_text(self, heading: str, text: str) -> None:
        """Adds preformatted text that a click unfolds."""
        if text.strip():
            summary = f"<summary>{escape(heading)}</summary>"
            self._sections.append(f"<details>{summary}<pre>{escape(text)}</pre></details>")

    def _add_section(self, heading: str, content: str, css: str = "") -> None:
        if content:
            head = f"<h2>{escape(heading)}</h2>" if heading else ""
            self._sections.append(f'{head}<div class="{css}">{content}</div>')

    def to_fragment(self) -> str:
        """Returns the page as a part of another one, whose style it does not change."""
        style = CSS.replace(":root {", "& {").replace("body {", "& {")
        css = f".{FRAGMENT} {{ {style} }} .{FRAGMENT} {{ padding: 14px; border-radius: 8px; }}"
        content = "".join(self._sections)
        return f'<div class="{FRAGMENT}"><style>{css}</style>{content}</div>'

    def to_html(self) -> str:
        """Returns the text of the file."""
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{CSS}</style></head><body>"
        )
        return f"{head}{''.join(self._sections)}</body></html>\n"


def _figure(sample: Sample, max_side: int) -> str:
    image = ""
    if sample.picture is not None:
        small = ' class="small"' if max(sample.picture.shape[:2]) < 100 else ""
        source = data_uri(sample.picture, max_side)
        image = f'<img{small} alt="{escape(sample.title)}" src="{source}">'
    css = {None: "", True: "good", False: "bad"}[sample.is_correct]
    text = f'<b class="{css}">{escape(sample.caption)}</b><br>{escape(sample.title)}'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _format(cell: Any) -> str:
    if cell is None:  # a score without a value
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else escape(str(cell))


def draw_curves(
    rows: Sequence[Mapping[str, Any]], has_training_objective: bool = False
) -> list[str]:
    """Draws every number over the epochs as SVG. The learning rate comes last.

    Training and validation of the same number are in one chart. Numbers that are counted, such as
    the error of each step of a forecast, are in one chart too. If there are validations inside
    epochs, the charts have steps instead of epochs.

    Args:
        rows: the lines of a metrics.jsonl.
        has_training_objective: whether the loss of the training is another quantity than that of
            the validations. Then it has a chart of its own.
    """
    x = choose_axis(rows)
    names = dict.fromkeys(key for row in rows for key in row if key not in NO_CURVES)
    trained = [name for name in names if not name.startswith("val_")]
    families = find_families(names)
    bases: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in families.get(name.rpartition("_")[0], ()):
            continue
        base = _find_base(name, trained)
        if has_training_objective and is_loss(base):
            base = f"{base}, training objective" if name in trained else f"{base}, validation"
        bases.setdefault(base, {})[name] = get_points(rows, name, x)
    charts = [
        LineChart(base, series, x, log_y=base.startswith("loss")) for base, series in bases.items()
    ]
    charts += [_chart_family(rows, stem, members, x) for stem, members in families.items()]
    charts.append(LineChart("learning rate", {"lr": get_points(rows, "lr", x)}, x))
    return [to_svg(draw_lines([chart])) for chart in charts]


def _chart_family(
    rows: Sequence[Mapping[str, Any]], stem: str, members: Sequence[str], x: str
) -> LineChart:
    """A chart of some members of a family, at even distances, the first and the last among them."""
    last, count = len(members) - 1, min(len(members), MAX_LINES)
    shown = [members[round(number * last / (count - 1))] for number in range(count)]
    title = stem if count > last else f"{stem}: {count} of {len(members)}"
    return LineChart(title, {name[len(stem) + 1 :]: get_points(rows, name, x) for name in shown}, x)


def _find_base(name: str, trained: Sequence[str]) -> str:
    """The number of the training that a validation measures too, or its own name without prefix."""
    if not name.startswith("val_"):
        return name
    rest = name.removeprefix("val_")  # it may begin with the name of a validation set
    found = [base for base in trained if rest == base or rest.endswith(f"_{base}")]
    return max(found, key=len, default=rest.removeprefix("ema_").removeprefix("swa_"))


def format_session(session: Mapping[str, Any]) -> str:
    """Formats a session of ``provenance.json`` as lines, without its diff."""
    lines = []
    for key, value in session.items():
        if isinstance(value, dict):
            lines += [f"{key}.{inner}: {item}" for inner, item in value.items()]
        elif isinstance(value, list):
            lines.append(f"{key}: {' '.join(map(str, value))}")
        elif key != "git_diff":
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
