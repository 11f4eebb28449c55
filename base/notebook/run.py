"""run: trains in a cell what a config describes, as ``python train.py`` does."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

from base.base_trainer import BaseTrainer
from base.notebook.call import OPTIONS, Call, list_keys
from base.notebook.cells import get_source, list_given
from base.notebook.continuation import Continuation
from base.notebook.live import show_in_notebook
from base.notebook.reload import reload_edited_code
from base.notebook.session import call_in_cell, pass_on_signal
from base.options import TrainerOptions
from base.schema import SCHEMA
from config import ConfigParser
from config.check.findings import find_typo
from config.check.preflight import get_known_keys
from config.command_line import GROUP_SECTIONS
from config.read.tree import Keys, join_keys
from utils.errors import UserError
from utils.launch import num_processes_to_launch
from utils.options import get_key

COMMAND_OPTIONS = {"learning_rate": "lr", "bs": "batch_size"}  # of train.py: its names of values


def run(
    config: Any, overrides: Sequence[Any], options: Mapping[str, Any], sections: Mapping[str, Any]
) -> Any:
    """Trains what a config describes, in this process; see ``utils.notebook.run``."""
    show_in_notebook()
    arguments = config, overrides, options, sections
    trainer = call_in_cell(lambda: _train(Call.from_arguments(*arguments), sections))
    pass_on_signal(trainer)
    return trainer


def _train(call: Call, sections: Mapping[str, Any]) -> Any:
    reload_edited_code()
    _refuse_other_device(call.args.device)
    config = ConfigParser.from_args(call.args)
    _refuse_inner_keys(config, sections)
    _refuse_several_processes(config, call)
    sources = {key: get_source(found) for key, found in list_given(config.tree.data)}
    config.facts = {"command": call.command, "notebook": True, "sources": sources}
    trainer, _ = import_module("train").main(config, None)  # the program, above all packages
    trainer.train = Continuation(trainer, config)
    for name in ("evaluate", "report"):
        if getattr(type(trainer), name, None) is getattr(BaseTrainer, name):  # not the project's
            setattr(trainer, name, _run_in_cells(getattr(trainer, name)))
    return trainer


def _run_in_cells(method: Callable[..., Any]) -> Callable[..., Any]:
    """Lets each call of ``method`` leave the process as it was."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return call_in_cell(lambda: method(*args, **kwargs))

    return call


def _refuse_inner_keys(config: ConfigParser, sections: Mapping[str, Any]) -> None:
    """Raises UserError if a keyword is no section, but names a value inside one, such as ``lr``.

    A project may have keys of its own, so any other name is one of them.
    """
    names = [get_key(field.name) for field in fields(TrainerOptions)]
    inner: dict[str, Keys] = {name: ("trainer", name) for name in names}
    values = [keys for keys in list_keys(config.tree.data) if len(keys) > 1]
    inner |= {str(keys[-1]): keys for keys in reversed(values)}  # of equal names, the first one
    known = get_known_keys(SCHEMA)
    for key, value in sections.items():
        if key in known or isinstance(value, Mapping):
            continue
        if hint := find_typo(key, OPTIONS):
            raise UserError(f"run({key}=…): unknown keyword{hint}")
        keys = inner.get(COMMAND_OPTIONS.get(key, key))
        if keys or "." in key:
            text = join_keys(keys) if keys else key
            raise UserError(f"run({key}=…): is no section; give it as text: '{text}=…'")


def _refuse_several_processes(config: ConfigParser, call: Call) -> None:
    """Raises UserError if the config needs processes of its own, which are started by a command."""
    groups = [section for section in sorted(GROUP_SECTIONS) if config.get(section)]
    count = num_processes_to_launch(config.process_settings())
    if not groups and count == 1:
        return
    what = f"a {groups[0]} makes several runs" if groups else f"it would take {count} processes"
    command = "python train.py -c FILE" if call.command is None else shlex.join(call.command)
    raise UserError(f"{what}, and run() trains in this process; use the command: {command}")


def _refuse_other_device(device: str | None) -> None:
    """Raises UserError if torch has started with other accelerators, which it cannot change."""
    import torch

    is_started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if is_started and device not in (None, "cpu", visible):
        message = f"torch uses the accelerators {visible or 'all'} already; restart the kernel"
        raise UserError(f"device={device}: {message} to choose others")
