"""Distillation: the loss, the teacher, a resume, and teachers that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.helpers import differences, load, make_trainer, small_config
from trainer.distill import distillation_loss
from utils.errors import UserError


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained run, whose model has dropout."""
    config = small_config(tmp_path_factory.mktemp("teacher"), epochs=1)
    folder: Path = train(config).checkpoint_dir
    return folder


def train(config: dict[str, Any], **kwargs: Any) -> Any:
    """Trains, and writes the config of the run as train.py does."""
    trainer = make_trainer(config, **kwargs)
    trainer.train()
    (trainer.checkpoint_dir / "config.json").write_text(json.dumps(config))
    return trainer


def student(tmp_path: Path, teacher: Path, **trainer: Any) -> dict[str, Any]:
    options = {"type": "distill.Distill", "teacher": str(teacher)} | trainer
    config = small_config(tmp_path, **options)
    config["arch"] = {"type": "SmallConvNet", "args": {"width": 2}}
    return config


def test_the_loss_weighs_the_targets_and_the_softened_outputs_of_the_teacher(
    tmp_path: Path, teacher: Path
) -> None:
    trainer = make_trainer(student(tmp_path, teacher, temperature=3.0, soft_weight=0.75))
    batch = images, classes = torch.rand(6, 1, 8, 8), torch.arange(6)
    with torch.random.fork_rng():
        terms, output, _ = trainer.train_step(batch)
    taught = trainer.teacher(images)
    assert torch.equal(taught, trainer.teacher(images))  # without dropout
    weights = load(teacher / "checkpoint-epoch1.pt")["state_dict"]
    assert not differences(trainer.teacher.state_dict(), weights)
    soft = (taught / 3).softmax(1) * ((taught / 3).log_softmax(1) - (output / 3).log_softmax(1))
    torch.testing.assert_close(terms["soft"], 0.75 * 9 * soft.sum(1).mean())
    torch.testing.assert_close(terms["hard"], 0.25 * F.cross_entropy(output, classes))
    sum(terms.values()).backward()
    assert all(parameter.grad is None for parameter in trainer.teacher.parameters())
    assert all(parameter.grad is not None for parameter in trainer.model.parameters())


def test_pixels_are_distilled_as_samples_are() -> None:
    logits, taught = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows = [values.movedim(1, -1).reshape(-1, 3) for values in (logits, taught)]
    expected = distillation_loss(rows[0], rows[1], 2.0)
    torch.testing.assert_close(distillation_loss(logits, taught, 2.0), expected)


def test_a_teacher_without_weight_changes_nothing(tmp_path: Path, teacher: Path) -> None:
    distilled = train(student(tmp_path, teacher, epochs=1, soft_weight=0), run_id="distilled")
    config = student(tmp_path, teacher, epochs=1)
    for name in ("type", "teacher"):
        del config["trainer"][name]
    plain = train(config, run_id="plain")
    assert not differences(distilled.model.state_dict(), plain.model.state_dict())


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, teacher: Path) -> None:
    done = train(student(tmp_path, teacher), run_id="done")
    stopped = train(student(tmp_path, teacher, epochs=1), run_id="stopped")
    checkpoint = stopped.checkpoint_dir / "checkpoint-epoch1.pt"
    resumed = train(student(tmp_path, teacher), resume=checkpoint)
    states = [load(trainer.checkpoint_dir / "checkpoint-epoch2.pt") for trainer in (done, resumed)]
    assert {"loss_hard", "loss_soft"} <= resumed.last_log.keys()
    for key in ("state_dict", "optimizer", "random"):
        assert not differences(states[0][key], states[1][key])


def make_unfit(kind: str, teacher: Path, tmp_path: Path) -> Path:
    """A teacher that does not fit, of this kind."""
    if kind == "missing":
        return tmp_path / "nothing"
    if kind == "weights only":
        torch.save(load(teacher / "checkpoint-epoch1.pt"), tmp_path / "weights.pt")
        return tmp_path / "weights.pt"
    config = small_config(tmp_path / "unfit", epochs=1)
    config["arch"]["args"]["num_classes"] = 12
    folder: Path = train(config).checkpoint_dir
    if kind == "another architecture":
        (folder / "config.json").write_bytes((teacher / "config.json").read_bytes())
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such checkpoint or run folder"),
        ("weights only", "there is no config.json beside it"),
        ("another architecture", "holds another architecture than SmallConvNet"),
        ("other classes", r"gives \(128, 12\), and the model \(128, 10\); both must"),
    ],
)
def test_an_unfit_teacher_is_an_error_of_one_line(
    kind: str, message: str, teacher: Path, tmp_path: Path
) -> None:
    source = make_unfit(kind, teacher, tmp_path)
    with pytest.raises(UserError, match=message) as error:
        make_trainer(student(tmp_path, source)).train()
    assert [problem.key for problem in error.value.problems] == ["trainer.teacher"]
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "value"), [("temperature", 0), ("soft_weight", 1.5)])
def test_an_option_out_of_its_range_is_refused(
    name: str, value: float, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"trainer.{name}: .* {value}|{value}"):
        make_trainer(student(tmp_path, teacher, **{name: value}))
