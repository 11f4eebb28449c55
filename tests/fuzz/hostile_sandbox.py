"""Where hostile input is tried: every change on disk shows, time and memory are limited, what is run is noted."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers import ROOT

ALL = os.environ.get("FUZZ") == "all"
SECONDS = 10  # for what is refused; a machine that is busy gets PROCESS_SECONDS for a process with its imports
PROCESS_SECONDS = 25
MEMORY = 6 << 30
CANARY = "executed"  # what every payload would touch, or say
PAYLOAD = f"touch {CANARY}"
WIDEST = 700

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
    """Not an Exception, so that nothing on the way takes it for an error of its own."""


class Outcome(NamedTuple):
    """What became of a hostile input: the status, and what the terminal got."""

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
def watched(seconds: int = SECONDS) -> Iterator[list[str]]:
    """Gives the list of what is run, reached or written meanwhile; raises TooSlow, or MemoryError, past the limits."""

    def late(*_: Any) -> None:
        raise TooSlow

    seen: list[str] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY // 2, hard))
    signal.alarm(seconds)
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def process(program: str, *words: str, cwd: Path) -> Outcome:
    """Runs ``python PROGRAM WORDS`` as a user does, with a limit on memory and time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    environment = {**os.environ, "PYTHONPATH": "", "HOME": str(cwd), "CUDA_VISIBLE_DEVICES": ""}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / program), *words],
            cwd=cwd,
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PROCESS_SECONDS,
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
    """All that is in ``folder``, with its content; what begins with ``besides`` aside."""
    result: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name, mode = str(path.relative_to(folder)), path.lstat().st_mode
        if not (besides and name.startswith(besides)):
            result[name] = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return result


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return f"changed on disk: {names[:5]}" if names else ""


def unprintable(text: str) -> str:
    """The control and direction characters in ``text`` that would reach a terminal."""
    return "".join(sorted({char for char in text if not char.isprintable() and char not in "\n\t"}))


def problem(outcome: Outcome, may_end_well: bool = False) -> str:
    """What is wrong with how a hostile input ended; empty if nothing is."""
    if "Traceback" in outcome.output:
        return f"a traceback, of {outcome.lines[-1][:200]}"
    if raw := unprintable(outcome.output + "\n".join(outcome.lines)):
        return f"{raw!r} reached the terminal"
    if outcome.status == 0 and may_end_well:
        return ""
    if outcome.status != 2:
        return f"status {outcome.status}: {' / '.join(outcome.lines[-2:])[:200]}"
    told = [line for line in outcome.lines if "Warning: " not in line and not line.startswith("  ")]
    if not told or any(not line.strip() or len(line) > WIDEST for line in told):
        return f"not told in lines: {told[:3]}"
    return ""
