"""The register of views: one line for each form of data."""

from __future__ import annotations

from base.loop.collector import Collector
from base.loop.reporter import TestSubject
from base.tools.samples import Samples
from base.tools.views.boxes import BoxView
from base.tools.views.masks import MaskView
from base.tools.views.rows import RowView
from base.tools.views.series import SeriesView
from base.tools.views.tokens import TokenView
from base.tools.views.view import View

# The first one that shows it.
VIEWS: tuple[type[View], ...] = (SeriesView, RowView, MaskView, BoxView, TokenView)


def make_view(
    collector: Collector | None, samples: Samples, subject: TestSubject | None = None
) -> View | None:
    """Makes the view of what a pass has collected; None if there is nothing to show."""
    chosen = None if collector is None else collector.chosen
    for kind in VIEWS:
        if chosen is not None and kind.shows(chosen, samples):
            return kind(chosen, samples, subject)
    return None
