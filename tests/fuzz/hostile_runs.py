"""The cases of hostile checkpoints and run folders, and functions that make them of a good run."""

from __future__ import annotations

import copy
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

NAME = "checkpoint-epoch1.pt"
Make = Callable[[Path], None]  # changes the folder of a good run


@dataclass
class Case:
    """A hostile checkpoint or run folder.

    Attributes:
        name: of the case.
        make: turns the folder of a good run into the hostile one.
        resume: the argument of ``-r``.
        may_pass: whether a program may use it; it must then do no harm.
    """

    name: str
    make: Make
    resume: str = f"run/{NAME}"
    may_pass: bool = False


def write(name: str, content: bytes) -> Make:
    """Writes a file into the run."""

    def make(run: Path) -> None:
        if name.endswith(".pth"):
            (run / NAME).unlink()  # otherwise the program goes back to it
        (run / name).write_bytes(content)

    return make


def replace(name: str, make_file: Callable[[Path], Any]) -> Make:
    """Replaces a file or folder of the run by what ``make_file`` makes at its path."""

    def make(run: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        make_file(path)

    return make


def change_state(change: Callable[[dict[str, Any]], Any], name: str = NAME) -> Make:
    """Changes the good checkpoint; ``change`` returns another state, or None."""

    def make(run: Path) -> None:
        state = torch.load(run / NAME, weights_only=True)
        result = change(state)
        torch.save(state if result is None else result, run / name)

    return make


def set_value(path: str, value: Any) -> Make:
    """Sets the value at ``a/b/c`` in the good checkpoint."""

    def change(state: dict[str, Any]) -> None:
        node: Any = state
        *sections, last = path.split("/")
        for section in sections:
            node = node[int(section) if isinstance(node, list) else section]
        node[last] = value if isinstance(value, OrderedDict) else copy.deepcopy(value)

    return change_state(change)
