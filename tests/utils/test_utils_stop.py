"""Requests to stop: by signals and by a time limit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from utils.stop import StopRequest


@pytest.fixture(autouse=True)
def _interrupts_are_heard() -> Iterator[None]:
    """Also where pytest was started in the background of a script, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 75)])
def test_a_signal_is_a_request_and_ends_nothing(name, status):
    stop = StopRequest()
    with stop.listening():
        assert not stop.requested()
        send(name)
        assert stop.requested()
    assert (stop.status, stop.reason) == (status, name)


def test_a_second_interrupt_leaves_at_once():
    stop = StopRequest()
    with stop.listening():
        send("SIGINT")
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")
    assert stop.status == 130


def test_an_interrupt_after_another_signal_leaves_at_once():
    stop = StopRequest()
    with stop.listening():
        send("SIGTERM")
        with pytest.raises(KeyboardInterrupt):
            send("SIGINT")


def test_further_requests_are_no_trouble():
    stop = StopRequest()
    with stop.listening():
        send("SIGINT")
        send("SIGTERM")
        send("SIGUSR1")
    assert stop.requested()


def test_the_handlers_are_given_back_however_it_ends():
    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    before = [signal.getsignal(getattr(signal, name)) for name in names]

    def fails():
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGTERM) != before[1]
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fails()
    assert [signal.getsignal(getattr(signal, name)) for name in names] == before


def test_a_handler_of_the_programs_own_stays():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        stop = StopRequest()
        with stop.listening():
            send("SIGUSR1")
            assert not stop.requested()
            send("SIGTERM")
            assert stop.status == 143
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        stop = StopRequest()
        with stop.listening():
            send("SIGUSR1")
        assert not stop.requested()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_another_thread_hears_nothing_and_does_not_fail():
    outcome = []

    def listen():
        with StopRequest(minutes=0.0001).listening() as _:
            outcome.append(signal.getsignal(signal.SIGTERM))

    usual = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert outcome == [usual]


def test_a_time_limit_keeps_its_reserve():
    stop = StopRequest(minutes=1)
    assert not stop.requested()
    stop.reserve = 59.9
    assert not stop.requested()
    stop.reserve = 60.0
    assert stop.requested()
    assert (stop.status, stop.reason) == (75, "the time limit")


def test_a_time_limit_is_told_when_it_comes():
    stop = StopRequest(minutes=0.05 / 60)
    assert not stop.requested()
    time.sleep(0.06)
    assert stop.requested()


def test_who_asked_first_gives_the_status():
    stop = StopRequest(minutes=1e-9)
    with stop.listening():
        send("SIGTERM")
    assert stop.requested()
    assert stop.reason == "SIGTERM"


def test_a_request_that_is_withdrawn_is_forgotten_and_the_next_one_heard():
    stop = StopRequest()
    for name in ("SIGINT", "SIGTERM"):
        with stop.listening():
            send(name)
        assert stop.requested()
        stop.withdraw()
        assert (stop.requested(), stop.status, stop.reason) == (False, 0, "")
