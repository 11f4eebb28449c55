"""Loads a trained model, and the data to evaluate it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from base.checkpoint.best_files import describe_position
from base.checkpoint.file import load
from base.checkpoint.left_out import fill_weights, get_left_out
from base.checkpoint.train_state import TrainState
from base.checkpoint.weights import choose_weights, load_loss, load_weights
from base.data.loader import prepare_loader
from base.loaders import make_split_loader, make_test_loader
from base.loop.assembly import make_criterion
from base.loop.phases import make_phases
from base.loop.reporter import TestResult, TestSubject, evaluate_sets
from base.parallel.strategy import move_to_device, output_device
from utils.checkpoints import find_checkpoint
from utils.errors import UserError
from utils.run_files import reading_from
from utils.seed import get_random_state, seed_everything, set_random_state, temporary_seed
from utils.util import prepare_device

CURRENT = "the current weights"  # in messages, in place of a checkpoint's name
Data = tuple[Any, str, str]  # see make_test_loader


def make_model(config: Any, checkpoint: dict[str, Any], source: Path) -> tuple[Any, dict[str, Any]]:
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
        return model, fill_weights(checkpoint, model, source)
    except UserError:  # random weights depend on all that training makes before the model
        with temporary_seed(config.seed):  # of a teacher, a training must not notice it
            config.build_loaders()
            model = config.build("arch")
            phases.load_start_weights(model)
            phases.replace_head(model)
        return model, fill_weights(checkpoint, model, source)


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
    return make_subject(config, load(config.resume), config.resume, weights_kind, data)


def make_subject(
    config: Any,
    checkpoint: dict[str, Any],
    source: Path,
    weights_kind: str | None = None,
    data: Data | None = None,
) -> TestSubject:
    """Does the same as ``load_subject`` with a checkpoint that is loaded already.

    Args:
        config, weights_kind, data: as for ``load_subject``.
        checkpoint: the content of the file ``source``.
        source: lies in the folder of the run.
    """
    with reading_from(source):
        loader, split, section = make_test_loader(config) if data is None else data
        model, kind = make_trained_model(config, checkpoint, weights_kind, source)
    if hasattr(model, "get_input_embeddings"):  # of HuggingFace
        from base.loop.token_checks import check_set_lengths

        check_set_lengths(model, loader, section)
    model, device = move_to_device(model, prepare_device(config.get("n_gpu", 1))[0])
    criterion = make_criterion(config, model, device=output_device(model, device))
    load_loss(criterion, checkpoint, config, source)
    loader = prepare_loader(loader, section, device, True, checkpoint.get("environment"))
    about = (source, checkpoint.get("epoch"), kind, split, config.get("task"))
    return TestSubject(model, criterion, loader, device, *about, describe_position(checkpoint))


def test_in_training(
    config: Any, state: TrainState, folder: Path, split: str, best: bool
) -> TestResult:
    """Tests the weights of a training that goes on afterwards with the same bits.

    The model, the loss and the data are made anew, as test.py makes them.

    Args:
        config: of the run.
        state: has the current weights.
        folder: of the run.
        split: ``test``, ``valid`` or ``train``.
        best: whether to test the best checkpoint in the folder, and not the current weights.

    Raises:
        UserError: there are no such data or no checkpoint, or the weights do not fit the model.
    """
    outside = get_random_state()
    try:
        seed_everything(config.seed, config["trainer"].get("deterministic", True))
        source = find_checkpoint(folder, best_first=True) if best else folder / CURRENT
        checkpoint = load(source) if best else state.collect()
        with reading_from(source):
            data = make_split_loader(config, split)
        subject = make_subject(config, checkpoint, source, None, data)
        return TestResult(subject, [*evaluate_sets(subject, config, config.get_logger("test"))])
    finally:
        set_random_state(outside)


def make_trained_model(
    config: Any,
    checkpoint: dict[str, Any],
    weights_kind: str | None = None,
    source: Path | None = None,
) -> tuple[nn.Module, str]:
    """Makes the model of a run, on the CPU, with the weights of a checkpoint.

    Args:
        config: of the run. Its ``resume`` is the file of the checkpoint.
        checkpoint: its content.
        weights_kind: as for ``load_subject``.
        source: another file, if the checkpoint is not that of ``config.resume``.

    Returns:
        The model, and a description of its weights.

    Raises:
        UserError: the weights do not fit the model.
    """
    source = config.resume if source is None else source
    model, checkpoint = make_model(config, checkpoint, source)
    weights, kind = choose_weights(checkpoint, weights_kind, config)
    load_weights(model, weights, source)
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
    from utils.checkpoints import CONFIG

    path = find_checkpoint(source, best_first=True)
    described = path.parent / CONFIG
    if not described.is_file():
        raise UserError(f"{path}: there is no {CONFIG} beside it, which describes the model")
    config = ConfigParser(load_tree(described), resume=path)
    config.schema = schema  # only the model is made, so nothing else of the config is checked
    model, kind = make_trained_model(config, load(path))
    return model, f"the {kind} of {path}"
