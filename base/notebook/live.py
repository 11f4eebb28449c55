"""LiveTable: the epochs of a training in one table that grows in its cell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import Any

from logger.history import History, to_html
from logger.progress import get_notebook_shell, get_view, set_view
from utils.tables import format_table

MAX_ROWS = 12  # of the table
MAX_LINES = 12  # of a log message that is shown unfolded
SECONDS_BETWEEN_UPDATES = 0.2
MAX_LOAD = 0.05  # the part of the time that updates take from a training of many epochs


class LiveTable:
    """Shows trainings in a notebook: a line of progress, and a table of the epochs below it.

    Each cell has an output of its own, which is updated in its position. It needs no widgets, so a
    saved notebook shows its last state.

    Args:
        shell: IPython's, whose cells end with the last update.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._handle: Any = None  # of the output
        self._cell = 0  # the execution that the output belongs to
        self._history: History | None = None
        self._progress = ""
        self._is_changed = False
        self._time = 0.0  # of the last update
        self._duration = 0.0  # of it, in seconds
        shell.events.register("post_run_cell", self._end_cell)

    def is_due(self) -> bool:
        """Whether it is time for an update. A pass that is over soon needs none."""
        if self._cell != self._shell.execution_count:
            self._begin()
        pause = max(SECONDS_BETWEEN_UPDATES, self._duration / MAX_LOAD)
        return time.monotonic() - self._time >= pause

    def show_progress(self, text: str) -> None:
        """Shows a text above the table; an empty one removes it with the next update."""
        if text == self._progress:
            return
        self._progress, self._is_changed = text, True
        if text:
            self._update()

    def show_epochs(self, history: History) -> None:
        """Shows a row for each epoch, as soon as an update is due."""
        is_other = self._history not in (None, history)
        if is_other or self._cell != self._shell.execution_count:
            self._begin()
        self._history, self._is_changed = history, True
        if self._handle is None or self.is_due():
            self._update()

    def show_lines(self, lines: Sequence[str]) -> bool:
        """Folds a long log message, such as the layers of a model."""
        if len(lines) <= MAX_LINES:
            return False
        from IPython.display import display

        summary = f"{lines[0]} … {lines[-1]}"
        text = escape("\n".join(lines))
        style = 'style="font-size:.85em;line-height:1.3"'
        html = f"<details><summary><code>{escape(summary)}</code></summary>"
        html += f"<pre {style}>{text}</pre></details>"
        display({"text/plain": summary, "text/html": html}, raw=True)
        return True

    def _begin(self) -> None:
        """Ends the last output. The next update makes a new one."""
        self._end_cell()
        self._cell, self._time = self._shell.execution_count, time.monotonic()

    def _end_cell(self, *_: Any) -> None:
        if self._is_changed:
            self._progress = ""
            self._update()
        self._handle = self._history = None

    def _update(self) -> None:
        from IPython.display import display

        self._time, self._is_changed = time.monotonic(), False
        table = [] if self._history is None else self._history.make_table(MAX_ROWS)
        text = "\n".join(filter(None, [self._progress, *format_table(table or [("",)])]))
        progress = f"<pre>{escape(self._progress)}</pre>" if self._progress else ""
        content = {"text/plain": text, "text/html": progress + to_html(table)}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
        self._duration = time.monotonic() - self._time


def show_in_notebook() -> None:
    """From now on, shows trainings in the cells, if this process is the kernel of a notebook."""
    shell = get_notebook_shell()
    if shell is not None and get_view() is None:
        set_view(LiveTable(shell))
