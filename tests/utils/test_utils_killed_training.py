"""Trainings that ``utils.verify_resume`` kills after a certain progress, and resumes."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from utils import killed_training
from utils.errors import UserError
from utils.killed_training import (
    Kill,
    choose_checkpoints,
    find_newest,
    train_straight,
    train_with_kills,
)

# A run of five checkpoints. It waits after each of them, if it is told so, to be killed there.
PROGRAM = """
import pathlib, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[-1])
folder.mkdir(exist_ok=True)
seconds = float(words[0]) if "-r" not in words else {resumed_seconds}
done = len(list(folder.iterdir()))
if done and "{fails}":
    print("{fails}", file=sys.stderr)
    sys.exit(3)
for step in range(done + 1, 6):
    name = f"checkpoint-epoch1-step{{step}}.pt" if step < 5 else "checkpoint-epoch1.pt"
    (folder / name).touch()
    time.sleep(seconds)
"""
NAMES = [f"checkpoint-epoch1-step{step}.pt" for step in range(1, 5)] + ["checkpoint-epoch1.pt"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of ``PROGRAM``."""
    write_program(tmp_path)
    monkeypatch.setattr(killed_training, "PROGRAM", tmp_path / "program.py")
    return tmp_path / "run"


def write_program(folder: Path, resumed_seconds: float = 0.5, fails: str = "") -> None:
    text = PROGRAM.format(resumed_seconds=resumed_seconds, fails=fails)
    (folder / "program.py").write_text(text)


def kill(folder: Path, seconds: float, targets: list[str], delay: float = 0.0) -> list[Kill]:
    words = [str(seconds), str(folder)]
    return train_with_kills(words, folder, targets, NAMES[-1], [delay] * len(targets))


def test_a_training_is_killed_after_each_of_some_checkpoints(folder: Path) -> None:
    kills = kill(folder, 2.0, [NAMES[0], NAMES[2]])
    assert kills == [Kill(NAMES[0], False), Kill(NAMES[2], True)]
    assert find_newest(folder) == NAMES[-1]


def test_a_kill_comes_some_time_after_the_checkpoint(folder: Path) -> None:
    (found,) = kill(folder, 0.5, [NAMES[0]], delay=0.75)
    assert found.checkpoint > NAMES[0]


def test_each_process_writes_a_checkpoint_before_it_is_killed(folder: Path) -> None:
    kills = kill(folder, 2.0, [NAMES[0], NAMES[0]])
    assert [item.checkpoint for item in kills] == NAMES[:2]


def test_a_training_that_has_ended_before_its_kill_has_none(folder: Path) -> None:
    assert kill(folder, 0.0, [NAMES[-1], NAMES[-1]]) == []


def test_a_training_that_fails_is_reported_with_its_last_lines(folder: Path) -> None:
    write_program(folder.parent, fails="no data")
    text = f"^the training that resumed {NAMES[1]} failed by itself, with status 3:\nno data$"
    with pytest.raises(UserError, match=text):
        kill(folder, 2.0, [NAMES[1]])


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("x.pt: No space left on device", "Set the environment variable TMPDIR to a folder"),
        ("error: unrecognized arguments: name=verify", "It must take KEY=VALUE and --run-id"),
    ],
)
def test_a_full_disk_and_another_parser_get_a_way_out(
    folder: Path, error: str, advice: str
) -> None:
    write_program(folder.parent, fails=error)
    with pytest.raises(UserError, match=f"{error}\n{advice}"):
        kill(folder, 2.0, [NAMES[1]])


def test_the_undisturbed_training_shows_its_checkpoints(folder: Path) -> None:
    names, gap = train_straight(["0.3", str(folder)], folder)
    assert names == NAMES
    assert gap > 0.1  # 0.3 s on a quiet machine


def is_running(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# A run that starts a process in a session of its own, as torch starts ranks. Both would write.
LAUNCHER = """
import pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[-1])
folder.mkdir(exist_ok=True)
code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
command = [sys.executable, "-c", code]
rank = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
(folder / "pid").write_text(rank.stdout.readline().decode())
(folder / "checkpoint-epoch1-step1.pt").touch()
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux lists processes")
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_a_kill_and_ctrl_c_end_the_ranks_too(folder: Path, error: BaseException | None) -> None:
    (folder.parent / "program.py").write_text(LAUNCHER)
    training = killed_training.Training([str(folder)], folder, "the training")
    with contextlib.suppress(KeyboardInterrupt), training:
        next(training.follow())
        if error is not None:
            raise error
    assert not is_running(training.process.pid)
    end = time.monotonic() + 20  # its new parent may be slow
    while is_running(int((folder / "pid").read_text())) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_running(int((folder / "pid").read_text()))


def test_output_that_is_no_text_does_not_stop_a_training(folder: Path) -> None:
    noise = "import sys; sys.stderr.buffer.write(bytes(range(256)) * 1000)"
    (folder.parent / "program.py").write_text(
        f"{noise}{PROGRAM.format(resumed_seconds=0, fails='')}"
    )
    assert train_straight(["0", str(folder)], folder)[0][-1] == NAMES[-1]


def test_temporary_files_are_made_in_the_folder_of_all_runs(folder: Path) -> None:
    (folder.parent / "program.py").write_text("import tempfile; tempfile.mkdtemp('-left')")
    train_straight(["0", str(folder)], folder)
    (left,) = folder.parents[1].glob("tmp*-left")
    left.rmdir()


def test_a_debugger_gets_no_input(folder: Path) -> None:
    (folder.parent / "program.py").write_text("breakpoint()\nprint(1)")
    with pytest.raises(UserError, match=r"failed by itself, with status 1:(.|\n)*bdb.BdbQuit"):
        train_straight(["0", str(folder)], folder)


def test_several_runs_of_one_config_are_refused_at_once(folder: Path) -> None:
    folder.mkdir()
    (folder / "group.json").touch()
    with pytest.raises(UserError, match=r"makes several runs, .* ~search or ~repeat"):
        train_straight(["60", str(folder)], folder)


@pytest.mark.parametrize(("wanted", "kills"), [(0, 0), (2, 2), (4, 4), (9, 4)])
def test_no_kill_comes_after_the_last_checkpoint(wanted: int, kills: int) -> None:
    for seed in range(5):
        chosen = choose_checkpoints(NAMES, wanted, random.Random(seed))
        assert len(set(chosen)) == kills
        assert chosen == sorted(chosen)
        assert NAMES[-1] not in chosen
