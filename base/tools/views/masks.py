"""The view of a segmentation: the IoU of each class, the worst pictures, overlays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from base.loop.evaluate import forward
from base.tools.charts import draw_confusion_matrix, to_svg
from base.tools.collectors.masks import ClassMaps, Masks, find_form, name_classes
from base.tools.overlays import Palette, draw_panels, draw_rows, middle_picture
from base.tools.page import Page, Sample
from base.tools.pictures import Image
from base.tools.views.view import MAX_SAMPLES, View, draw_matrix, shorten_table
from utils.batch import split_target, to_device

MAX_DRAWN_CLASSES = 60  # of a confusion matrix in a report
MAX_CLASSES_IN_MATRIX = 50  # of a tracker's


class MaskView(View):
    """Shows per-pixel classes.

    A class that neither the targets nor the predictions have has no IoU, and does not count in the
    mean. Pixels that the loss ignores count nowhere.
    """

    collects = Masks
    collector: Masks

    @cached_property
    def names(self) -> list[str]:
        return name_classes(self.samples.classes, self.collector.n_classes)

    @cached_property
    def palette(self) -> Palette:
        return Palette(self.names)

    @cached_property
    def classes(self) -> list[dict[str, Any]]:
        """The pixels, the IoU and the Dice score (F1) of each class; None for an absent one."""
        confusion = self.collector.confusion.double()
        right, targets = confusion.diagonal(), confusion.sum(1)
        total = targets + confusion.sum(0)
        rows = zip(self.names, right.tolist(), targets.tolist(), total.tolist(), strict=True)
        return [
            {
                "class": name,
                "iou": hit / (both - hit) if both else None,
                "dice": 2 * hit / both if both else None,
                "pixels": int(count),
            }
            for name, hit, count, both in rows
        ]

    @property
    def numbers(self) -> dict[str, float | None]:
        """The means over the classes that are there, and the accuracy over all pixels."""
        confusion = self.collector.confusion
        count = int(confusion.sum())
        return {
            "mean_iou": _mean([row["iou"] for row in self.classes]),
            "mean_dice": _mean([row["dice"] for row in self.classes]),
            "pixel_accuracy": int(confusion.diagonal().sum()) / count if count else None,
        }

    def to_dict(self) -> dict[str, Any]:
        pixels = {"left_out": self.collector.num_left_out, "unknown": self.collector.num_unknown}
        return {"classes": self.classes, "segmentation": self.numbers | pixels}

    def format_lines(self) -> list[str]:
        width = min(30, max(5, *map(len, self.names)))
        lines = [f"  {'class':<{width}}     IoU    Dice        pixels"]
        for row in self.classes:
            name = f"{row['class'][:width]:<{width}}"
            iou, dice = _format(row["iou"]), _format(row["dice"])
            lines.append(f"  {name}  {iou:>6}  {dice:>6}  {row['pixels']:12,}")
        numbers = self.numbers
        means = f"{_format(numbers['mean_iou']):>6}  {_format(numbers['mean_dice']):>6}"
        accuracy = _format(numbers["pixel_accuracy"])
        lines = [*shorten_table(lines), f"  {'mean':<{width}}  {means}"]
        return [*lines, f"  pixel accuracy {accuracy}{self._describe_pixels()}"]

    def _describe_pixels(self) -> str:
        left_out, unknown = self.collector.num_left_out, self.collector.num_unknown
        text = f"; {left_out:,} pixels are left out" if left_out else ""
        return text + (f"; {unknown:,} pixels have a target that is not a class" if unknown else "")

    def list_predictions(self) -> list[list[Any]]:
        """For each picture its mean IoU and its pixel accuracy; empty where nothing counts."""
        rows: list[list[Any]] = [["index", "mean IoU", "pixel accuracy", "path"]]
        for row, scores in enumerate(self.collector.scores.tolist()):
            index = row if self.indices is None else self.indices[row]
            path = None if self.indices is None else self.samples.path(index)
            cells = ["" if math.isnan(score) else f"{score:.6g}" for score in scores]
            rows.append([index, *cells, path or ""])
        return rows

    def add_to(self, page: Page, ending: str) -> None:
        names = {"mean_iou": "mean IoU", "mean_dice": "mean Dice"}
        cards = {
            names.get(name, name.replace("_", " ")): (_format(value), "")
            for name, value in self.numbers.items()
        }
        page.add_cards("Segmentation" + ending, cards)
        page.add_note(self._describe_pixels().removeprefix("; "))
        rows = [{name: _show(value) for name, value in row.items()} for row in self.classes]
        page.add_table("Classes" + ending, rows)
        if len(self.names) <= MAX_DRAWN_CLASSES:
            heading = f"Confusion matrix, % of the pixels of each target{ending}"
            page.add_charts(heading, [to_svg(draw_confusion_matrix(self._percent(), self.names))])
        samples = [sample for row in self._worst() if (sample := self._get_sample(row))]
        if samples:
            page.add_samples("Worst pictures" + ending, samples, is_wide=True)
            page.add_note("Each picture: the input, the target, the prediction.")
            has_left_out = self.collector.num_left_out + self.collector.num_unknown > 0
            page.add_html("", self.palette.to_html(has_left_out))

    def _worst(self) -> list[int]:
        """The rows of the samples with the lowest IoU, the worst first."""
        scores = self.collector.scores[:, 0].numpy()
        order = np.argsort(scores, kind="stable")  # NaN comes last
        return [int(row) for row in order[:MAX_SAMPLES] if not math.isnan(scores[row])]

    def _get_sample(self, row: int) -> Sample | None:
        """A sample, predicted once more: the outputs of the pass were not kept."""
        iou = float(self.collector.scores[row, 0])
        picture = None if self.indices is None else self._predict(self.indices[row])
        return Sample(self.get_title(row), f"IoU {iou:.4f}", None, picture)

    @torch.no_grad()
    def _predict(self, index: int) -> Image | None:
        """Draws the input, the target and the prediction of a sample; None if it fails."""
        if self.subject is None:
            return None
        try:
            batch = self.samples.batch(index)
            output, target = forward(self.subject.model, to_device(batch, self.subject.device))
            form = find_form(output, target)
            if form is None:
                return None
            prediction, classes = self.collector.read(output, target, form)
            values = split_target(batch)[0][0]
            classes = self.collector.mark_left_out(classes)
        except Exception:  # the user's dataset or trainer may not support it
            return None
        maps = ClassMaps(classes[0].cpu(), prediction[0].cpu())
        return draw_panels(middle_picture(self.samples, values), maps, self.palette)

    def draw(self, inputs: Sequence[Any]) -> partial[Image] | None:
        """Draws pictures, their targets and their predictions, and a legend."""
        maps = self.collector.maps[: len(inputs)]
        if not maps or len(maps) != len(inputs):
            return None
        scores = torch.cat(self.collector.first_scores)[: len(maps), 0].tolist()
        copies = [values.detach().clone().cpu() for values in inputs]
        kept = [ClassMaps(*(values.cpu() for values in pair)) for pair in maps]
        captions = ["no pixel counts" if math.isnan(iou) else f"IoU {iou:.3f}" for iou in scores]
        pictures = [middle_picture(self.samples, values) for values in copies]
        return partial(draw_rows, pictures, kept, captions, self.palette)

    def draw_matrix(self) -> partial[Image] | None:
        if len(self.names) > MAX_CLASSES_IN_MATRIX:
            return None
        return partial(draw_matrix, self._percent(), self.names)

    def _percent(self) -> Any:
        """The confusion matrix in % of the pixels of each target, (C, C) int."""
        counts = self.collector.confusion.double()
        return (100 * counts / counts.sum(1, keepdim=True).clamp(min=1)).round().long().numpy()


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _show(value: Any) -> Any:
    return "–" if value is None else value
