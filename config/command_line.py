"""Reads the command line, and the config files that it names, into one tree of values."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from config.check.preflight import check_run_id
from config.read.merge import (
    apply_override,
    get_value,
    list_config_names,
    load_configs,
    load_tree,
    merge_tree,
    set_value,
)
from config.read.tree import ConfigError, Finding, Keys, Mark, Tree
from utils.checkpoints import GROUP, find_checkpoint, find_group
from utils.errors import UserError
from utils.version import VERSION

GROUP_SECTIONS = {"search", "repeat"}  # each of them makes several runs of a config


class CustomArgs(NamedTuple):
    """A command-line option that sets one value of the config.

    Attributes:
        flags: such as ``["--lr", "--learning_rate"]``.
        type: converts the text, as argparse's ``type``.
        target: the keys of the value, such as ``optimizer;args;lr``.
    """

    flags: list[str]
    type: Any
    target: str


class GivenValues(NamedTuple):
    """Values that a program adds to those of the files, as ``args.given``.

    Attributes:
        sections: are merged into the config, as those of a file that extends it.
        renewed: the keys of sections that do not inherit the ``args`` of another ``type``.
        config: the values to start from, in place of a file.
    """

    sections: Tree
    renewed: tuple[str, ...] = ()
    config: Tree | None = None

    def merge_into(self, tree: Tree) -> None:
        """Merges the sections into ``tree``."""
        for key in self.renewed:
            old = tree.data.get(key)
            if isinstance(old, dict) and old.get("type") != self.sections.data[key]["type"]:
                old.pop("args", None)
                tree.forget((key, "args"))
        merge_tree(tree, self.sections, ())


class CommandLine(NamedTuple):
    """The parsed command line, with the config that it names.

    Attributes:
        tree: the values of the config, overrides included.
        resume: the checkpoint to resume from.
        group: the folder of a search or a repetition to continue.
        run_id: the name of the run's folder.
        args: argparse's own result.
    """

    tree: Tree
    resume: Path | None
    group: Path | None
    run_id: str | None
    args: argparse.Namespace


def read_command_line(args: Any, options: Iterable[Any]) -> CommandLine:
    """Reads the command line and the files that it names; see ``ConfigParser.from_args``."""
    options = list(options)
    if isinstance(args, argparse.ArgumentParser):
        args = _parse(args, options)
    group = find_group(args.resume) if args.resume else None
    resume = find_checkpoint(args.resume) if args.resume and group is None else None
    given: GivenValues | None = vars(args).get("given")
    tree = _load(list_config_names(args.config), resume, group, given)
    overrides = list(vars(args).get("overrides", []))
    removals = [text for text in overrides if _is_removal_of_key(text)]
    _apply_overrides(tree, removals)  # first, so that their position does not matter
    from_options: dict[str, tuple[Keys, Any]] = {}
    for option in options:
        value = getattr(args, _get_destination(option.flags), None)
        if value is not None:
            from_options[f"{option.flags[0]} {value}"] = tuple(option.target.split(";")), value
    if args.device is not None:
        from_options[f"-d {args.device}"] = ("n_gpu",), _choose_device(args.device)
    for words, (keys, value) in from_options.items():
        set_value(tree, keys, value, Mark(words))
    _apply_overrides(tree, [text for text in overrides if text not in removals])
    _check_agreement(tree, from_options)
    makes_runs = any(tree.data.get(section) is not None for section in GROUP_SECTIONS)
    if vars(args).get("jobs") is not None and not makes_runs:
        raise UserError("--jobs: only a config with 'search' or 'repeat' makes several runs")
    run_id = vars(args).get("run_id")
    if run_id and group is not None:
        raise UserError(f"--run-id {run_id}: {group} goes on in its folder")
    if not run_id and resume is not None and not is_run_folder(resume.parent):
        run_id = make_run_id()  # the folder holds more than a run, such as downloads
    return CommandLine(tree, resume, group, check_run_id(run_id) if run_id else None, args)


def make_run_id() -> str:
    """Returns the name of a run's folder: the time."""
    return datetime.now().strftime("%Y%m%d_%H%M%S")


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds the config of a run."""
    path = folder / "config.json"
    try:
        return path.is_file() and {"arch", "trainer"} <= load_tree(path).data.keys()
    except ConfigError:
        return True  # a damaged config is reported by its reader


def _parse(parser: argparse.ArgumentParser, options: list[Any]) -> argparse.Namespace:
    for option in options:
        help_text = f"sets {option.target}"
        parser.add_argument(*option.flags, default=None, type=option.type, help=help_text)
    help_text = "name of the run's folder (default: the time)"
    parser.add_argument("--run-id", default=None, help=help_text)
    help_text = "the runs of a search or a repetition that train side by side"
    parser.add_argument("--jobs", type=int, metavar="N", help=help_text)
    parser.add_argument("--version", action="version", version=f"Plainloop {VERSION}")
    help_text = "sets a value of the config, e.g. trainer.epochs=2; ~KEY removes one"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=help_text)
    return parse_args(parser)


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses the command line, or completes it if a shell asks for that by argcomplete."""
    if "_ARGCOMPLETE" in os.environ:
        from config.completion import complete

        complete(parser)
    return parser.parse_intermixed_args()


