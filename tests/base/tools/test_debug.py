"""Looking inside a training: what the debug options tell, and that they cost nothing when they are off."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from base.options import DebugOptions, TrainerOptions
from base.tools.debug import Probe
from logger import TensorboardWriter
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError


def debugging(tmp_path: Path, **debug: Any) -> dict[str, Any]:
    return small_config(tmp_path, epochs=1, tensorboard=True, debug=debug)


def scalars_of(trainer: Any) -> EventAccumulator:
    events = EventAccumulator(str(trainer.config.log_dir))
    events.Reload()
    return events


def test_no_hook_is_there_when_all_is_off(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path))
    assert not any(
        module._forward_hooks or module._backward_hooks for module in trainer.model.modules()
    )


def test_the_statistics_of_a_layer_are_its_outputs(tmp_path: Path) -> None:
    trainer = make_trainer(debugging(tmp_path, statistics=True))
    seen: list[torch.Tensor] = []
    layer = dict(trainer.model.named_modules())["features.2"]
    layer.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.detach().clone())
    )
    first: list[torch.Tensor] = []

    def train_step(batch: Any, plain: Any = trainer.train_step) -> Any:
        seen.clear()  # of the graph's tracing
        result = plain(batch)
        first.append(seen[0])
        return result

    trainer.train_step = train_step
    trainer.train()
    events = scalars_of(trainer)
    values = {
        name: events.Scalars(f"activation_{name}/features.2")[0].value
        for name in ("norm", "mean", "zeros", "nan")
    }
    output = first[0]
    assert values == {
        "norm": pytest.approx(float(output.norm()), rel=1e-5),
        "mean": pytest.approx(float(output.mean()), rel=1e-5),
        "zeros": pytest.approx(float((output == 0).float().mean()), rel=1e-5),
        "nan": 0.0,
    }
    assert events.Scalars("gradient_norm/features.2")[0].value > 0
    assert len(events.Scalars("activation_norm/features.2")) == 1  # of 12 batches


def test_statistics_change_no_bit_and_go_with_an_average_of_the_weights(tmp_path: Path) -> None:
    states = []
    for debug in (None, {"statistics": True, "detect_nan": True}):
        config = small_config(tmp_path, epochs=1, tensorboard=True, ema_decay=0.9, debug=debug)
        trainer = make_trainer(config, run_id=f"run{len(states)}")
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch1.pt"))
    assert [place for place in differences(*states) if "config" not in place] == []


def spoil(trainer: Any, batch: int, sample: int) -> int:
    """Makes one sample of a batch NaN before the model sees it; gives its index in the dataset."""
    forward, calls = trainer.forward, []

    def spoiled(model: Any, data: Any) -> Any:
        calls.append(1)
        if len(calls) == batch:
            data[0][sample] = float("nan")
        return forward(model, data)

    trainer.forward = spoiled
    trainer.data_loader.set_epoch(1)
    next(iter(trainer.data_loader))
    return int(trainer.data_loader.indices()[batch - 1][sample])


@pytest.mark.parametrize("policy", ["raise", "ignore"])
def test_detect_nan_names_the_layer_the_batch_and_the_sample(tmp_path: Path, policy: str) -> None:
    config = debugging(tmp_path, detect_nan=True)
    config["trainer"]["nan_policy"] = policy
    trainer = make_trainer(config)
    index = spoil(trainer, 3, 17)
    with pytest.raises(UserError) as error:
        trainer.train()
    assert str(error.value) == (
        "detect_nan: the output of the layer features.0 is not finite in batch 3 of epoch 1; "
        f"its samples in the dataset: {index}"
    )


def test_detect_nan_sees_a_loss_that_alone_is_not_finite(tmp_path: Path) -> None:
    trainer = make_trainer(debugging(tmp_path, detect_nan=True))
    criterion = trainer.criterion
    trainer.criterion = lambda output, target: criterion(output, target) * float("inf")
    with pytest.raises(
        UserError, match="detect_nan: the loss is not finite in batch 1 of epoch 1; its samples"
    ):
        trainer.train()


def test_detect_nan_sees_a_gradient(tmp_path: Path) -> None:
    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return grad * float("inf")

    trainer = make_trainer(debugging(tmp_path, detect_nan=True))
    criterion = trainer.criterion
    trainer.criterion = lambda output, target: criterion(Root.apply(output), target)
    with pytest.raises(
        UserError, match=r"detect_nan: the gradient of the output of the layer .* is not finite"
    ):
        trainer.train()


def test_a_layer_that_gives_several_things_is_looked_at_too(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.LSTM(4, 4))
    torch.nn.init.constant_(model[0].weight_hh_l0, float("nan"))
    options = TrainerOptions(epochs=1, debug=DebugOptions(detect_nan=True))
    logger = logging.getLogger("probe")
    probe = Probe(model, TensorboardWriter(tmp_path, logger, False), options, tmp_path, logger)
    probe.begin(1, 1, None)
    output, _ = model(torch.ones(3, 2, 4))
    with pytest.raises(
        UserError, match="the output of the layer 0 is not finite in batch 1 of epoch 1"
    ):
        probe.after_forward(output.sum())


def test_overfitting_one_batch_sees_the_same_samples_in_every_epoch(tmp_path: Path) -> None:
    config = debugging(tmp_path, overfit_batches=1)
    config["trainer"]["epochs"] = 30
    trainer = make_trainer(config)
    seen, train_step = [], trainer.train_step

    def watching(batch: Any) -> Any:
        seen.append(batch[1].tolist())
        return train_step(batch)

    trainer.train_step = watching
    trainer.train()
    assert len(seen) == 30
    assert all(labels == seen[0] for labels in seen)
    assert trainer.last_log["accuracy"] > 0.9


@pytest.mark.parametrize("name", ["checkpoint-epoch1.pt", "checkpoint-epoch2-step7.pt"])
def test_a_resumed_run_overfits_the_same_batches(tmp_path: Path, name: str) -> None:
    config = small_config(tmp_path, epochs=3, save_steps=3, debug={"overfit_batches": 4})
    whole = make_trainer(config, run_id="whole")
    whole.train()
    shutil.copytree(whole.checkpoint_dir, tmp_path / "small" / "again")
    again = make_trainer(config, resume=tmp_path / "small" / "again" / name)
    again.train()
    last = "checkpoint-epoch3.pt"
    assert again.steps_done() == 12
    assert differences(load(whole.checkpoint_dir / last), load(again.checkpoint_dir / last)) == []


def test_a_profile_is_a_trace_and_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = make_trainer(debugging(tmp_path, profile={"wait": 1, "warmup": 1, "active": 2}))
    trainer.train()
    (trace,) = Path(trainer.config.log_dir).glob("*.pt.trace.json")
    assert any(
        "conv" in str(event.get("name")) for event in json.loads(trace.read_text())["traceEvents"]
    )
    (table,) = [text for text in caplog.messages if text.startswith("Profile")]
    assert "Self CPU" in table
    assert sum(line.startswith(("-", " ")) for line in table.splitlines()) <= 16


def test_debug_options_that_a_loop_of_its_own_leaves_out_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(debugging(tmp_path, statistics=True))
    trainer._train_epoch = lambda epoch: {"loss": 1.0}
    trainer.train()
    assert any("trainer.debug.statistics had no effect" in text for text in caplog.messages)


@pytest.mark.parametrize(
    ("debug", "message"),
    [
        ({"statistic": True}, "trainer.debug takes no 'statistic' (did you mean 'statistics'?)"),
        ({"overfit_batches": -1}, "trainer.debug.overfit_batches: -1 must be at least 0"),
        ({"profile": {"active": 0}}, "trainer.debug.profile.active: 0 must be at least 1"),
        ({"detect_nan": "yes"}, "trainer.debug.detect_nan: wants bool, not 'yes'"),
    ],
)
def test_a_debug_option_that_does_not_fit_is_a_line(
    tmp_path: Path, debug: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        make_trainer(debugging(tmp_path, **debug))
    assert message in str(error.value)
