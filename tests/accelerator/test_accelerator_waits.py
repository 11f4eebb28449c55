"""No step waits for the device, apart from the listed functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.accelerator.device import ON_CUDA, device_config
from tests.accelerator.waits import MESSAGE, STAND_IN_WAITS, WAITS, Watch, find
from tests.helpers import make_trainer
from utils.errors import UserError

IMAGES = {"type": "FakeData", "args": {"size": 300, "image_size": [3, 8, 8], "num_classes": 10}}


def pictures(*steps: str, **args: Any) -> dict[str, Any]:
    """Sections for pictures that are decoded once, kept as bytes, and augmented on the device.

    Args:
        steps: the transforms of ``base/data/batch_transforms.py``.
        args: of the last one.
    """
    to_float = {"type": "ToDtype", "args": {"dtype": "float32", "scale": True}}
    transforms = [to_float, *({"type": step} for step in steps)]
    transforms[-1] = transforms[-1] | {"args": args}
    loader = {
        "dataset": IMAGES,
        "cache": True,
        "batch_size": 64,
        "batch_transform": {"type": "Compose", "args": {"transforms": transforms}},
    }
    return {
        "arch": {"type": "SmallConvNet", "args": {"width": 4, "in_channels": 3}},
        "data_loader": {"type": "DatasetLoader", "args": loader},
        "metrics": [],
    }


ONE_CYCLE = {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 18}}
CLASSES = {"task": "multiclass", "num_classes": 10, "validate_args": False}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # options, and other sections
    "plain": ({}, {}),
    "accumulation": ({"accumulation_steps": 2}, {}),
    "clipping and EMA": ({"grad_clip_norm": 0.5, "ema_decay": 0.9}, {}),
    "clipping by value and SWA": ({"grad_clip_value": 0.1, "swa": {"start": 1}}, {}),
    "recomputed activations": ({"activation_checkpointing": "features"}, {}),
    "warm-up": ({"warmup_steps": 5}, {"lr_scheduler": ONE_CYCLE}),
    "bf16": ({"precision": "bf16"}, {}),
    "fp16": ({"precision": "fp16"}, {}),
    "fp16 and EMA": ({"precision": "fp16", "ema_decay": 0.9, "ema_warmup": True}, {}),
    "channels_last": ({"channels_last": True}, {}),
    "SGD": ({}, {"optimizer": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}}),
    "RMSprop": ({}, {"optimizer": {"type": "RMSprop"}}),
    "torchmetrics": ({}, {"metrics": [{"type": "Accuracy", "args": CLASSES}]}),
    "TensorBoard": ({"tensorboard": True, "histogram_period": 1}, {}),
    "augmentation": ({}, pictures("FlipEach", "CropEach", "CutoutEach", size=2)),
    "MixUp": ({}, pictures("MixUpEach", num_classes=10)),
    "CutMix": ({}, pictures("CutMixEach", num_classes=10)),
    "saves": ({"save_steps": 4, "async_save": True}, {}),
}


def make(folder: Path, variant: str, run_id: str = "run") -> Any:
    options, sections = VARIANTS[variant]
    trainer = make_trainer(device_config(folder, **options) | sections, run_id)
    trainer.update.checks_later = True  # as on every accelerator
    return trainer


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_step_waits_for_the_device(tmp_path: Path, variant: str) -> None:
    trainer = make(tmp_path, variant)
    trainer._restore_rest()
    try:
        with Watch().forbidding():
            trainer._train_epoch(1)
    except RuntimeError as error:
        if MESSAGE not in str(error) or not ON_CUDA:
            raise
        pytest.fail(f"these have waited: {list_waits(make(tmp_path, variant, 'again'))}")
    trainer.run_log.close()
    trainer.checkpoints.wait()


def list_waits(trainer: Any) -> list[str]:
    """All lines of this project that wait, not only the first one."""
    watch = Watch("warn")
    with watch.forbidding():
        trainer._train_epoch(1)
    return sorted(set(watch.found))


def waiting_accuracy(output: torch.Tensor, target: torch.Tensor) -> float:
    return (output.argmax(1) == target).float().mean().item()


def test_a_metric_that_waits_is_found(tmp_path: Path) -> None:
    trainer = make(tmp_path, "plain")
    trainer.train_metrics.functions["accuracy"] = waiting_accuracy
    with pytest.raises(UserError, match=MESSAGE), Watch().forbidding():
        trainer._train_epoch(1)


def test_the_listed_waits_exist_and_have_a_reason() -> None:
    for wait in WAITS + STAND_IN_WAITS:
        assert callable(getattr(*find(wait)))
        assert wait.reason
