"""A training that kills itself: ``python -m tests.accelerator.killed CONFIG RUN_ID STEP``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.accelerator.device import DEVICE
from tests.helpers import make_trainer


def main(config: str, run_id: str, last_step: str) -> None:
    """Trains, and kills this process in the forward pass after optimizer step ``last_step``."""
    trainer = make_trainer(json.loads(Path(config).read_text(encoding="utf-8")), run_id)

    assert trainer.device.type == DEVICE.type

    def kill(*_: object) -> None:
        if trainer.progress.step == int(last_step):
            trainer.checkpoints.wait()  # the test expects a checkpoint of this epoch
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.model.register_forward_pre_hook(kill)
    trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:])
