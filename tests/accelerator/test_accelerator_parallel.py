"""Strategies over one device: DataParallel, DDP and FSDP. NCCL allows one rank on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.accelerator.device import DEVICE, ON_CPU, ON_SIMULATED, mlp_config, needs, real_only
from tests.accelerator.one_rank import RUNS
from tests.helpers import load, make_trainer, run

pytestmark = needs(not ON_SIMULATED, "the simulated device has no backend for ranks")
BACKENDS = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the runs of one rank have given, all of them in one process."""
    folder = tmp_path_factory.mktemp("ranks")
    ended = run("-m", "tests.accelerator.one_rank", folder, timeout=90)
    path = folder / "results.json"
    assert path.is_file(), ended.stderr
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert ended.returncode == 0, ended.stderr
    return found


def test_the_process_group_has_the_backend_of_the_device(results: dict[str, Any]) -> None:
    assert BACKENDS[DEVICE.type] in results["backend"]


@pytest.mark.parametrize("name", [name for name in RUNS if name != "plain"])
def test_ddp_and_fsdp_over_one_device_train_alike(results: dict[str, Any], name: str) -> None:
    if name == "fsdp_offload" and ON_CPU:
        pytest.skip("the parameters are on the CPU already")
    found, plain = results[name], results["plain"]
    assert "error" not in found, found
    is_ddp = name.startswith("ddp")
    assert found["wrapper"] == ("DistributedDataParallel" if is_ddp else "FSDP")
    assert (found["sharded"] > 0) == (not is_ddp)
    assert found["devices"] == ["cpu" if name == "fsdp_offload" else DEVICE.type]
    if name != "ddp_bf16":
        assert found["loss"] == pytest.approx(plain["loss"], rel=1e-3)
        assert found["resumed_loss"] == pytest.approx(found["loss"], rel=1e-4)


def test_data_parallel_trains_alike(tmp_path: Path) -> None:
    trainers = []
    for kind in ("none", "dp"):
        trainer = make_trainer(mlp_config(tmp_path) | {"parallel": {"type": kind}}, kind)
        trainer.train()
        trainers.append(trainer)
    kind = "TwoDeviceNet" if ON_CPU else "DataParallel"
    assert type(trainers[1].model).__name__ == kind
    states = [load(t.checkpoint_dir / "checkpoint-epoch2.pt")["state_dict"] for t in trainers]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)


@real_only
def test_two_ranks_on_one_device_are_refused_in_one_line(tmp_path: Path) -> None:
    """NCCL cannot: it needs a device for each rank."""
    if torch.accelerator.device_count() > 1:
        pytest.skip("this machine has several devices")
    config = mlp_config(tmp_path)
    config["parallel"] = {"type": "ddp", "args": {"num_processes": 2, "start_timeout_seconds": 20}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    ended = run("train.py", "-c", tmp_path / "c.json", timeout=90)
    assert ended.returncode == 2, ended.stderr
    assert "2 processes want an accelerator each, and this machine has 1" in ended.stderr
    assert "Traceback" not in ended.stderr
