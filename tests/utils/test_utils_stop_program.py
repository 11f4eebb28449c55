"""Signals that arrive outside of a training loop, and in processes that the program forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.helpers import ROOT
from utils.stop import StopProgram, StopRequest, get_program_request, stop_on_signals
from utils.worker_signals import deferred_signals


@pytest.fixture(autouse=True)
def _interrupts_arrive() -> Iterator[None]:
    """Also where pytest was started in the background of a script, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 75)])
def test_outside_of_a_training_a_signal_ends_the_program(name: str, status: int) -> None:
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(StopProgram) as caught, stop_on_signals():
        send(name)
    assert (caught.value.code, caught.value.reason) == (status, name)
    assert signal.getsignal(getattr(signal, name)) == before


def test_a_signal_that_is_repeated_does_not_disturb_the_end_of_the_program() -> None:
    def send_twice() -> None:
        try:
            send("SIGTERM")
        finally:
            send("SIGTERM")

    with stop_on_signals(), pytest.raises(StopProgram) as caught:
        send_twice()
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGUSR1", 75)])
def test_a_signal_that_is_repeated_at_the_exit_does_not_change_the_status(
    name: str, status: int
) -> None:
    """Batch systems repeat their signals until the program has ended."""
    again = f"atexit.register(os.kill, os.getpid(), signal.{name})"
    code = f"import atexit, os, signal, sys; from utils.main import run_main; {again}"
    words = [sys.executable, "-c", f"{code}; run_main(lambda: sys.exit({status}))"]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == status


def test_a_training_obeys_a_signal_whose_exception_was_caught_before() -> None:
    stop = StopRequest()
    with stop_on_signals():
        with pytest.raises(StopProgram):
            send("SIGUSR1")
        with stop.listening():
            assert stop.requested()
    assert (stop.status, stop.reason) == (75, "SIGUSR1")


def test_in_a_training_a_signal_is_a_request_and_after_it_the_end_of_the_program() -> None:
    stop = StopRequest()
    with stop_on_signals():
        with stop.listening():
            send("SIGTERM")
            assert stop.status == 143
        with pytest.raises(StopProgram):
            send("SIGTERM")


class SendsInDel:
    def __init__(self, name: str) -> None:
        self.name = name

    def __del__(self) -> None:
        send(self.name)


@pytest.mark.parametrize(
    ("name", "kind"), [("SIGTERM", StopProgram), ("SIGINT", KeyboardInterrupt)]
)
def test_a_signal_whose_exception_python_drops_comes_again(
    name: str, kind: type[BaseException]
) -> None:
    with stop_on_signals():
        SendsInDel(name)
        with pytest.raises(kind):
            time.sleep(60)


def test_signals_that_are_deferred_arrive_at_the_end() -> None:
    def defer() -> None:
        with deferred_signals():
            send("SIGTERM")
            assert get_program_request().status == 0

    with stop_on_signals():
        with pytest.raises(StopProgram):
            defer()
        assert get_program_request().status == 143


@pytest.mark.parametrize("in_training", [False, True])
def test_a_fork_of_the_program_ends_by_sigterm(in_training: bool) -> None:
    """multiprocessing.Pool ends its processes by it, and waits for them."""
    with stop_on_signals(), StopRequest().listening() if in_training else nullcontext():
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, b"!")
            time.sleep(60)
            os._exit(0)
        os.read(read, 1)
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == signal.SIGTERM
