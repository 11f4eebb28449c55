"""From the words on the command line to a tree of values."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from config.check.preflight import check_name
from config.read.merge import apply_override, find_config, load_tree, set_value
from config.read.source import ConfigError, Mark, Tree
from utils.checkpoints import find_checkpoint
from utils.errors import UserError


def read_command_line(
    args: Any, options: list[Any]
) -> tuple[Tree, Path | None, str | None, argparse.Namespace]:
    """Reads the words, and the files that they name; see ``ConfigParser.from_args``.

    Returns:
        The values, the checkpoint to resume from, the run's id, and argparse's own result.
    """
    if isinstance(args, argparse.ArgumentParser):
        for option in options:
            args.add_argument(
                *option.flags, default=None, type=option.type, help=f"sets {option.target}"
            )
        args.add_argument(
            "--run-id", default=None, help="names the run's folder (default: the time)"
        )
        args.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. trainer.epochs=2")
        args = args.parse_intermixed_args()
    resume = find_checkpoint(args.resume) if args.resume else None
    tree = _load(args.config, resume)
    for option in options:
        value = getattr(
            args, argparse.ArgumentParser(add_help=False).add_argument(*option.flags).dest, None
        )
        if value is not None:
            set_value(
                tree, tuple(option.target.split(";")), value, Mark(f"{option.flags[0]} {value}")
            )
    findings = []
    for override in getattr(args, "overrides", []):
        try:
            apply_override(tree, override)
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(findings)
    if args.device is not None:
        _choose_device(tree, args.device)
    run_id = getattr(args, "run_id", None)
    return tree, resume, check_name(run_id, "--run-id") if run_id else None, args


def _load(config: str | None, resume: Path | None) -> Tree:
    """The config given; when resuming the run's own, whose sections a given one replaces (pytorch-template's rule)."""
    if resume is None:
        return load_tree(find_config(config or "config.json"))
    beside = resume.parent / "config.json"
    if not beside.is_file() and config is None:
        raise UserError(
            f"{resume.parent} has no config.json beside the checkpoint; give one with -c"
        )
    tree = load_tree(beside) if beside.is_file() else Tree({})
    if config is not None:
        new = load_tree(find_config(config))
        kept = {keys: mark for keys, mark in tree.marks.items() if keys and keys[0] not in new.data}
        tree = Tree(tree.data | new.data, kept | new.marks)
    return tree


def _choose_device(tree: Tree, device: str) -> None:
    if device == "cpu":
        count = 0
    elif re.fullmatch(r"\d+(,\d+)*", device):
        count = len(device.split(","))
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # read when torch first looks for devices
    else:
        raise UserError(f"-d {device}: must be cpu, an index as in 0, or several as in 0,1")
    set_value(tree, ("n_gpu",), count, Mark(f"-d {device}"))
