"""Runs of a single rank with a process group: ``python -m tests.accelerator.one_rank FOLDER``.

A launcher starts no process group for one device. Here, the variables of a launcher do. DDP leaves
a model of a single rank as it is, so it is told of a second one while it wraps the model.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from base.parallel.ddp import DDP
from base.parallel.fsdp import is_sharded
from tests.accelerator.device import N_GPU, ON_CPU, mlp_config
from tests.base.checkpoint.resumed_runs import copy_checkpoint
from tests.helpers import make_trainer
from tests.ranks import make_environment
from utils import distributed
from utils.checkpoints import list_checkpoints
from utils.distributed import init_distributed, process_group
from utils.dtensor import is_dtensor
from utils.world import ProcessSettings

FSDP = {"type": "fsdp", "args": {"blocks": ["front", "back"]}}
OFFLOAD = {"type": "fsdp", "args": {"cpu_offload": True}}
CLIP = {"grad_clip_norm": 0.5, "accumulation_steps": 2, "save_steps": 2}
RUNS: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {  # the strategy, and options
    "plain": (None, CLIP),
    "ddp": ({"type": "ddp"}, CLIP),
    "ddp_bf16": ({"type": "ddp"}, {"precision": "bf16", "ema_decay": 0.9}),
    "fsdp": (FSDP, CLIP),
    "fsdp_sharded": (FSDP, CLIP | {"sharded_checkpoint": True}),
    "fsdp_offload": (OFFLOAD, CLIP),
}


@contextmanager
def wrapping_one_rank() -> Iterator[None]:
    """Inside, DDP wraps the model of a single rank too."""
    wrap = DDP.wrap

    def wrap_one_rank(self: DDP, model: Any, device: torch.device) -> Any:
        with mock.patch.object(distributed, "world_size", return_value=2):
            return wrap(self, model, device)

    with mock.patch.object(DDP, "wrap", wrap_one_rank):
        yield


def train(folder: Path, name: str) -> dict[str, Any]:
    """Trains a run and resumes a copy of it in the last epoch; describes both."""
    section, options = RUNS[name]
    config = mlp_config(folder, **options)
    if section is not None:
        config["parallel"] = section
    trainer = make_trainer(config, name)
    trainer.train()
    parameters = list(trainer.model.parameters())
    found = {
        "wrapper": "FSDP" if is_sharded(trainer.model) else type(trainer.model).__name__,
        "sharded": sum(map(is_dtensor, parameters)),
        "devices": sorted({parameter.device.type for parameter in parameters}),
        "loss": trainer.last_log["val_loss"],
    }
    paths = list_checkpoints(trainer.checkpoint_dir)
    middle = [path for path in paths if "epoch2-step" in path.name]
    if middle:
        copy = copy_checkpoint(middle[-1], folder / f"small/{name}2")
        resumed = make_trainer(config, resume=copy)
        resumed.train()
        found["resumed_loss"] = resumed.last_log["val_loss"]
    return found


def main(folder: Path) -> None:
    os.environ |= make_environment(0, 1, 0)
    del os.environ["TORCHELASTIC_USE_AGENT_STORE"]  # this rank makes the store
    with init_distributed(ProcessSettings(n_gpu=N_GPU, timeout_seconds=30)), wrapping_one_rank():
        backend = torch.distributed.get_backend_config(process_group())
        results: dict[str, Any] = {"backend": str(backend)}
        for name in RUNS:
            if name == "fsdp_offload" and ON_CPU:
                continue
            try:
                results[name] = train(folder, name)
            except Exception as error:
                results[name] = {"error": f"{type(error).__name__}: {error}"}
            (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
