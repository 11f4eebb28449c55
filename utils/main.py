"""Runs a program, and turns its errors into messages and exit statuses."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from utils.console import prepare_console
from utils.errors import printable
from utils.stop import StopProgram, get_program_request, stop_on_signals

# torch's warning that a loss compares (N,) with (N, 1), each output with each target.
BROADCAST = (
    r"Using a target size \(torch.Size\(\[(?!1\b)(\d+)(, 1)?\]\)\) "
    r"that is different to the input size \(torch.Size\(\[\1(, 1)?\]\)\)"
)


def end_without_module(error: ModuleNotFoundError) -> None:
    """Ends ``python -m PACKAGE.PROGRAM`` in a line if a library is missing.

    Python imports the package before the program, whose ``run_main`` comes too late. It has not set
    the program's name then.
    """
    from utils.failure import user_error_from

    user_error = user_error_from(error)
    if sys.argv[0] == "-m" and user_error is not None:
        print(printable(str(user_error)), file=sys.stderr)
        sys.exit(2)


def prepare_torch() -> None:
    """Sets what torch reads from the environment when it is imported.

    On Linux, an idle thread of torch looks for work ``GOMP_SPINCOUNT`` times before it sleeps. With
    the default of 300,000, two programs that share the cores block each other.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def run_main(main: Callable[[], None]) -> None:
    """Calls ``main`` and ends the program if it fails.

    A ``UserError``, or an error that the user can do something about, is printed on standard error
    and ends in status 2. Ctrl-C ends in status 130, SIGTERM in 143, SIGUSR1 in 75, and a closed
    standard output in 141. Any other error keeps its traceback.
    """
    prepare_torch()
    warnings.filterwarnings("error", BROADCAST)
    prepare_console()
    try:
        with stop_on_signals(ends_program=True):
            main()
    except StopProgram as stop:
        print(f"stopped by {stop.reason}", file=sys.stderr)
        sys.exit(stop.status)
    except BrokenPipeError:
        # The reader has left, as in `| head`. Python would complain at its exit without the dup2.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        from utils.failure import user_error_from

        user_error = user_error_from(error)
        if user_error is None and (status := get_program_request().status):
            sys.exit(status)  # a library has replaced StopProgram by another error
        if user_error is None:
            raise
        sys.stdout.flush()
        for line in str(user_error).split("\n"):
            print(printable(line), file=sys.stderr)
        sys.exit(2)
