"""Our trainer against the loop that one writes by hand: the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.helpers import differences, make_trainer, small_config

EPOCHS = 3
BATCHES = 9  # of an epoch


def train_by_hand(
    config: dict[str, Any], accumulation: int, clip: float | None, has_scheduler: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Three epochs over the trainer's order of samples, in plain torch."""
    trainer = make_trainer(config, run_id="order")  # for its loader and its initial weights only
    model, loader = trainer.model, trainer.data_loader
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5) if has_scheduler else None
    for epoch in range(1, EPOCHS + 1):
        loader.set_epoch(epoch)
        model.train()
        batches = list(loader)
        for start in range(0, len(batches), accumulation):
            window = batches[start : start + accumulation]
            optimizer.zero_grad()
            for images, target in window:
                (F.cross_entropy(model(images), target) / len(window)).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        if schedule is not None:
            schedule.step()
    return model.state_dict(), optimizer.state_dict()


@pytest.mark.parametrize("accumulation", [1, 4])  # 9 batches: a last window of one
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("has_scheduler", [False, True])
def test_the_trainer_adds_nothing_to_the_maths(
    tmp_path: Path, accumulation: int, clip: float | None, has_scheduler: bool
) -> None:
    config = small_config(
        tmp_path, epochs=EPOCHS, accumulation_steps=accumulation, grad_clip_norm=clip
    )
    if has_scheduler:
        config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}
    trainer = make_trainer(config)
    trainer.train()
    weights, optimizer = train_by_hand(config, accumulation, clip, has_scheduler)
    assert differences(weights, trainer.model.state_dict()) == []
    assert differences(optimizer["state"], trainer.optimizer.state_dict()["state"]) == []
    assert trainer.progress.step == EPOCHS * -(-BATCHES // accumulation)


def test_the_numbers_of_an_epoch_are_means_over_samples(tmp_path: Path) -> None:
    config = small_config(tmp_path, epochs=1)
    config["optimizer"]["args"]["lr"] = 0.0  # so that every batch sees the same weights
    config["arch"] = {"type": "SmallConvNet", "args": {"width": 4, "dropout": 0.0}}
    trainer = make_trainer(config)
    log = trainer._train_epoch(1)
    model = trainer.model.eval()
    images, target = trainer.valid_data_loader.dataset.tensors
    chosen = trainer.data_loader.valid_sampler.indices
    with torch.no_grad():
        output = model(images[chosen])
    loss = F.cross_entropy(output, target[chosen]).item()
    accuracy = (output.argmax(1) == target[chosen]).float().mean().item()
    assert log["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert log["val_accuracy"] == pytest.approx(accuracy, rel=1e-6)
