"""Two hosts, each with a network, a name and a torchrun of its own: namespaces of this machine, joined by a cable."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT, run
from tests.ranks import Program
from tests.test_ranks import CONFIG
from utils.checkpoints import list_checkpoints

README = (ROOT / "README.md").read_text(encoding="utf-8")
# In a namespace of its own for the host's name too; `ip netns exec` lays /etc/netns/NAME/hosts over /etc/hosts.
NAMED = 'echo "$0" > /proc/sys/kernel/hostname; exec "$@"'


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


@pytest.fixture
def hosts():
    """The names of two hosts that reach each other by them, and nothing else."""
    names = [f"t{os.getpid()}{letter}" for letter in "ab"]
    folders = [Path("/etc/netns", name) for name in names]
    try:
        try:
            for name, folder in zip(names, folders, strict=True):
                ip("netns", "add", name)
                folder.mkdir(parents=True)
                (folder / "hosts").write_text(
                    f"127.0.0.1 localhost\n10.77.0.1 {names[0]}\n10.77.0.2 {names[1]}\n"
                )
            ip(
                "link",
                "add",
                "cable",
                "netns",
                names[0],
                "type",
                "veth",
                "peer",
                "name",
                "cable",
                "netns",
                names[1],
            )
            for number, name in enumerate(names, 1):
                ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
                ip("-n", name, "link", "set", "cable", "up")
                ip("-n", name, "link", "set", "lo", "up")
                subprocess.run(host(name, "true"), capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        yield names
    finally:
        for name, folder in zip(names, folders, strict=True):
            subprocess.run(
                ["ip", "netns", "del", name], capture_output=True, check=False
            )  # and the cable with it
            shutil.rmtree(folder, ignore_errors=True)


def host(name, *words):
    return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", NAMED, name, *words]


def words_of(tmp_path, run_id, **trainer):
    trainer = {
        "epochs": 2,
        "save_dir": str(tmp_path / "saved"),
        "tensorboard": False,
        "save_steps": 10,
    } | trainer
    arch = {"type": "mlp.MLP", "args": {"in_features": 30, "hidden": [16]}}
    (tmp_path / "c.json").write_text(json.dumps(CONFIG | {"arch": arch, "trainer": trainer}))
    return ["train.py", "-c", tmp_path / "c.json", "--run-id", run_id]


def start(hosts, words):
    """README's command on both hosts, which have one device each."""
    command = re.search(r"srun torchrun (--nnodes=2.*?) train.py", README, re.DOTALL)[1].replace(
        "\\\n", ""
    )
    options = (
        command.replace("=4", "=1")
        .replace('"$HEAD:29500"', f"{hosts[0]}:29500")
        .replace('"$SLURM_JOB_ID"', "1")
    )
    torchrun = f"-m torch.distributed.run {options}"
    return [Program(*words, torchrun=torchrun, before=host(name)) for name in hosts]


def numbers(tmp_path, run_id):
    lines = map(
        json.loads,
        (tmp_path / "saved/ranks" / run_id / "log/metrics.jsonl").read_text().splitlines(),
    )
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def check_same(tmp_path):
    two, one = numbers(tmp_path, "two"), numbers(tmp_path, "one")
    assert len(two) == len(one)
    for line, expected in zip(two, one, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_two_hosts_train_as_one_does(tmp_path, hosts):
    both = start(hosts, words_of(tmp_path, "two"))
    done = [program.end(60) for program in both]
    assert [end.code for end in done] == [0, 0], done
    assert sorted(end.out.count("epoch 2/2") for end in done) == [0, 1]
    assert run(*words_of(tmp_path, "one"), "parallel.args.num_processes=1").returncode == 0
    check_same(tmp_path)


def test_a_host_that_is_cut_off_and_comes_back_goes_on_with_the_other(tmp_path, hosts):
    words = words_of(tmp_path, "two", epochs=4)
    both, folder = start(hosts, words), tmp_path / "saved/ranks/two"
    both[0].until(lambda: folder.is_dir() and len(list_checkpoints(folder)) > 1)
    ip("-n", hosts[1], "link", "set", "cable", "down")
    cut = time.monotonic()
    both[0].until(
        lambda: not both[0].ranks(), 30
    )  # after timeout_seconds it has given the other up
    assert 4 < time.monotonic() - cut < 20
    ip("-n", hosts[1], "link", "set", "cable", "up")
    done = [program.end(60) for program in both]
    assert [end.code for end in done] == [0, 0], done
    errors = "".join(end.err for end in done)
    assert re.search(r"rank \d \(t\d+[ab], process \d+\) has not answered for 5 s, in the ", errors)
    assert "Resuming from" in done[0].out + done[1].out
    assert Program(*words_of(tmp_path, "one", epochs=4)).end().code == 0
    check_same(tmp_path)
