"""A batch that the memory is too small for is learned in parts, with the same gradient."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import ROOT, differences, make_trainer, small_config
from utils.batch import narrow, num_samples
from utils.failure import user_error_from
from utils.seed import seed_everything


class Room(torch.autograd.Function):
    """A device without room for more samples than it is given, on the way there or, at its very end, back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, room: int, backward: bool) -> torch.Tensor:
        ctx.fails = backward and len(x) > room
        if not backward and len(x) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if ctx.fails:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return gradients[0], None, None


def made(
    path: Path,
    room: int = 10**9,
    backward: bool = False,
    resume: Path | None = None,
    **options: Any,
) -> Any:
    config = small_config(path, **options)
    config["arch"] = {"type": "mlp.MLP", "args": {"in_features": 64, "out_features": 10}}
    trainer = make_trainer(config, f"{room}{backward}", resume)
    return crowd(trainer, room, backward)


def crowd(trainer: Any, room: int, backward: bool = False) -> Any:
    """Gives its training, but not its validation, so much room."""
    whole, perceptron = trainer.model.forward, type(trainer.model).__name__ == "MLP"

    def forward(x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1) if perceptron else x
        return whole(
            Room.apply(x.requires_grad_(backward), room, backward) if torch.is_grad_enabled() else x
        )

    trainer.model.forward = forward
    return trainer


@pytest.mark.parametrize(("backward", "accumulation"), [(False, 1), (False, 3), (True, 1)])
def test_the_weights_and_numbers_are_those_of_the_whole_batch(
    tmp_path, caplog, backward, accumulation
):
    logs = {}
    for room in (10**9, 40):
        seed_everything(1)
        trainer = made(tmp_path, room, backward, accumulation_steps=accumulation)
        trainer.train()
        logs[room] = trainer
    whole, parts = logs.values()
    assert (whole.update.splitting.parts, parts.update.splitting.parts) == (
        1,
        4,
    )  # 128 samples: 64, then 32
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, parts.model.state_dict()[name], rtol=1e-4, atol=1e-5)
    for name, number in whole.last_log.items():
        assert parts.last_log[name] == pytest.approx(number, rel=1e-4), name
    told = [
        record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()
    ]
    assert [line.split(" parts")[0][-1] for line in told] == [
        "2",
        "4",
    ]  # once each, not at every step
    assert not any("batch norms" in line or "left out" in line for line in told)


def test_a_window_with_a_spoiled_gradient_begins_again_and_says_so(tmp_path, caplog):
    trainer = made(tmp_path, 100, backward=True, accumulation_steps=3, epochs=1)
    small = iter([64, 128, 128, 128, 128])  # only the second batch is too large

    trainer._taken = lambda: (
        narrow(batch, 0, next(small)) for batch in list(trainer.data_loader)[:5]
    )
    trainer.train()
    (line,) = [
        record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()
    ]
    assert "the 1 batches before it, of the same step, are left out" in line
    assert trainer.steps_done() == 2  # of three batches, and of the one that is left


def test_batch_norms_are_warned_about(tmp_path, caplog):
    crowd(make_trainer(small_config(tmp_path, epochs=1)), 64).train()
    (line,) = [
        record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()
    ]
    assert "batch norms see one part at a time" in line


def test_a_run_in_parts_resumes_to_the_same_bits(tmp_path):
    trainer = made(tmp_path / "a", 40, epochs=3)
    trainer.train()
    first = made(tmp_path / "b", 40, epochs=2)
    first.train()
    config = json.loads((first.checkpoint_dir / "config.json").read_text())
    config["trainer"]["epochs"] = 3
    resumed = crowd(
        make_trainer(config, resume=first.checkpoint_dir / "checkpoint-epoch2.pt"), 10**9
    )
    resumed.train()
    assert resumed.update.splitting.parts == 4  # as it was, however much room there is now
    assert differences(trainer.model.state_dict(), resumed.model.state_dict()) == []


def test_one_sample_that_is_too_large_ends_the_run(tmp_path):
    with pytest.raises(torch.OutOfMemoryError) as caught:
        made(tmp_path, 0).train()
    assert str(user_error_from(caught.value)).startswith("out of memory: CUDA out of memory.")


def test_other_errors_are_not_taken_for_it(tmp_path):
    trainer = made(tmp_path)
    trainer.criterion = lambda *_: torch.ones(2) @ torch.ones(3)
    with pytest.raises(RuntimeError, match="size"):
        trainer.train()
    assert trainer.update.splitting.parts == 1


x, y = torch.arange(12.0).view(6, 2), torch.arange(6)


@pytest.mark.parametrize(
    ("batch", "size", "part"),
    [
        ([x, y], 6, [x[1:3], y[1:3]]),
        ({"a": x, "n": 3, "names": list("abcdef")}, 6, {"a": x[1:3], "n": 3, "names": ["b", "c"]}),
        (
            (x, {"y": y, "scale": torch.tensor(2.0)}),
            6,
            (x[1:3], {"y": y[1:3], "scale": torch.tensor(2.0)}),
        ),
        ((list(x), [{"box": x}] * 6), 6, ([x[1], x[2]], [{"box": x}] * 2)),
        ((list(x), list(y)), 6, ([x[1], x[2]], [y[1], y[2]])),
        ([x, y, torch.ones(4)], 0, None),  # of what? not cut
        ((list(x), [{}] * 5), 0, None),
        ("text", 0, None),
    ],
)
def test_a_batch_is_cut_whatever_its_shape(batch, size, part):
    assert num_samples(batch) == size
    if size:
        cut = narrow(batch, 1, 3)
        assert type(cut) is type(batch)
        assert differences({"cut": cut}, {"cut": part}) == []


def test_a_real_limit_of_memory(tmp_path):
    """The process may have so much memory, and not the activations of a whole batch."""
    config = small_config(tmp_path, epochs=1, keep_memory=False)
    config["data_loader"]["args"]["batch_size"] = 1024
    wide = {
        "in_features": 64,
        "out_features": 10,
        "hidden": [40_000],
    }  # 164 MB a layer; oneDNN's own failures aside
    config["arch"] = {"type": "mlp.MLP", "args": wide}
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = """if True:
        import resource, sys, torch, torch.optim
        sys.path.insert(0, "")
        import train
        from tests.helpers import parsed
        from base.loop.update import Update
        from model.mlp import MLP
        context, forward = Update.context, MLP.forward
        MLP.forward = lambda self, x: forward(self, x.flatten(1))
        def limited(*args):
            if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
                now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (now + (250 << 20), resource.RLIM_INFINITY))
            return context(*args)
        Update.context = limited
        torch.set_num_threads(1)
        train.main(parsed(*sys.argv[1:]))
    """
    words = ["--config", str(tmp_path / "config.json")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "can't allocate memory" in said
    assert said.index("in 2 parts") < said.index("epoch 1/1")
