"""How many processes a run starts on this machine, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT
from tests.ranks import Program
from utils.launch import get_exit_status, max_processes, num_processes_to_launch
from utils.world import ProcessSettings, is_launched


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        (ProcessSettings(), 1),
        (ProcessSettings(num_processes=3), 3),
        (ProcessSettings(num_processes=3, n_gpu=0), 3),
        (ProcessSettings(num_processes=0), 1),
        (ProcessSettings(num_processes=-2), 1),
        (ProcessSettings(num_processes=max_processes()), max_processes()),
        (ProcessSettings(num_processes=max_processes() + 1), 1),
        (ProcessSettings(num_processes=None, n_gpu=0), 1),
        (ProcessSettings(num_processes=None, n_gpu=1), 1),
        (ProcessSettings(num_processes=None, n_gpu=2), 2),
        (ProcessSettings(num_processes=None, n_gpu=8), 4),
    ],
    ids=str,
)
def test_the_number_of_processes_is_the_given_one_or_that_of_the_accelerators(
    monkeypatch: pytest.MonkeyPatch, settings: ProcessSettings, number: int
) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    assert num_processes_to_launch(settings) == number


def test_a_launched_process_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not is_launched()  # a cluster may set this one alone
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert is_launched()
    assert num_processes_to_launch(ProcessSettings(num_processes=2)) == 1


HEAVY = ("batch", "describe", "rounds", "seed")


def test_what_runs_before_the_config_is_checked_does_not_import_torch() -> None:
    files = (ROOT / "utils").glob("[a-z]*.py")
    light = sorted(path.stem for path in files if path.stem not in HEAVY)
    assert {"errors", "main", "failure", "launch", "distributed", "checkpoints"} <= {*light}
    code = f"""
import sys
from utils import {", ".join(light)}
assert launch.num_processes_to_launch(launch.ProcessSettings(num_processes=2)) == 2
with distributed.init_distributed(launch.ProcessSettings()):
    assert distributed.all_gather(1) == [1]
print([name for name in ("torch", "numpy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# Starts two ranks that do what their number says.
PROGRAM = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from utils.launch import launch
from utils.world import is_launched
if not is_launched():
    sys.exit(launch(2))
rank = int(os.environ["RANK"])
assert os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"] == "2"
{code}
"""


def start(folder: Path, code: str) -> Program:
    (folder / "program.py").write_text(PROGRAM.format(root=str(ROOT), code=code))
    return Program(folder / "program.py", cwd=folder)


def test_the_status_is_that_of_the_rank_that_failed(tmp_path: Path) -> None:
    assert start(tmp_path, "sys.exit(3) if rank else time.sleep(60)").end(50).code == 3


SERVE = """
if rank == 0:
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
time.sleep(1)  # until the launcher knows that rank 0 has ended
open("ready", "w").close()
time.sleep(60)
"""


def test_a_signal_reaches_the_ranks_that_are_left(tmp_path: Path) -> None:
    program = start(tmp_path, SERVE)
    program.until((tmp_path / "ready").exists)
    os.kill(program.process.pid, signal.SIGTERM)
    done = program.end(50)
    assert (done.code, done.err) == (5, "")


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        ([2, 143], 2),  # the launcher has stopped the other
        ([2, -15], 2),
        ([75, -15], 75),
        ([-15, -15], 143),
        ([], 0),
    ],
)
def test_the_status_of_a_failure_comes_before_that_of_a_stop(codes: list[int], status: int) -> None:
    assert get_exit_status(codes) == status
