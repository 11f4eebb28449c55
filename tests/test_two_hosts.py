"""Two hosts, each with its own network, name and torchrun.

They are namespaces of this machine, connected by a virtual cable.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.ranks import ForkedProgram
from tests.test_ranks import CONFIG
from utils.checkpoints import list_checkpoints

README = (ROOT / "base/parallel/README.md").read_text(encoding="utf-8")
# Sets the name of the host in a namespace of its own, and runs a command there. `ip netns exec`
# replaces /etc/hosts by /etc/netns/NAME/hosts.
SET_NAME = 'echo "$0" > /proc/sys/kernel/hostname; exec "$@"'


def run_ip(*words):
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


def on_host(name, *words):
    """The command that runs ``words`` on a host."""
    return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", SET_NAME, name, *words]


def make_host(name, hosts_file):
    run_ip("netns", "add", name)
    folder = Path("/etc/netns", name)
    folder.mkdir(parents=True)
    (folder / "hosts").write_text(hosts_file)


def connect_hosts(first, second):
    """Lays the cable between two hosts, which then have the addresses 10.77.0.1 and 10.77.0.2."""
    end = ["name", "cable", "netns", second]
    run_ip("link", "add", "cable", "netns", first, "type", "veth", "peer", *end)
    for number, name in enumerate((first, second), 1):
        run_ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
        run_ip("-n", name, "link", "set", "cable", "up")
        run_ip("-n", name, "link", "set", "lo", "up")


@pytest.fixture(scope="module")
def hosts():
    """The names of two hosts that can reach each other and nothing else."""
    names = [f"t{os.getpid()}{letter}" for letter in "ab"]
    hosts_file = f"127.0.0.1 localhost\n10.77.0.1 {names[0]}\n10.77.0.2 {names[1]}\n"
    try:
        try:
            for name in names:
                make_host(name, hosts_file)
            connect_hosts(*names)
            for name in names:
                command = on_host(name, "true")
                subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
        yield names
    finally:
        for name in names:  # the cable goes with them
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)


def make_words(tmp_path, run_id, **trainer):
    """The command line of train.py, with a config of two ranks.

    A rank waits for ``start_timeout_seconds`` while a checkpoint is written.
    """
    trainer = {
        "epochs": 2,
        "save_dir": str(tmp_path / "saved"),
        "tensorboard": False,
        "save_steps": 10,
    } | trainer
    arch = {"type": "mlp.MLP", "args": {"in_features": 30, "hidden": [16]}}
    limits = {"num_processes": 2, "timeout_seconds": 5, "start_timeout_seconds": 40}
    sections = {"arch": arch, "trainer": trainer, "parallel": {"type": "ddp", "args": limits}}
    (tmp_path / "c.json").write_text(json.dumps(CONFIG | sections))
    return ["train.py", "-c", tmp_path / "c.json", "--run-id", run_id]


def start_on_both(hosts, words):
    """Runs the README's command on both hosts, which have one device each."""
    command = re.search(r"srun torchrun (--nnodes=2.*?) train.py", README, re.DOTALL)[1]
    values = {"\\\n": "", "=4": "=1", '"$HEAD:29500"': f"{hosts[0]}:29500", '"$SLURM_JOB_ID"': "1"}
    for text, value in values.items():
        command = command.replace(text, value)
    torchrun = f"-m torch.distributed.run {command}"
    return [ForkedProgram(*words, torchrun=torchrun, before=on_host(name)) for name in hosts]


def read_metrics(tmp_path, run_id):
    """The lines of metrics.jsonl, without clock times."""
    path = tmp_path / "saved/ranks" / run_id / "log/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def check_same(tmp_path):
    """The run of two hosts has the metrics of the run of one host."""
    two, one = read_metrics(tmp_path, "two"), read_metrics(tmp_path, "one")
    assert len(two) == len(one)
    for line, expected in zip(two, one, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_two_hosts_give_the_numbers_of_one(tmp_path, hosts):
    both = start_on_both(hosts, make_words(tmp_path, "two"))
    done = [program.end() for program in both]
    assert [end.code for end in done] == [0, 0], done
    assert sorted(end.out.count("epoch 2/2") for end in done) == [0, 1]
    one = ForkedProgram(*make_words(tmp_path, "one"), "parallel.args.num_processes=1").end()
    assert one.code == 0, one.err
    check_same(tmp_path)


def test_a_host_that_loses_the_network_and_returns_trains_on_with_the_other(tmp_path, hosts):
    words = make_words(tmp_path, "two", epochs=4)
    both = start_on_both(hosts, words)
    folder = tmp_path / "saved/ranks/two"
    both[0].until(lambda: folder.is_dir() and len(list_checkpoints(folder)) > 1)
    run_ip("-n", hosts[1], "link", "set", "cable", "down")
    both[0].until(lambda: not both[0].ranks())  # the rank gives up after its time limit
    run_ip("-n", hosts[1], "link", "set", "cable", "up")
    done = [program.end() for program in both]
    errors = "".join(end.err for end in done)
    assert re.search(r"rank \d \(t\d+[ab], process \d+\) has not answered for \d+ s, in ", errors)
    if any(end.code for end in done):  # torchrun or gloo did not connect again in time
        assert re.search("RendezvousConnectionError|connectFullMesh failed", errors), errors
        both = start_on_both(hosts, ["train.py", "-r", folder])
        done = [program.end() for program in both]
    assert [end.code for end in done] == [0, 0], done
    assert "Resuming from" in done[0].out + done[1].out
    one = ForkedProgram(*make_words(tmp_path, "one", epochs=4)).end()
    assert one.code == 0, one.err
    check_same(tmp_path)
