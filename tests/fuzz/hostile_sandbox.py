"""A sandbox for hostile input.

It limits time and memory, records what is run, and finds every change on the disk.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import ROOT

ALL = os.environ.get("FUZZ") == "all"
# Limits of processor time, which a busy machine does not change.
MAX_SECONDS = 10  # for one refusal
MAX_PROCESS_SECONDS = 25  # with the imports of a process
MAX_WAIT_SECONDS = 90  # of wall time, for input that blocks, such as a FIFO
MAX_BYTES = 6 << 30
CANARY = "executed"  # the file that every payload would touch
PAYLOAD = f"touch {CANARY}"
MAX_COLUMNS = 700  # of an error message

_FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "pty.spawn",
    "socket.connect",
    "urllib.Request",
    "os.startfile",
}
_watching: list[list[str]] = []


class TooSlow(BaseException):
    """It is no Exception, so that no handler catches it on its way."""


class Outcome(NamedTuple):
    """The end of a program that got hostile input.

    Attributes:
        status: of the process, or a text if there is none.
        lines: of the error.
        output: everything that the terminal got.
    """

    status: int | str
    lines: list[str]
    output: str = ""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in _FORBIDDEN or (event in ("subprocess.Popen", "exec") and CANARY in repr(args)):
        _watching[-1].append(event)
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if writes and not any(word in str(args[0]) for word in ("__pycache__", "/dev/null")):
        _watching[-1].append(f"writes {args[0]!r}")


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched(seconds: int = MAX_SECONDS) -> Iterator[list[str]]:
    """Yields a list that records what the block runs, connects to or writes.

    Raises:
        TooSlow: the block takes more than ``seconds`` of processor time, or it hangs.
        MemoryError: it takes too much memory.
    """

    def stop(*_: Any) -> None:
        raise TooSlow

    seen: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MAX_BYTES // 2, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(MAX_WAIT_SECONDS)
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def run_process(program: str, *words: str, cwd: Path) -> Outcome:
    """Runs ``python PROGRAM WORDS`` as a user does, with limits on memory and time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_PROCESS_SECONDS, MAX_PROCESS_SECONDS))

    # Torchmetrics imports matplotlib, which would write its font cache into HOME.
    caches = {"MPLCONFIGDIR": str(Path(tempfile.gettempdir(), "fuzz-matplotlib"))}
    paths = {"PYTHONPATH": "", "HOME": str(cwd), "CUDA_VISIBLE_DEVICES": ""}
    environment = {**os.environ, **caches, **paths}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / program), *words],
            cwd=cwd,
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=MAX_WAIT_SECONDS,
            preexec_fn=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(f"none after {time.perf_counter() - start:.0f} s", [])
    text = done.stderr.decode(errors="replace")
    return Outcome(
        done.returncode, text.split("\n")[:-1], text + done.stdout.decode(errors="replace")
    )


def snapshot(folder: Path, besides: str = "") -> dict[str, Any]:
    """Returns the content of everything in ``folder``.

    Args:
        folder: is searched at any depth.
        besides: leaves out the paths in ``folder`` that start with it.
    """
    result: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name, mode = str(path.relative_to(folder)), path.lstat().st_mode
        if not (besides and name.startswith(besides)):
            result[name] = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return result


def find_changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Returns which files two snapshots differ in, or an empty string."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return f"changed on disk: {names[:5]}" if names else ""


def get_unprintable(text: str) -> str:
    """Returns the control and direction characters in ``text`` that would reach a terminal."""
    return "".join(sorted({char for char in text if not char.isprintable() and char not in "\n\t"}))


def find_problem(outcome: Outcome, may_succeed: bool = False) -> str:
    """Returns what is wrong with the end of a program, or an empty string."""
    if "Traceback" in outcome.output:
        return f"a traceback: {outcome.lines[-1][:200]}"
    raw = get_unprintable(outcome.output + "\n".join(outcome.lines))
    if raw:
        return f"{raw!r} reached the terminal"
    if outcome.status == 0 and may_succeed:
        return ""
    if outcome.status != 2:
        return f"status {outcome.status}: {' / '.join(outcome.lines[-2:])[:200]}"
    errors = [
        line for line in outcome.lines if "Warning: " not in line and not line.startswith("  ")
    ]
    if not errors or any(not line.strip() or len(line) > MAX_COLUMNS for line in errors):
        return f"the error is not in short lines: {errors[:3]}"
    return ""
