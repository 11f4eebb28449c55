"""ConfigParser: an experiment's config, and what is made from it."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from config.build import build, call, is_comment, options_of, own_args, to_keys
from config.check import preflight
from config.check.slots import SLOTS, Signature, resolve
from config.command_line import read_command_line
from config.read.merge import interpolate, set_value, step_down
from config.read.section import Section, to_plain
from config.read.source import ConfigError, Keys, Mark, Tree, dotted
from utils.errors import UserError, did_you_mean
from utils.launch import ProcessSettings

DEFAULT_SEED = 123  # pytorch-template's
TIMEOUTS = ("start_timeout_seconds", "timeout_seconds")


class CustomArgs(NamedTuple):
    """A command-line option that sets one value of the config, e.g. ``target='optimizer;args;lr'``."""

    flags: list[str]
    type: Any
    target: str


class ConfigParser:
    """One experiment's config: read like a dict or by attribute, and the maker of its parts.

    Nothing is made, imported or written by the constructor.

    Args:
        config: the values; ``from_args`` reads them from files.
        resume: the checkpoint to go on from.
        modification: values to replace, by targets such as ``'optimizer;args;lr'``; None leaves as it is.
        run_id: names the run's folder; the time by default.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | Tree,
        resume: str | Path | None = None,
        modification: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> None:
        self.tree = config if isinstance(config, Tree) else Tree(deepcopy(dict(config)))
        for target, value in (modification or {}).items():
            if value is not None:
                set_value(self.tree, tuple(target.split(";")), value, Mark(f"{target}={value}"))
        self._used, self._own_loop = interpolate(self.tree), True
        self.tree.data = Section(self.tree.data)
        self.resume = Path(resume) if resume is not None else None
        self.args: Any = None  # what argparse made of the command line, if there was one
        self.run_id_given = run_id is not None
        self.run_id = run_id or datetime.now().strftime("%Y%m%d_%H%M%S")
        self._folder = self.resume.parent if self.resume is not None and run_id is None else None

    def move_to(self, folder: Path) -> None:
        """Makes ``folder`` the run's, wherever the config has it."""
        self._folder = folder

    # A project's own _save_checkpoint puts the ConfigParser itself into the file: as plain values, which load safely.

    def __getstate__(self) -> dict[str, Any]:
        return {
            "_config": self.plain(),
            "resume": self.resume and str(self.resume),
            "run_id": self.run_id,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        ConfigParser.__init__(self, state["_config"], state["resume"], run_id=state["run_id"])

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Section:
        """The values, as a dict."""
        data = self.tree.data
        assert isinstance(data, Section)
        return data

    def __getitem__(self, name: str) -> Any:
        return self.config[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "tree" or name not in self.config:
            raise AttributeError(f"the config has no '{name}'")
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self.config

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a top-level key, or ``default``."""
        return self[name] if name in self.config else default

    @property
    def seed(self) -> int:
        return int(self.get("seed", DEFAULT_SEED))

    @property
    def save_dir(self) -> Path:
        """The run's folder: its checkpoints and its config. Not made here."""
        if self._folder is not None:
            return self._folder
        return Path(
            self.config["trainer"].get("save_dir", "saved/"), self.config["name"], self.run_id
        )

    @property
    def log_dir(self) -> Path:
        """The folder of the run's logs, inside ``save_dir``. Not made here."""
        return self.save_dir / "log"

    def plain(self) -> dict[str, Any]:
        """The resolved config in plain values; it can be given to ``-c`` again."""
        result = to_plain(self.config)
        assert isinstance(result, dict)
        return result

    def changes(self) -> dict[str, Any]:
        """What an extending file or the command line put in place of another value, and what the latter added."""
        found = {}
        for keys in (*self.tree.replaced, *self.tree.raw):
            with contextlib.suppress(KeyError):  # a part of something that was replaced whole
                found[dotted(keys)] = to_plain(step_down(self.tree.data, keys))
        return found

    def process_settings(self) -> ProcessSettings:
        """What the config says about processes. It is unchecked yet: nonsense counts as not given."""
        section = self.get("parallel") or {}
        section = section if isinstance(section, dict) else {"type": "none"}
        args = section["args"] if isinstance(section.get("args"), dict) else {}
        given = {key: args[key] for key in TIMEOUTS if isinstance(args.get(key), int | float)}
        timeouts = {key: value for key, value in given.items() if value > 0}
        number, n_gpu = args.get("num_processes"), self.get("n_gpu", 1)
        if section.get("type", "ddp") not in ("ddp", "fsdp"):
            number = 1
        number = number if number is None or type(number) is int else 1
        return ProcessSettings(number, n_gpu if type(n_gpu) is int else 1, **timeouts)

    def check(self) -> None:
        """Compares every part with the signature of what it names. Raises ConfigError with all findings."""
        self._own_loop = preflight.check(self.tree).own_loop
        for section in (self.config, self.config["trainer"]):
            section._read.clear()  # it is not the check that the keys are for

    def unread_keys(self) -> list[str]:
        """The project's own keys, at the top and in the ``trainer`` of a loop that is ours, that nothing has read yet.

        Of a resumed run those just overridden: its config is saved with every ``${…}`` replaced, so that overriding
        what they named has no effect any more.
        """
        config, trainer = self.config, self.config["trainer"]
        known = {*preflight.KNOWN, *self._used, *config._read}
        rows: list[Keys] = [(key,) for key in config.keys() if key not in known]  # noqa: SIM118
        _, signature = preflight.trainer_parameters(trainer, SLOTS["trainer"])
        known = {
            "type",
            *preflight.trainer_options(),
            *signature.parameters,
            *getattr(trainer, "_read", trainer),
        }
        rows += [
            ("trainer", key) for key in trainer.keys() if key not in known and not self._own_loop
        ]  # noqa: SIM118
        if self.resume is not None:
            overridden = {keys[:length] for keys in self.tree.raw for length in (1, 2)}
            rows = [keys for keys in rows if keys in overridden]
        return [dotted(keys) for keys in rows if not is_comment(str(keys[-1]))]

    def get_logger(self, name: str, verbosity: int = 2) -> logging.Logger:
        """A logger; ``verbosity`` is 0 (warnings), 1 (info) or 2 (debug)."""
        if not logging.getLogger().handlers:  # until a run sets up its logging
            logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
        logger = logging.getLogger(name)
        levels = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
        if verbosity not in levels:
            raise UserError(f"verbosity {verbosity!r} must be 0, 1 or 2")
        logger.setLevel(levels[verbosity])
        return logger

    # -- making -------------------------------------------------------------------------------------------------

    def init_obj(self, name: str, module: ModuleType | Any, *args: Any, **kwargs: Any) -> Any:
        """``module.TYPE(*args, **kwargs, **ARGS)`` with type and args from the section ``name``."""
        return self._from_module(name, module, kwargs)(*args)

    def init_ftn(self, name: str, module: ModuleType | Any, *args: Any, **kwargs: Any) -> Any:
        """Like ``init_obj``, but returns the function with these arguments fixed, uncalled."""
        function = self._from_module(name, module, kwargs)
        return partial(function, *args) if args else function

    def _from_module(self, name: str, module: Any, kwargs: dict[str, Any]) -> partial[Any]:
        section = self[name]
        own, kind = own_args(section), section["type"]
        for key in sorted(own.keys() & kwargs):
            raise self.tree.error(
                (name, "args", key), "is given by the program; take it out of the config"
            )
        if not hasattr(module, kind):
            near = did_you_mean(kind, (key for key in dir(module) if key[0] != "_"))
            raise self.tree.error(
                (name, "type"), f"no '{kind}' in {getattr(module, '__name__', module)}{near}"
            )
        return partial(call, self.tree, getattr(module, kind), (name,), **kwargs, **own)

    def build(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Makes the section ``name``, looking its type up in the slot's homes (see ``config/check/slots.py``)."""
        return build(self.tree, self[name], SLOTS[name], (name,), *args, **kwargs)

    def options(self, name: str) -> Any:
        """The options in a flat section, such as ``transfer``; the defaults where there is none."""
        return options_of(preflight.class_named(preflight.SECTIONS[name]), self.get(name) or {})

    @contextlib.contextmanager
    def places(self) -> Iterator[None]:
        """An error inside that begins with a key of the config gets the key's place in the files."""
        try:
            yield
        except UserError as error:
            key, _, message = str(error).partition(": ")
            keys = to_keys(key)
            if (
                isinstance(error, ConfigError)
                or keys[0] not in self.config
                or len(keys) == 1
                or " " in key
            ):
                raise
            raise self.tree.error(keys, message) from error

    def takes(self, name: str, argument: str) -> bool:
        """Whether what the section ``name`` makes has a parameter ``argument``."""
        return argument in (Signature.of(resolve(self[name]["type"], SLOTS[name])).parameters)

    def build_metrics(self) -> list[Any]:
        """The metrics, each with the ``__name__`` it is logged under."""
        metrics = []
        for index, node in enumerate(self.get("metrics", [])):
            metric: Any = build(self.tree, node, SLOTS["metrics"], ("metrics", index))
            name = preflight.metric_name(node)
            if getattr(metric, "__name__", "") != name:
                metric = (
                    partial(metric) if inspect.isfunction(metric) else metric
                )  # the function keeps its own name
                metric.__name__ = name
            metrics.append(metric)
        return metrics

    def trainer_class(self) -> Any:
        """The class that the ``trainer`` section names."""
        return preflight.trainer_parameters(self["trainer"], SLOTS["trainer"])[0]

    def build_trainer(self, **given: Any) -> Any:
        """Makes the trainer, with those of ``given`` that its constructor takes, and its own arguments.

        The first four go by position, as pytorch-template's ``train.py`` gives them: a project may name them otherwise.
        """
        found, signature = preflight.trainer_parameters(self["trainer"], SLOTS["trainer"])
        first = [given.pop(name) for name in preflight.TEMPLATE if name in given]
        taken = {key: value for key, value in given.items() if key in signature.parameters}
        own = {
            key: self["trainer"][key]
            for key in preflight.own_options(signature)
            if key in self["trainer"]
        }
        return found(*first, **taken, **own)

    # -- the command line -----------------------------------------------------------------------------------------

    @classmethod
    def from_args(
        cls, args: argparse.ArgumentParser | Any, options: Iterable[Any] = ()
    ) -> ConfigParser:
        """Reads the command line and the files that it names.

        Args:
            args: a parser with ``--config``, ``--resume`` and ``--device``, or what it has parsed. A parser also
                gets ``--run-id`` and any number of ``KEY=VALUE``.
            options: ``CustomArgs(flags, type, target)``, more ways to set one value.
        """
        tree, resume, run_id, words = read_command_line(args, list(options))
        parser = cls(tree, resume, run_id=run_id)
        parser.args = words
        return parser
