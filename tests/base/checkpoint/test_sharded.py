"""Checkpoints that each process writes a part of: the same state, whoever reads it, whatever is killed or damaged."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import signal
import sys
import zlib

import pytest
import torch
from base.parallel.sharding import is_cut
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from base.checkpoint.file import load, save
from base.tools import runs
from tests.base.test_parallel import lines_of, table_config
from tests.base.test_sharding import CUT, check_going_on, trained
from tests.helpers import differences, make_trainer, run
from tests.ranks import Program, in_ranks
from tests.torture.harness import ALL
from utils import distributed as parallel
from base.checkpoint.sharded import SUFFIX, find_shards
from utils.checkpoints import list_checkpoints
from utils.errors import UserError


def sharded_config(tmp_path, **trainer):
    return table_config(tmp_path, **{"epochs": 2, "sharded_checkpoint": True} | trainer) | CUT


def check_folder(folder):
    """Every checkpoint can be read, and has shards of its own or those of its twin; nothing else is there."""
    found = sorted(folder.glob("*.pt"))
    for path in found:
        load(path)
    assert {find_shards(path) for path in found} - {None} == set(folder.glob(f"*{SUFFIX}"))
    return found


def copied(path, folder):
    (folder / "log").mkdir(parents=True)
    shutil.copy(path, folder)
    shutil.copy(path.parent / "log/metrics.jsonl", folder / "log")
    shutil.copytree(find_shards(path), folder / find_shards(path).name)
    return folder / path.name


def last(folder):
    return load(list_checkpoints(folder)[0])


def test_the_state_is_that_of_a_whole_checkpoint(tmp_path):
    in_ranks(2, trained, sharded_config(tmp_path, monitor="min val_loss"), "cut")
    in_ranks(
        2,
        trained,
        sharded_config(tmp_path, monitor="min val_loss", sharded_checkpoint=False),
        "whole",
    )
    for name in ("checkpoint-epoch1.pt", "checkpoint-epoch2.pt", "model_best.pt"):
        states = [load(tmp_path / "small" / run_id / name) for run_id in ("cut", "whole")]
        assert differences(*states) == ["/config/trainer/sharded_checkpoint"]
    path = tmp_path / "small/cut/checkpoint-epoch2.pt"
    assert all(
        value.is_meta for value in torch.load(path, weights_only=True)["state_dict"].values()
    )
    assert len(list(find_shards(path).glob("*.distcp"))) == 2
    assert path.stat().st_size < 40_000


def test_pruning_takes_the_shards_along(tmp_path):
    config = sharded_config(
        tmp_path, epochs=5, keep_last=4, keep_best=2, monitor="min val_loss", save_steps=5
    )
    in_ranks(2, trained, config, "run")
    found = check_folder(tmp_path / "small/run")
    assert len(list_checkpoints(tmp_path / "small/run")) == 4
    assert len([path for path in found if "best" in path.name]) == 3
    runs.clean(runs.runs_in(tmp_path), yes=True)
    assert len(list_checkpoints(tmp_path / "small/run")) == 2
    check_folder(tmp_path / "small/run")


# -- resuming ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trainer", [{}, {"accumulation_steps": 3, "grad_clip_norm": 0.5, "save_steps": 1}]
)
def test_as_many_ranks_go_on_to_the_same_bits_from_everywhere(tmp_path, trainer):
    check_going_on(tmp_path, sharded_config(tmp_path, **{"save_steps": 3} | trainer), copied, last)


@pytest.mark.parametrize("after", [1, 3])
def test_another_number_of_ranks_goes_on_at_the_same_place(tmp_path, after):
    config = sharded_config(tmp_path, save_steps=4)
    in_ranks(2, trained, config, "full")
    path = copied(tmp_path / "small/full/checkpoint-epoch1-step8.pt", tmp_path / "small/other")
    trainer = make_trainer(config, None, path)
    expected = load(path)
    assert differences(trainer.model.state_dict(), expected["state_dict"]) == []
    assert (
        differences(trainer.optimizer.state_dict()["state"], expected["optimizer"]["state"]) == []
    )
    if after == 1:
        trainer.train()
    else:
        in_ranks(after, trained, config, None, path)
    for line, wanted in zip(lines_of(path.parent), lines_of(tmp_path / "small/full"), strict=True):
        assert line == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_a_rank_reads_its_part_only(tmp_path):
    config = sharded_config(tmp_path)
    in_ranks(2, trained, config, "run")
    for cut, numbers in in_ranks(2, resumed, config, tmp_path / "small/run/checkpoint-epoch1.pt"):
        assert cut == 12  # four parameters, and two tensors of Adam for each
        assert numbers < 0.6 * 3 * 513


def resumed(config, path):
    tensors = []
    trainer = make_trainer(config, None, path)
    for value in trainer._resumed["state_dict"].values():
        tensors.append(value)
    for values in trainer._resumed["optimizer"]["state"].values():
        tensors += values.values()
    cut = [value for value in tensors if is_cut(value)]
    return len(cut), sum(value.to_local().numel() for value in cut)


def test_the_programs_train_test_export_and_start_from_it(tmp_path):
    config = sharded_config(tmp_path / "saved", epochs=1, max_minutes=5)
    config["parallel"] = {"type": "fsdp", "args": {"blocks": ["layers.*"], "num_processes": 2}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = Program("train.py", "-c", tmp_path / "c.json", "--run-id", "run").end()
    assert done.code == 0, done.err
    folder = tmp_path / "saved/small/run"
    check_folder(folder)
    tested = run("test.py", "-r", folder, "-o", tmp_path / "test.json")
    assert tested.returncode == 0, tested.stderr
    exported = run("-m", "base.checkpoint.sharded", folder, tmp_path / "one.pt")
    assert exported.returncode == 0, exported.stderr
    one = torch.load(tmp_path / "one.pt", weights_only=True)
    assert differences(one, last(folder)) == []
    trainer = make_trainer(config | {"transfer": {"init_from": str(folder)}}, "next")
    assert differences(trainer.model.state_dict(), one["state_dict"]) == []
    (shard,) = folder.glob(f"*{SUFFIX}/__1_0.distcp")
    shard.unlink()
    for words in (("train.py", "-r", folder, "trainer.epochs=2"), ("test.py", "-r", folder)):
        done = Program(*words).end()
        assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
        assert done.err.strip().endswith("__1_0.distcp cannot be read: No such file or directory")


# -- what fails --------------------------------------------------------------------------------------------------


EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")


def killed_at(config, place, victim):
    """Trains, and is killed at the given change of files, or at that opening of one to write."""
    left = [place]

    def watch(event, args):
        if event in EVENTS or (event == "open" and str(args[1])[:1] in "wx"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    trainer = make_trainer(config, "run")
    if parallel.rank() == victim:
        sys.addaudithook(watch)
    trainer.train()
    return left[0]


@pytest.mark.parametrize(("ranks", "victim"), [(1, 0), (2, 1)])
def test_killed_anywhere_it_leaves_whole_checkpoints(tmp_path, ranks, victim):
    places = range(1, 200, 1 if ALL else 4)
    for place in places:
        config = sharded_config(
            tmp_path / str(place), epochs=3, keep_last=1, monitor="min val_loss", save_steps=8
        )
        folder = tmp_path / str(place) / "small/run"
        try:
            left = in_ranks(ranks, killed_at, config, place, victim)[victim]
        except EOFError:
            left = 0
        except AssertionError as error:  # the other rank's
            if "hangs" in str(error):
                raise
            left = 0
        for path in folder.glob("*.pt"):
            load(path)
        if place % 8 == 1 and list_checkpoints(folder):
            in_ranks(ranks, trained, config, None, list_checkpoints(folder)[0])
            check_folder(folder)
        if left > 0:
            break
    assert left > 0, "not all places were tried"
    assert place > (50 if victim == 0 else 10)


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp", "__1_0.distcp"])
def test_a_damaged_or_missing_shard_is_a_line_and_the_one_before_is_taken(tmp_path, caplog, file):
    config = sharded_config(tmp_path)
    in_ranks(2, trained, config, "run")
    newest, before = list_checkpoints(tmp_path / "small/run")
    shard = find_shards(newest) / file
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(
        UserError, match=rf"epoch2.pt: damaged checkpoint: the checksum of .*{file} is wrong"
    ):
        load(newest)
    trainer = make_trainer(config, None, newest)
    assert trainer.start_epoch == 2
    assert f"{file} is wrong; going on from {before.name}" in caplog.text
    shutil.rmtree(find_shards(before))
    with pytest.raises(UserError, match="is wrong"):
        make_trainer(config, None, newest)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("policy", ["stop", "go_on"])
def test_no_space_on_one_rank_is_a_line_of_all(tmp_path, policy, victim):
    config = sharded_config(tmp_path, on_save_error=policy)
    if policy == "stop":
        with pytest.raises(
            AssertionError, match=r"checkpoint could not be written: File too large, on rank"
        ) as caught:
            in_ranks(2, without_space, config, victim)
        assert f"on rank {victim}" in str(caught.value)
    else:
        assert in_ranks(2, without_space, config, victim) == [2, 2]
        assert len((tmp_path / "small/run/log/metrics.jsonl").read_text().splitlines()) == 2
    assert not list((tmp_path / "small/run").glob(f"*{SUFFIX}"))
    assert not list_checkpoints(tmp_path / "small/run")


def without_space(config, victim):
    trainer = make_trainer(config)
    usual = trainer._saver._without_shards

    def limited(*args):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if parallel.rank() == victim:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
        try:
            return usual(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    trainer._saver._without_shards = limited
    trainer.train()
    return trainer.epoch


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


BYTES = Metadata({"state_dict.x": BytesStorageMetadata()}, storage_data={})  # DCP unpickles them
HOSTILE = {
    "a call": (Bomb(), "x.pt: its shards cannot be read: it holds more than tensors: posix.mkdir"),
    "bytes": (BYTES, "x.pt: its shards cannot be read: it holds more than tensors"),
    "no index": ([1], "x.pt: its shards cannot be read: 'list' object has no attribute"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_index_from_a_stranger_runs_nothing(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    index, message = HOSTILE[case]
    folder = tmp_path / f"x.12345678{SUFFIX}"
    folder.mkdir()
    (folder / ".metadata").write_bytes(pickle.dumps(index))
    shards = {
        "folder": folder.name,
        "crc32": {".metadata": zlib.crc32((folder / ".metadata").read_bytes())},
    }
    save({"state_dict": {"x": torch.empty(2, device="meta")}, "shards": shards}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "x.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "shards", [None, [], {"folder": "../x", "crc32": {}}, {"folder": "x", "crc32": {"../a": 1}}, {}]
)
def test_shards_elsewhere_are_refused(tmp_path, shards):
    save({"state_dict": {}, "shards": shards}, tmp_path / "x.pt")
    with pytest.raises(
        UserError, match=r"x.pt: damaged checkpoint: what it says of its shards is nothing"
    ):
        load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("trainer", "kind", "message"),
    [
        (
            {},
            "ddp",
            "trainer.sharded_checkpoint: only a model that is cut has shards; set parallel.type: fsdp",
        ),
        ({"async_save": True}, "fsdp", "sharded_checkpoint: goes neither with async_save nor"),
        (
            {"wandb": {"project": "p", "artifact": True}},
            "fsdp",
            "sharded_checkpoint: goes neither with async_save nor",
        ),
    ],
)
def test_what_it_does_not_go_with_is_a_line(tmp_path, trainer, kind, message):
    config = sharded_config(tmp_path, **trainer) | {"parallel": {"type": kind}}
    with pytest.raises(UserError, match=message) as caught:
        make_trainer(config)
    assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = run("train.py", "-c", tmp_path / "c.json")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr


def test_one_process_of_its_own_has_one_file(tmp_path):
    trained(sharded_config(tmp_path), "run")
    assert "shards" not in torch.load(
        tmp_path / "small/run/checkpoint-epoch2.pt", weights_only=True
    )
    check_folder(tmp_path / "small/run")
