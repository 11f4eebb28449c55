"""Sharded checkpoints after kills, damage and full disks, and from strangers."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import sys
import zlib

import pytest
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from base.checkpoint.file import load, save
from base.checkpoint.sharded import SUFFIX, find_shards
from tests.base.checkpoint.resumed_runs import read_lines
from tests.base.checkpoint.sharded_runs import check_folder, sharded_config
from tests.base.parallel.spread_runs import train_sharded
from tests.helpers import make_trainer
from tests.ranks import in_ranks
from tests.torture.harness import ALL
from utils.checkpoints import list_checkpoints
from utils.distributed import rank
from utils.errors import UserError

EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")


def train_and_die(config, change, victim):
    """Trains. The victim is killed before its change of files with this number, from 1.

    Returns:
        How many changes were missing to that number.
    """
    missing = change

    def watch(event, args):
        nonlocal missing
        if event in EVENTS or (event == "open" and str(args[1])[:1] in "wx"):
            missing -= 1
            if missing == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    trainer = make_trainer(config, "run")
    if rank() == victim:
        sys.addaudithook(watch)
    trainer.train()
    return missing


def kill_at(config, ranks, change, victim):
    """Runs ``train_and_die`` in several ranks. Returns False if they ended before the kill."""
    try:
        missing = in_ranks(ranks, train_and_die, config, change, victim)[victim]
    except EOFError:  # of the victim's pipe
        return True
    except AssertionError as error:  # of another rank
        if "hangs" in str(error):
            raise
        return True
    return missing <= 0


@pytest.mark.parametrize(("ranks", "victim"), [(1, 0), (2, 1)])
def test_a_kill_at_any_change_of_files_leaves_good_checkpoints(tmp_path, ranks, victim):
    options = {"epochs": 3, "keep_last": 1, "monitor": "min val_loss", "save_steps": 8}
    for change in range(1, 200, 1 if ALL else 4):
        config = sharded_config(tmp_path / str(change), **options)
        folder = tmp_path / str(change) / "small/run"
        is_killed = kill_at(config, ranks, change, victim)
        for path in folder.glob("*.pt"):
            load(path)
        if change % 8 == 1 and list_checkpoints(folder):
            in_ranks(ranks, train_sharded, config, None, list_checkpoints(folder)[0])
            check_folder(folder)
        if not is_killed:
            break
    assert not is_killed, "the run has more changes than were tried"
    assert change > (50 if victim == 0 else 10)


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp", "__1_0.distcp"])
def test_a_damaged_shard_is_one_line_and_the_checkpoint_before_is_used(tmp_path, caplog, file):
    config = sharded_config(tmp_path)
    in_ranks(2, train_sharded, config, "run")
    newest, before = list_checkpoints(tmp_path / "small/run")
    shard = find_shards(newest) / file
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    message = rf"epoch2.pt: damaged checkpoint: the checksum of .*{file} is wrong"
    with pytest.raises(UserError, match=message):
        load(newest)
    trainer = make_trainer(config, None, newest)
    assert trainer.start_epoch == 2
    assert f"{file} is wrong; resuming from {before.name}" in caplog.text
    shutil.rmtree(find_shards(before))
    with pytest.raises(UserError, match="is wrong"):
        make_trainer(config, None, newest)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("policy", ["stop", "go_on"])
def test_a_full_disk_of_one_rank_is_an_error_of_all(tmp_path, policy, victim):
    config = sharded_config(tmp_path, on_save_error=policy)
    folder = tmp_path / "small/run"
    if policy == "stop":
        reason = f"checkpoint could not be written: File too large, on rank {victim}"
        with pytest.raises(AssertionError, match=reason):
            in_ranks(2, train_with_small_files, config, victim)
    else:
        assert in_ranks(2, train_with_small_files, config, victim) == [3, 3]
        assert len(read_lines(folder)) == 2
    assert not list(folder.glob(f"*{SUFFIX}"))
    assert not list_checkpoints(folder)


def train_with_small_files(config, victim):
    """Trains. The victim may not write a file as large as its shards. Returns the next epoch."""
    trainer = make_trainer(config)
    if rank() == victim:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    trainer.train()
    return trainer.progress.epoch


# -- from strangers ------------------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


BYTES = Metadata({"state_dict.x": BytesStorageMetadata()}, storage_data={})  # DCP unpickles them
HOSTILE_INDEXES = {
    "a call": (Bomb(), "it holds more than tensors: posix.mkdir"),
    "bytes": (BYTES, "the index refers to more than tensors"),
    "no index": ([1], "'list' object has no attribute"),
}


@pytest.mark.parametrize("case", HOSTILE_INDEXES)
def test_an_index_from_a_stranger_runs_no_code(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, reason = HOSTILE_INDEXES[case]
    index = tmp_path / f"x.12345678{SUFFIX}" / ".metadata"
    index.parent.mkdir()
    index.write_bytes(pickle.dumps(content))
    checksums = {".metadata": zlib.crc32(index.read_bytes())}
    weights = {"x": torch.empty(2, device="meta")}
    shards = {"folder": index.parent.name, "crc32": checksums}
    save({"state_dict": weights, "shards": shards}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=f"x.pt: its shards cannot be read: {reason}"):
        load(tmp_path / "x.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "shards", [None, [], {"folder": "../x", "crc32": {}}, {"folder": "x", "crc32": {"../a": 1}}, {}]
)
def test_shards_in_other_folders_are_refused(tmp_path, shards):
    save({"state_dict": {}, "shards": shards}, tmp_path / "x.pt")
    message = "x.pt: damaged checkpoint: its reference to shards cannot be read"
    with pytest.raises(UserError, match=message):
        load(tmp_path / "x.pt")
