"""How a program ends: one line and a status, instead of a traceback, for what its user can cause."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from .errors import UserError, one_line, printable


def run_main(main: Callable[[], None]) -> None:
    """Calls ``main``; a UserError ends in its lines on standard error and status 2, Ctrl-C in status 130."""
    try:
        main()
    except UserError as error:
        sys.stdout.flush()
        print("\n".join(map(printable, str(error).split("\n"))), file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if not re.search(r"DataLoader worker .* (killed by signal|exited unexpectedly)", str(error)):
            raise
        sys.stdout.flush()
        message = "a process that loads data was killed (out of memory?); fewer num_workers take less"
        print(f"data_loader: {message}: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except IndexError as error:
        if not re.match(r"Target -?\d+ is out of bounds", str(error)):
            raise
        sys.stdout.flush()
        print(f"loss: {one_line(error)} The model has fewer outputs than the data has classes", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # nobody reads on (`| head`); Python would complain when it leaves
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
