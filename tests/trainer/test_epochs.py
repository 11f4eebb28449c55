"""Which batches make an epoch of the trainer, and which numbers it gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from base.options import TrainerOptions
from tests.helpers import differences, make_trainer, small_config
from trainer import Trainer
from utils.errors import UserError
from utils.seed import seed_everything


def list_trained_inputs(trainer: Any) -> list[torch.Tensor]:
    """The inputs of every training batch; filled while the trainer trains."""
    inputs: list[torch.Tensor] = []

    def note(model: torch.nn.Module, args: tuple[torch.Tensor]) -> None:
        if model.training:
            inputs.append(args[0])

    trainer.model.register_forward_pre_hook(note)
    return inputs


def test_an_unknown_length_gives_the_same_windows(tmp_path: Path) -> None:
    """An iterable dataset may not tell its length; the last window is then found at the end."""
    config = small_config(tmp_path, accumulation_steps=4, epochs=1)
    known, unknown = make_trainer(config, "known"), make_trainer(config, "unknown")
    unknown.len_epoch = None
    for trainer in (known, unknown):
        seed_everything(1)
        trainer.train()
    for name, value in known.model.state_dict().items():
        torch.testing.assert_close(value, unknown.model.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert known.progress.step == unknown.progress.step == 3


def test_more_batches_than_announced_are_trained_on(tmp_path: Path) -> None:
    """As an iterable dataset read by several workers may give."""
    trainer = make_trainer(small_config(tmp_path, epochs=1, accumulation_steps=4))
    inputs = list_trained_inputs(trainer)
    trainer.len_epoch = 5
    trainer._train_epoch(1)
    assert len(inputs) == 9
    assert trainer.progress.step == 3  # windows of 4, 1 (the announced end) and 4


def test_iteration_mode_takes_exactly_its_batches_and_continues_in_the_next_epoch(
    tmp_path: Path,
) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=2, len_epoch=5))
    inputs = list_trained_inputs(trainer)
    trainer.train()
    assert len(inputs) == 10
    loader = trainer.data_loader.loader
    loader.set_epoch(0)
    first_pass = [images for images, _ in loader]
    assert len(first_pass) == 9
    assert all(torch.equal(a, b) for a, b in zip(inputs[:9], first_pass, strict=True))


@pytest.mark.parametrize("len_epoch", [0, -1])
def test_an_epoch_has_at_least_one_batch(tmp_path: Path, len_epoch: int) -> None:
    with pytest.raises(UserError, match=rf"trainer.len_epoch: {len_epoch} must be at least 1"):
        make_trainer(small_config(tmp_path, len_epoch=len_epoch))


def test_a_loader_without_batches_is_an_error(tmp_path: Path) -> None:
    class Empty:
        batch_size = 4

        def __iter__(self) -> Iterator[Any]:
            return iter([])

    trainer = make_trainer(small_config(tmp_path))
    trainer.data_loader = Empty()
    with pytest.raises(UserError, match="there was nothing to train on: the data loader gave no"):
        trainer.train()


# -- the names of the numbers ---------------------------------------------------------------------


class Doubled(Trainer):
    """Changes the step only."""

    def train_step(self, batch: Any) -> Any:
        loss, output, target = super().train_step(batch)
        return 2 * loss, output, target


class AnotherLoop(Doubled):
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return {}


class Chunks(list[Any]):
    """A loader whose batches may be empty, or have only targets that the loss ignores."""

    batch_size = 8


def test_batches_in_which_nothing_counts_are_left_out(tmp_path: Path) -> None:
    """lance #240, graphnet #424."""
    logs, weights = [], []
    images, target = torch.randn(8, 1, 8, 8), torch.arange(8)
    idle = [(images[:0], target[:0]), (images, torch.full((8,), -100)), None]
    for number, batches in enumerate(([(images, target)], [*idle, (images, target), *idle])):
        config = small_config(tmp_path, epochs=2, accumulation_steps=2)
        trainer = make_trainer(config, run_id=f"run{number}")
        trainer.data_loader = trainer.valid_data_loader = trainer.valid_metrics.loader = Chunks(
            batches
        )
        trainer.len_epoch = len(batches)
        trainer.train()
        logs.append(trainer.last_log)
        weights.append(trainer.model.state_dict())
    assert logs[0] == logs[1]
    assert differences(*weights) == []


def test_an_epoch_in_which_nothing_counted_has_no_mean_and_is_not_the_best(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1))
    trainer.data_loader = trainer.valid_data_loader = Chunks(
        [(torch.ones(0, 1, 8, 8), torch.ones(0))]
    )
    trainer.len_epoch = 1
    trainer.train()
    assert trainer.last_log == {"epoch": 1}
    assert trainer.progress.step == 0
    assert not (trainer.checkpoint_dir / "model_best.pt").exists()


def test_a_trainer_that_only_changes_the_step_announces_what_it_logs() -> None:
    options = TrainerOptions(epochs=1, ema_decay=0.9)
    names = ["loss", "loss_*", "a"]
    validated = [prefix + name for prefix in ("", "val_", "val_ema_") for name in names]
    assert Doubled.logged_names(["a"], options, [""]) == validated
    assert Doubled.logged_names(["a"], options, []) == names
    assert AnotherLoop.logged_names(["a"], options, [""]) is None


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}])
def test_an_epoch_gives_the_announced_numbers(tmp_path: Path, options: dict[str, Any]) -> None:
    trainer = make_trainer(small_config(tmp_path, epochs=1, **options))
    log = trainer._train_epoch(1)
    assert list(log) == Trainer.logged_names(["accuracy"], trainer.trainer_options, [""])


def test_the_gan_trains_without_a_validation_split(tmp_path: Path) -> None:
    config = small_config(tmp_path, type="gan.GanTrainer", epochs=1) | {
        "arch": {"type": "gan.GAN"},
        "data_loader": {"type": "DigitsDataLoader"},
        "discriminator_optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "loss": "binary_cross_entropy_with_logits",
        "metrics": [],
    }
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.last_log.keys() == {"epoch", "loss_g", "loss_d"}
