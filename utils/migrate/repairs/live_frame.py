"""A pandas DataFrame whose columns can be written to, as they could before pandas 3.

To remove it, keep the sums of your class in dicts, or use Plainloop's MetricTracker. Then delete
this file and the import of LiveFrame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


class LiveColumn(pd.Series):
    """A column. A write to it also changes its frame."""

    _metadata = ["_source"]  # noqa: RUF012

    @property
    def values(self) -> Any:
        frame, name = self._source
        return frame.writable_array(name)

    def __setitem__(self, key: Any, value: Any) -> None:
        frame, name = self._source
        is_label = np.isscalar(key) and key in frame.index
        frame.writable_array(name)[frame.index.get_loc(key) if is_label else key] = value

    @property
    def _constructor(self) -> Any:  # results of computations are plain Series
        return pd.Series


class LiveFrame(pd.DataFrame):
    """``pandas.DataFrame`` except for its columns."""

    def writable_array(self, name: Any) -> Any:
        """The memory of a column. pandas 3 marks it as read-only."""
        array = super().__getitem__(name).to_numpy(copy=False)
        array.flags.writeable = True
        return array

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
