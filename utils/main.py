"""How a program ends: one line and a status, instead of a traceback, for what its user can cause."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from utils.errors import UserError, is_out_of_memory, one_line, printable

MISTAKES: tuple[tuple[type[Exception], str, str], ...] = (  # of a library's errors: the class, the text, what to do
    (RuntimeError, r"DataLoader worker .* (killed by signal|exited unexpectedly)", "data_loader: a process that loads "
     "data was killed (out of memory?); fewer num_workers take less: {}"),
    (RuntimeError, "Expected to have finished reduction in the prior iteration", "parallel.args.find_unused_parameters:"
     " some parameters of the model had no part in the loss; set find_unused_parameters: true, or freeze them"),
    (RuntimeError, "got mixed torch.Tensor and DTensor", "parallel.args.blocks: a part of the model is used without "
     "being called itself, as `block(x)`; only that puts its parameters together"),
    (IndexError, r"^Target -?\d+ is out of bounds", "loss: {} The model has fewer outputs than the data has classes"),
)  # fmt: skip


def run_main(main: Callable[[], None]) -> None:
    """Calls ``main``; a UserError ends in its lines on standard error and status 2, Ctrl-C in status 130."""
    # How often a thread of torch's looks for work before it sleeps, on Linux; read when torch is imported. With the
    # usual 300,000, of two programs that share the cores one waits for threads that the other keeps from running.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        main()
    except BrokenPipeError:  # nobody reads on (`| head`); Python would complain when it leaves
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        mistake = user_error_from(error)
        if mistake is None:
            raise
        sys.stdout.flush()
        print("\n".join(map(printable, str(mistake).split("\n"))), file=sys.stderr)
        sys.exit(2)


def user_error_from(error: BaseException) -> UserError | None:
    """What the user can do about an error; None where it is none of his."""
    if isinstance(error, UserError):
        return error
    for kind, pattern, advice in MISTAKES:
        if isinstance(error, kind) and re.search(pattern, str(error)):
            return UserError(advice.format(one_line(error)))
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        settings = (
            "a smaller data_loader.args.batch_size, as many more trainer.accumulation_steps, or"
        )
        return UserError(
            f"out of memory: {one_line(error, 400)}\nWhat takes less: {settings} trainer.precision: bf16"
        )
    return None