def _get_destination(flags: list[str]) -> str:
    """Returns the name under which argparse stores an option with these flags."""
    return argparse.ArgumentParser(add_help=False).add_argument(*flags).dest


def _load(
    configs: list[str], resume: Path | None, group: Path | None, given: GivenValues | None
) -> Tree:
    """Reads the configs, or that of the run or group to continue, and adds the given values."""
    if given is not None and given.config is not None:
        if resume is not None or group is not None:
            raise UserError("a dict as the config starts a new run, and resume continues one")
        tree = given.config
    else:
        tree = _load_files(configs, resume, group)
    if given is not None:
        given.merge_into(tree)
    return tree


def _load_files(configs: list[str], resume: Path | None, group: Path | None) -> Tree:
    """Reads the configs, or that of the run or group to continue.

    If both are given, the sections of ``configs`` replace those of the run, as in pytorch-template.
    """
    if group is not None:
        saved, is_run = group / GROUP, True
    elif resume is not None:
        saved, is_run = resume.parent / "config.json", is_run_folder(resume.parent)
    else:
        return load_configs(configs if configs else ["config.json"])
    if not is_run and not configs:
        message = "has no config.json beside the checkpoint; give one with -c"
        raise UserError(f"{saved.parent} {message}")
    tree = load_tree(saved) if is_run else Tree({})
    tree.is_saved = is_run
    if configs:
        new = load_configs(configs)
        marks = {
            keys: mark for keys, mark in tree.marks.items() if keys and keys[0] not in new.data
        }
        tree = Tree(tree.data | new.data, marks | new.marks, is_saved=is_run)
    return tree


def _apply_overrides(tree: Tree, overrides: list[str]) -> None:
    """Applies all overrides. Raises one ConfigError for all that are wrong."""
    findings: list[Finding] = []
    for override in overrides:
        try:
            if override.startswith("extends="):
                raise ConfigError.at(Mark(override), "only a config file can extend another one")
            apply_override(tree, override)
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(findings)


def _is_removal_of_key(override: str) -> bool:
    """Whether an override is a ``~KEY`` outside of lists, whose indices depend on the order."""
    return override.startswith("~") and not re.search(r"\.\d+(\.|$)", override)


def _check_agreement(tree: Tree, from_options: dict[str, tuple[Keys, Any]]) -> None:
    """Raises ConfigError if ``KEY=VALUE`` has changed what an option such as ``--lr`` sets."""
    findings = []
    for words, (keys, value) in from_options.items():
        try:
            found = get_value(tree.data, keys)
            is_same = found == value or found is value  # NaN does not equal itself
        except KeyError:
            is_same = False
        if not is_same:
            other = tree.mark(keys)
            message = f"{other} says otherwise; give one of the two"
            findings.append(Finding(Mark(words), keys, message))
    if findings:
        raise ConfigError(findings)


def _choose_device(device: str) -> int:
    """Returns the number of accelerators that ``-d`` chooses, and shows torch only these."""
    if device == "cpu":
        return 0
    if not re.fullmatch(r"\d+(,\d+)*", device):
        message = "must be cpu, an index as in 0, or several as in 0,1"
        raise ConfigError.at(Mark(f"-d {device}"), message)
    os.environ["CUDA_VISIBLE_DEVICES"] = device  # torch reads it when it first counts devices
    return len(device.split(","))
