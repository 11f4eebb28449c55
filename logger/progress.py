"""The progress of an epoch: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from utils.errors import one_line

SECONDS_BETWEEN_LINES = 10.0
Batch = TypeVar("Batch")
Status = Callable[[], str]


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
    elif _has_bar():
        yield from _show_bar(batches, total, title, status)
    else:
        yield from _log_lines(batches, total, title, logger, status)


def _has_bar() -> bool:
    """Whether this is a terminal, or a notebook: there, standard error is no terminal."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal or "ipykernel" in sys.modules


def _log_lines(
    batches: Iterable[Batch], total: int | None, title: str, logger: logging.Logger, status: Status
) -> Iterator[Batch]:
    last_shown = time.monotonic()
    for done, batch in enumerate(batches):
        if time.monotonic() - last_shown >= SECONDS_BETWEEN_LINES:
            last_shown = time.monotonic()
            count = str(done)
            if total is not None and done <= total:  # the total may be an estimate
                count = f"{done}/{total} ({100 * done // max(1, total)} %)"
            logger.info("%s  %s  %s", title, count, status())
        yield batch


def _show_bar(
    batches: Iterable[Batch], total: int | None, title: str, status: Status
) -> Iterator[Batch]:
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=title, leave=False, mininterval=0.1, dynamic_ncols=True) as bar:
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
            from tqdm.auto import tqdm

            self._bar = tqdm(
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
    cells += [f"{key} {_short(value)}" for key, value in log.items() if key != "epoch"]
    cells.append(f"{seconds:.1f} s")
    if best:
        cells.append("* best")
    return "  ".join(cells)


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return one_line(ValueError(value), 40)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"
