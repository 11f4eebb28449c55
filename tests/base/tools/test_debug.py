"""``trainer.debug``: what its options show, and that they cost nothing when they are off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tests.base.tools.programs import add_module
from tests.helpers import differences, load, make_trainer, small_config
from utils.errors import UserError

RECURRENT = """
from torch import nn
from base import BaseModel
class Recurrent(BaseModel):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.head = nn.Linear(4, 10)
        nn.init.constant_(self.lstm.weight_hh_l0, float("nan"))
    def forward(self, x):
        states, _ = self.lstm(x.squeeze(1))
        return self.head(states[:, -1])
"""

INFINITE_LOSS = """
from torch.nn import functional as F
def infinite_loss(output, target):
    return F.cross_entropy(output, target) * float("inf")
"""


def debugging(tmp_path: Path, **debug: Any) -> dict[str, Any]:
    """The config of a run of one epoch with these options."""
    return small_config(tmp_path, epochs=1, tensorboard=True, debug=debug)


def read_events(trainer: Any) -> EventAccumulator:
    events = EventAccumulator(str(trainer.config.log_dir))
    events.Reload()
    return events


def test_no_hook_is_registered_when_all_options_are_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a hook was registered")

    for name in ("forward_pre_hook", "forward_hook", "full_backward_hook"):
        monkeypatch.setattr(nn.Module, f"register_{name}", refuse)
    for name in ("step_pre_hook", "step_post_hook"):
        monkeypatch.setattr(torch.optim.Optimizer, f"register_{name}", refuse)
    make_trainer(small_config(tmp_path, epochs=1)).train()


# -- statistics ------------------------------------------------------------------------------------


def test_the_statistics_of_a_layer_are_those_of_its_output(tmp_path: Path) -> None:
    trainer = make_trainer(debugging(tmp_path, statistics=True))
    outputs: list[torch.Tensor] = []  # of each call since the last batch began
    layer = dict(trainer.model.named_modules())["features.2"]
    layer.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output.detach().clone())
    )
    train_step, of_batches = trainer.train_step, []

    def train_step_and_keep_output(batch: Any) -> Any:
        outputs.clear()  # of the tracing of the graph
        result = train_step(batch)
        of_batches.append(outputs[0])
        return result

    trainer.train_step = train_step_and_keep_output
    trainer.train()
    events = read_events(trainer)
    found = {
        name: events.Scalars(f"activation_{name}/features.2")[0].value
        for name in ("norm", "mean", "zeros", "nan")
    }
    output = of_batches[0]
    assert found == {
        "norm": pytest.approx(float(output.norm()), rel=1e-5),
        "mean": pytest.approx(float(output.mean()), rel=1e-5),
        "zeros": pytest.approx(float((output == 0).float().mean()), rel=1e-5),
        "nan": 0.0,
    }
    assert events.Scalars("gradient_norm/features.2")[0].value > 0
    assert len(events.Scalars("activation_norm/features.2")) == 1  # of 9 batches


def test_statistics_change_no_bit_also_with_averaged_weights(tmp_path: Path) -> None:
    states = []
    for debug in (None, {"statistics": True, "detect_nan": True}):
        config = small_config(tmp_path, epochs=1, tensorboard=True, ema_decay=0.9, debug=debug)
        trainer = make_trainer(config, run_id=f"run{len(states)}")
        trainer.train()
        states.append(load(trainer.checkpoint_dir / "checkpoint-epoch1.pt"))
    assert [path for path in differences(*states) if "config" not in path] == []


# -- the first bad number --------------------------------------------------------------------------


def poison_sample(trainer: Any, batch: int, sample: int) -> int:
    """Makes one sample of a batch NaN before the model sees it; returns its dataset index."""
    forward, calls = trainer.forward, []

    def poisoned(model: Any, data: Any) -> Any:
        calls.append(1)
        if len(calls) == batch:
            data[0][sample] = float("nan")
        return forward(model, data)

    trainer.forward = poisoned
    trainer.data_loader.set_epoch(1)
    next(iter(trainer.data_loader))
    return int(trainer.data_loader.list_batches()[batch - 1][sample])


@pytest.mark.parametrize("policy", ["raise", "ignore"])
def test_detect_nan_names_the_layer_the_batch_and_the_sample(tmp_path: Path, policy: str) -> None:
    config = debugging(tmp_path, detect_nan=True)
    config["trainer"]["nan_policy"] = policy
    trainer = make_trainer(config)
    index = poison_sample(trainer, 3, 17)
    with pytest.raises(UserError) as error:
        trainer.train()
    assert str(error.value) == (
        "detect_nan: the output of the layer features.0 is not finite in batch 3 of epoch 1; "
        f"its samples in the dataset: {index}"
    )


def test_detect_nan_sees_a_loss_that_is_not_finite_though_all_layers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_module(monkeypatch, "model", "infinite", INFINITE_LOSS)
    config = debugging(tmp_path, detect_nan=True) | {"loss": "infinite.infinite_loss"}
    message = "detect_nan: the loss is not finite in batch 1 of epoch 1; its samples"
    with pytest.raises(UserError, match=message):
        make_trainer(config).train()


def test_detect_nan_sees_a_gradient(tmp_path: Path) -> None:
    class InfiniteGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return grad * float("inf")

    trainer = make_trainer(debugging(tmp_path, detect_nan=True))
    criterion = trainer.criterion
    trainer.criterion = lambda output, target: criterion(InfiniteGradient.apply(output), target)
    message = r"detect_nan: the gradient of the output of the layer .* is not finite"
    with pytest.raises(UserError, match=message):
        trainer.train()


def test_a_layer_that_returns_several_values_is_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_module(monkeypatch, "model", "recurrent", RECURRENT)
    config = debugging(tmp_path, detect_nan=True) | {"arch": {"type": "recurrent.Recurrent"}}
    message = "the output of the layer lstm is not finite in batch 1 of epoch 1"
    with pytest.raises(UserError, match=message):
        make_trainer(config).train()


# -- overfitting -----------------------------------------------------------------------------------


def test_overfitting_one_batch_trains_on_the_same_samples_in_every_epoch(tmp_path: Path) -> None:
    config = debugging(tmp_path, overfit_batches=1)
    config["trainer"]["epochs"] = 30
    trainer = make_trainer(config)
    train_step, targets = trainer.train_step, []

    def train_step_and_note_target(batch: Any) -> Any:
        targets.append(batch[1].tolist())
        return train_step(batch)

    trainer.train_step = train_step_and_note_target
    trainer.train()
    assert len(targets) == 30
    assert all(target == targets[0] for target in targets)
    assert trainer.last_log["accuracy"] > 0.9


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer after three epochs of the same four batches."""
    folder = tmp_path_factory.mktemp("overfitted")
    config = small_config(folder, epochs=3, save_steps=3, debug={"overfit_batches": 4})
    trainer = make_trainer(config, run_id="first")
    trainer.train()
    return trainer


