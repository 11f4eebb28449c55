"""Transfer learning in a run, according to the ``transfer`` section of the config."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from base.checkpoint.left_out import TRAINABLE, fill_weights, leaves_out_weights
from base.loop.assembly import find_lazy
from base.loop.phases import Phases
from base.transfer.freezing import Audit, describe_trained, freeze, get_trained
from base.transfer.head import check_num_classes, replace_head
from base.transfer.options import TransferOptions
from base.transfer.param_groups import format_groups, make_groups, restrict
from base.transfer.plan import FreezePlan, make_plan
from base.transfer.start_weights import match_weights, read_weights, rename_weights
from utils.errors import UserError, abbreviate

if TYPE_CHECKING:
    from config import ConfigParser


class Transfer(Phases):
    """Loads start weights, replaces the head, freezes parameters, and thaws them phase by phase.

    Args:
        options: of the section.
        logger: gets a line about everything that is loaded, replaced, frozen and thawed.
        resume: the checkpoint from which the run resumes; None for a new run.
        reloads: whether a resumed run needs the start weights, because checkpoints lack some.
    """

    section = "transfer"
    options_type = TransferOptions
    grouping_options = ("head", "freeze", "thaw", "param_groups", "layer_decay", "no_decay")

    def __init__(
        self,
        options: TransferOptions,
        logger: logging.Logger,
        resume: Path | None = None,
        reloads: bool = False,
    ) -> None:
        self.options = options
        self.logger = logger
        self.resume, self.reloads = resume, reloads
        self._plan: FreezePlan | None = None
        self._frozen: set[str] | None = None  # in the current epoch

    @classmethod
    def from_config(cls, config: ConfigParser, logger: logging.Logger) -> Transfer:
        reloads = config["trainer"].get("save") == TRAINABLE
        return cls(config.options(cls.section), logger, config.resume, reloads)

    def prepare_model(self, model: nn.Module, loader: Any, resuming: bool) -> None:
        dataset = getattr(loader, "dataset", None)
        if self.options.head is not None and dataset is not None:
            check_num_classes(self.options.head, dataset)
        if not resuming or self.reloads or leaves_out_weights(self.resume):
            self.load_start_weights(model)
        self.replace_head(model)
        plan = self._get_plan(model)
        if self.options.freeze is not None:
            freeze(model, plan.frozen_at(1), self.options.frozen_eval)

    def replace_head(self, model: nn.Module) -> None:
        if self.options.head is not None:
            name = replace_head(model, self.options.head)
            num_classes = self.options.head.num_classes
            self.logger.info("New head: %s, with %d outputs.", name, num_classes)

    def adapt_loaders(
        self, model: nn.Module, loaders: list[Any], device: torch.device, dry_run: bool = False
    ) -> list[Any]:
        """Caches the frozen modules' output, if ``cache_features`` is on."""
        if not self.options.cache_features:
            return loaders
        try:
            from base.transfer.feature_cache import cache_features, make_prefix
        except ModuleNotFoundError as error:
            if not str(error.name).startswith(__package__):
                raise
            message = f"{error.name} is not part of this project; turn it off"
            raise UserError(message, key="transfer.cache_features") from None
        if dry_run:
            make_prefix(model, loaders, device)
            return loaders
        if self.resume is not None:  # the frozen weights are in the checkpoint
            from base.checkpoint.file import complete, load_newest
            from base.checkpoint.weights import load_weights

            state, path = load_newest(self.resume, self.logger)
            state = fill_weights(complete(state, path), model, path)
            load_weights(model, state["state_dict"], path)
        return cache_features(model, loaders, device, self.logger)

    def parameter_groups(
        self, model: nn.Module, lr: float | None, names: set[str] | None = None
    ) -> list[Any]:
        groups = make_groups(model, self.options, self._get_plan(model), lr)
        if names is not None:
            groups = restrict(groups, names)
        if len(groups) == 1 and not groups[0].values:
            return list(groups[0].params)
        if not groups:
            return []
        self.logger.info("Parameter groups:\n%s", format_groups(groups, lr))
        return [{"params": group.params, **group.values} for group in groups]

    def begin_epoch(self, epoch: int, model: nn.Module, optimizer: Optimizer | None) -> bool:
        plan = self._get_plan(model)
        frozen = plan.frozen_at(epoch)
        if not plan.frozen or frozen == self._frozen:
            return False
        self._frozen = frozen
        trained_before = get_trained(model).keys()
        freeze(model, frozen, self.options.frozen_eval)
        self.logger.info("From epoch %d on: %s", epoch, describe_trained(model))
        if optimizer is not None:
            audit = Audit(model, self.logger)
            optimizer.register_step_post_hook(lambda *_: audit.after_step())
        return get_trained(model).keys() != trained_before

    def _get_plan(self, model: nn.Module) -> FreezePlan:
        """Makes the plan when it is first needed: the model then has its new head."""
        if self._plan is None:
            self._plan = make_plan(model, self.options)
        return self._plan

    def load_start_weights(self, model: nn.Module) -> None:
        options = self.options
        if options.init_from is None:
            return
        key = "transfer.init_from"
        try:
            weights, source = read_weights(options.init_from, options.init_kind, model)
        except UserError as error:
            raise UserError(str(error), key=key) from None
        match = match_weights(model, rename_weights(weights, options.rename or {}))
        if match.fraction < options.min_match or not match.matched:
            model_names = abbreviate(list(model.state_dict()), 2)
            file_names = abbreviate(list(weights), 2)
            raise UserError(
                f"{len(match.matched)} of {match.num_tensors} tensors of {type(model).__name__} "
                f"are in {source}, and min_match is {options.min_match}; the model's names are "
                f"{model_names}, and the file's are {file_names} (transfer.rename can change them)",
                key=key,
            )
        model.load_state_dict(match.matched, strict=False)
        self.logger.info("Start weights: %s\n%s", source, match)


def describe_phases(model: nn.Module, options: TransferOptions) -> list[str]:
    """Returns a line for each phase, with the parameters that it trains. Changes the model.

    Args:
        model: as the config makes it; it may be on the ``meta`` device.
        options: of the section.

    Raises:
        UserError: the options do not fit the model.
    """
    if lazy := find_lazy(model):
        message = f"{lazy[0]} is lazy: only a batch tells its shape; train.py logs the phases"
        raise UserError(message, key="arch")
    if options.head is not None:
        replace_head(model, options.head)
    plan = make_plan(model, options)
    lines = []
    for epoch in plan.first_epochs():
        freeze(model, plan.frozen_at(epoch), options.frozen_eval)
        lines.append(f"From epoch {epoch} on: {describe_trained(model)}")
    return lines
