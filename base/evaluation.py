"""Loads a trained model, and the data to evaluate it on."""

from __future__ import annotations

from typing import Any

from base.checkpoint.best_files import describe_position
from base.checkpoint.file import load
from base.checkpoint.weights import choose_weights, load_loss, load_weights
from base.data.loader import prepare_loader
from base.loaders import make_test_loader
from base.loop.assembly import make_criterion
from base.loop.phases import make_phases
from base.loop.reporter import TestSubject
from base.parallel.strategy import move_to_device, output_device
from utils.errors import UserError
from utils.run_files import set_run_folders
from utils.util import prepare_device

Data = tuple[Any, str, str]  # see make_test_loader


def load_subject(
    config: Any, weights_kind: str | None = None, data: Data | None = None
) -> TestSubject:
    """Makes the model with the checkpoint's weights, and the loader of the data to test it on.

    Args:
        config: of the run, already checked. Its ``resume`` is the checkpoint.
        weights_kind: ``ema``, ``swa`` or ``trained``; None for those that the monitor follows.
        data: the loader, a description of its data, and the section of the config that made it;
            None for the data that the config has for a test.

    Raises:
        UserError: there is no checkpoint or no data, or the weights do not fit the model.
    """
    if config.resume is None:
        raise UserError("there is no checkpoint to test; give one with -r")
    checkpoint = load(config.resume)
    set_run_folders(None, config.resume)
    loader, split, section = make_test_loader(config) if data is None else data
    model = config.build("arch")
    make_phases(config, config.get_logger("test")).replace_head(model)
    weights, kind = choose_weights(checkpoint, weights_kind, config)
    load_weights(model, weights, config.resume)
    model, device = move_to_device(model, prepare_device(config.get("n_gpu", 1))[0])
    criterion = make_criterion(config, model, device=output_device(model, device))
    load_loss(criterion, checkpoint, config, config.resume)
    loader = prepare_loader(loader, section, device, True, checkpoint.get("environment"))
    about = (config.resume, checkpoint.get("epoch"), kind, split, config.get("task"))
    return TestSubject(model, criterion, loader, device, *about, describe_position(checkpoint))
