"""A run and the program that has started it."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from utils.link import FAILURE, GO_ON, HOST, VARIABLE, Link, LinkServer
from utils.stop import EXIT_STATUS, StopRequest


def connect(server: LinkServer, monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setenv(VARIABLE, server.environment[VARIABLE])
    link = Link.from_environment()
    assert link is not None
    return link


def wait_until_lost(link: Link) -> None:
    for _ in range(1000):
        if link.is_lost:
            return
        threading.Event().wait(0.01)
    pytest.fail("the link does not notice its loss")


def test_a_run_gets_an_answer_for_each_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []

    def answer(numbers: dict[str, Any]) -> str:
        received.append(numbers)
        return "the pruner" if numbers["epoch"] == 2 else GO_ON

    with LinkServer(answer) as server:
        link = connect(server, monkeypatch)
        assert link.ask({"epoch": 1, "loss": float("nan")}) == GO_ON
        assert link.ask({"epoch": 2, "loss": 0.1}) == "the pruner"
    assert [numbers["epoch"] for numbers in received] == [1, 2]
    assert received[0]["loss"] != received[0]["loss"]  # NaN arrives as NaN
    assert server.reason == "the pruner"


def test_a_run_notices_that_its_program_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with LinkServer(lambda _: GO_ON) as server:
        link = connect(server, monkeypatch)
        assert link.ask({"epoch": 1}) == GO_ON
    wait_until_lost(link)
    assert link.ask({"epoch": 2}) == GO_ON


def test_a_program_that_has_ended_before_is_lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with LinkServer(lambda _: GO_ON) as server:
        pass
    assert connect(server, monkeypatch).is_lost


def test_a_program_without_the_key_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []

    def answer(numbers: dict[str, Any]) -> str:
        received.append(numbers)
        return GO_ON

    with LinkServer(answer) as server:
        port = int(server.environment[VARIABLE].partition(":")[0])
        for words in (b'"wrong key"\n{"epoch": 9}\n', b"no JSON\n", b"\n", b""):
            with socket.create_connection((HOST, port)) as stranger:
                stranger.sendall(words)
        assert connect(server, monkeypatch).ask({"epoch": 1}) == GO_ON
    assert received == [{"epoch": 1}]


def test_an_error_of_the_program_is_kept_and_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: dict[str, Any]) -> str:
        raise ValueError("the storage is gone")

    with LinkServer(answer) as server:
        assert connect(server, monkeypatch).ask({"epoch": 1}) == FAILURE
    assert str(server.error) == "the storage is gone"


@pytest.mark.parametrize("variables", [{}, {VARIABLE: "x"}, {VARIABLE: "1:2", "RANK": "1"}])
def test_only_the_main_rank_of_a_started_run_connects(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Link.from_environment() is None


def test_the_answer_of_the_program_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with LinkServer(lambda _: "the pruner") as server:
        monkeypatch.setenv(VARIABLE, server.environment[VARIABLE])
        stop = StopRequest()
        assert not stop.requested()
        stop.consult({"epoch": 1})
        assert stop.requested()
    assert (stop.status, stop.reason) == (EXIT_STATUS["SIGTERM"], "the pruner")


def test_the_end_of_the_program_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with LinkServer(lambda _: GO_ON) as server:
        monkeypatch.setenv(VARIABLE, server.environment[VARIABLE])
        stop = StopRequest()
        stop.consult({"epoch": 1})
        assert not stop.requested()
    for _ in range(1000):
        if stop.requested():
            break
        threading.Event().wait(0.01)
    assert stop.reason == "the end of the search"
