"""The view of boxes: pictures with targets and predictions, and scores of each class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from html import escape
from typing import Any

from base.tools.box_pictures import draw_box_grid, draw_boxes
from base.tools.box_scores import IOU_THRESHOLD, SCORE_THRESHOLD, Matched, match, score_classes
from base.tools.collectors.boxes import BoxCollector
from base.tools.page import Page
from base.tools.pictures import Image, data_uri
from base.tools.views.view import MAX_SAMPLES, View, shorten_table

PICTURE_PIXELS = 400  # the longer side of a picture in the report
LEGEND = (
    f"Blue: predicted and right (same class, IoU {IOU_THRESHOLD:g} or more). Red: predicted and "
    f"wrong. Green: a target that was found. Orange: one that was missed. Predicted boxes have a "
    f"confidence of {SCORE_THRESHOLD:g} or more."
)


class BoxView(View):
    """Shows what a detector has found. The worst pictures are those with the most mistakes."""

    collects = BoxCollector
    collector: BoxCollector

    @cached_property
    def pictures(self) -> list[Matched]:
        """The boxes of each picture."""
        return [match(boxes) for boxes in self.collector.list_boxes()]

    @cached_property
    def classes(self) -> list[dict[str, Any]]:
        """Precision, recall, AP and support of each class, at an IoU of 0.5."""
        return [
            {"class": self.samples.name(label)}
            | {"precision": score.precision, "recall": score.recall}
            | {"ap50": score.ap, "support": score.support}
            for label, score in score_classes(self.pictures).items()
        ]

    def format_lines(self) -> list[str]:
        if not self.classes:
            return []
        width = min(30, max(5, *(len(row["class"]) for row in self.classes)))
        lines = [f"  {'class':<{width}} precision  recall    ap50  support"]
        for row in self.classes:
            name = f"{row['class'][:width]:<{width}}"
            found = [row[key] for key in ("precision", "recall", "ap50")]
            cells = ["-" if score is None else f"{score:.4f}" for score in found]
            scores = f"{cells[0]:>9} {cells[1]:>7} {cells[2]:>7}"
            lines.append(f"  {name} {scores}  {row['support']:7d}")
        note = f"  at IoU {IOU_THRESHOLD:g}; precision and recall at confidence {SCORE_THRESHOLD:g}"
        return [*shorten_table(lines), note]

    def list_predictions(self) -> list[list[Any]]:
        """A row for each predicted box."""
        rows: list[list[Any]] = [["index", "path", "class", "confidence", "x1", "y1", "x2", "y2"]]
        for row, picture in enumerate(self.pictures):
            index = row if self.indices is None else self.indices[row]
            path = None if self.indices is None else self.samples.path(index)
            for box, label, score in zip(picture.box, picture.label, picture.score, strict=True):
                sides = [f"{side:.2f}" for side in box.tolist()]
                name = self.samples.name(int(label))
                rows.append([index, path or "", name, f"{score:.6g}", *sides])
        return rows

    def add_to(self, page: Page, ending: str) -> None:
        page.add_table("Classes" + ending, self.classes)
        page.add_note(
            f"ap50 is the average precision at an IoU of {IOU_THRESHOLD:g}. Precision and recall "
            f"count the boxes with a confidence of {SCORE_THRESHOLD:g} or more."
        )
        mistakes = [picture.n_missed + picture.n_wrong for picture in self.pictures]
        order = sorted(range(len(mistakes)), key=lambda row: -mistakes[row])
        worst = [row for row in order if mistakes[row]][:MAX_SAMPLES]
        right = sorted((row for row in order if not mistakes[row]), key=self._get_confidence)
        self._add_pictures(page, "Pictures with the most mistakes" + ending, worst)
        heading = "Least confident pictures without a mistake" + ending
        self._add_pictures(page, heading, right[:MAX_SAMPLES])

    def _get_confidence(self, row: int) -> float:
        """The lowest confidence of a right box; those without any box come last."""
        picture = self.pictures[row]
        return float(picture.score[picture.is_shown].min(initial=1.0))

    def _add_pictures(self, page: Page, heading: str, rows: Sequence[int]) -> None:
        figures = []
        for row in rows:
            values = None if self.indices is None else self.samples.fetch(self.indices[row])
            picture = None if values is None else self.samples.picture(values)
            image = ""
            if picture is not None:
                drawn = draw_boxes(picture, self.pictures[row], self.samples.name, PICTURE_PIXELS)
                title = escape(self.get_title(row))
                source = data_uri(drawn, PICTURE_PIXELS)
                image = f'<img alt="{title}" style="width:100%" src="{source}">'
            caption = f"<figcaption>{escape(self._describe(row))}</figcaption>"
            figures.append(f'<figure class="card" style="margin:0">{image}{caption}</figure>')
        page.add_html(heading, "".join(figures), "grid")
        page.add_note(LEGEND if figures else "")

    def _describe(self, row: int) -> str:
        picture = self.pictures[row]
        count = len(picture.target)
        texts = ["1 target" if count == 1 else f"{count or 'no'} targets"]
        texts += [f"{picture.n_missed} missed"] if picture.n_missed else []
        texts += [f"{picture.n_wrong} wrong"] if picture.n_wrong else []
        return f"{self.get_title(row)}: {', '.join(texts)}"

    def draw(self, inputs: Sequence[Any]) -> partial[Image] | None:
        """Draws pictures with their boxes."""
        boxes = self.collector.list_boxes(len(inputs))
        if len(boxes) != len(inputs):
            return None
        copies = [values.detach().clone().cpu() for values in inputs]
        return partial(draw_box_grid, self.samples, copies, boxes)
