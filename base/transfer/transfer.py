"""Transfer learning: start weights, a new head, freezing and thawing."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from base.data.sampler import labels_of
from base.transfer.feature_cache import cache_features, prepare
from base.transfer.freezing import Audit, freeze, layers_of, select, size_of, some
from base.transfer.options import Head, TransferOptions
from base.transfer.param_groups import Thawed, make_groups, table_of, thawed_at
from base.transfer.start_weights import fit, read_weights, rename
from utils.errors import UserError, did_you_mean


def output_layer(model: nn.Module, name: str | None = None) -> str:
    """The name of the layer that gives the outputs: the last Linear or Conv2d that was made.

    Raises:
        UserError: ``name`` is no such layer, or there is none.
    """
    kinds = nn.Linear | nn.Conv2d
    layers: list[str] = [
        key for key, module in model.named_modules() if key and isinstance(module, kinds)
    ]
    if not layers:
        raise UserError(f"transfer.head: {type(model).__name__} has no Linear or Conv2d layer")
    if name is None:
        return layers[-1]
    if name not in layers:
        near: str = did_you_mean(name, layers) or f"; the last ones are {', '.join(layers[-3:])}"
        raise UserError(f"transfer.head.name: '{name}' is no Linear or Conv2d layer{near}")
    return name


def replace_head(model: nn.Module, head: Head) -> str:
    """Puts a new layer of the same kind in the place of the last one; returns its name."""
    name = output_layer(model, head.name)
    parent, _, last = name.rpartition(".")
    old: Any = model.get_submodule(name)
    like = {"bias": old.bias is not None, "device": old.weight.device, "dtype": old.weight.dtype}
    if isinstance(old, nn.Linear):
        new: nn.Linear | nn.Conv2d = nn.Linear(old.in_features, head.num_classes, **like)
    else:
        same = {
            key: getattr(old, key)
            for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        new = nn.Conv2d(old.in_channels, head.num_classes, **same, **like)
    nn.init.normal_(
        new.weight, std=0.01
    )  # near-equal outputs at first, as ImageNet's networks start
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    setattr(model.get_submodule(parent), last, new)
    return name


@dataclass
class Transfer:
    """What the ``transfer`` section does in a run. Without options it does nothing.

    Args:
        options: of the section.
        logger: is told what was loaded, replaced and frozen.

    Attributes:
        epoch: of the phase that the model is in.
        head: the name of the new last layer, or None.
        thawed: what is frozen at first, and from which epoch on it is trained.
    """

    options: TransferOptions
    logger: logging.Logger
    epoch: int = 0
    head: str | None = None
    thawed: Thawed = field(default_factory=dict)
    _frozen: set[str] = field(default_factory=set)
    _audit: Audit | None = None

    def prepare(self, model: nn.Module, fresh: bool, dataset: Any = None) -> None:
        """Start weights, a new head, freezing.

        Args:
            model: changed in place.
            fresh: the run starts; a resumed one has its weights in the checkpoint.
            dataset: of training, whose classes the head must have.

        Raises:
            UserError: what the section says does not fit the model, the file or the data.
        """
        self._check_classes(dataset)
        if fresh:
            self.load(model)
        self.replace_head(model)
        self.freeze(model)

    def replace_head(self, model: nn.Module) -> None:
        """The new last layer, which test.py needs too."""
        if self.options.head is not None:
            self.head = replace_head(model, self.options.head)
            self.logger.info(
                "New head: %s, with %d outputs.", self.head, self.options.head.num_classes
            )

    def _check_classes(self, dataset: Any) -> None:
        if self.options.head is None or dataset is None:
            return
        names = getattr(dataset, "classes", None)
        names = names if isinstance(names, list | tuple) else ()
        known, num_classes = len(names), self.options.head.num_classes
        if not names:
            with contextlib.suppress(UserError, TypeError, ValueError):  # it does not tell
                labels = torch.as_tensor(labels_of(dataset))
                known = (
                    int(labels.max()) + 1
                    if labels.ndim == 1 and not labels.is_floating_point()
                    else 0
                )
        if known > num_classes or (names and known != num_classes):
            which = f" ({some(names, 5)})" if names else ""
            raise UserError(
                f"transfer.head.num_classes: {num_classes}, but the data has {known} classes{which}"
            )

    def load(self, model: nn.Module) -> None:
        """Loads the start weights, and tells what fitted. Raises UserError if too little did."""
        options = self.options
        if options.init_from is None:
            return
        try:
            weights, what = read_weights(options.init_from, options.init_ema)
        except UserError as error:
            raise UserError(f"transfer.init_from: {error}") from None
        found = fit(model, rename(weights, options.rename or {}))
        if found.share < options.min_match or not found.matched:
            here, there = (", ".join(list(names)[:2]) for names in (model.state_dict(), weights))
            raise UserError(
                f"transfer.init_from: {len(found.matched)} of {found.total} tensors of {type(model).__name__} are in "
                f"{what}, and min_match is {options.min_match}; the names here are {here}, …, there {there}, … "
                "(transfer.rename can change them)"
            )
        model.load_state_dict(found.matched, strict=False)
        self.logger.info("Start weights: %s\n%s", what, found)

    def freeze(self, model: nn.Module) -> None:
        """Freezes what is frozen at the start. Raises UserError if nothing is left to train."""
        kind = self.options.freeze
        if kind is None:
            return
        if isinstance(kind, int):
            layers = layers_of(model)
            if kind >= len(layers):
                name = type(model).__name__
                raise UserError(
                    f"transfer.freeze: {kind} freezes nothing: {name} has {len(layers)} layers"
                )
            self._frozen = {name for layer in layers[:-kind] for name in layer}
        elif kind == "all_but_head":
            head = self.head or output_layer(model)
            self._frozen = {
                name for name, _ in model.named_parameters() if not name.startswith(f"{head}.")
            }
        else:
            self._frozen = select(model, kind, "transfer.freeze")
        self.thawed = thawed_at(model, self.options, self._frozen)
        if len(self.frozen_at(1)) == len(list(model.parameters())):
            raise UserError(
                f"transfer.freeze: freezes all {len(self._frozen)} parameters: nothing is left to train"
            )
        freeze(model, self.frozen_at(1), self.options.frozen_eval)

    def frozen_at(self, epoch: int) -> set[str]:
        """The names of the parameters that are frozen in an epoch."""
        return self._frozen - {name for name, (start, _) in self.thawed.items() if start <= epoch}

    def cache(
        self, model: nn.Module, loaders: list[Any], device: torch.device, fill: bool = True
    ) -> list[Any]:
        """The loaders, of cached features if the section asks for them; without ``fill`` only looks if that works."""
        if not self.options.cache_features:
            return loaders
        if fill:
            return cache_features(model, loaders, device, self.logger)
        prepare(model, loaders, device)
        return loaders

    def parameters(self, model: nn.Module, lr: float | None) -> list[Any]:
        """What the optimizer gets: the trained parameters, or groups of them. Raises UserError."""
        groups = make_groups(model, self.options, self.thawed, lr)
        if len(groups) == 1 and groups[0].keys() <= {"params", "names", "epoch"}:
            return list(groups[0]["params"])
        self.logger.info("Parameter groups:\n%s", table_of(groups, lr))
        return [
            {key: value for key, value in group.items() if key not in ("names", "epoch")}
            for group in groups
        ]

    def enter(self, epoch: int, model: nn.Module) -> bool:
        """Thaws what ``epoch`` begins to train. Returns whether it was another phase before."""
        if not self._frozen or (self.epoch and self.frozen_at(epoch) == self.frozen_at(self.epoch)):
            return False
        self.epoch = epoch
        freeze(model, self.frozen_at(epoch), self.options.frozen_eval)
        self.logger.info("From epoch %d on: %s", epoch, describe(model))
        self._audit = Audit(model)
        return True

    def after_step(self, model: nn.Module) -> None:
        """After the first step of a phase: has what is frozen stayed, has what is trained got a gradient?"""
        if self._audit is not None:
            self._audit.look(model, self.logger)
            self._audit = None


def phases(model: nn.Module, options: TransferOptions) -> list[str]:
    """A line for each epoch with which another part of ``model`` begins to be trained."""
    transfer = Transfer(options, logging.getLogger("explain"))
    transfer.replace_head(model)
    transfer.freeze(model)
    lines = []
    for epoch in sorted({1, *(epoch for epoch, _ in transfer.thawed.values())}):
        freeze(model, transfer.frozen_at(epoch), options.frozen_eval)
        lines.append(f"From epoch {epoch} on: {describe(model)}")
    return lines


def describe(model: nn.Module) -> str:
    """What of a model is trained, in a line."""
    trained = {
        name: value.numel() for name, value in model.named_parameters() if value.requires_grad
    }
    count, total = sum(trained.values()), size_of(model)
    names = ", ".join(
        trained if len(trained) <= 4 else [*list(trained)[:2], "…", list(trained)[-1]]
    )
    return f"{count:,} of {total:,} parameters are trained ({names}), {total - count:,} are frozen"
