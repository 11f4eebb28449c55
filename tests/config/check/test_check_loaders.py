"""Arguments of loaders that do not fit are found before a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from base.schema import SCHEMA
from config import ConfigParser
from config.check.loaders import REFUSED, check_loaders
from tests.base.data.streams import Plain
from tests.helpers import small_config
from utils.errors import UserError


def test_arguments_that_need_indices_are_refused_beside_a_stream() -> None:
    args = {"dataset": {"type": "x"}, "shuffle": True, "cache": True, "validation_split": 0}
    found: list[Any] = []
    checker: Any = SimpleNamespace(
        resolved={("data_loader", "args", "dataset"): Plain, ("arch",): dict},
        tree=SimpleNamespace(data={"data_loader": {"args": args}}),
        fail=lambda keys, message: found.append((keys, message)),
    )
    check_loaders(checker)
    assert found == [
        (("data_loader", "args", name), f"Plain is a stream, which {REFUSED[name]}")
        for name in ("shuffle", "cache")
    ]


def test_shuffle_beside_a_batch_sampler_has_no_effect() -> None:
    sampler = {"type": "BucketBatchSampler", "args": {"batch_size": 8, "lengths": "x"}}
    dataset = {"type": "FakeData"}
    args = {"dataset": dataset, "batch_sampler": sampler, "shuffle": True}
    config = small_config(Path("unused")) | {"data_loader": {"type": "DatasetLoader", "args": args}}
    with pytest.raises(UserError, match=r"args\.shuffle: has no effect"):
        ConfigParser(config, run_id="unused").check(SCHEMA)
