"""Requests to stop: by a signal, by a time limit, and from another rank."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from utils.stop import EXIT_STATUS, StopRequest
from utils.world import LAUNCHER_PID


@pytest.fixture(autouse=True)
def _interrupts_arrive() -> Iterator[None]:
    """Also where pytest was started in the background of a script, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 75)])
def test_a_signal_is_a_request_and_does_not_end_the_program(name: str, status: int) -> None:
    stop = StopRequest()
    with stop.listening():
        assert not stop.requested()
        send(name)
        assert stop.requested()
    assert (stop.status, stop.reason) == (status, name)


def test_a_second_interrupt_ends_the_program_at_once() -> None:
    stop = StopRequest()
    with stop.listening():
        send("SIGINT")
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")
    assert stop.status == 130


def test_an_interrupt_after_another_signal_ends_the_program_at_once() -> None:
    stop = StopRequest()
    with stop.listening():
        send("SIGTERM")
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")


def test_further_requests_have_no_effect() -> None:
    stop = StopRequest()
    with stop.listening():
        send("SIGINT")
        send("SIGTERM")
        send("SIGUSR1")
    assert stop.requested()
    assert stop.status in (130, 143, 75)


def test_the_handlers_are_restored_after_an_error_too() -> None:
    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    before = [signal.getsignal(getattr(signal, name)) for name in names]

    def fail() -> None:
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGTERM) != before[1]
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert [signal.getsignal(getattr(signal, name)) for name in names] == before


def test_a_handler_of_the_program_stays() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        stop = StopRequest()
        with stop.listening():
            send("SIGUSR1")
            assert not stop.requested()
            send("SIGTERM")
            assert stop.status == 143
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        stop = StopRequest()
        with stop.listening():
            send("SIGUSR1")
        assert not stop.requested()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_another_thread_installs_no_handlers_and_does_not_fail() -> None:
    handlers: list[Any] = []

    def listen() -> None:
        with StopRequest().listening():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_a_time_limit_keeps_its_reserve() -> None:
    stop = StopRequest(minutes=1)
    assert not stop.requested()
    stop.reserve = 59.9
    assert not stop.requested()
    stop.reserve = 60.0
    assert stop.requested()
    assert (stop.status, stop.reason) == (75, "the time limit")


def test_a_time_limit_is_a_request_once_it_is_reached() -> None:
    stop = StopRequest(minutes=0.05 / 60)
    assert not stop.requested()
    time.sleep(0.06)
    assert stop.requested()


def test_the_first_request_gives_the_status() -> None:
    stop = StopRequest(minutes=1e-9)
    with stop.listening():
        send("SIGTERM")
    assert stop.requested()
    assert stop.reason == "SIGTERM"


def test_a_withdrawn_request_is_forgotten_and_the_next_one_received() -> None:
    stop = StopRequest()
    for name in ("SIGINT", "SIGTERM"):
        with stop.listening():
            send(name)
        assert stop.requested()
        stop.withdraw()
        assert (stop.requested(), stop.status, stop.reason) == (False, 0, "")


def test_a_rank_that_gets_an_interrupt_and_its_copy_from_the_launcher_goes_on() -> None:
    stop = StopRequest(votes=Votes(0, 0))
    with stop.listening():
        send("SIGINT")
        send("SIGINT")
    stop.poll(wait=True)
    assert stop.status == 130


class Votes:
    """The other ranks, of which one asks for ``numbers``; they are known one call later."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.known = [0, 0]

    def cast(self, *numbers: int, wait: bool = False) -> list[int]:
        before = self.known
        self.known = [max(pair) for pair in zip(numbers, self.numbers, strict=True)]
        return self.known if wait else before


def test_a_request_on_another_rank_is_obeyed_once_all_know_of_it() -> None:
    stop = StopRequest(votes=Votes(143, 0))
    assert not stop.poll()
    assert not stop.requested()
    assert not stop.poll()
    assert stop.requested()
    assert (stop.status, stop.reason) == (143, "SIGTERM or a time limit, on another rank")


def test_a_request_on_this_rank_waits_for_the_others_to_know() -> None:
    stop = StopRequest(votes=Votes(0, 0))
    with stop.listening():
        send("SIGUSR1")
        assert not stop.requested()
        stop.poll()
        assert not stop.requested()
        stop.poll()
        assert (stop.status, stop.reason) == (75, "SIGUSR1")


def test_a_poll_may_wait_for_the_answer() -> None:
    stop = StopRequest(votes=Votes(130, 0))
    stop.poll(wait=True)
    assert stop.status == 130


@pytest.mark.parametrize("overdue", [False, True])
def test_an_overdue_checkpoint_on_any_rank_is_overdue_on_all(overdue: bool) -> None:
    assert StopRequest().poll(overdue) is overdue
    assert StopRequest(votes=Votes(0, 0)).poll(overdue, wait=True) is overdue
    assert StopRequest(votes=Votes(0, 1)).poll(overdue, wait=True)


def test_the_end_of_the_launcher_is_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    single, rank = StopRequest(), StopRequest(votes=Votes(0, 0))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    rank.poll(wait=True)
    assert rank.status == 0  # a rank that was started by hand, by a shell that has ended
    monkeypatch.setenv(LAUNCHER_PID, "2")
    rank.poll(wait=True)
    assert (rank.status, rank.reason) == (EXIT_STATUS["SIGTERM"], "the end of the launcher")
    assert not single.requested()  # nohup and a closed terminal leave a process without a parent


def test_a_rank_that_fails_survives_the_signal_of_its_launcher() -> None:
    """The launcher sends it because another rank has ended; this one has yet to report that."""
    before = signal.getsignal(signal.SIGTERM)

    def fail() -> None:
        with StopRequest(votes=Votes(0, 0)).listening():
            raise ValueError("the connection is lost")

    try:
        with pytest.raises(ValueError, match="the connection is lost"):
            fail()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
