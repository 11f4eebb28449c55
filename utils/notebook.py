"""``run``: trains in a cell of a notebook. ``train.py`` offers it, and it imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from utils.main import prepare_torch


def run(
    config: str | os.PathLike[str] | Sequence[str | Path] | dict[str, Any] | None = None,
    *overrides: str,
    resume: str | os.PathLike[str] | None = None,
    run_id: str | None = None,
    device: str | int | None = None,
    **sections: Any,
) -> Any:
    """Trains what a config describes, in this process, as ``python train.py`` does.

    ``run("config.json", "trainer.epochs=2", arch=MyNet, optimizer={"args": {"lr": 0.01}})``

    Args:
        config: a path, a list of paths, or the values themselves; by default ``config.json``, or
            the config of the run to resume.
        overrides: as on the command line: ``trainer.epochs=2`` sets a value, ``~lr_scheduler``
            removes one.
        resume: a checkpoint or the folder of a run to continue, as ``-r``.
        run_id: the name of the run's folder, as ``--run-id``.
        device: ``cpu``, or the index of an accelerator, as ``-d``.
        sections: of the config. A dict is merged into the section, as a config that extends
            another one does. A class or function becomes its type, without the args of another
            type. Any other value replaces the section.

    Returns:
        The trainer, after the training or a request to stop. Its ``train()`` goes on.

    Raises:
        RunError: a mistake in the config, a path, an argument or the data.
    """
    prepare_torch()
    options = {"resume": resume, "run_id": run_id, "device": device}
    return import_module("base.notebook.run").run(config, overrides, options, sections)
