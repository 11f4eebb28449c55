"""Checkpoints as pytorch-template wrote them, and hostile ones that look like them."""

from __future__ import annotations

import collections
import json
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.contract.contract_project import TEMPLATE_PROJECT, load_module


def template_config(folder: Path, generation: str = "2020") -> Any:
    """Returns what the template saves as ``config``, with the attributes of that generation."""
    values = json.loads(
        (TEMPLATE_PROJECT / "config.json").read_text(), object_pairs_hook=collections.OrderedDict
    )
    if generation == "plain" or generation < "2019":
        return values
    config = sys.modules["parse_config"].ConfigParser()
    log_levels = {0: 30, 1: 20, 2: 10}
    if generation == "2020":
        folders = {"_save_dir": folder / "models", "_log_dir": folder / "log"}
        vars(config).update(
            {"_config": values, "resume": folder / "checkpoint-epoch1.pth", **folders}
        )
    elif generation == "2019-04-22":  # private names
        folders = {"save_dir": folder / "models", "log_dir": folder / "log"}
        vars(config).update(
            {f"_ConfigParser__{name}": value for name, value in folders.items()}
            | {"_ConfigParser__config": values, "cfg_fname": folder / "config.json", "resume": None}
        )
    elif generation == "2019-06":
        folders = {
            "_save_dir": folder / "models",
            "_log_dir": folder / "log",
            "cfg_fname": folder / "config.json",
        }
        vars(config).update({"_config": values, "resume": None, **folders})
    else:
        folders = {"save_dir": folder / "models", "log_dir": folder / "log"}
        vars(config).update({"config": values, "resume": None, "exper_name": "Clouds", **folders})
    config.log_levels = log_levels
    return config


def old_state(
    folder: Path, generation: str = "2020", parallel: bool = False, epoch: int = 2
) -> dict[str, Any]:
    """Returns what the template saves, for the project's net after one optimizer step."""
    torch.manual_seed(5)
    net: Any = load_module("model/model.py").CloudNet(hidden=16, dropout=0.2)
    wrapped = nn.DataParallel(net) if parallel else net
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True)
    net(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    state = {
        "arch": type(wrapped).__name__,
        "epoch": epoch,
        "state_dict": wrapped.state_dict(),
        "optimizer": optimizer.state_dict(),
        "monitor_best": 0.75,
        "config": template_config(folder, generation),
    }
    if generation < "2019":
        state["logger"] = old_logger()
    if generation in ("2018-03", "2018-04-15"):
        del state["config"]
    if generation == "2018-03":
        del state["arch"]
        state["min_loss"] = state.pop("monitor_best")
    return state


def old_logger() -> Any:
    """Returns the history of a training, an object that was in all checkpoints of 2018."""
    logger = sys.modules["logger.logger"].Logger()
    logger.entries = {1: {"epoch": 1, "loss": 0.5}, 2: {"epoch": 2, "loss": 0.25}}
    return logger


def write_old(
    folder: Path, change: Callable[[dict[str, Any]], None] | None = None, **kind: Any
) -> Path:
    """Writes ``config.json`` and ``checkpoint-epoch2.pth``. Returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    legacy = kind.pop("legacy", False)
    state = old_state(folder, **kind)
    if change is not None:
        change(state)
    (folder / "config.json").write_text((TEMPLATE_PROJECT / "config.json").read_text())
    path = folder / "checkpoint-epoch2.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class Global:
    """Pickles as a call of a name. The name need not exist."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.module, self.name, self.args = module, name, args


class HostilePickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes the name of a Global without importing it."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
            super().save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


HOSTILE: Any = types.ModuleType("hostile_pickle")  # a pickle_module for torch.save
HOSTILE.Pickler = HostilePickler
HOSTILE.dump = lambda obj, file, protocol: HostilePickler(file, protocol).dump(obj)


def make_hostile(name: str, marker: Path) -> Any:
    """Returns an object that creates the file ``marker`` when pickle loads it."""
    touch = f"touch {marker}"
    return {
        "os.system": Call(os.system, touch),
        "subprocess": Call(subprocess.Popen, ["touch", str(marker)]),
        "exec": Call(exec, f"open({str(marker)!r}, 'w').close()"),
        "eval": Call(eval, f"open({str(marker)!r}, 'w').close()"),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, Path(marker), "touch"),
        "mkdir": Call(os.mkdir, str(marker)),
        "copy": Call(Path.touch, Path(marker)),
    }[name]
