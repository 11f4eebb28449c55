"""Where an epoch is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from utils.errors import one_line

SECONDS_BETWEEN_LINES = 10.0


def progress(
    batches: Iterable[Any],
    total: int | None,
    title: str,
    logger: logging.Logger,
    status: Callable[[], str] = str,
) -> Iterator[Any]:
    """Gives ``batches`` on, and shows how many of ``total`` are done.

    Args:
        total: None when it is not known.
        status: asked for a few words (the loss so far), only when something is shown.
    """
    if not logger.isEnabledFor(logging.INFO):
        yield from batches
        return
    if "ipykernel" in sys.modules or (
        sys.stderr is not None and sys.stderr.isatty()
    ):  # in a notebook, or a terminal
        yield from _bar(batches, total, title, status)
        return
    shown = time.monotonic()
    for done, batch in enumerate(batches):
        if time.monotonic() - shown >= SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            share = f"{done}/{total} ({100 * done // total} %)" if total else str(done)
            logger.info("%s  %s  %s", title, share, status())
        yield batch


def _bar(
    batches: Iterable[Any], total: int | None, title: str, status: Callable[[], str]
) -> Iterator[Any]:
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=title, leave=False, mininterval=0.1, dynamic_ncols=True) as bar:
        for batch in batches:
            yield batch
            if bar.update():  # redrawn: at most ten times a second
                bar.set_postfix_str(status(), refresh=False)


def epoch_line(log: dict[str, Any], epochs: int, seconds: float, best: bool) -> str:
    """One line of a table: the epoch's numbers, in columns that stay in place from epoch to epoch."""
    width = len(str(epochs))
    parts = [f"epoch {log['epoch']:>{width}}/{epochs}"]
    parts += [f"{key} {_short(value)}" for key, value in log.items() if key != "epoch"]
    return "  ".join([*parts, f"{seconds:.1f} s"]) + ("  * best" if best else "")


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return one_line(ValueError(value), 40)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"
