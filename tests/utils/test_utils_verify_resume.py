"""What ``python -m utils.verify_resume`` takes for a difference, and what it says of one."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch

from utils import verify_resume
from utils.errors import UserError
from utils.verify_resume import find_differences, train_with_kills, wait_for

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


def start_python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_training_that_fails_is_reported_with_its_last_lines() -> None:
    with pytest.raises(UserError, match=r"^train.py ended with status 3:\nno data$"):
        wait_for(start_python("print('no data'); raise SystemExit(3)"))


@pytest.mark.parametrize(("max_kills", "kills"), [(3, 3), (7, 3)])
def test_a_training_is_killed_and_resumed_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_kills: int, kills: int
) -> None:
    folder = tmp_path / "run"
    started: list[tuple[str, ...]] = []

    def start_training(*words: str) -> subprocess.Popen[str]:
        """The second of them has a checkpoint; the fourth one ends by itself."""
        started.append(words)
        if len(started) == 2:
            folder.mkdir()
            (folder / "checkpoint-epoch1.pt").touch()
        command = ["true"] if len(started) == 4 else ["sleep", "60"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(verify_resume, "start_training", start_training)
    new, resume = ("-c", "a.json"), ("-r", str(folder))
    found = list(train_with_kills([*new], folder, 0.5, max_kills, random.Random(1)))
    assert [is_resumed for _, is_resumed in found] == [False, False, True][:kills]
    assert all(moment >= 0.1 for moment, _ in found)
    assert started == [new, new, resume, resume]


def test_a_resumed_training_is_killed_after_its_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint-epoch1.pt").touch()
    code = f"open({str(tmp_path / 'checkpoint-epoch2.pt')!r}, 'w').close()\n"
    monkeypatch.setattr(
        verify_resume,
        "start_training",
        lambda *words: start_python(code + "import time; time.sleep(60)"),
    )
    kills = train_with_kills([], tmp_path, 60.0, 1, random.Random(1))
    monkeypatch.setattr(random.Random, "uniform", lambda self, low, high: low)
    moment, is_resumed = next(kills)
    assert is_resumed
    assert moment < 30
    assert (tmp_path / "checkpoint-epoch2.pt").exists()


@pytest.mark.parametrize(("max_kills", "tries"), [(3, 3), (1, 2), (0, 1)])
def test_a_training_that_ends_before_its_kills_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_kills: int, tries: int
) -> None:
    durations: list[float] = []

    def train_with_kills(
        words: list[str], folder: Path, duration: float, max_kills: int, rng: random.Random
    ) -> list[tuple[float, bool]]:
        durations.append(duration)
        assert not folder.exists()
        folder.mkdir(parents=True)
        return [(1.0, False), (1.0, True)][: len(durations) - 1]

    def start_training(*words: str) -> subprocess.Popen[str]:
        assert words[:4] == ("-c", "a.json", "-c", "b.json")
        return subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(verify_resume, "train_with_kills", train_with_kills)
    monkeypatch.setattr(verify_resume, "start_training", start_training)
    monkeypatch.setattr(verify_resume, "load_result", lambda folder: ({}, []))
    args = argparse.Namespace(
        config=["a.json", "b.json"], kills=max_kills, epochs=1, save_steps=1, seed=1, overrides=[]
    )
    assert verify_resume.verify(args, tmp_path) == []
    assert len(durations) == tries
    assert durations == sorted(durations, reverse=True)


@pytest.mark.parametrize(("differences", "status"), [([], 0), (["/a", "/b"], 1)])
def test_the_status_says_whether_the_results_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    differences: list[str],
    status: int,
) -> None:
    monkeypatch.setattr(sys, "argv", ["verify_resume", "--kills", "2", "trainer.epochs=1"])
    seen: list[argparse.Namespace] = []

    def verify(args: argparse.Namespace, save_dir: Path) -> list[str]:
        seen.append(args)
        assert save_dir.is_dir()
        return differences

    monkeypatch.setattr(verify_resume, "verify", verify)
    assert verify_resume.main() == status
    assert (seen[0].kills, seen[0].overrides) == (2, ["trainer.epochs=1"])
    output = capsys.readouterr().out
    expected = (
        "NOT the same: 2 values differ, the first of them are /a, /b" if status else "The same"
    )
    assert output.startswith(expected)
