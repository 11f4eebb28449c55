"""Ranks whose launcher is killed before their training, wherever they wait, end at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.ranks import ForkedProgram, Program, get_parent

# Starts two ranks. Rank 0 waits where the first argument says, and rank 1 never comes.
PROGRAM = """
import os, sys, time
if sys.argv[1] == "import" and "LOCAL_RANK" in os.environ:
    open(os.environ["RANK"], "w").close()
    parent_pid = os.getppid()
    while os.getppid() == parent_pid:
        time.sleep(0.01)
sys.path.insert(0, {root!r})
from utils.distributed import barrier, broadcast, init_distributed, main_process_first
from utils.launch import launch
from utils.main import run_main
from utils.world import ProcessSettings, has_lost_launcher, is_launched

WAITS = {{
    "connection": lambda: None,
    "barrier": barrier,
    "broadcast": lambda: broadcast(None),
    "main_process_first": main_process_first().__enter__,
    "end": lambda: None,
}}

def wait(is_waiting, function):
    open(os.environ["RANK"], "w").close()
    if is_waiting:
        return function()
    while not has_lost_launcher():
        time.sleep(0.01)
    time.sleep(1000)  # the watch ends it

def main():
    if not is_launched():
        sys.exit(launch(2))
    rank = int(os.environ["RANK"])
    if sys.argv[1] == "connection" and rank == 1:
        open("1", "w").close()
        while not has_lost_launcher():
            time.sleep(0.01)
    elif sys.argv[1] == "connection":
        open("0", "w").close()
    with init_distributed(ProcessSettings(n_gpu=0)):
        # The main process waits for nobody in a broadcast, nor where it goes first.
        waiting_rank = int(sys.argv[1] in ("broadcast", "main_process_first"))
        wait(rank == waiting_rank, WAITS[sys.argv[1]])

run_main(main)
"""
TORCHRUN = "-m torch.distributed.run --nproc-per-node 2"


def kill_launcher(program: Program, folder: Path) -> str:
    """Kills the launcher when both ranks wait. Returns what the ranks have written on stderr."""
    program.until(lambda: len(program.ranks()) == 2 and all((folder / n).exists() for n in "01"))
    pids = program.ranks()
    os.kill(program.process.pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while any(map(get_parent, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    left = [pid for pid in pids if get_parent(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    err = program.end().err
    assert not left, err
    return err


@pytest.mark.parametrize(
    "point", ["import", "connection", "barrier", "broadcast", "main_process_first", "end"]
)
def test_a_rank_that_waits_ends_with_its_launcher_and_says_so_once(
    tmp_path: Path, point: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.format(root=str(ROOT)))
    kind = Program if point == "import" else ForkedProgram  # which has imported everything
    program = kind(tmp_path / "program.py", point, cwd=tmp_path)
    err = kill_launcher(program, tmp_path)
    assert err.splitlines().count("stopped by the end of the launcher") == 1
    assert "rank 1: " not in err


def test_a_rank_of_torchrun_ends_with_it_too(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.format(root=str(ROOT)))
    words = (tmp_path / "program.py", "connection")
    program = Program(*words, cwd=tmp_path, torchrun=TORCHRUN)
    assert kill_launcher(program, tmp_path).splitlines()[-1] == "stopped by the end of the launcher"
