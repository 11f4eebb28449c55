"""ListCollate: batches that are lists of samples, as detectors take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base.data.boxes import find_mistake
from base.data.collate import explain
from utils.errors import UserError


class ListCollate:
    """Makes a list of each field of the samples, with one item for each sample.

    Images may have different sizes, and their targets any number of boxes, also none. The boxes of
    targets are checked.
    """

    def __call__(self, samples: list[Any]) -> Any:
        """Makes a batch: a list or dict of lists.

        Raises:
            UserError: the samples have different fields, or boxes that no detector takes.
        """
        first = samples[0]
        if isinstance(first, Mapping):
            if any(sample.keys() != first.keys() for sample in samples):
                raise UserError(f"its samples make no batch: {_explain_keys(samples)}")
            batch: Any = {key: [sample[key] for sample in samples] for key in first}
            fields = list(batch.values())
        elif isinstance(first, tuple | list):
            if len({len(sample) for sample in samples}) > 1:
                raise UserError(f"its samples make no batch: {explain(samples)}")
            batch = fields = [list(column) for column in zip(*samples, strict=True)]
        else:
            return samples
        for targets in fields:
            if mistake := find_mistake(targets):
                raise UserError(mistake)
        return batch


def _explain_keys(samples: list[Any]) -> str:
    keys = dict.fromkeys(key for sample in samples for key in sample)
    key = next(key for key in keys if any(key not in sample for sample in samples))
    missing = sum(key not in sample for sample in samples)
    return f"{missing} of {len(samples)} samples have no field '{key}'"
