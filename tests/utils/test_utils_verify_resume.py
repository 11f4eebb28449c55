"""What ``python -m utils.verify_resume`` takes for a difference, and what it says of one."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch

from utils import verify_resume
from utils.errors import UserError
from utils.killed_training import Kill
from utils.verify_resume import NotTestedError, find_differences

NAMES = [f"checkpoint-epoch1-step{step}.pt" for step in range(1, 5)] + ["checkpoint-epoch1.pt"]
ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"a": ONE, "b": [1, (2.5, None)]}, {"b": [1, (2.5, None)], "a": ONE.clone()}),
        ({"a": nan}, {"a": nan}),
        ({"a": torch.tensor(nan)}, {"a": torch.tensor(nan)}),
        ([1, 2], (1, 2)),
        ({"a": torch.ones(2, 2).t()}, {"a": torch.ones(2, 2)}),
    ],
)
def test_equal_states_have_no_differences(a: Any, b: Any) -> None:
    assert list(find_differences(a, b)) == []


@pytest.mark.parametrize(
    ("a", "b", "paths"),
    [
        ({"a": {"b": ONE}}, {"a": {"b": torch.tensor([1.0, 1.0000001])}}, ["/a/b"]),
        ({"a": torch.tensor(0.0)}, {"a": torch.tensor(-0.0)}, ["/a"]),
        ({"a": ONE}, {"a": ONE.double()}, ["/a"]),
        ({"a": torch.ones(2, 1)}, {"a": torch.ones(1, 2)}, ["/a"]),
        ({"a": 1, "b": 2}, {"a": 1, "c": 2}, ["/b", "/c"]),
        ({"a": [1, 2, 3]}, {"a": [1, 5, 4]}, ["/a/1", "/a/2"]),
        ({"a": [1]}, {"a": [1, 2]}, ["/a"]),
        ({"a": 1}, {"a": 1.0}, ["/a"]),
        ({"a": True}, {"a": 1}, ["/a"]),
    ],
)
def test_a_difference_in_one_bit_or_in_the_type_is_found(a: Any, b: Any, paths: list[str]) -> None:
    assert list(find_differences(a, b)) == paths


def test_the_end_of_the_terminal_ends_the_program_in_order() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        verify_resume.end_on_hangup()
        with pytest.raises(SystemExit, match="129"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_missing_temporary_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    monkeypatch.setattr(sys, "argv", ["verify"])
    with pytest.raises(UserError, match=r"No usable temporary directory found; set .* TMPDIR"):
        verify_resume.main()


def test_a_rank_of_torchrun_refuses_to_start_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["verify"])
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="run it without torchrun, and with"):
        verify_resume.main()


@pytest.mark.parametrize(
    ("n_names", "wanted", "n_kills", "message"),
    [
        (5, 2, [2], None),
        (5, 2, [1, 2], None),
        (5, 0, [0], None),
        (5, 2, [1, 0, 1, 1, 1], "Only 1 of 2 kills were tested: the training ended before its"),
        (5, 2, [0, 0, 0, 0, 0], "Nothing was tested: the training ended before its kills"),
        (2, 2, [1], "Only 1 of 2 kills were tested: the run has written 1 checkpoint before"),
        (1, 1, [], "Nothing was tested: the run has written no checkpoints before the last"),
        (0, 1, [], "Nothing was tested: the run has written no checkpoint"),
    ],
)
def test_missing_kills_are_no_all_clear(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_names: int,
    wanted: int,
    n_kills: list[int],
    message: str | None,
) -> None:
    left = list(n_kills)
    found = Kill("checkpoint-epoch1.pt", False)
    monkeypatch.setattr(
        verify_resume,
        "train_straight",
        lambda *_: (NAMES[-n_names:], 0.1) if n_names else ([], 0.0),
    )
    monkeypatch.setattr(verify_resume, "train_with_kills", lambda *_: [found] * left.pop(0))
    monkeypatch.setattr(verify_resume, "load_result", lambda folder: ({}, []))
    args = argparse.Namespace(
        config=["a.json", "b.json"], kills=wanted, epochs=1, save_steps=1, seed=1, overrides=[]
    )
    assert verify_resume.make_words(args, tmp_path)[:4] == ["-c", "a.json", "-c", "b.json"]
    if message is None:
        assert verify_resume.verify(args, tmp_path) == []
    else:
        with pytest.raises(NotTestedError, match=f"^{message}"):
            verify_resume.verify(args, tmp_path)
    assert left == []


@pytest.mark.parametrize(
    ("result", "kills", "status", "text"),
    [
        ([], 2, 0, "The same to the bit: weights"),
        ([], 0, 0, "The same to the bit, but nothing was killed"),
        (["/a", "/b"], 2, 1, "NOT the same: 2 values differ, the first of them are /a, /b"),
        (NotTestedError("Nothing was tested: it ended"), 2, 3, "Nothing was tested: it ended"),
    ],
)
def test_the_status_says_whether_the_results_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    result: Any,
    kills: int,
    status: int,
    text: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["verify", "--kills", str(kills), "trainer.epochs=1"])
    seen: list[argparse.Namespace] = []

    def verify(args: argparse.Namespace, save_dir: Path) -> Any:
        seen.append(args)
        assert save_dir.is_dir()
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(verify_resume, "verify", verify)
    assert verify_resume.main() == status
    assert (seen[0].kills, seen[0].overrides) == (kills, ["trainer.epochs=1"])
    assert capsys.readouterr().out.startswith(text)
