"""A batch that the memory is too small for, in parts."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import torch

from utils.batch import narrow, num_samples
from utils.errors import is_out_of_memory, one_line


class Splitting:
    """Where a batch runs out of memory, it is run again in halves, then in quarters, and so are those after it.

    Attributes:
        parts: into how many each batch is split; they never get fewer.
    """

    def __init__(self) -> None:
        self.parts = 1

    def run(
        self,
        batch: Any,
        one_pass: Callable[[Any, float, bool], Any],
        again: Callable[[], str | None] = str,
    ) -> list[Any]:
        """What ``one_pass`` gave for the batch, or for each of its parts.

        Args:
            batch: of tensors whose first dimension are the samples; one that is not is never split.
            one_pass: gets a part, its share of the batch's samples, and whether it is the last.
            again: called before a batch begins again, for the traces of the pass that failed; tells what else to say,
                or None where nothing can begin again.

        Raises:
            RuntimeError: what torch raised, where a single sample is too large too, or the batch cannot be split.
        """
        while True:
            try:
                if self.parts == 1 or num_samples(batch) == 0:
                    return [one_pass(batch, 1.0, True)]
                return [one_pass(*part) for part in self._split(batch)]
            except RuntimeError as error:
                if (
                    not is_out_of_memory(error)
                    or num_samples(batch) <= self.parts
                    or (told := again()) is None
                ):
                    raise
                reason = one_line(error, 200)
            # Outside of the handler, whose traceback holds all that the pass had made.
            self.parts = min(2 * self.parts, num_samples(batch))
            if torch.accelerator.is_available():
                torch.accelerator.empty_cache()
            what = f"each batch from here on goes through the model in {self.parts} parts{told}"
            logging.getLogger("train").warning("out of memory (%s): %s", reason, what)

    def _split(self, batch: Any) -> list[tuple[Any, float, bool]]:
        size = num_samples(batch)
        parts = min(self.parts, size)
        spans = itertools.pairwise(size * index // parts for index in range(parts + 1))
        return [(narrow(batch, a, b), (b - a) / size, b == size) for a, b in spans]
