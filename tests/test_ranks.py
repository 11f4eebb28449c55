"""Runs of several processes: started by train.py and by torchrun, killed, stopped and hanging."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT, differences, load
from tests.ranks import ForkedProgram, Program
from utils.checkpoints import list_checkpoints

CONFIG = {
    "name": "ranks",
    "n_gpu": 0,
    "arch": {"type": "mlp.MLP", "args": {"in_features": 30, "hidden": [16], "dropout": 0.2}},
    "data_loader": {
        "type": "breast_cancer.BreastCancerDataLoader",
        "args": {"batch_size": 8, "validation_split": 0.2},
    },
    "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
    "loss": {"type": "BCEWithLogitsLoss"},
    "metrics": ["binary_accuracy"],
    "parallel": {"type": "ddp", "args": {"num_processes": 2, "timeout_seconds": 5}},
}
TORCHRUN = "-m torch.distributed.run --nproc-per-node 2"


def make_words(tmp_path, *more, **trainer):
    """The command line of train.py, with a config of two ranks."""
    trainer = {
        "epochs": 3,
        "save_dir": str(tmp_path / "saved"),
        "tensorboard": False,
        "save_steps": 10,
    } | trainer
    (tmp_path / "c.json").write_text(json.dumps(CONFIG | {"trainer": trainer}))
    return ["train.py", "-c", tmp_path / "c.json", "--run-id", "run", *more]


def run_folder(tmp_path):
    """The folder of the run."""
    return tmp_path / "saved/ranks/run"


def load_last(tmp_path):
    """The newest checkpoint of the run, without where it was written."""
    state = load(list_checkpoints(run_folder(tmp_path))[0])
    del state["config"]["trainer"]["save_dir"]
    return state


def start_long_run(tmp_path, *more, torchrun="", **trainer):
    """A run that does not end by itself, after its first checkpoint."""
    words = make_words(tmp_path, *more, epochs=10_000, keep_last=2, **trainer)
    program = ForkedProgram(*words, torchrun=torchrun)
    program.until(lambda: run_folder(tmp_path).is_dir() and list_checkpoints(run_folder(tmp_path)))
    return program


def test_both_ways_to_start_give_the_same_run_and_only_the_main_rank_writes(tmp_path):
    by_train, by_torchrun = tmp_path / "train", tmp_path / "torchrun"
    for path, torchrun in ((by_train, ""), (by_torchrun, TORCHRUN)):
        path.mkdir()
        start = ForkedProgram if torchrun else Program  # once as a user does it
        done = start(*make_words(path), torchrun=torchrun).end()
        assert done.code == 0, done.err
        assert done.out.count("epoch 3/3") == 1
        assert done.out.count("Run folder") == 1
        names = sorted(
            str(found.relative_to(run_folder(path)))
            for found in run_folder(path).rglob("*")
            if found.is_file()
        )
        assert [name for name in names if "checkpoint" not in name] == [
            "config.json", "log/.lock", "log/info.log", "log/metrics.jsonl", "provenance.json",
        ]  # fmt: skip
        assert len((run_folder(path) / "log/metrics.jsonl").read_text().splitlines()) == 3
    states = [load_last(by_train), load_last(by_torchrun)]
    for state in states:
        for random in (state["random"], *state["random_of_ranks"]):
            random.pop(
                "python", None
            )  # imports draw from these numbers, and a fork has imported before
    assert differences(*states) == []


def test_torchrun_needs_no_parallel_section_and_test_py_takes_several_ranks_too(tmp_path):
    words = make_words(tmp_path, "~parallel", "trainer.epochs=1")
    done = ForkedProgram(*words, torchrun=TORCHRUN).end()
    assert done.code == 0, done.err
    results = []
    for torchrun in ("", TORCHRUN):
        output = tmp_path / f"test{len(results)}.json"
        words = ["test.py", "-r", run_folder(tmp_path), "-o", output]
        done = ForkedProgram(*words, torchrun=torchrun).end()
        assert done.code == 0, done.err
        assert done.out.count("binary_accuracy") == 1
        results.append(json.loads(output.read_text()))
    assert results[0]["n_samples"] == results[1]["n_samples"] == 113
    assert results[0]["metrics"] == pytest.approx(results[1]["metrics"], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("optimizer.args.lrr=1", "did you mean 'lr'"),
        ("data_loader.args.batch_size=0", "batch_size=0 must be at least 1"),
        ("trainer.warmup_steps=100000", "is more than the 138 optimizer steps of the run"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_left(tmp_path, change, line):
    done = ForkedProgram(*make_words(tmp_path, change)).end()
    assert done.code == 2
    assert line in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    "signal_name", ["SIGTERM", pytest.param("SIGUSR1", marks=pytest.mark.slow)]
)
def test_a_signal_to_one_rank_saves_once_and_ends_all(tmp_path, rank, signal_name):
    program = start_long_run(tmp_path, save_steps=None)
    os.kill(program.ranks()[rank], getattr(signal, signal_name))
    done = program.end()
    assert done.code == {"SIGTERM": 143, "SIGUSR1": 75}[signal_name], done.err
    assert done.err == ""
    assert done.out.count("the checkpoint is written") == 1
    assert "epoch" in load_last(tmp_path)
    assert "stopped by" in (run_folder(tmp_path) / "provenance.json").read_text()


def test_a_signal_to_the_launcher_reaches_all_ranks(tmp_path):
    program = start_long_run(tmp_path)
    pids = program.ranks()
    program.process.send_signal(signal.SIGINT)
    done = program.end()
    assert (done.code, done.err) == (130, "")
    assert not list_running(pids)


def list_running(pids):
    """The processes that have not ended."""
    return [pid for pid in pids if read_state(pid) not in ("", "Z")]


def read_state(pid):
    """The letter of a process's state in Linux: Z for a zombie; empty if there is no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_ranks_whose_launcher_is_killed_save_and_end(tmp_path):
    program = start_long_run(tmp_path)
    pids = program.ranks()
    os.kill(program.process.pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while list_running(pids) and time.monotonic() < end:
        time.sleep(0.05)
    left = list_running(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    program.end()
    assert not left
    provenance = (run_folder(tmp_path) / "provenance.json").read_text()
    assert "stopped by the end of the launcher" in provenance


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named_and_ends_all(tmp_path, rank):
    program = start_long_run(tmp_path)
    pids = program.ranks()
    os.kill(pids[rank], signal.SIGKILL)
    done = program.end()
    assert done.code in (1, 137)
    assert f"rank {rank} (" in done.err
    assert re.search("is gone, in the (training|validation|saving) of ", done.err)
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not list_running(pids)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_is_named_and_killed_after_the_timeout(tmp_path, rank):
    # The ranks wait so long for a checkpoint of the main process.
    program = start_long_run(tmp_path, "parallel.args.start_timeout_seconds=15")
    pids = program.ranks()
    os.kill(pids[rank], signal.SIGSTOP)
    start = time.monotonic()
    done = program.end()
    assert f"rank {rank} (" in done.err
    assert re.search("has not answered for 5 s, in the (training|validation|saving) of ", done.err)
    assert time.monotonic() - start < 60
    assert not list_running(pids)


def test_an_error_of_one_rank_is_reported_with_its_rank(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    done = ForkedProgram(tmp_path / "broken.py", *make_words(tmp_path)[1:]).end()
    assert done.code == 2
    assert done.err.strip() == "rank 1: the weather is bad"


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_ranks_that_torchrun_starts_again_end_with_the_same_bits(tmp_path, rank):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for path in (straight, killed):
        path.mkdir()
    assert ForkedProgram(*make_words(straight, epochs=6)).end().code == 0
    program = ForkedProgram(*make_words(killed, epochs=6), torchrun=f"{TORCHRUN} --max-restarts 3")
    program.until(
        lambda: run_folder(killed).is_dir() and len(list_checkpoints(run_folder(killed))) > 1
    )
    os.kill(program.ranks()[rank], signal.SIGKILL)
    done = program.end()
    assert done.code == 0, done.err
    assert "Resuming from" in done.out
    assert differences(load_last(straight), load_last(killed)) == []


def test_torchrun_does_not_start_again_what_was_stopped(tmp_path):
    program = start_long_run(tmp_path, torchrun=f"{TORCHRUN} --max-restarts 3")
    os.kill(program.ranks()[1], signal.SIGTERM)
    done = program.end()
    assert done.code == 0, done.err
    assert done.out.count("the checkpoint is written") == 1
    assert "Resuming from" not in done.out


def test_ranks_other_than_the_main_one_write_nothing(tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    options = ["trainer.monitor=min val_loss", "data_loader.args.num_workers=1"]
    words = make_words(tmp_path, *options, tensorboard=True)
    done = ForkedProgram(tmp_path / "spy.py", *words[1:], SPY=str(tmp_path)).end()
    assert done.code == 0, done.err
    main, other = (list_changes(tmp_path, rank) for rank in (0, 1))
    assert any("checkpoint-epoch3.pt" in line for line in main)  # the spy works
    assert other == []


def list_changes(tmp_path, rank):
    """What a rank has changed in the run's folder and in the project, apart from bytecode."""
    lines = (tmp_path / f"rank{rank}.log").read_text().splitlines()
    folders = [str(tmp_path / "saved"), str(ROOT)]
    return [
        line
        for line in lines
        if any(folder in line for folder in folders) and "__pycache__" not in line
    ]


# Runs train.py, and records what a rank, and the workers that it forks, open to write, make, rename
# or delete.
SPY = """
import os, runpy, sys
sys.path.insert(0, os.getcwd())
changes = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def watch(event, args):
    if event in changes or (event == "open" and isinstance(args[2], int) and args[2] & writing):
        paths = [a for a in args if isinstance(a, (str, bytes, os.PathLike))]
        paths = [os.path.join(os.getcwd(), os.fsdecode(path)) for path in paths]
        os.write(log, f"{event} {' '.join(paths)}\\n".encode())

if "LOCAL_RANK" in os.environ:
    path = f"{os.environ['SPY']}/rank{os.environ['LOCAL_RANK']}.log"
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sys.addaudithook(watch)
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""

BROKEN = """
import os, runpy, sys
sys.path.insert(0, os.getcwd())
from trainer import trainer
from utils import distributed as parallel
from utils.errors import UserError
train_step_before = trainer.Trainer.train_step

def train_step(self, batch):
    if parallel.rank() == 1 and self.progress.step == 12:
        raise UserError("the weather is bad")
    return train_step_before(self, batch)

trainer.Trainer.train_step = train_step
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""
