"""Runs a member of a group in a process of its own, until it has ended."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from base.groups.running.group import Group, Member
from base.tools.run_record import RunRecord, is_in_use
from utils.checkpoints import list_checkpoints
from utils.errors import UserError, one_line, printable
from utils.files import IS_LOCKED
from utils.link import GO_ON, LinkServer
from utils.stop import EXIT_RUN_AGAIN, EXIT_STATUS

FINISHED, STOPPED, FAILED, BLOCKED = "finished", "stopped", "failed", "blocked"
TIME_LIMIT = "stopped by the time limit"
MAX_KILLS = 3  # of a run that makes no progress between them
SECONDS_TO_HEAR = 1.0  # a batch system signals a run and its parent, not quite at the same time
SECONDS_BETWEEN_LOOKS = 0.2
MAX_MESSAGE_CHARS = 300
TAIL_BYTES = 20_000
# Errors of a run whose folder is in use: a killed worker has left a process behind, which had not
# yet locked the folder when this worker looked.
LATE = (IS_LOCKED, "holds a run already")
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))  # the disk, or the user's part
# The last line of a rank that misses another one, which was killed (see utils/failure.py).
LOST_RANK = re.compile(r"rank \d+ \(.*\) is gone, in ")


class Ending(NamedTuple):
    """How a run has ended.

    Attributes:
        state: ``finished``; ``stopped`` if it can continue; ``failed``; ``blocked`` if it can
            continue as soon as its folder is repaired.
        message: why it has not finished.
    """

    state: str
    message: str = ""


class Exit(NamedTuple):
    """How the process of a run has ended.

    Attributes:
        status: its exit status; negative after a signal.
        reason: why this program has stopped it; empty if it has not.
        last_line: of its standard error.
    """

    status: int
    reason: str
    last_line: str


class Signals:
    """Passes the signals of this program on to the runs that it has started.

    Attributes:
        received: the number of the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._processes: set[subprocess.Popen[bytes]] = set()

    def receive(self, number: int, _frame: object = None) -> None:
        """Passes a signal on. The second Ctrl-C ends the runs at once, as it does in a run."""
        self.received = self.received or number
        for process in list(self._processes):
            process.send_signal(number)

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Adds a run. If a signal has arrived while it was started, it gets the signal now."""
        self._processes.add(process)
        if self.received:
            process.send_signal(self.received)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        self._processes.discard(process)


class MemberRunner:
    """Runs members of a group one after another.

    Args:
        group: of the members.
        signals: stop the run.
        environment: what differs in the environment of the processes, such as the devices.
    """

    def __init__(
        self, group: Group, signals: Signals, environment: Mapping[str, str] | None = None
    ) -> None:
        self.group = group
        self.signals = signals
        self.environment = dict(environment or {})

    def run(
        self,
        member: Member,
        answer: Callable[[dict[str, Any]], str] = lambda _: GO_ON,
        find_reason: Callable[[], str] = lambda: GO_ON,
    ) -> Ending:
        """Starts the run, or continues it from its checkpoint. Does nothing if it is finished.

        A run that is killed is started again, as long as it makes progress.

        Args:
            member: the run.
            answer: gets the numbers of each validation; returns ``GO_ON`` or the reason to stop.
            find_reason: looks, before each start, for a reason that a kill has left behind.

        Raises:
            UserError: the disk is full.
        """
        last_position: object = None
        num_kills = 0
        while True:
            self._wait_until_free(member.folder)
            if self.signals.received:
                return Ending(STOPPED)
            if key := member.find_other_value():
                message = f"{member.folder} holds a run with another {key}; remove the folder"
                return Ending(BLOCKED, message)
            if reason := find_reason():
                return Ending(STOPPED, reason)
            if RunRecord(member.folder).state == FINISHED:
                return Ending(FINISHED)
            position, num_sessions = _get_position(member.folder), _count_sessions(member.folder)
            exit_ = self._run_process(member, answer)
            if exit_.status == 2 and any(text in exit_.last_line for text in LATE):
                continue
            is_begun = member.folder.is_file() or bool(position)
            if exit_.status == 2 and is_begun and _count_sessions(member.folder) == num_sessions:
                return Ending(BLOCKED, exit_.last_line)  # it has not got as far as its checkpoint
            if (ending := self._classify(member, exit_)) is not None:
                return ending
            num_kills = num_kills + 1 if position == last_position else 1
            if num_kills == MAX_KILLS:
                return Ending(FAILED, _describe_kill(exit_))
            last_position = position

    def _wait_until_free(self, folder: Path) -> None:
        """Waits for a process that a killed worker has left behind. It saves and ends by itself."""
        while is_in_use(folder) and not self.signals.received:
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _run_process(self, member: Member, answer: Callable[[dict[str, Any]], str]) -> Exit:
        """Runs the process to its end.

        Raises:
            UserError: the disk is full, so that each further run would fail too.
        """
        with LinkServer(answer) as link, tempfile.TemporaryFile() as errors:
            # A session of its own: Ctrl-C in the terminal reaches it through this program only.
            process = subprocess.Popen(
                self.group.list_command(member),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **self.environment, **link.environment},
                start_new_session=True,
            )
            self.signals.add(process)
            try:
                status = process.wait()
            finally:
                self.signals.remove(process)
            if link.error is not None:
                raise link.error
            last_line = read_last_line(errors)
        if status > 0 and any(text in last_line for text in FULL):
            raise UserError(last_line)
        return Exit(status, link.reason, last_line)

    def _classify(self, member: Member, exit_: Exit) -> Ending | None:
        """Returns how the run has ended; None if it was killed and may be started again."""
        status = exit_.status
        if status == 0:
            return Ending(FINISHED)
        if exit_.reason and status in EXIT_STATUS.values():
            return Ending(STOPPED, exit_.reason)
        outcome = RunRecord(member.folder).outcome
        if status == EXIT_RUN_AGAIN and outcome == TIME_LIMIT:
            return Ending(STOPPED, TIME_LIMIT)
        is_killed = status < 0 or status > 128 or status == EXIT_RUN_AGAIN
        if not is_killed and not LOST_RANK.match(exit_.last_line):
            return Ending(FAILED, exit_.last_line or outcome)
        end = time.monotonic() + SECONDS_TO_HEAR
        while not self.signals.received and time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return Ending(STOPPED) if self.signals.received else None


def _get_position(folder: Path) -> object:
    """Returns what changes if a run makes progress: its newest checkpoint."""
    newest = list_checkpoints(folder)[:1] if folder.is_dir() else []
    return [(path.name, path.stat().st_mtime_ns) for path in newest]


def _count_sessions(folder: Path) -> int:
    return len(RunRecord(folder).sessions)


def _describe_kill(exit_: Exit) -> str:
    if LOST_RANK.match(exit_.last_line):
        return exit_.last_line
    status = exit_.status
    number = -status if status < 0 else status - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"ended with status {status}"
    hint = "; the memory may be too small" if name == "SIGKILL" else ""
    return f"killed by {name}, {MAX_KILLS} times at the same position{hint}"


def read_last_line(file: IO[bytes]) -> str:
    """Returns the last line in a file that is not empty."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - TAIL_BYTES))
    lines = file.read().decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return printable(one_line(ValueError(last), MAX_MESSAGE_CHARS))
