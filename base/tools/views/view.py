"""The interface of views, which show the predictions on a split in reports and trackers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from base.loop.collector import Collector
from base.loop.reporter import TestSubject
from base.tools.charts import draw_confusion_matrix, to_pixels
from base.tools.page import Page, Sample
from base.tools.pictures import Image, draw_grid
from base.tools.samples import Samples

MAX_CONSOLE_CLASSES = 20
MAX_SAMPLES = 16  # of a kind in the report


class Curve(NamedTuple):
    """A precision-recall curve for the trackers.

    Attributes:
        name: of the class.
        is_class: (N,) bool, whether each sample is of the class.
        probability: (N,) of the class.
    """

    name: str
    is_class: NDArray[Any]
    probability: NDArray[Any]


class View:
    """Shows the samples that a collector has collected.

    To add a form of data, write a subclass in a file of its own in this folder, with the class of
    its collector in ``collects``, and name it in ``base/tools/views/register.py``. Each method has
    a default that shows nothing. Constructing a view must cost nothing: compute in the methods, or
    in a ``cached_property``, because a validation only calls ``draw``.

    Args:
        collector: has the predictions of a pass.
        samples: facts about the samples of the loader.
        subject: the tested model; None during a training.

    Attributes:
        indices: for each collected sample its index in the dataset; None if unknown. Its file is
            then ``samples.path(index)``, and its input ``samples.fetch(index)``.
    """

    collects: ClassVar[type[Collector]]

    def __init__(
        self, collector: Collector, samples: Samples, subject: TestSubject | None = None
    ) -> None:
        self.collector, self.samples, self.subject = collector, samples, subject
        self.facts = collector.facts
        self.indices = collector.indices
        if self.indices is None:
            order = [index for batch in samples.order() or [] for index in batch]
            self.indices = collector.locate(order)

    @classmethod
    def shows(cls, collector: Collector, samples: Samples) -> bool:
        """Whether this view is for what a collector has collected of these samples."""
        return isinstance(collector, cls.collects)

    @property
    def classes(self) -> list[dict[str, Any]]:
        """A row of scores for each class, for the JSON; the key ``class`` comes first."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """The entries in the JSON of a test beside its numbers and their intervals."""
        return {"classes": self.classes}

    def format_lines(self) -> list[str]:
        """The lines for the console, below the numbers."""
        return []

    def list_predictions(self) -> list[list[Any]]:
        """The rows of ``predictions.csv``, with a header; empty for no file."""
        return []

    def list_probabilities(self) -> tuple[list[str], NDArray[np.floating[Any]] | None]:
        """The names of the classes, and (N, C) probabilities of the rows, or None."""
        return [], None

    def add_to(self, page: Page, ending: str) -> None:
        """Adds charts, the table of the classes, and samples to a report.

        Args:
            page: of the report.
            ending: for each heading: the name of the test set, or nothing.
        """

    def draw(self, inputs: Sequence[Any]) -> partial[Image] | None:
        """Draws the first samples for the trackers.

        Args:
            inputs: of the model, for the first samples of the pass: (C, H, W) each, not copied yet.

        Returns:
            A ``partial`` that draws the picture. The writer's thread calls it later, so it must
            hold copies of what it draws. None if there is nothing to draw.
        """
        return None

    def list_samples(self, count: int) -> list[Sample]:
        """The first samples with their predictions, for trackers of samples that are texts."""
        return []

    def draw_matrix(self) -> partial[Image] | None:
        """Draws the confusion matrix for the trackers, as ``draw``; None if there is none."""
        return None

    def list_curves(self) -> list[Curve]:
        """The precision-recall curves of the classes for the trackers."""
        return []

    def get_title(self, row: int) -> str:
        """The name of a collected sample: its file, its index, or its place in the pass."""
        if self.indices is None:
            return f"sample {row}"
        index = self.indices[row]
        path = self.samples.path(index)
        return Path(path).name if path else f"sample {index}"


def draw_samples(
    samples: Samples,
    inputs: Sequence[Any],
    captions: Sequence[str],
    are_correct: Sequence[bool] | None = None,
) -> Image:
    """Draws inputs of a model as pictures with captions."""
    return draw_grid(samples.pictures(inputs), captions, are_correct)


def draw_matrix(counts: NDArray[Any], names: list[str]) -> Image:
    """Draws a confusion matrix as a picture."""
    return to_pixels(draw_confusion_matrix(counts, names))


def shorten_table(lines: list[str], header: int = 1) -> list[str]:
    """The lines of a table of classes, of which only the first are shown in the console."""
    more = len(lines) - header - MAX_CONSOLE_CLASSES
    if more <= 0:
        return lines
    return [*lines[: header + MAX_CONSOLE_CLASSES], f"  … and {more} more in the report"]
