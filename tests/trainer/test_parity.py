"""Our trainer against the loop that one writes by hand: the same bits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.helpers import differences, make_trainer, small_config
from utils.seed import seed_everything

EPOCHS = 3


def by_hand(config, accumulation, clip, scheduler):
    """Three epochs over the trainer's own order of samples, in plain torch."""
    trainer = make_trainer(config, run_id="order")  # for its loader and its initial weights alone
    model, loader = trainer.model, trainer.data_loader
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5) if scheduler else None
    for epoch in range(1, EPOCHS + 1):
        loader.set_epoch(epoch)
        model.train()
        batches = list(loader)
        for start in range(0, len(batches), accumulation):
            window = batches[start : start + accumulation]
            optimizer.zero_grad()
            for images, target in window:
                (F.cross_entropy(model(images), target) / len(window)).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        if schedule:
            schedule.step()
    return model.state_dict(), optimizer.state_dict()


@pytest.mark.parametrize("accumulation", [1, 4])  # 9 batches: a last window of one
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("scheduler", [False, True])
def test_the_trainer_adds_nothing_to_the_maths(tmp_path, accumulation, clip, scheduler):
    config = small_config(
        tmp_path, epochs=EPOCHS, accumulation_steps=accumulation, grad_clip_norm=clip
    )
    if scheduler:
        config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}
    trainer = make_trainer(config)
    trainer.train()
    weights, optimizer = by_hand(config, accumulation, clip, scheduler)
    assert differences(weights, trainer.model.state_dict()) == []
    assert differences(optimizer["state"], trainer.optimizer.state_dict()["state"]) == []
    assert trainer.steps_done() == EPOCHS * -(-9 // accumulation)


def test_the_numbers_of_an_epoch_are_means_over_samples(tmp_path):
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
    assert log["val_loss"] == pytest.approx(
        F.cross_entropy(output, target[chosen]).item(), rel=1e-5
    )
    assert log["val_accuracy"] == pytest.approx(
        (output.argmax(1) == target[chosen]).float().mean().item(), rel=1e-6
    )


def test_an_unknown_length_gives_the_same_windows(tmp_path):
    """An iterable dataset may not tell its length; the last window is then found at the end."""
    config = small_config(tmp_path, accumulation_steps=4, epochs=1)
    known, unknown = make_trainer(config, "known"), make_trainer(config, "unknown")
    unknown.len_epoch = None
    for trainer in (known, unknown):
        seed_everything(1)
        trainer.train()
    for name, value in known.model.state_dict().items():
        torch.testing.assert_close(value, unknown.model.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert known.steps_done() == unknown.steps_done() == 3


def test_warm_up_rises_and_leaves_the_schedule_alone(tmp_path):
    config = small_config(tmp_path, epochs=2, warmup_steps=6)
    config["lr_scheduler"] = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.1}}
    trainer = make_trainer(config)
    rates = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: (rates.append(trainer.optimizer.param_groups[0]["lr"]), step())
    trainer.train()
    expected = [0.01 * (i + 1) / 6 for i in range(6)] + [0.01] * 3 + [0.001] * 9
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("scheduler", "steps"), [("OneCycleLR", 18), ("StepLR", 2)])
def test_a_schedule_moves_per_step_or_per_epoch_as_suits_it(tmp_path, scheduler, steps):
    config = small_config(tmp_path)
    args = {"max_lr": 0.1, "total_steps": 20} if scheduler == "OneCycleLR" else {"step_size": 5}
    config["lr_scheduler"] = {"type": scheduler, "args": args}
    trainer = make_trainer(config)
    trainer.train()
    assert trainer.lr_scheduler.last_epoch == steps


