"""The progress of an epoch: a bar on a terminal, elsewhere a line every few seconds.

A notebook may set a ``View``, which then shows the progress and the epochs in its own way.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from utils.errors import one_line

if TYPE_CHECKING:
    from logger.history import History

SECONDS_BETWEEN_LINES = 10.0
Batch = TypeVar("Batch")
Status = Callable[[], str]


class View(Protocol):
    """Shows a training elsewhere than in lines on the console."""

    def is_due(self) -> bool:
        """Whether it is time to show the progress again."""

    def show_progress(self, text: str) -> None:
        """Shows a text in place of the last one; an empty text at the end of the batches."""

    def show_epochs(self, history: History) -> None:
        """Shows the epochs so far, in place of their lines on the console."""

    def show_lines(self, lines: Sequence[str]) -> bool:
        """Shows the lines of a log message. If it returns False, the console prints them."""


class _Shown:
    """Where this process shows a training: on the console if there is no view."""

    view: View | None = None


def set_view(view: View | None) -> None:
    """From now on, shows trainings in ``view``; None for the console."""
    _Shown.view = view


def get_view() -> View | None:
    """The view that replaces the console, if there is one."""
    return _Shown.view


def progress(
    batches: Iterable[Batch],
    total: int | None,
    title: str,
    logger: logging.Logger,
    status: Status = str,
) -> Iterator[Batch]:
    """Yields ``batches`` one by one and shows how many of ``total`` are done.

    Args:
        batches: each is fetched only when the caller asks for it.
        total: their number; None if it is not known.
        title: the start of each line, e.g. ``epoch 3/15``.
        logger: gets the lines. A logger that ignores INFO turns the bar off too.
        status: returns a few words, such as the loss so far. Called only when they are shown.
    """
    if not logger.isEnabledFor(logging.INFO):
        yield from batches
    elif (view := get_view()) is not None:
        yield from _show_in(view, batches, total, title, status)
    elif _has_bar():
        yield from _show_bar(batches, total, title, status)
    else:
        yield from _log_lines(batches, total, title, logger, status)


def get_notebook_shell() -> Any:
    """Returns IPython's shell if this process is the kernel of a notebook, else None.

    A program that starts kernels for others has imported ``ipykernel`` too.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def _has_bar() -> bool:
    """Whether this is a terminal, or a notebook: there, standard error is no terminal."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal or get_notebook_shell() is not None


def _get_bar_class() -> Any:
    """tqdm's bar for this process. The one for notebooks would warn if ipywidgets is missing."""
    if get_notebook_shell() is not None and find_spec("ipywidgets") is None:
        from tqdm.std import tqdm
    else:
        from tqdm.auto import tqdm
    return tqdm


def _format_count(done: int, total: int | None) -> str:
    """Returns how many batches are done, as ``5/20 (25 %)``."""
    if total is None or done > total:  # the total may be an estimate
        return str(done)
    return f"{done}/{total} ({100 * done // max(1, total)} %)"


def _show_in(
    view: View, batches: Iterable[Batch], total: int | None, title: str, status: Status
) -> Iterator[Batch]:
    try:
        for done, batch in enumerate(batches):
            if view.is_due():
                view.show_progress(f"{title}  {_format_count(done, total)}  {status()}".rstrip())
            yield batch
    finally:
        view.show_progress("")


def _log_lines(
    batches: Iterable[Batch], total: int | None, title: str, logger: logging.Logger, status: Status
) -> Iterator[Batch]:
    last_shown = time.monotonic()
    for done, batch in enumerate(batches):
        if time.monotonic() - last_shown >= SECONDS_BETWEEN_LINES:
            last_shown = time.monotonic()
            logger.info("%s  %s  %s", title, _format_count(done, total), status())
        yield batch


def _show_bar(
    batches: Iterable[Batch], total: int | None, title: str, status: Status
) -> Iterator[Batch]:
    options = {"leave": False, "mininterval": 0.1, "dynamic_ncols": True}
    with _get_bar_class()(total=total, desc=title, **options) as bar:
        for batch in batches:
            yield batch
            if bar.update():  # the bar was redrawn: at most ten times a second
                bar.set_postfix_str(status(), refresh=False)


class Bar:
    """A bar that shows how many of several runs are done, if this is a terminal.

    Args:
        total: their number; None if it is not known.
        title: stands before the bar.
        done: the number of those that were done before.
    """

    def __init__(self, total: int | None, title: str, done: int = 0) -> None:
        self._bar: Any = None
        if _has_bar():
            self._bar = _get_bar_class()(
                total=total, desc=title, unit="run", initial=done, leave=False, dynamic_ncols=True
            )

    def advance(self) -> None:
        """Counts one more run."""
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def epoch_title(epoch: int, epochs: int | None) -> str:
    """Returns ``epoch 3/10``, or ``epoch 3`` if the number of epochs is unknown."""
    if epochs is None:
        return f"epoch {epoch}"
    return f"epoch {epoch:>{len(str(epochs))}}/{epochs}"


def epoch_line(log: Mapping[str, Any], epochs: int | None, seconds: float, best: bool) -> str:
    """Returns the numbers of an epoch as a line, in columns that align from epoch to epoch.

    Args:
        log: the numbers by name, with ``epoch``.
        epochs: the number of epochs of the run; None if it is unknown.
        seconds: the duration of the epoch.
        best: whether it is the best so far.
    """
    cells = [epoch_title(log["epoch"], epochs)]
    cells += [f"{key} {format_number(value)}" for key, value in log.items() if key != "epoch"]
    cells.append(f"{seconds:.1f} s")
    if best:
        cells.append("* best")
    return "  ".join(cells)


def format_number(value: Any) -> str:
    """Returns a number in a few characters, and anything else in one line."""
    if not isinstance(value, float):
        return one_line(ValueError(value), 40)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"
