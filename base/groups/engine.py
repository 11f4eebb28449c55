"""The samplers and pruners of Optuna that a search takes, and how they are made.

Optuna is imported where one is made, because every start of the framework imports this file.
"""

from __future__ import annotations

from typing import Any

from base.groups.options import SearchOptions
from config.build import Builder
from config.check.project import import_module
from config.check.schema import Schema
from config.check.shapes import is_component
from config.check.signature import Signature
from config.check.slots import Slot, resolve
from config.read.section import copy_values
from utils.errors import UserError

GRID, RANDOM, TPE = "grid", "random", "tpe"
LIBRARY = "optuna"
MISSING = "needs optuna, which is not installed; pip install '.[search]' installs it"
_SAMPLERS, _PRUNERS = "optuna.samplers", "optuna.pruners"
_CLASSES = {RANDOM: f"{_SAMPLERS}.RandomSampler", TPE: f"{_SAMPLERS}.TPESampler"}
# A trial's values are a function of the seed, its number and the finished trials, so that a search
# goes on after a stop as if nothing had happened. These samplers need more than that.
_STATE = "it keeps a state of its own between trials, which would be lost when a search stops"
_EACH_ONCE = "write 'grid', which tries each point exactly once"
_REFUSED_SAMPLERS = (
    ("GridSampler", _EACH_ONCE),
    ("BruteForceSampler", _EACH_ONCE),
    ("QMCSampler", f"{_STATE}; take random or GPSampler"),
    ("CmaEsSampler", f"{_STATE}; take tpe or GPSampler"),
    ("BaseGASampler", f"{_STATE}; take tpe or GPSampler"),
)
SLOTS = {
    "sampler": Slot(
        "trainer",
        (_SAMPLERS,),
        f"{_SAMPLERS}.BaseSampler",
        nests="search.sampler",
        words=(GRID, RANDOM, TPE),
        allows_name=True,
        is_class_only=True,
        refused=_REFUSED_SAMPLERS,
    ),
    "pruner": Slot(
        "trainer",
        (_PRUNERS,),
        f"{_PRUNERS}.BasePruner",
        nests="search.pruner",
        allows_name=True,
        is_class_only=True,
        refused=(("NopPruner", "write null, or leave out the key"),),
    ),
}
_SCHEMA = Schema(slots={}, section_slots={f"search.{key}": slot for key, slot in SLOTS.items()})


def check_installed() -> None:
    """Raises UserError if Optuna is not installed."""
    if import_module(LIBRARY) is None:
        raise UserError(MISSING, key="search")


def make_sampler(options: SearchOptions, seed: int) -> Any:
    """Makes the sampler of a search with ``seed``, and those that it holds.

    Args:
        options: whose sampler is not ``grid``, which needs none.
        seed: of this trial; Optuna takes 32 bits.

    Raises:
        UserError: Optuna is missing, or refuses an argument.
    """
    check_installed()
    node = copy_values(options.sampler)
    if isinstance(node, str):
        node = {"type": _CLASSES.get(node, node)}
    _set_seeds(node, seed % 2**32)
    return _make("sampler", node)


def make_pruner(options: SearchOptions) -> Any:
    """Makes the pruner of a search; one that stops nothing if it has none.

    Raises:
        UserError: Optuna is missing, or refuses an argument.
    """
    check_installed()
    if options.pruner:
        return _make("pruner", copy_values(options.pruner))
    from optuna.pruners import NopPruner

    return NopPruner()


def _make(option: str, node: Any) -> Any:
    builder = Builder({"search": {option: node}})
    builder.schema = _SCHEMA
    return builder.build("search", index=option)


def _set_seeds(node: dict[str, Any], seed: int) -> None:
    """Gives a sampler, and those inside it, the seed if they take one."""
    slot = SLOTS["sampler"]
    signature = Signature.from_callable(resolve(node["type"], slot))
    args = node["args"] = node.get("args") or {}
    for key, value in args.items():
        inner = _SCHEMA.get_inner_slot(key, slot, signature.get_annotation(key))
        if inner.nests and is_component(value):
            _set_seeds(value, seed)
    if "seed" in signature.parameters:
        args["seed"] = seed
