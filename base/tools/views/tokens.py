"""The view of a language model: the loss of each text."""

from __future__ import annotations

from typing import Any

from base.tools.collectors.tokens import TokenScores
from base.tools.page import Page, Sample
from base.tools.views.view import MAX_SAMPLES, View


class TokenView(View):
    """Shows the loss and the perplexity of each text, and the texts that are predicted worst."""

    collects = TokenScores
    collector: TokenScores

    def list_predictions(self) -> list[list[Any]]:
        """A row for each text."""
        rows: list[list[Any]] = [["index", "loss", "perplexity", "tokens", "text"]]
        for row, score in enumerate(self.collector.list_scores()):
            index = row if self.indices is None else self.indices[row]
            numbers = ["" if x is None else f"{x:.6g}" for x in (score.loss, score.perplexity)]
            rows.append([index, *numbers, score.tokens, self._get_text(row)])
        return rows

    def _get_text(self, row: int) -> str:
        return "" if self.indices is None else self.samples.text(self.indices[row])

    def add_to(self, page: Page, ending: str) -> None:
        known = [(s.loss, row) for row, s in enumerate(self.collector.list_scores())]
        losses = sorted(((loss, row) for loss, row in known if loss is not None), reverse=True)
        samples = [
            Sample(self.get_title(row), f"loss {loss:.4g}", None, None, self._get_text(row))
            for loss, row in losses[:MAX_SAMPLES]
        ]
        page.add_samples("Texts with the highest loss" + ending, samples)
