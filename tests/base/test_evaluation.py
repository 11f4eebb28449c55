"""A trainer evaluates and reports between epochs, and the training does not notice it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base.evaluation import load_subject
from base.loop.reporter import evaluate_sets
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError
from utils.seed import seed_everything


def train(trainer: Any, epochs: int) -> None:
    trainer.epochs = epochs
    trainer.train()


def test_the_training_keeps_its_bits(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=2, ema_decay=0.9)
    undisturbed = make_trainer(config, "undisturbed")
    train(undisturbed, 1)
    train(undisturbed, 2)
    trainer = make_trainer(config, "evaluated")
    trainer.evaluate("valid")
    train(trainer, 1)
    for split in ("test", "valid", "train"):
        trainer.evaluate(split)
    trainer.report("valid", best=False)
    train(trainer, 2)
    name = "checkpoint-epoch2.pt"
    found, expected = (load(t.checkpoint_dir / name) for t in (trainer, undisturbed))
    for key in ("state_dict", "optimizer", "random", "parts", "loader"):
        assert differences(found[key], expected[key]) == []


def test_the_numbers_are_those_of_the_validation_and_of_a_test(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=2)
    trainer = make_trainer(config, "run")
    train(trainer, 2)
    numbers = trainer.evaluate("valid")
    assert numbers == {name: trainer.history[-1][f"val_{name}"] for name in numbers}
    parser = make_trainer(config, "other", trainer.checkpoint_dir / "checkpoint-epoch2.pt").config
    seed_everything(parser.seed)
    subject = load_subject(parser)
    (result,) = evaluate_sets(subject, parser, parser.get_logger("test"))
    assert trainer.evaluate("test") == result.values


def test_the_averaged_weights_are_tested_if_they_are_monitored(tmp_path: Path) -> None:
    monitor = {"ema_decay": 0.9, "monitor": "min val_ema_loss"}
    trainer = make_trainer(small_config(tmp_path, epochs=1, **monitor))
    train(trainer, 1)
    assert trainer.evaluate("valid")["loss"] == trainer.history["val_ema_loss"][-1]


def test_the_best_checkpoint_is_tested_on_request(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1, monitor="min val_loss"))
    with pytest.raises(UserError, match="there is no checkpoint in this folder"):
        trainer.evaluate("valid", best=True)
    train(trainer, 1)
    best = trainer.evaluate("valid", best=True)
    next(trainer.model.parameters()).data.zero_()
    assert trainer.evaluate("valid", best=True) == best
    assert trainer.evaluate("valid") != best


def test_an_unknown_split_names_the_others(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    with pytest.raises(UserError, match="no split 'tests'; choose test, valid or train"):
        trainer.evaluate("tests")


def test_the_config_stays_as_it_is(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    before = trainer.config.plain()
    for split in ("test", "train"):
        trainer.evaluate(split)
    assert trainer.config.plain() == before


def test_a_trainer_may_use_the_names_for_something_else(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    trainer.history, trainer.evaluate = [1], None
    assert (trainer.history, trainer.evaluate) == ([1], None)


def test_a_report_is_a_page_and_lines(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1))
    train(trainer, 1)
    files = sorted(trainer.checkpoint_dir.rglob("*"))
    report = trainer.report("valid")
    assert "loss" in repr(report)
    html = report._repr_html_()
    assert html.startswith('<div class="plainloop-report"><style>.plainloop-report {')
    assert "body {" not in html
    assert ":root" not in html
    assert sorted(trainer.checkpoint_dir.rglob("*")) == files
    saved = report.save(tmp_path / "page.html").read_text()
    assert saved.startswith("<!doctype html>")
