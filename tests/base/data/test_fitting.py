"""Datasets that are fitted on the training part, and the data that take their fit over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from base import BaseDataLoader
from base.data.loader import describe_data, prepare_loader
from base.data.target_transforms import LogStandardize, Standardize
from base.evaluation import load_subject
from base.schema import SCHEMA
from config import ConfigParser
from data_loader.series import WindowDataset
from data_loader.tables import Diabetes
from tests.helpers import load, make_trainer, small_config
from utils.errors import UserError

CPU = torch.device("cpu")


def make_windows(n_steps: int = 60) -> WindowDataset:
    return WindowDataset(np.arange(float(n_steps)), 4, 2, target_transform=Standardize())


def test_only_the_steps_of_the_training_windows_are_seen() -> None:
    dataset = make_windows()
    loader = BaseDataLoader(dataset, 4, validation_split=10, validation_split_by="time")
    sampler: Any = loader.sampler
    steps = np.arange(sampler.indices[-1] + 6.0)
    assert dataset.fitted == {"mean": [steps.mean()], "std": [pytest.approx(steps.std())]}


def test_a_subset_is_fitted_on_its_samples_only() -> None:
    dataset = Diabetes(Standardize())
    BaseDataLoader(Subset(dataset, list(range(100, 200))), 4)
    other = Diabetes(Standardize())
    other.fit_to(np.arange(100, 200))
    assert dataset.fitted == other.fitted


def test_a_dataset_whose_training_part_is_hidden_is_refused() -> None:
    with pytest.raises(UserError, match=r"scales its samples by the training part.*remove it"):
        BaseDataLoader(make_windows(), 4, cache=True)
    joined = Subset(ConcatDataset([make_windows(), make_windows()]), range(9))
    with pytest.raises(UserError, match="a ConcatDataset of WindowDataset: each would be scaled"):
        BaseDataLoader(joined, 4)


def test_a_transform_that_was_fitted_before_the_split_gets_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset: Any = TensorDataset(torch.rand(20, 2), torch.rand(20))
    BaseDataLoader(dataset, 4, validation_split=0.2)
    dataset.target_transform = StandardScaler()
    BaseDataLoader(dataset, 4)
    BaseDataLoader(Diabetes(Standardize()), 4, validation_split=0.2)
    assert not caplog.messages
    BaseDataLoader(dataset, 4, validation_split=0.2)
    assert "has fitted its target_transform StandardScaler() before the split" in caplog.text


def test_validation_data_are_scaled_like_the_training_data() -> None:
    train, valid = BaseDataLoader(make_windows(), 4), BaseDataLoader(make_windows(90), 4)
    prepare_loader(train, "data_loader", CPU)
    prepare_loader(valid, "valid_data_loader", CPU, True, train)
    dataset: Any = valid.dataset
    assert dataset.fitted == describe_data(train)["fitted"]


def diabetes_config(tmp_path: Path, **args: Any) -> dict[str, Any]:
    dataset = {"type": "tables.Diabetes", "args": {"target_transform": {"type": "LogStandardize"}}}
    return small_config(tmp_path) | {
        "arch": {"type": "mlp.MLP", "args": {"in_features": 11}},
        "data_loader": {
            "type": "DatasetLoader",
            "args": {"dataset": dataset, "validation_split": 0.25, "num_workers": 0} | args,
        },
        "loss": "mse_loss",
        "metrics": [{"type": "MeanAbsoluteError"}],
    }


def test_the_loss_is_of_scaled_targets_and_a_metric_in_real_units(tmp_path: Path) -> None:
    trainer = make_trainer(diabetes_config(tmp_path))
    trainer.train()
    log, loader = trainer.last_log, trainer.valid_data_loader
    trainer.model.eval()
    with torch.no_grad():
        batches = [(trainer.model(values), target) for values, target in loader]
    output, target = (torch.cat(values) for values in zip(*batches, strict=True))
    transform = loader.dataset.target_transform
    error = (transform.inverse(output) - transform.inverse(target)).abs().mean()
    assert log["val_loss"] == pytest.approx(float((output - target).square().mean()), rel=1e-5)
    assert log["val_MeanAbsoluteError"] == pytest.approx(float(error), rel=1e-5)
    assert float(error) > 10


def test_a_test_takes_the_fit_from_the_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(diabetes_config(tmp_path))
    trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pt"
    fitted = load(path)["environment"]["fitted"]
    config = ConfigParser(diabetes_config(tmp_path, validation_split=0.5), resume=path)
    config.check(SCHEMA)
    subject = load_subject(config)
    assert subject.loader.dataset.fitted == fitted


def test_a_logarithm_needs_positive_targets() -> None:
    with pytest.raises(UserError, match="a training target is -1"):
        LogStandardize().fit(torch.tensor([[-1.0], [3.0]]))
