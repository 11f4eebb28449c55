"""``trainer.compile`` on the device: the numbers of eager mode, compiled in the first epoch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.accelerator.device import ON_CPU, ON_SIMULATED, mlp_config, needs
from tests.base.checkpoint.resumed_runs import copy_checkpoint
from tests.helpers import load, make_trainer

HAS_COMPILER = shutil.which("c++") is not None and (ON_CPU or find_spec("triton") is not None)
pytestmark = needs(
    HAS_COMPILER and not ON_SIMULATED, "torch.compile needs a C++ compiler, and triton on a GPU"
)


@pytest.fixture(autouse=True)
def _new_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def train_compiled(config: dict[str, Any], graphs: list[int], **where: Any) -> Any:
    """Trains; notes how many graphs were compiled up to the end of each epoch."""
    config = config | {"trainer": config["trainer"] | {"compile": True}}
    trainer = make_trainer(config, **where)
    end_epoch = trainer.end_epoch

    def note(epoch: int) -> dict[str, float]:
        log: dict[str, float] = end_epoch(epoch)
        graphs.append(counters["stats"]["unique_graphs"])
        return log

    trainer.end_epoch = note
    trainer.train()
    return trainer


def test_compile_trains_and_resumes_alike(tmp_path: Path) -> None:
    """The last batch of a pass is smaller, so the first epoch compiles all there is to compile."""
    config = mlp_config(tmp_path, epochs=3, save_steps=4, precision="bf16")
    config["optimizer"]["args"]["lr"] = 0.02
    plain = make_trainer(config, "plain")
    plain.train()
    graphs: list[int] = []
    compiled = train_compiled(config, graphs, run_id="compiled")
    assert graphs[0] > 0
    assert graphs == [graphs[0]] * 3, "compiled again after the first epoch"
    check_close(compiled, plain)
    path = compiled.checkpoint_dir / "checkpoint-epoch2-step13.pt"
    copy = copy_checkpoint(path, tmp_path / "small/resumed")
    check_close(train_compiled(config, graphs, resume=copy), compiled)


def check_close(trainer: Any, expected: Any) -> None:
    assert trainer.last_log["val_loss"] == pytest.approx(expected.last_log["val_loss"], rel=0.02)
    path = expected.checkpoint_dir / "checkpoint-epoch3.pt"
    assert load(path)["state_dict"].keys() == trainer.model.state_dict().keys()
