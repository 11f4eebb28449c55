"""RunError: what a user did wrong, shown in a notebook as lines without a traceback."""

from __future__ import annotations

from utils.errors import UserError, printable
from utils.failure import user_error_from

LOST_WORKER = "exited unexpectedly"  # torch's words
HINT = "A worker that is spawned cannot load a class of a cell: save the class in data_loader/, or "
HINT += "give num_workers=0"


class RunError(UserError):
    """A mistake in a config, a path, an argument or the data.

    The text has the lines that the command prints on standard error. IPython shows only them.
    """


def make_run_error(error: Exception) -> RunError | None:
    """Returns what the user can do about an error; None if it is a bug."""
    user_error = user_error_from(error)
    if user_error is None:
        return None
    lines = [printable(line) for line in str(user_error).split("\n")]
    if LOST_WORKER in lines[-1]:
        lines.append(HINT)
    return RunError("\n".join(lines))