@pytest.mark.parametrize("name", ["checkpoint-epoch1.pt", "checkpoint-epoch2-step7.pt"])
def test_a_resumed_run_overfits_the_same_batches(
    overfitted: Any, tmp_path: Path, name: str
) -> None:
    shutil.copytree(overfitted.checkpoint_dir, tmp_path / "small" / "again")
    config = small_config(tmp_path, epochs=3, save_steps=3, debug={"overfit_batches": 4})
    again = make_trainer(config, resume=tmp_path / "small" / "again" / name)
    again.train()
    assert again.progress.step == 12
    last = "checkpoint-epoch3.pt"
    states = [load(trainer.checkpoint_dir / last) for trainer in (overfitted, again)]
    found = differences(*states)
    assert [path for path in found if "save_dir" not in path] == []


# -- the rest --------------------------------------------------------------------------------------


def test_a_profile_is_a_trace_and_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = make_trainer(debugging(tmp_path, profile={"wait": 1, "warmup": 1, "active": 2}))
    trainer.train()
    (trace,) = Path(trainer.config.log_dir).glob("*.pt.trace.json")
    events = json.loads(trace.read_text())["traceEvents"]
    assert any("conv" in str(event.get("name")) for event in events)
    (table,) = [text for text in caplog.messages if text.startswith("Profile")]
    assert "Self CPU" in table
    assert sum(line.startswith(("-", " ")) for line in table.splitlines()) <= 16


def test_a_loop_without_an_update_warns_that_an_option_had_no_effect(
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
def test_an_option_that_does_not_fit_is_an_error(
    tmp_path: Path, debug: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        make_trainer(debugging(tmp_path, **debug))
    assert message in str(error.value)
