"""``evaluate`` and ``report`` in a cell: of a class of a cell, after a stop, without a trace."""

from __future__ import annotations

from pathlib import Path

from tests.base.notebook.cells import run_cells
from tests.helpers import differences, load

CELLS = """
import logging, os, random, signal, torch
import trainer.trainer

class Stopping(trainer.trainer.Trainer):
    def after_step(self, loss=None):
        if self.progress.step == 22:
            os.kill(os.getpid(), signal.SIGINT)
        super().after_step(loss)

def get_state():
    root = logging.getLogger()
    state = random.getstate(), torch.get_rng_state().tolist(), list(root.handlers), root.level
    return *state, torch.get_deterministic_debug_mode(), signal.getsignal(signal.SIGINT)

stopped = run("config.json", "trainer.epochs=3", run_id="stopped", arch=Net, trainer=Stopping)
assert stopped.stop.status == 130
before = get_state()
numbers = stopped.evaluate("test")
assert stopped.report("test").values == numbers
assert set(numbers) == {"loss", "accuracy", "top_k_acc"}, numbers
try:
    stopped.evaluate("tests")
except Exception as error:
    assert type(error).__name__ == "RunError", repr(error)
assert get_state() == before
stopped.train()
assert len(stopped.history) == 3
assert run("config.json", "trainer.epochs=3", run_id="other", arch=Net).history[-1]["epoch"] == 3
"""


def test_an_evaluation_leaves_no_trace(tmp_path: Path) -> None:
    run_cells(tmp_path, CELLS)
    states = [
        load(tmp_path / f"saved/digits/{name}/checkpoint-epoch3.pt")
        for name in ("stopped", "other")
    ]
    for key in ("state_dict", "optimizer", "random"):
        assert differences(states[0][key], states[1][key]) == []
