"""Whole runs of several processes: started by train.py and by torchrun, killed, stopped and hanging."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from tests.helpers import ROOT, differences, load
from tests.ranks import Program
from tests.torture.harness import ALL
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
FIRST, SECOND = ([0, 1] if ALL else share for share in ([0], [1]))  # ranks; else a share of them
TORCHRUN = "-m torch.distributed.run --nproc-per-node 2"


def words(tmp_path, *more, **trainer):
    """train.py with a config of two ranks."""
    trainer = {
        "epochs": 3,
        "save_dir": str(tmp_path / "saved"),
        "tensorboard": False,
        "save_steps": 10,
    } | trainer
    (tmp_path / "c.json").write_text(json.dumps(CONFIG | {"trainer": trainer}))
    return ["train.py", "-c", tmp_path / "c.json", "--run-id", "run", *more]


def folder(tmp_path):
    return tmp_path / "saved/ranks/run"


def last(tmp_path):
    return load(list_checkpoints(folder(tmp_path))[0])


def long(tmp_path, *more, torchrun="", **trainer):
    """A run that lasts, once it has written a checkpoint."""
    program = Program(
        *words(tmp_path, *more, epochs=10_000, keep_last=2, **trainer), torchrun=torchrun
    )
    program.until(lambda: folder(tmp_path).is_dir() and list_checkpoints(folder(tmp_path)))
    return program


def test_both_ways_to_start_give_the_same_run_and_only_the_main_rank_writes(tmp_path):
    own, other = tmp_path / "own", tmp_path / "torchrun"
    for path, torchrun in ((own, ""), (other, TORCHRUN)):
        path.mkdir()
        done = Program(*words(path), torchrun=torchrun).end()
        assert done.code == 0, done.err
        assert done.out.count("epoch 3/3") == 1
        assert done.out.count("Run folder") == 1
        names = sorted(
            str(found.relative_to(folder(path)))
            for found in folder(path).rglob("*")
            if found.is_file()
        )
        assert [name for name in names if "checkpoint" not in name] == [
            "config.json", "log/.lock", "log/info.log", "log/metrics.jsonl", "provenance.json",
        ]  # fmt: skip
        assert len((folder(path) / "log/metrics.jsonl").read_text().splitlines()) == 3
    one, two = last(own), last(other)
    one["config"]["trainer"].pop("save_dir"), two["config"]["trainer"].pop("save_dir")
    assert differences(one, two) == []


def test_torchrun_alone_is_enough_and_the_test_program_takes_several_ranks_too(tmp_path):
    assert (
        Program(*words(tmp_path, "~parallel", "trainer.epochs=1"), torchrun=TORCHRUN).end().code
        == 0
    )
    results = []
    for torchrun in ("", TORCHRUN):
        output = tmp_path / f"test{len(results)}.json"
        done = Program("test.py", "-r", folder(tmp_path), "-o", output, torchrun=torchrun).end()
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
        ("trainer.warmup_steps=100000", "is longer than the run"),
    ][:: 1 if ALL else 2],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_left(tmp_path, change, line):
    done = Program(*words(tmp_path, change)).end()
    assert done.code == 2
    assert line in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("rank", SECOND)
@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGUSR1"][: 2 if ALL else 1])
def test_a_signal_to_one_rank_saves_once_and_leaves_everywhere(tmp_path, rank, signal_name):
    program = long(tmp_path, save_steps=None)
    os.kill(program.ranks()[rank], getattr(signal, signal_name))
    done = program.end(30)
    assert done.code == {"SIGTERM": 143, "SIGUSR1": 75}[signal_name], done.err
    assert done.err == ""
    assert done.out.count("the checkpoint is written") == 1
    state = last(tmp_path)
    assert "within" in state or "epoch" in state
    assert "stopped by" in (folder(tmp_path) / "provenance.json").read_text()


def test_a_signal_to_the_launcher_reaches_all(tmp_path):
    program = long(tmp_path)
    pids = program.ranks()
    program.process.send_signal(signal.SIGINT)
    done = program.end(30)
    assert (done.code, done.err) == (130, "")
    assert not alive(pids)


def alive(pids):
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}") and state_of(pid) != "Z"]  # noqa: PTH110


def state_of(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]  # noqa: PTH123
    except OSError:
        return "Z"


def test_ranks_whose_launcher_is_killed_leave_with_a_checkpoint(tmp_path):
    program = long(tmp_path)
    pids = program.ranks()
    os.kill(program.process.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while alive(pids) and time.monotonic() < end:
        time.sleep(0.05)
    left = alive(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    program.end(5)
    assert not left
    assert (
        "stopped by the end of the launcher" in (folder(tmp_path) / "provenance.json").read_text()
    )


@pytest.mark.parametrize("rank", SECOND)
def test_a_killed_rank_ends_all_and_is_named(tmp_path, rank):
    program = long(tmp_path)
    pids = program.ranks()
    os.kill(pids[rank], signal.SIGKILL)
    done = program.end(30)
    assert done.code in (1, 137)
    assert f"rank {rank} (" in done.err
    assert re.search("is gone, in the (training|validation|saving) of ", done.err)
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not alive(pids)


@pytest.mark.parametrize("rank", FIRST)
def test_a_rank_that_hangs_is_named_and_ended_within_the_timeout(tmp_path, rank):
    program = long(
        tmp_path, "parallel.args.start_timeout_seconds=15"
    )  # which a checkpoint is waited for too
    pids = program.ranks()
    os.kill(pids[rank], signal.SIGSTOP)
    start = time.monotonic()
    done = program.end(60)
    assert f"rank {rank} (" in done.err
    assert re.search("has not answered for 5 s, in the (training|validation|saving) of ", done.err)
    assert time.monotonic() - start < 25
    assert not alive(pids)


def test_an_error_of_one_rank_is_told_with_its_rank(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    done = Program(tmp_path / "broken.py", *words(tmp_path)[1:], PYTHONPATH=str(ROOT)).end(60)
    assert done.code == 2
    assert done.err.strip() == "rank 1: the weather is bad"


@pytest.mark.parametrize("rank", SECOND)
def test_ranks_that_torchrun_starts_again_go_on_to_the_same_bits(tmp_path, rank):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for path in (whole, killed):
        path.mkdir()
    assert Program(*words(whole, epochs=6)).end().code == 0
    program = Program(*words(killed, epochs=6), torchrun=f"{TORCHRUN} --max-restarts 3")
    program.until(lambda: folder(killed).is_dir() and len(list_checkpoints(folder(killed))) > 1)
    os.kill(program.ranks()[rank], signal.SIGKILL)
    done = program.end()
    assert done.code == 0, done.err
    assert "Resuming from" in done.out
    one, two = last(whole), last(killed)
    one["config"]["trainer"].pop("save_dir"), two["config"]["trainer"].pop("save_dir")
    assert differences(one, two) == []


def test_under_torchrun_a_stop_is_no_reason_to_start_again(tmp_path):
    program = long(tmp_path, torchrun=f"{TORCHRUN} --max-restarts 3")
    os.kill(program.ranks()[1], signal.SIGTERM)
    done = program.end(60)
    assert done.code == 0, done.err
    assert done.out.count("the checkpoint is written") == 1
    assert "Resuming from" not in done.out


def test_the_other_ranks_write_nothing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SPY)
    line = words(
        tmp_path, "trainer.monitor=min val_loss", "data_loader.args.num_workers=1", tensorboard=True
    )
    done = Program(*line, PYTHONPATH=str(tmp_path), SPY=str(tmp_path)).end()
    assert done.code == 0, done.err
    seen = [(tmp_path / f"rank{rank}.log").read_text().splitlines() for rank in (0, 1)]
    mine = [[line for line in lines if concerns(line, tmp_path)] for lines in seen]
    assert any(
        "checkpoint-epoch3.pt" in line for line in mine[0]
    )  # it sees what there is to be seen
    assert mine[1] == []


def concerns(line, tmp_path):
    """Whether a line of the spy is of the run's folder or the project's, bytecode aside."""
    return (
        any(str(folder) in line for folder in (tmp_path / "saved", ROOT))
        and "__pycache__" not in line
    )


# Notes what a process with a rank, and the workers that it forks, opens to write, makes, renames or deletes.
SPY = """
import os, sys
log = os.open(f"{os.environ['SPY']}/rank{os.environ.get('LOCAL_RANK')}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
changes = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def watch(event, args):
    if event in changes or (event == "open" and isinstance(args[2], int) and args[2] & writing):
        paths = [os.path.join(os.getcwd(), os.fsdecode(a)) for a in args if isinstance(a, (str, bytes, os.PathLike))]
        os.write(log, f"{event} {' '.join(paths)}\\n".encode())

sys.addaudithook(watch)
"""

BROKEN = """
import runpy, sys
from trainer import trainer
from utils import distributed as parallel
from utils.errors import UserError
usual = trainer.Trainer.train_step

def train_step(self, batch):
    if parallel.rank() == 1 and self.update.steps == 12:
        raise UserError("the weather is bad")
    return usual(self, batch)

trainer.Trainer.train_step = train_step
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""
