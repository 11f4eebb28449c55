"""Epochs of a given number of batches, under a training loop of the project."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_projects import CLOUDS, TEMPLATE

from tests.forked import run_forked

TRAINER = (CLOUDS / "trainer/trainer.py").read_text()
LINE = TRAINER[: TRAINER.index("inf_loop(data_loader)")].count("\n") + 1
KEPT_ITERATOR = f"trainer/trainer.py:{LINE} keeps `self.data_loader`"
CHANGED_UTIL = TEMPLATE["utils/util.py"].replace("while True:", "while 1:")


def train(folder: Path, run_id: str, epochs: int, resume: bool = False) -> dict[str, torch.Tensor]:
    """Trains to an epoch and returns the weights. A pass has 7 batches, and an epoch 5."""
    words = ["-r", f"saved/Clouds/{run_id}"] if resume else ["-c", "config.json"]
    words += [] if resume else ["--run-id", run_id, "trainer.len_epoch=5"]
    done = run_forked("train.py", *words, f"trainer.epochs={epochs}", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "not have the same bits" not in done.stdout + done.stderr
    path = folder / f"saved/Clouds/{run_id}/checkpoint-epoch{epochs}.pt"
    weights: dict[str, torch.Tensor] = torch.load(path)["state_dict"]
    return weights


def test_a_resumed_run_continues_inside_the_pass(migrate):
    """Epoch 3 begins with batch 4 of the second pass, in the order that was drawn for it."""
    _, report, folder = migrate()
    assert "from Plainloop's BaseTrainer: exact resume" in report
    straight = train(folder, "straight", 3)
    train(folder, "stopped", 2)
    resumed = train(folder, "stopped", 3, resume=True)
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"utils__util": CHANGED_UTIL}, KEPT_ITERATOR),
        (
            {"trainer__trainer": TRAINER.replace("inf_loop(data_loader)", "iter(data_loader)")},
            KEPT_ITERATOR,
        ),
        (
            {"mine": "class A:\n    def f(self, x):\n        self.x = itertools.cycle(x)\n"},
            "mine.py:3 keeps `self.x`",
        ),
    ],
    ids=["a changed inf_loop", "iter", "cycle"],
)
def test_no_exact_resume_is_claimed_where_the_position_is_unknown(migrate, changed, line):
    _, report, _ = migrate(check=True, **changed)
    assert line in report
    assert "BaseTrainer: exact resume" not in report
    assert "checkpoints that survive a kill and a full disk" in report


def test_an_iterator_of_one_epoch_is_no_lost_position(migrate):
    text = "class A:\n    def f(self, x):\n        batches = iter(x)\n"
    _, report, _ = migrate(check=True, mine=text)
    assert "from Plainloop's BaseTrainer: exact resume" in report
