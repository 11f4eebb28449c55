"""A run that is resumed inside an epoch trains on each sample of the epoch once."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

import train
from base import BaseDataLoader
from base.schema import SCHEMA
from config import ConfigParser
from tests.base.checkpoint.resumed_runs import check_resuming
from tests.base.data.samplers import Buckets, Order, make_nested
from tests.helpers import small_config


class Read(Dataset[Any]):
    """Notes the samples that are read."""

    def __init__(self, n: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(n, 1, 8, 8, generator=generator)
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return self.images[index], index % 10


def make(
    config: dict[str, Any], loader: BaseDataLoader, run_id: str, resume: Path | None = None
) -> Any:
    parser = ConfigParser(config, resume=resume, run_id=run_id)
    parser.check(SCHEMA)
    return train.make_trainer(parser, logging.getLogger("train"), lambda _: [loader, None])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"batch_size": 4}, {"batch_size": 8}),
        ({"batch_size": 4}, {"batch_size": 40}),
        ({"batch_size": 4}, {"batch_size": 3}),
        ({"batch_size": 4, "batch_sampler": Buckets(6)}, {"batch_size": 4}),
        ({"batch_size": 4}, {"batch_size": 4, "batch_sampler": Buckets(None)}),
        ({"batch_size": 4}, {"batch_size": 4, "num_workers": 0, "drop_last": True}),
    ],
    ids=["larger", "one", "smaller", "from a batch sampler", "to a batch sampler", "drop last"],
)
def test_another_batch_size_goes_on_after_the_same_sample(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    config = small_config(tmp_path, save_steps=7, epochs=1)
    config["data_loader"]["args"] = {"batch_size": 4}
    before = Read(40)
    make(config, BaseDataLoader(before, **first), "first").train()
    (path,) = (tmp_path / "small" / "first").glob("checkpoint-epoch1-step7.pt")
    config["data_loader"]["args"] = {"batch_size": second["batch_size"]}
    after = Read(40)
    trainer = make(config, BaseDataLoader(after, **second), "second", path)
    trainer.train()
    if "batch_sampler" not in first | second:  # their orders differ
        assert Counter(before.read[:28] + after.read) == Counter(range(40))
    assert len(after.read) == 12
    assert trainer.train_metrics.n_samples == 40
    assert not trainer.progress.batch


SAMPLERS = {
    "own generator": lambda: BaseDataLoader(Read(10), 3, sampler=Order("numpy")),
    "nested generator": lambda: BaseDataLoader(Read(10), 3, batch_sampler=make_nested()),
    "estimated length": lambda: BaseDataLoader(Read(24), 3, batch_sampler=Buckets(4, 24, 6)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_with_state_or_without_a_length_resume_to_the_same_bits(
    tmp_path: Path, name: str
) -> None:
    config = small_config(tmp_path, save_steps=1)
    check_resuming(
        lambda run_id, resume: make(config, SAMPLERS[name](), run_id, resume),
        "checkpoint-*-step*.pt",
        at_least=4,
    )


def test_the_log_says_where_the_epoch_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(tmp_path, save_steps=2, epochs=1)
    config["data_loader"]["args"]["batch_size"] = 480
    make(config, BaseDataLoader(Read(20), 4), "first").train()
    (path,) = (tmp_path / "small" / "first").glob("checkpoint-epoch1-step2.pt")
    config["data_loader"]["args"]["batch_size"] = 240
    make(config, BaseDataLoader(Read(20), 5), "second", path).train()
    assert "kept: the epoch continues after 8 samples, in batches of 5" in caplog.text
