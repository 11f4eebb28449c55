"""The helpers of ``utils`` work as pytorch-template's projects use them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from tests.contract.contract_objects import CPU
from utils import ensure_dir, inf_loop, prepare_device, read_json, write_json


def test_inf_loop_repeats_a_loader_without_end() -> None:
    loader = BaseDataLoader(TensorDataset(torch.arange(5)), 2, True, 0.0, 0)
    endless = inf_loop(loader)
    assert iter(endless) is iter(endless)
    assert not hasattr(endless, "n_samples"), "so that _progress counts batches"
    for _ in range(4):
        values = torch.cat([next(endless)[0] for _ in range(3)])
        assert sorted(values.tolist()) == [0, 1, 2, 3, 4]
    seen = []
    for index, _ in enumerate(endless):
        seen.append(index)
        if index == 6:
            break
    assert len(seen) == 7
    assert [value for value, _ in zip(inf_loop([1, 2]), range(5), strict=False)] == [1, 2, 1, 2, 1]


def test_prepare_device_gives_the_cpu_if_no_device_is_asked_for() -> None:
    assert prepare_device(0) == (CPU, [])
    assert prepare_device(0)[1] is not prepare_device(0)[1], "the caller may change the list"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without accelerators")
def test_prepare_device_warns_if_there_is_no_accelerator(caplog: pytest.LogCaptureFixture) -> None:
    assert prepare_device(1) == (CPU, [])
    assert prepare_device(97) == (CPU, [])  # warns once for each number; no other test takes 97
    assert "97" in caplog.text


def test_write_json_and_read_json_keep_content_and_order(tmp_path: Path) -> None:
    ensure_dir(tmp_path / "a" / "b")
    ensure_dir(str(tmp_path / "a" / "b"))
    content = {"z": 1, "a": {"y": [1, 2.5, None], "b": "ö"}}
    write_json(content, str(tmp_path / "a" / "b" / "c.json"))
    read = read_json(tmp_path / "a" / "b" / "c.json")
    assert read == content
    assert list(read) == ["z", "a"]
    assert '\n    "a": {' in (tmp_path / "a" / "b" / "c.json").read_text()
