"""The hooks of a trainer around the numbers of an epoch, and which numbers there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from base.loop.logged_names import has_training_objective
from tests.helpers import differences, load, make_trainer, small_config
from trainer import Trainer
from utils.errors import UserError

NAMES = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]


class Hooked(Trainer):
    """Adds a number, and notes what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[dict[str, Any], bool]] = []
        with torch.random.fork_rng():
            self.counter = torch.nn.Linear(1, 1)

    def add_numbers(self, log: dict[str, float]) -> dict[str, Any]:
        return {"gap": torch.tensor(log["val_loss"] - log["loss"])}

    def after_epoch(self, log: dict[str, Any], is_best: bool) -> None:
        self.seen.append((log, is_best))
        torch.rand(len(self.seen))
        torch.nn.init.constant_(self.counter.weight, len(self.seen))
        self.model.eval()


class Failing(Trainer):
    def after_epoch(self, log: dict[str, Any], is_best: bool) -> None:
        raise RuntimeError("after the epoch")


class WithLoss(Trainer):
    def train_step(self, batch: Any) -> tuple[Any, Any, Any]:
        loss, output, target = super().train_step(batch)
        return {"main": loss, "size": 0.01 * output.square().mean()}, output, target


class WithForward(Trainer):
    @staticmethod
    def forward(model: Any, batch: Any) -> tuple[Any, Any]:
        return model(batch[0] * 2), batch[1]


class WithEvaluation(Trainer):
    @classmethod
    def evaluate_split(cls, *args: Any, **kwargs: Any) -> dict[str, float]:
        return super().evaluate_split(*args, **kwargs) | {"more": 1.0}


@pytest.fixture(autouse=True)
def trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Hooked, Failing, WithLoss, WithForward, WithEvaluation):
        monkeypatch.setattr(f"trainer.trainer.{kind.__name__}", kind, raising=False)
        monkeypatch.setattr(kind, "__module__", "trainer.trainer")


def read_log(trainer: Any) -> list[dict[str, Any]]:
    text = (trainer.checkpoint_dir / "log" / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_added_numbers_are_logged_and_monitored(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, type="Hooked", monitor="min gap", epochs=2))
    trainer.train()
    rows = read_log(trainer)
    gaps = [row["val_loss"] - row["loss"] for row in rows]
    assert [row["gap"] for row in rows] == pytest.approx(gaps)
    assert trainer.mnt_best == min(row["gap"] for row in rows)
    logs = [log for log, _ in trainer.seen]
    assert [list(log) for log in logs] == [[*NAMES, "gap"]] * 2
    assert [is_best for _, is_best in trainer.seen] == [True, rows[1]["gap"] < rows[0]["gap"]]


def test_a_checkpoint_has_what_the_hook_changes(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, type="Hooked", epochs=1))
    trainer.train()
    saved = load(trainer.checkpoint_dir / "checkpoint-epoch1.pt")
    assert saved["parts"]["counter"]["weight"].item() == 1


def test_a_hook_inside_an_epoch_changes_neither_modes_nor_random_numbers(tmp_path: Path) -> None:
    states = []
    for kind in ("Trainer", "Hooked"):
        config = small_config(tmp_path, type=kind, epochs=1, validate_steps=4)
        trainer = make_trainer(config, kind)
        trainer.train()
        states.append(trainer.model.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert ["batch" in log for log, _ in trainer.seen] == [True, True, False]


def test_a_hook_that_fails_loses_no_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, type="Failing", epochs=1, monitor="min loss"))
    with pytest.raises(RuntimeError, match="after the epoch"):
        trainer.train()
    assert (trainer.checkpoint_dir / "checkpoint-epoch1.pt").is_file()
    assert (trainer.checkpoint_dir / "model_best.pt").is_file()


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ([1.0], "not a list"),
        ({"x": "text"}, "'x' is a str"),
        ({"val_loss": 1.0}, "returned 'val_loss', a name that is taken"),
        ({"lr": 1.0}, "returned 'lr', a name that is taken"),
    ],
)
def test_added_numbers_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: Any, reason: str
) -> None:
    monkeypatch.setattr(Hooked, "add_numbers", lambda self, log: added)
    trainer = make_trainer(small_config(tmp_path, type="Hooked", epochs=1))
    with pytest.raises(UserError, match=reason):
        trainer.train()


def test_only_one_override_makes_the_losses_different() -> None:
    differ = {kind: has_training_objective(kind) for kind in (Hooked, WithLoss, WithEvaluation)}
    assert differ == {Hooked: False, WithLoss: True, WithEvaluation: True}
    assert not has_training_objective(WithForward)
    assert not has_training_objective(make_trainer)


@pytest.mark.parametrize("kind", ["Hooked", "WithLoss", "WithForward", "WithEvaluation"])
def test_one_override_resumes_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"accumulation_steps": 2, "precision": "bf16", "type": kind}
    full = make_trainer(small_config(tmp_path, epochs=2, **options), "full")
    full.train()
    make_trainer(small_config(tmp_path, epochs=1, **options), "first").train()
    path = tmp_path / "small" / "first" / "checkpoint-epoch1.pt"
    rest = make_trainer(small_config(tmp_path, epochs=2, **options), resume=path)
    rest.train()
    paths = [item.checkpoint_dir / "checkpoint-epoch2.pt" for item in (full, rest)]
    first, second = (load(path) for path in paths)
    assert differences(first["state_dict"], second["state_dict"]) == []


def test_metrics_of_one_phase_are_logged_in_it_only(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1)
    accuracy = {"type": "Accuracy", "args": {"task": "multiclass", "num_classes": 10}}
    config["metrics"] = [
        {"type": "accuracy", "on": "train"},
        accuracy | {"on": "valid", "name": "exact"},
    ]
    trainer = make_trainer(config)
    trainer.train()
    assert list(trainer.last_log) == ["epoch", "loss", "accuracy", "val_loss", "val_exact"]
