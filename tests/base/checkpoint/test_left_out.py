"""Modules that a trainer's constructor makes again are left out of checkpoints."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

from base.checkpoint.digests import digest_state, digest_tensors
from tests.base.checkpoint.resumed_runs import check_resuming, copy_checkpoint
from tests.helpers import load, make_trainer, small_config
from trainer.trainer import Trainer
from utils.errors import UserError


class Taught(Trainer):
    """Learns from a second network too."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher = self.make_teacher().eval().requires_grad_(False)

    def make_teacher(self):
        weights = torch.load(self.checkpoint_dir.parents[1] / "teacher.pt", weights_only=True)
        teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        teacher.load_state_dict(weights)
        return teacher

    def train_step(self, batch):
        loss, output, target = super().train_step(batch)
        self.follow()
        return loss + (output - self.teacher(batch[0])).square().mean(), output, target

    def follow(self):
        """Called in each step."""


class Momentum(Taught):
    """The second network follows the model, from the second epoch on."""

    def make_teacher(self):
        return copy.deepcopy(self.model)

    @torch.no_grad()
    def follow(self):
        if self.progress.epoch > 1:
            for old, new in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
                old.data.lerp_(new, 0.1)


class Reference(Taught):
    """The second network is the model as it was at the start."""

    def make_teacher(self):
        return copy.deepcopy(self.model)


class Drifting(Taught):
    """The second network changes in the second epoch, and back in the third one."""

    def follow(self):
        bias = self.teacher[1].bias
        bias.data[0] = {1: 0.0, 2: 5.0, 3: 0.0}[self.progress.epoch]


class Random(Taught):
    def make_teacher(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@pytest.fixture
def config(tmp_path, monkeypatch):
    for kind in (Taught, Momentum, Reference, Drifting, Random):
        monkeypatch.setattr(kind, "__module__", "trainer.trainer")
        monkeypatch.setattr(f"trainer.trainer.{kind.__name__}", kind, raising=False)
    write_teacher(tmp_path, 0.0)
    return small_config(tmp_path, type="Taught", save_steps=4)


def write_teacher(folder, bias):
    weight = torch.linspace(-1, 1, 640).view(10, 64)
    torch.save({"1.weight": weight, "1.bias": torch.full((10,), bias)}, folder / "teacher.pt")


def has_teacher(path):
    return "teacher" in load(path)["parts"]


@pytest.mark.parametrize("kind", ["Taught", "Momentum", "Reference", "Drifting", "Random"])
def test_a_run_with_a_second_network_resumes_to_the_same_bits(config, caplog, kind):
    config["trainer"] |= {"type": kind, "epochs": 3}
    trainer = check_resuming(
        lambda run_id, resume: make_trainer(config, run_id, resume), "checkpoint-*.pt", at_least=6
    )
    saved = [has_teacher(trainer.checkpoint_dir / f"checkpoint-epoch{n}.pt") for n in (1, 2, 3)]
    expected = {"Taught": [False] * 3, "Random": [False] * 3, "Drifting": [False, True, False]}
    assert saved == expected.get(kind, [True] * 3)
    assert "not exact" not in caplog.text


def test_what_is_left_out_is_said_once_with_its_size(config, caplog):
    trainer = make_trainer(config, "run")
    caplog.set_level(logging.INFO)
    trainer.train()
    assert caplog.text.count("`teacher` is not trained: checkpoints leave it out (0.0 MB)") == 1


def test_a_changed_source_wins(config, tmp_path, caplog):
    config["trainer"]["epochs"] = 1
    trainer = make_trainer(config, "run")
    trainer.train()
    write_teacher(tmp_path, 9.0)
    config["trainer"]["epochs"] = 2
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    resumed = make_trainer(config, resume=copy_checkpoint(path, tmp_path / "small/resumed"))
    resumed.train()
    assert resumed.teacher[1].bias[0] == 9
    line = "The resume is not exact, because of changes: the weights of `teacher`, which the"
    assert caplog.text.count(line) == 1
    config["trainer"]["on_inexact_resume"] = "stop"
    with pytest.raises(UserError, match="the resume is not exact: the weights of `teacher`"):
        make_trainer(config, resume=path).train()


def test_a_module_that_is_replaced_is_saved(config):
    trainer = make_trainer(config, "run")
    trainer._restore_rest()
    assert "teacher" not in trainer.train_state.collect()["parts"]
    trainer.teacher[1].bias = nn.Parameter(torch.ones(10), requires_grad=False)
    assert "teacher" in trainer.train_state.collect()["parts"]


def test_training_twice_does_not_take_a_moved_module_for_its_source(config):
    trainer = make_trainer(config, "run")
    trainer.train()
    trainer.teacher[1].bias.data += 1
    trainer.epochs = 3
    trainer.train()
    assert has_teacher(trainer.checkpoint_dir / "checkpoint-epoch3.pt")


def test_a_digest_changes_with_every_bit_dtype_and_shape():
    values = torch.randn(70_001)
    swapped = values.clone()
    swapped[[3, 69_999]] = swapped[[69_999, 3]]
    others = [2 * values, swapped, values.double(), values[None], -values, values[:-1]]
    states = [{"a": value} for value in (values, *others)]
    assert len({digest_state(state) for state in states}) == len(states)
    image = torch.randn(2, 3, 5, 7)
    same = image.to(memory_format=torch.channels_last)
    assert digest_tensors({"a": image}) == digest_tensors({"a": same})


def test_a_digest_does_not_depend_on_how_many_rows_are_read_at_once(monkeypatch):
    values = torch.randn(300_001)
    before = digest_tensors({"a": values})
    monkeypatch.setattr("base.checkpoint.digests.ROWS_AT_ONCE_ON_CPU", 3)
    assert digest_tensors({"a": values}) == before
