"""The shipped Trainer and BaseModel work as pytorch-template's projects use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader, BaseModel
from config import ConfigParser
from tests.contract.contract_objects import CPU, Net, make_config, mse
from trainer import Trainer
from utils import inf_loop


def test_the_text_of_a_model_shows_its_trainable_parameters() -> None:
    text = str(Net(3))
    assert text.splitlines()[0] == "Net("
    assert "(linear): Linear(in_features=1, out_features=3, bias=True)" in text
    assert text.splitlines()[-1] == "Trainable parameters: 6"
    with pytest.raises(NotImplementedError):
        BaseModel()(torch.zeros(1))


@pytest.fixture
def components(tmp_path: Path) -> dict[str, Any]:
    config = ConfigParser(make_config(tmp_path), run_id="run")
    dataset = TensorDataset(torch.ones(10, 1), torch.zeros(10, 3))
    loader = BaseDataLoader(dataset, 4, True, 0.2, 0)
    model = Net(3)
    return {
        "model": model,
        "criterion": mse,
        "metric_ftns": [],
        "optimizer": torch.optim.SGD(model.linear.parameters(), 0.1),
        "config": config,
        "device": CPU,
        "data_loader": loader,
    }


def test_the_shipped_trainer_keeps_the_templates_attributes(components: dict[str, Any]) -> None:
    trainer = Trainer(*components.values())
    assert not trainer.do_validation
    assert trainer.valid_data_loader is None
    assert trainer.lr_scheduler is None
    assert trainer.len_epoch == 2
    assert trainer.log_step == 2
    assert trainer.data_loader is components["data_loader"]
    assert trainer.train_metrics.avg("loss") == trainer.valid_metrics.avg("loss") == 0.0
    assert "[4/8 (50%)]" in trainer._progress(1)
    valid = components["data_loader"].split_validation()
    assert Trainer(*components.values(), valid_data_loader=valid).do_validation
    assert set(Trainer(*components.values(), valid_data_loader=valid)._valid_epoch(1)) == {"loss"}


def test_an_epoch_of_the_shipped_trainer_has_len_epoch_batches(components: dict[str, Any]) -> None:
    """The template trained one batch more. The next epoch continues with the next batch."""
    sizes: list[int] = []

    class CountingTrainer(Trainer):
        def train_step(self, batch: Any) -> Any:
            sizes.append(len(batch[0]))
            return super().train_step(batch)

    trainer = CountingTrainer(*components.values(), len_epoch=3)
    assert trainer.len_epoch == 3
    assert isinstance(trainer.data_loader, inf_loop)
    trainer.train()
    assert len(sizes) == 6
    assert "[1/3 (33%)]" in trainer._progress(1)


def test_criterion_and_metrics_may_be_plain_functions(components: dict[str, Any]) -> None:
    """A metric takes ``(output, target)``, may call ``.item()``, and is logged by its name."""

    def mean_error(output: torch.Tensor, target: torch.Tensor) -> float:
        return (output - target).abs().mean().item()

    components["metric_ftns"] = [mean_error]
    valid = components["data_loader"].split_validation()
    trainer = Trainer(*components.values(), valid_data_loader=valid)
    log = trainer._train_epoch(1)
    assert set(log) == {"loss", "mean_error", "val_loss", "val_mean_error"}
    with torch.no_grad():
        output = trainer.model(torch.ones(2, 1))
    assert log["val_mean_error"] == pytest.approx(output.abs().mean().item(), rel=1e-6)
    assert log["val_loss"] == pytest.approx(output.square().mean().item(), rel=1e-6)
