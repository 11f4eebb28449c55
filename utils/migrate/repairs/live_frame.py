"""A pandas frame whose columns write through, as those of all frames did before pandas 3.

To be rid of it: let your class keep its sums in dicts, or take MetricTracker from ours; then delete this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


class LiveColumn(pd.Series):
    """A column; what is written into it is written into its frame."""

    _metadata = ["_source"]  # noqa: RUF012

    @property
    def values(self) -> Any:
        return self._source[0]._cells(self._source[1])

    def __setitem__(self, key: Any, value: Any) -> None:
        frame, name = self._source
        place = frame.index.get_loc(key) if np.isscalar(key) and key in frame.index else key
        frame._cells(name)[place] = value

    @property
    def _constructor(self) -> Any:  # what is computed from it is a plain Series
        return pd.Series


class LiveFrame(pd.DataFrame):
    """``pandas.DataFrame``, except for its columns."""

    def _cells(self, name: Any) -> Any:
        """The memory of a column; pandas 3 shows it read-only."""
        cells = super().__getitem__(name).to_numpy(copy=False)
        cells.flags.writeable = True
        return cells

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not isinstance(found, pd.Series):
            return found
        column = LiveColumn(found)
        column._source = (self, key)
        return column

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return self[name] if isinstance(found, pd.Series) else found

    @property
    def _constructor(self) -> Any:
        return LiveFrame
