"""Checkpoints of which each rank writes its shards: the same state, whoever reads it."""

from __future__ import annotations

import json

import pytest
import torch

from base.checkpoint.file import load
from base.checkpoint.sharded import SUFFIX, ShardedStore, find_shards
from base.tools.run_record import list_runs
from base.tools.runs import clean_runs
from tests.base.checkpoint.resumed_runs import copy_checkpoint, read_lines
from tests.base.checkpoint.sharded_runs import check_folder, load_last_sharded, sharded_config
from tests.base.parallel.spread_runs import check_same_lines, train_sharded
from tests.helpers import differences, make_trainer
from tests.ranks import ForkedProgram, in_ranks
from utils.checkpoints import list_checkpoints
from utils.dtensor import is_dtensor
from utils.errors import UserError

PARAMETERS = 513  # of the model
ACCUMULATION = {"accumulation_steps": 3, "grad_clip_norm": 0.5, "save_steps": 1}


def test_the_state_is_that_of_a_full_checkpoint(tmp_path):
    for run_id, sharded in (("sharded", True), ("full", False)):
        config = sharded_config(tmp_path, monitor="min val_loss", sharded_checkpoint=sharded)
        in_ranks(2, train_sharded, config, run_id)
    for name in ("checkpoint-epoch1.pt", "checkpoint-epoch2.pt", "model_best.pt"):
        states = [load(tmp_path / "small" / run_id / name) for run_id in ("sharded", "full")]
        assert differences(*states) == ["/config/trainer/sharded_checkpoint"]
    path = tmp_path / "small/sharded/checkpoint-epoch2.pt"
    weights = torch.load(path, weights_only=True)["state_dict"]
    assert all(value.is_meta for value in weights.values())
    assert len(list(find_shards(path).glob("*.distcp"))) == 2
    assert path.stat().st_size < 40_000


def test_a_single_process_writes_one_file(tmp_path):
    train_sharded(sharded_config(tmp_path), "run")
    path = tmp_path / "small/run/checkpoint-epoch2.pt"
    assert "shards" not in torch.load(path, weights_only=True)
    check_folder(path.parent)


def test_deleting_checkpoints_deletes_their_shards(tmp_path):
    options = {"epochs": 5, "keep_last": 4, "keep_best": 2, "save_steps": 5}
    config = sharded_config(tmp_path, monitor="min val_loss", **options)
    in_ranks(2, train_sharded, config, "run")
    found = check_folder(tmp_path / "small/run")
    assert len(list_checkpoints(tmp_path / "small/run")) == 4
    assert len([path for path in found if "best" in path.name]) == 3
    clean_runs(list_runs(tmp_path), is_confirmed=True)
    assert len(list_checkpoints(tmp_path / "small/run")) == 2
    check_folder(tmp_path / "small/run")


# -- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainer", [{}, ACCUMULATION])
def test_as_many_ranks_resume_any_checkpoint_to_the_same_bits(tmp_path, trainer):
    config = sharded_config(tmp_path, **{"save_steps": 3} | trainer)
    config["arch"]["args"]["dropout"] = 0.3
    config["data_loader"]["args"]["batch_size"] = 73
    in_ranks(2, train_sharded, config, "full")
    full = tmp_path / "small/full"
    *checkpoints, _ = sorted(full.glob("checkpoint-*.pt"))
    assert len(checkpoints) >= 2
    for path in checkpoints:
        folder = tmp_path / "small" / path.stem
        in_ranks(2, train_sharded, config, None, copy_checkpoint(path, folder))
        assert differences(load_last_sharded(folder), load_last_sharded(full)) == [], path.name
        assert read_lines(folder) == read_lines(full)


def test_another_number_of_ranks_continues_at_the_same_batch(tmp_path):
    config = sharded_config(tmp_path, save_steps=4)
    in_ranks(2, train_sharded, config, "full")
    checkpoint = tmp_path / "small/full/checkpoint-epoch1-step8.pt"
    path = copy_checkpoint(checkpoint, tmp_path / "small/three")
    in_ranks(3, train_sharded, config, None, path)
    check_same_lines(path.parent, tmp_path / "small/full")
    path = copy_checkpoint(checkpoint, tmp_path / "small/one")
    trainer, state = make_trainer(config, None, path), load(path)
    assert differences(trainer.model.state_dict(), state["state_dict"]) == []
    optimizer_state = trainer.optimizer.state_dict()["state"]
    assert differences(optimizer_state, state["optimizer"]["state"]) == []
    trainer.train()
    check_same_lines(path.parent, tmp_path / "small/full")


def test_a_rank_reads_only_its_shards(tmp_path):
    config = sharded_config(tmp_path)
    in_ranks(2, train_sharded, config, "run")
    path = tmp_path / "small/run/checkpoint-epoch1.pt"
    for tensors, elements in in_ranks(2, count_read, config, path):
        assert tensors == 12  # four parameters, and two tensors of Adam for each
        assert elements < 0.6 * 3 * PARAMETERS


def count_read(config, path):
    """The sharded tensors that a resumed rank reads, and the elements in its shards of them."""
    read, states = ShardedStore.read, []

    def watch(*args):
        states.append(read(*args))
        return states[-1]

    ShardedStore.read = watch
    make_trainer(config, None, path)
    (state,) = states
    of_optimizer = state["optimizer"]["state"].values()
    groups = [state["state_dict"], *of_optimizer]
    sharded = [value for group in groups for value in group.values() if is_dtensor(value)]
    return len(sharded), sum(value.to_local().numel() for value in sharded)


def test_the_programs_train_test_export_and_start_from_it(tmp_path):
    config = sharded_config(tmp_path / "saved", epochs=1, max_minutes=5)
    config["parallel"] = {"type": "fsdp", "args": {"blocks": ["layers.*"], "num_processes": 2}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    folder = tmp_path / "saved/small/run"
    for words in (
        ("train.py", "-c", tmp_path / "c.json", "--run-id", "run"),
        ("test.py", "-r", folder, "-o", tmp_path / "test.json"),
        ("-m", "base.checkpoint.sharded", folder, tmp_path / "one.pt"),
    ):
        done = ForkedProgram(*words).end()
        assert done.code == 0, done.err
    check_folder(folder)
    one = torch.load(tmp_path / "one.pt", weights_only=True)
    assert differences(one, load_last_sharded(folder)) == []
    trainer = make_trainer(config | {"transfer": {"init_from": str(folder)}}, "next")
    assert differences(trainer.model.state_dict(), one["state_dict"]) == []
    (shard,) = folder.glob(f"*{SUFFIX}/__1_0.distcp")
    shard.unlink()
    for words in (("train.py", "-r", folder, "trainer.epochs=2"), ("test.py", "-r", folder)):
        done = ForkedProgram(*words).end()
        assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done.err
        assert done.err.strip().endswith("__1_0.distcp cannot be read: No such file or directory")


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "kind", "message"),
    [
        ({}, "ddp", "only a sharded model can have a sharded checkpoint; set parallel.type"),
        ({"async_save": True}, "fsdp", "works neither with async_save nor"),
        (
            {"wandb": {"project": "p", "artifact": True}},
            "fsdp",
            "works neither with async_save nor",
        ),
    ],
)
def test_an_option_that_does_not_go_with_it_is_one_line(tmp_path, trainer, kind, message):
    config = sharded_config(tmp_path, **trainer) | {"parallel": {"type": kind}}
    with pytest.raises(UserError, match=f"trainer.sharded_checkpoint: {message}") as caught:
        make_trainer(config)
    assert len(str(caught.value).splitlines()) == 1
