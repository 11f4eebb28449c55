"""Reads start weights safely from the usual kinds of files, and matches them with a model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base.checkpoint.file import load
from base.checkpoint.left_out import fill_weights
from base.checkpoint.weights import TRAINED, get_averaged, get_weights
from base.loop.selection import get_first_names
from utils.checkpoints import find_checkpoint
from utils.errors import UserError, abbreviate, one_line

Weights = dict[str, torch.Tensor]

# The keys under which other frameworks keep the weights in a checkpoint.
WRAPPER_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "params")


def read_weights(
    source: str, kind: str = TRAINED, model: nn.Module | None = None
) -> tuple[Weights, str]:
    """Reads the tensors in a file, without running any code in it.

    Args:
        source: a run's folder (its best checkpoint), a checkpoint, or a state dict in a ``.pt``,
            ``.pth`` or ``.safetensors`` file.
        kind: ``trained``, or the average in the checkpoint: ``ema`` or ``swa``.
        model: has the weights that a checkpoint leaves out with ``trainer.save: trainable``.

    Returns:
        The tensors by name, and a description of them for the log.

    Raises:
        UserError: the file is missing or damaged, holds more than tensors and plain values, or
            has no such average; or the model has other weights than those that it leaves out.
    """
    path = find_checkpoint(source, best_first=True)
    state = _read_safetensors(path) if path.suffix == ".safetensors" else load(path)
    if kind != TRAINED and get_averaged(state, kind) is None:
        raise UserError(f"{path}: holds no {kind.upper()} weights; remove init_{kind}")
    if model is not None:
        state = fill_weights(state, model, path)
    weights, description = get_weights(state, kind)
    for key in WRAPPER_KEYS:
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
    entries = weights.items() if isinstance(weights, dict) else ()
    tensors = {str(name): value for name, value in entries if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"{path}: holds no tensors by name")
    return tensors, f"the {description} of {path}"


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        message = f"{path}: no safetensors file, or damaged: {one_line(error)}"
        raise UserError(message) from None


def rename_weights(weights: Weights, patterns: dict[str, str]) -> Weights:
    """Renames tensors: with ``{"backbone.*": "features.*"}``, each ``*`` keeps its match.

    Raises:
        UserError: a pattern matches no name, has fewer stars than its target, or produces the same
            name twice.
    """
    renamed = dict(weights)
    for pattern, target in patterns.items():
        key = f"transfer.rename.{pattern}"
        regex = re.compile("(.*)".join(map(re.escape, pattern.split("*"))))
        pieces = target.split("*")
        if len(pieces) - 1 > pattern.count("*"):
            raise UserError(f"'{target}' has more stars than '{pattern}'", key=key)
        if not any(map(regex.fullmatch, renamed)):
            message = f"matches none of the names, such as {abbreviate(list(weights))}"
            raise UserError(message, key=key)
        new: Weights = {}
        for name, value in renamed.items():
            new_name = name
            if match := regex.fullmatch(name):
                stars = [*match.groups()[: len(pieces) - 1], ""]
                new_name = "".join(piece + star for piece, star in zip(pieces, stars, strict=True))
            if new_name in new:
                raise UserError(f"produces the name '{new_name}' twice", key=key)
            new[new_name] = value
        renamed = new
    return renamed


@dataclass(frozen=True)
class WeightMatch:
    """How the tensors of a file match those of a model.

    Attributes:
        matched: the tensors with the same name and shape, under the model's names.
        missing: the model's names that the file lacks.
        unused: the file's names that the model lacks.
        mismatched: the model's names whose shape differs, each with both shapes.
        num_tensors: how many tensors the model has.
        untied: the names of tensors that are tied in the model, and differ in the file.
    """

    matched: Weights
    missing: list[str]
    unused: list[str]
    mismatched: list[str]
    num_tensors: int
    untied: list[str]

    @property
    def fraction(self) -> float:
        """The fraction of the model's tensors that were matched."""
        return len(self.matched) / max(self.num_tensors, 1)

    def __str__(self) -> str:
        lines = [f"  {'matched':<14}{len(self.matched)} of {self.num_tensors} tensors"]
        rows = {"missing": self.missing, "unused": self.unused, "other shape": self.mismatched}
        if self.untied:
            rows["tied here"] = self.untied
        for title, names in rows.items():
            shown = f": {abbreviate(names)}" if names else ""
            lines.append(f"  {title:<14}{len(names)}{shown}")
        return "\n".join(lines)


def match_weights(model: nn.Module, weights: Weights) -> WeightMatch:
    """Matches a file's tensors with a model's, by name and shape.

    Wrappers put a prefix before all names (``module.``, ``model.``, ``backbone.``), in the file or
    in the model. The prefix with the most matches is used; of equal ones, no prefix is preferred.
    """
    expected = {
        name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)
    }

    def replace_prefix(old: str, new: str) -> Weights:
        return {
            new + name.removeprefix(old): value
            for name, value in weights.items()
            if name.startswith(old)
        }

    def score(candidate: tuple[str, str]) -> tuple[int, int]:
        renamed = replace_prefix(*candidate)
        common = expected.keys() & renamed.keys()
        same_shape = [name for name in common if expected[name].shape == renamed[name].shape]
        return len(same_shape), len(common)

    candidates = [("", "")]
    candidates += [(prefix, "") for prefix in get_prefixes(weights)]
    candidates += [("", prefix) for prefix in get_prefixes(expected)]
    old, new = max(candidates, key=score)
    renamed = replace_prefix(old, new)
    matched = {
        name: value
        for name, value in renamed.items()
        if name in expected and expected[name].shape == value.shape
    }
    untied = _complete_ties(model, matched)
    return WeightMatch(
        matched,
        missing=[name for name in expected if name not in renamed and name not in matched],
        unused=[
            name
            for name in weights
            if not name.startswith(old) or new + name.removeprefix(old) not in expected
        ],
        mismatched=[
            f"{name} {tuple(renamed[name].shape)} for {tuple(value.shape)}"
            for name, value in expected.items()
            if name in renamed and name not in matched
        ],
        num_tensors=len(expected),
        untied=untied,
    )


def _complete_ties(model: nn.Module, matched: Weights) -> list[str]:
    """Adds the names of tied parameters of which a file has only one, as safetensors does.

    Returns:
        Names whose tensor in the file differs from that of another name of the same parameter. The
        tensor with the first name is used.
    """
    first_names = get_first_names(model)
    values: Weights = {}
    for name, first in first_names.items():
        if name in matched:
            values.setdefault(first, matched[name])
    untied = []
    for name, first in first_names.items():
        if first in values:
            value = matched.get(name, values[first])
            if value is not values[first] and not torch.equal(value, values[first].to(value.dtype)):
                untied.append(f"{name} differs from {first} in the file, which is used")
            matched[name] = values[first]
    return untied


def get_prefixes(names: Iterable[str]) -> list[str]:
    """Returns the prefixes of one and two components that dotted names have, with the last dot."""
    prefixes: dict[str, None] = {}
    for name in names:
        components = name.split(".")
        for length in (1, 2):
            if len(components) > length:
                prefixes[".".join(components[:length]) + "."] = None
    return list(prefixes)
