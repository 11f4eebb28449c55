"""``trainer.save: trainable``: a checkpoint holds only weights that no constructor makes again."""

from __future__ import annotations

import pytest
import torch

from base.evaluation import load_subject, load_trained_model
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.checkpoint.resumed_runs import check_resuming
from tests.base.parallel.spread_runs import table_config, train
from tests.helpers import differences, load, make_trainer, small_config
from tests.ranks import in_ranks
from utils.errors import UserError

HEAD = ["classifier.2.weight", "classifier.2.bias"]
LAST_CONVOLUTION = ["features.3.weight", "features.3.bias"]
THAW = [{"epoch": 2, "params": "features.3.*"}]


def frozen_config(tmp_path, transfer=None, **trainer):
    """A run that trains the head of a network with start weights."""
    torch.manual_seed(7)
    weights = make_trainer(small_config(tmp_path / "start", seed=5), "start").model.state_dict()
    torch.save({name: value + 1 for name, value in weights.items()}, tmp_path / "start.pt")
    config = small_config(tmp_path, save="trainable", save_steps=4, **trainer)
    config["transfer"] = {"init_from": str(tmp_path / "start.pt"), "freeze": "all_but_head"}
    config["transfer"] |= transfer or {}
    return config


def get_subject(config, path, kind=None):
    parser = ConfigParser(config, resume=path)
    parser.check(SCHEMA)
    return load_subject(parser, kind)


def test_a_run_resumes_to_the_same_bits_without_the_frozen_weights(tmp_path):
    config = frozen_config(tmp_path, ema_decay=0.9, swa={"start": 1})
    trainer = check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-*.pt", at_least=4
    )
    state = load(trainer.checkpoint_dir / "checkpoint-epoch2.pt")
    assert list(state["state_dict"]) == HEAD
    for kind in ("ema", "swa"):
        names = [name for name in state["parts"]["update"][kind] if name.startswith("module.")]
        assert names == [f"module.{name}" for name in HEAD]
    assert state["left_out"]["weights"].keys() == trainer.model.state_dict().keys() - set(HEAD)


def test_thawed_weights_are_saved_from_their_epoch_on(tmp_path):
    config = frozen_config(tmp_path, {"thaw": THAW}, epochs=3)
    trainer = check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-epoch?.pt"
    )
    names = [load(trainer.checkpoint_dir / f"checkpoint-epoch{n}.pt")["state_dict"] for n in (1, 2)]
    assert list(names[0]) == HEAD
    assert list(names[1]) == LAST_CONVOLUTION + HEAD


def test_statistics_and_weights_that_change_without_training_are_saved(tmp_path):
    config = frozen_config(tmp_path, {"frozen_eval": False, "freeze": "features.0.*"}, epochs=1)
    trainer = make_trainer(config, "run")
    with torch.no_grad():
        trainer.model.features[0].bias.data[0] += 1  # `.data` leaves no trace in torch's version
    trainer.train()
    saved = load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")["state_dict"]
    assert trainer.model.state_dict().keys() - saved.keys() == {"features.0.weight"}


@pytest.mark.parametrize("kind", ["trained", "ema"])
def test_a_test_gets_all_weights(tmp_path, kind):
    config = frozen_config(tmp_path, ema_decay=0.9)
    trainer = make_trainer(config, "run")
    trainer.train()
    subject = get_subject(config, trainer.checkpoint_dir / "checkpoint-epoch2.pt", kind)
    model = trainer.model if kind == "trained" else trainer.update.averages["ema"].module
    assert differences(dict(subject.model.state_dict()), dict(model.state_dict())) == []


def test_making_random_frozen_weights_again_does_not_touch_the_settings_of_a_training(tmp_path):
    config = small_config(tmp_path, save="trainable", epochs=1)
    config["transfer"] = {"freeze": "all_but_head"}
    trainer = make_trainer(config, "run")
    trainer.train()
    torch.set_deterministic_debug_mode("default")
    model, _ = load_trained_model(trainer.checkpoint_dir, SCHEMA)
    assert differences(dict(model.state_dict()), dict(trainer.model.state_dict())) == []
    assert torch.get_deterministic_debug_mode() == 0


def test_other_start_weights_are_an_error(tmp_path):
    config = frozen_config(tmp_path, epochs=1)
    make_trainer(config, "run").train()
    weights = load(tmp_path / "start.pt")
    weights["features.3.bias"][0] += 1
    torch.save(weights, tmp_path / "start.pt")
    message = "14 weights of SmallConvNet come from .*, and 1 of them are others now: features.3.b"
    path = tmp_path / "small/run/checkpoint-epoch1.pt"
    with pytest.raises(UserError, match=message):
        make_trainer(config, resume=path)
    with pytest.raises(UserError, match=message):
        get_subject(config, path)


def test_the_option_may_change_when_a_run_resumes(tmp_path):
    config = frozen_config(tmp_path, epochs=1)
    full = make_trainer(config, "run")
    full.train()
    for epochs, (save, count) in enumerate([("all", 16), ("trainable", 2)], 2):
        config["trainer"] |= {"save": save, "epochs": epochs}
        path = tmp_path / f"small/run/checkpoint-epoch{epochs - 1}.pt"
        make_trainer(config, resume=path).train()
        assert len(load(path.with_name(f"checkpoint-epoch{epochs}.pt"))["state_dict"]) == count


def test_a_new_run_starts_from_such_a_checkpoint(tmp_path):
    config = small_config(tmp_path, save="trainable", epochs=1)
    config["transfer"] = {"freeze": "all_but_head"}
    first = make_trainer(config, "run")
    first.train()
    config["transfer"]["init_from"] = str(first.checkpoint_dir)
    weights = make_trainer(config, "second").model.state_dict()
    assert differences(dict(weights), dict(first.model.state_dict())) == []
    with pytest.raises(UserError, match=r"with trainer\.save: trainable") as raised:
        make_trainer(config | {"seed": 1}, "third")
    assert raised.value.problems[0].key == "transfer.init_from"


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_ranks_resume_without_the_frozen_weights(tmp_path, kind):
    config = table_config(tmp_path, epochs=2, save="trainable")
    config |= {"parallel": {"type": kind}, "transfer": {"freeze": "all_but_head"}}
    in_ranks(2, train, config, "full")
    run = tmp_path / "small/full"
    before = load(run / "checkpoint-epoch2.pt")
    assert len(before["state_dict"]) == 2
    in_ranks(2, train, config, None, run / "checkpoint-epoch1.pt")
    assert differences(load(run / "checkpoint-epoch2.pt"), before) == []


def test_sharded_checkpoints_hold_all_weights(tmp_path):
    config = small_config(tmp_path, save="trainable", sharded_checkpoint=True)
    with pytest.raises(UserError, match="does not work with sharded_checkpoint"):
        make_trainer(config | {"parallel": {"type": "fsdp"}})