def test_a_plateau_follows_the_monitor(tmp_path):
    config = small_config(tmp_path, epochs=4, monitor="min val_loss")
    config["optimizer"] = {"type": "SGD", "args": {"lr": 0.0}}
    config["arch"]["args"]["dropout"] = 0.0
    config["lr_scheduler"] = {"type": "ReduceLROnPlateau", "args": {"patience": 100}}
    trainer = make_trainer(config)
    seen = []
    trainer.lr_scheduler.step = seen.append
    trainer.train()
    assert len(seen) == 4
    assert all(isinstance(value, float) for value in seen)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns(tmp_path, precision):
    config = small_config(tmp_path, epochs=6, precision=precision, grad_clip_norm=1.0)
    trainer = make_trainer(config)
    trainer.train()
    assert trainer._valid_epoch(6)["accuracy"] > 0.8
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    assert trainer.update.scaler.is_enabled() == (precision == "fp16")


def test_the_moving_average_is_that_of_its_formula(tmp_path):
    trainer = make_trainer(small_config(tmp_path, epochs=1, ema_decay=0.9))
    name = "classifier.2.bias"
    history = []
    step = trainer.update.step

    def watched(measure: bool = False) -> bool:
        moved = step(measure)
        history.append(trainer.model.state_dict()[name].clone())
        return moved

    trainer.update.step = watched
    log = trainer._train_epoch(1)
    average = history[0]
    for value in history[1:]:
        average = 0.9 * average + 0.1 * value
    torch.testing.assert_close(trainer.update.ema.module.state_dict()[name], average)
    assert log["val_ema_accuracy"] != log["val_accuracy"]


def test_iteration_mode_takes_exactly_its_batches_and_goes_on_in_the_next_epoch(tmp_path):
    config = small_config(tmp_path, epochs=2, len_epoch=5)
    trainer = make_trainer(config)
    taken = []
    forward = type(trainer).forward
    trainer.forward = lambda model, batch: (
        model.training and taken.append(batch[1]),
        forward(model, batch),
    )[1]
    trainer.train()
    assert len(taken) == 10
    trainer.data_loader.loader.set_epoch(0)
    first_pass = [target for _, target in trainer.data_loader.loader]
    assert all(
        torch.equal(a, b) for a, b in zip(taken, first_pass, strict=False)
    )  # 9 of a pass of 9


def test_compile_keeps_the_names_of_the_plain_model(tmp_path):
    trainer = make_trainer(small_config(tmp_path))
    names = list(trainer.model.state_dict())
    trainer.model.compile(backend="eager")
    trainer._train_epoch(1)
    assert list(trainer.model.state_dict()) == names


def test_more_batches_than_were_told_are_trained_on(tmp_path):
    """As an iterable dataset read by several workers may give."""
    trainer = make_trainer(small_config(tmp_path, epochs=1, accumulation_steps=4))
    trainer.len_epoch = 5
    trainer._train_epoch(1)
    assert trainer.steps_done() == 3  # windows of 4, 1 (the told end) and 4


def test_a_trainer_that_only_changes_the_step_still_tells_what_it_logs():
    from base.options import TrainerOptions
    from trainer import Trainer

    class Doubled(Trainer):
        def train_step(self, batch):
            loss, output, target = super().train_step(batch)
            return 2 * loss, output, target

    class OwnLoop(Doubled):
        def _train_epoch(self, epoch):
            return {}

    options = TrainerOptions(epochs=1, ema_decay=0.9)
    assert Doubled.logged_names(["a"], options, True) == [
        "loss",
        "a",
        "val_loss",
        "val_a",
        "val_ema_loss",
        "val_ema_a",
    ]
    assert Doubled.logged_names(["a"], options, False) == ["loss", "a"]
    assert OwnLoop.logged_names(["a"], options, True) is None


def test_channels_last_lays_out_all_convolutions_also_of_one_input_channel(tmp_path):
    """The first one's layout decides that of all activations."""
    config = small_config(tmp_path, channels_last=True)
    config["arch"] = {"type": "lenet.LeNet"}
    weights = [p for p in make_trainer(config).model.parameters() if p.ndim == 4]
    assert weights[0].shape[1] == 1
    for weight in weights:
        assert weight.stride()[1] == 1, weight.stride()  # the channels are neighbours
