"""Runs with FSDP that resume, and programs that read their checkpoints."""

from __future__ import annotations

import json

import pytest

from tests.base.checkpoint.resumed_runs import check_same_end, copy_checkpoint, load_last
from tests.base.parallel.spread_runs import (
    FSDP_SECTION,
    check_same_lines,
    table_config,
    train,
    train_sharded,
)
from tests.helpers import differences, make_trainer
from tests.ranks import ForkedProgram, in_ranks

CLIPPING = {"accumulation_steps": 3, "grad_clip_norm": 0.5, "save_steps": 1, "async_save": True}


@pytest.mark.parametrize("trainer", [{}, CLIPPING])
def test_as_many_ranks_resume_any_checkpoint_to_the_same_bits(tmp_path, trainer):
    config = table_config(tmp_path, **{"epochs": 2, "save_steps": 3} | trainer) | FSDP_SECTION
    config["arch"]["args"]["dropout"] = 0.3
    config["data_loader"]["args"]["batch_size"] = 73
    in_ranks(2, train_sharded, config, "full")
    *checkpoints, _ = sorted((tmp_path / "small/full").glob("checkpoint-*.pt"))
    assert len(checkpoints) >= 2
    for path in checkpoints:
        folder = tmp_path / "small" / path.stem
        in_ranks(2, train_sharded, config, None, copy_checkpoint(path, folder))
        check_same_end(folder, tmp_path / "small/full")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_ranks_continues_at_the_same_batch(tmp_path, before, after):
    config = table_config(tmp_path, epochs=2, save_steps=4)
    train_in_ranks(before, config, "full", None)
    checkpoint = tmp_path / "small/full/checkpoint-epoch1-step8.pt"
    path = copy_checkpoint(checkpoint, tmp_path / "small/other")
    train_in_ranks(after, config, None, path)
    check_same_lines(path.parent, tmp_path / "small/full")


def train_in_ranks(ranks, config, run_id, resume):
    """Trains with FSDP in several ranks, and without it in one process."""
    if ranks == 1:
        train(config, run_id, resume)
    else:
        in_ranks(ranks, train_sharded, config | FSDP_SECTION, run_id, resume)


def test_a_checkpoint_of_another_architecture_is_refused_with_the_name_of_the_model(tmp_path):
    config = table_config(tmp_path, epochs=1) | FSDP_SECTION
    in_ranks(2, train_sharded, config, "full")
    config["arch"]["args"]["hidden"] = [17]
    path = tmp_path / "small/full/checkpoint-epoch1.pt"
    message = "another architecture than MLP: has other shapes in 3"
    with pytest.raises(AssertionError, match=message):
        in_ranks(2, train_sharded, config, None, path)


def test_the_programs_write_and_read_a_plain_checkpoint(tmp_path):
    config = table_config(tmp_path / "saved", epochs=1)
    config["parallel"] = {"type": "fsdp", "args": {"blocks": ["layers.*"], "num_processes": 2}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = ForkedProgram("train.py", "-c", tmp_path / "c.json", "--run-id", "run").end()
    assert done.code == 0, done.err
    folder = tmp_path / "saved/small/run"
    tested = ForkedProgram("test.py", "-r", folder, "-o", tmp_path / "test.json").end()
    assert tested.code == 0, tested.err
    init = {"transfer": {"init_from": str(folder / "checkpoint-epoch1.pt")}}
    trainer = make_trainer(config | init, "next")
    assert differences(trainer.model.state_dict(), load_last(folder)["state_dict"]) == []
    assert train_sharded(config, "single") == (0, False)  # one process keeps the full model
