"""Loads a trained model, and the data to evaluate it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from base.checkpoint.best_files import describe_position
from base.checkpoint.file import load
from base.checkpoint.left_out import fill_weights, get_left_out
from base.checkpoint.weights import choose_weights, load_loss, load_weights
from base.data.loader import prepare_loader
from base.loaders import make_test_loader
from base.loop.assembly import make_criterion
from base.loop.phases import make_phases
from base.loop.reporter import TestSubject
from base.parallel.strategy import move_to_device, output_device
from utils.errors import UserError
from utils.run_files import reading_from
from utils.seed import temporary_seed
from utils.util import prepare_device

Data = tuple[Any, str, str]  # see make_test_loader


def make_model(config: Any, checkpoint: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Makes the model of a run, with the head that training gives it.

    Returns:
        The model, and the content of the checkpoint with the weights that it leaves out.

    Raises:
        UserError: the weights of the model are not those that the checkpoint leaves out.
    """
    model = config.build("arch")
    phases = make_phases(config, config.get_logger("test"))
    if not get_left_out(checkpoint, "weights"):
        phases.replace_head(model)
        return model, checkpoint
    phases.load_start_weights(model)
    phases.replace_head(model)
    try:
        return model, fill_weights(checkpoint, model, config.resume)
    except UserError:  # random weights depend on all that training makes before the model
        with temporary_seed(config.seed):  # of a teacher, a training must not notice it
            config.build_loaders()
            model = config.build("arch")
            phases.load_start_weights(model)
            phases.replace_head(model)
        return model, fill_weights(checkpoint, model, config.resume)


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
    with reading_from(config.resume):
        loader, split, section = make_test_loader(config) if data is None else data
        model, kind = make_trained_model(config, checkpoint, weights_kind)
    if hasattr(model, "get_input_embeddings"):  # of HuggingFace
        from base.loop.token_checks import check_set_lengths

        check_set_lengths(model, loader, section)
    model, device = move_to_device(model, prepare_device(config.get("n_gpu", 1))[0])
    criterion = make_criterion(config, model, device=output_device(model, device))
    load_loss(criterion, checkpoint, config, config.resume)
    loader = prepare_loader(loader, section, device, True, checkpoint.get("environment"))
    about = (config.resume, checkpoint.get("epoch"), kind, split, config.get("task"))
    return TestSubject(model, criterion, loader, device, *about, describe_position(checkpoint))


def make_trained_model(
    config: Any, checkpoint: dict[str, Any], weights_kind: str | None = None
) -> tuple[nn.Module, str]:
    """Makes the model of a run, on the CPU, with the weights of a checkpoint.

    Args:
        config: of the run. Its ``resume`` is the file of the checkpoint.
        checkpoint: its content.
        weights_kind: as for ``load_subject``.

    Returns:
        The model, and a description of its weights.

    Raises:
        UserError: the weights do not fit the model.
    """
    model, checkpoint = make_model(config, checkpoint)
    weights, kind = choose_weights(checkpoint, weights_kind, config)
    load_weights(model, weights, config.resume)
    return model, kind


def load_trained_model(source: Path, schema: Any) -> tuple[nn.Module, str]:
    """Makes the model of another run, on the CPU, with its trained weights.

    Args:
        source: the folder of the run, of which its best checkpoint is taken, or a checkpoint in it.
            The ``config.json`` beside the checkpoint describes the model.
        schema: of the config.

    Returns:
        The model, and a description of its weights.

    Raises:
        UserError: there is no such checkpoint or config, or they do not fit each other.
    """
    from config import ConfigParser
    from config.read.merge import load_tree
    from utils.checkpoints import CONFIG, find_checkpoint

    path = find_checkpoint(source, best_first=True)
    described = path.parent / CONFIG
    if not described.is_file():
        raise UserError(f"{path}: there is no {CONFIG} beside it, which describes the model")
    config = ConfigParser(load_tree(described), resume=path)
    config.schema = schema  # only the model is made, so nothing else of the config is checked
    model, kind = make_trained_model(config, load(path))
    return model, f"the {kind} of {path}"
