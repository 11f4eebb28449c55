"""Steps between a config and a trainer: limits, the shapes of lazy modules, the optimizer."""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
from collections.abc import Callable, Iterator
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from base.data.loader import find_divided_loader
from base.loop.evaluate import forward
from base.loop.losses import ModelLoss, WeightedSum, check_shapes
from base.loop.optimizer_modes import warn_of_modes
from base.loop.phases import Phases
from base.loop.schedule_plan import get_learning_rate, make_lr_scheduler
from base.loop.several_optimizers import check_dimensions, list_optimizers, make_several_optimizers
from base.parallel.strategy import Parallel
from utils import distributed
from utils.batch import to_device
from utils.errors import UserError, one_line
from utils.seed import temporary_seed

if TYPE_CHECKING:
    from config import ConfigParser

RATES = ("lr", "weight_decay", "momentum")  # of an optimizer
LIMITED = (
    "trainer.limit_batches: an epoch and a validation end after %d batches, so all results are of "
    "a part of the data."
)
LOSS_GROUP = "loss"  # the name of the loss's parameter group


def limit_loaders(
    config: ConfigParser, loaders: list[Any], trial: Callable[[list[Any]], list[Any]] | None
) -> list[Any]:
    """Limits the training and validation loaders as ``trainer.limit_batches`` says.

    Args:
        config: of the run.
        loaders: of any class; None for one that is absent, a dict for several sets.
        trial: shortens the loaders further, for a trial.
    """
    count, len_epoch = (config["trainer"].get(key) for key in ("limit_batches", "len_epoch"))
    if count is not None:
        from base.data.limited import limit_loader, may_exceed

        train, valid = loaders
        is_limited = may_exceed(train, count) if len_epoch is None else len_epoch > count
        is_limited |= may_exceed(valid, count)
        # With len_epoch, the trainer ends an epoch, and the next one continues in the data.
        train = limit_loader(train, count) if len_epoch is None else train
        loaders = [train, limit_loader(valid, count)]
        if is_limited:
            config.get_logger("train").warning(LIMITED, count)
    return loaders if trial is None else trial(loaders)


def make_criterion(
    config: ConfigParser,
    model: nn.Module,
    parallel: Parallel | None = None,
    device: torch.device | None = None,
) -> Any:
    """Makes the loss of a config: one loss, the weighted sum of a list, or the model's own.

    Args:
        config: of the run.
        model: computes the loss if the config has none.
        parallel: has wrapped the model; None if nothing has.
        device: of the loss, if it is a module; None leaves it on the CPU.
    """
    if config.get("loss") is None:
        return ModelLoss(model, model if parallel is None else parallel.unwrap(model))
    criterion = config.build("loss")
    if isinstance(criterion, list):
        criterion = WeightedSum(config["loss"], list(map(check_shapes, criterion)))
    else:
        criterion = check_shapes(criterion)
    return criterion if device is None else to_device(criterion, device)


def make_optimizer(
    config: ConfigParser,
    phases: Phases,
    model: nn.Module,
    criterion: Any,
    arguments: dict[str, Any] | list[dict[str, Any]],
    loader: Any = None,
) -> tuple[Optimizer, Any]:
    """Makes the optimizer of the model's and the loss's parameters, and its scheduler.

    A loss with parameters, such as learned class centres or task weights, is moved to the device of
    the model's output. Its parameters are the last group, with the optimizer's own arguments.

    Args:
        config: of the run.
        phases: selects the parameters of the model.
        model: on its device, and wrapped.
        criterion: the loss: a module or a function.
        arguments: further arguments of the optimizer, or of each if the config lists several.
        loader: gives the training batches, whose number may be the length of the schedule.

    Returns:
        The optimizer, and the scheduler or None.

    Raises:
        UserError: an argument of the optimizer is not finite, the scheduler cannot move, the
            loss is lazy, or the parameters do not fit the optimizers.
    """
    loss_group = _prepare_loss(criterion, model)
    optimizer = _build_optimizer(config, phases, model, loss_group, arguments)
    _check_rates(optimizer, "optimizer")
    lr_scheduler = make_lr_scheduler(config, optimizer, loader)
    _check_rates(optimizer, "lr_scheduler")
    warn_of_modes(optimizer, model, config)
    return optimizer, lr_scheduler


def _prepare_loss(criterion: Any, model: nn.Module) -> dict[str, Any] | None:
    """Moves a loss that is a module to the model's device; returns its group of parameters."""
    _check_loss(criterion)
    trained = list_trained(criterion)
    if isinstance(criterion, nn.Module):  # it may have buffers, such as weights of classes
        criterion.to(next((p.device for p in reversed([*model.parameters()])), None))
    if not trained:
        return None
    _broadcast(criterion)
    count = sum(parameter.numel() for parameter in trained)
    logger = logging.getLogger("train")
    logger.info("The loss has %s trainable parameters, the last parameter group.", f"{count:,}")
    return {"params": trained, "name": LOSS_GROUP}


def _build_optimizer(
    config: ConfigParser, phases: Phases, model: nn.Module, loss_group: Any, arguments: Any
) -> Optimizer:
    if isinstance(config["optimizer"], list):

        def make_groups(index: int, names: set[str]) -> list[dict[str, Any]]:
            lr = get_learning_rate(config, index)
            return _as_groups(phases.parameter_groups(model, lr, names))

        return make_several_optimizers(config, model, make_groups, loss_group, arguments)
    groups = phases.parameter_groups(model, get_learning_rate(config))
    if loss_group is not None:
        groups = [*_as_groups(groups), loss_group]
    check_dimensions(config["optimizer"]["type"], groups, model, "optimizer.type")
    optimizer: Optimizer = config.build("optimizer", groups, **arguments)
    return optimizer


def _as_groups(groups: list[Any]) -> list[dict[str, Any]]:
    """Makes parameters one group. Groups stay as they are."""
    return [{"params": groups}] if groups and not isinstance(groups[0], dict) else groups


def _check_rates(optimizer: Any, setter: str) -> None:
    """Raises UserError if ``lr`` or another number in the groups is not finite.

    Args:
        optimizer: of any class.
        setter: the section of the config that has set the numbers.
    """
    members = list_optimizers(optimizer)
    for index, member in enumerate(members):
        for group, name in product(member.param_groups, RATES):
            value = group.get(name, 0)
            if isinstance(value, int | float | torch.Tensor) and not math.isfinite(value):
                key = setter
                if setter == "optimizer":
                    key = f"optimizer.{index}.args.{name}" if member is not optimizer else ""
                    key = key or f"optimizer.args.{name}"
                raise UserError(f"{name}={float(value)} is not a finite number", key=key)


def _check_loss(criterion: Any) -> None:
    """Raises UserError if a loss has a parameter or buffer without a shape."""
    names = find_lazy(criterion) if isinstance(criterion, nn.Module) else []
    if names:
        message = f"{names[0]} is lazy, and only a model may be; give it its sizes"
        raise UserError(message, key="loss")


def list_trained(criterion: Any) -> list[nn.Parameter]:
    """Lists the parameters of a loss that are trained."""
    parameters = criterion.parameters() if isinstance(criterion, nn.Module) else ()
    return [parameter for parameter in parameters if parameter.requires_grad]


def _broadcast(criterion: nn.Module) -> None:
    """Gives all ranks the loss of the main rank, as DDP does with a model."""
    if distributed.world_size() == 1:
        return
    for tensor in (*criterion.parameters(), *criterion.buffers()):
        value = tensor.detach()
        torch.distributed.broadcast(value, src=0, group=distributed.process_group())


def find_lazy(model: nn.Module) -> list[str]:
    """Lists the names of parameters and buffers that have no shape yet."""
    named = chain(model.named_parameters(), model.named_buffers())
    return [name for name, tensor in named if is_lazy(tensor)]


def infer_shapes(config: ConfigParser, model: nn.Module, loader: Any, valid: Any = None) -> None:
    """Runs a lazy model on a first batch, which gives its parameters their shapes.

    Checks that a model of texts knows the tokens of the data.

    The order of the data and its random numbers stay as they are.

    Args:
        config: names the trainer, which may call the model in its own way.
        model: on the CPU; a model without lazy modules is left as it is.
        loader: gives the batch.
        valid: the loader of the validation, or a dict of them, whose texts are compared too.

    Raises:
        UserError: the model cannot run on the batch, or leaves a module without a shape.
    """
    if hasattr(model, "get_input_embeddings"):  # of HuggingFace
        from base.loop.token_checks import check_texts

        check_texts(config, model, loader, valid)
    names = find_lazy(model)
    if not names:
        return
    call = inspect.getattr_static(config.trainer_class(), "forward", None)
    call = call.__func__ if isinstance(call, staticmethod) else forward
    device = next((p.device for p in model.parameters() if not is_lazy(p)), torch.device("cpu"))
    batch = to_device(_read_batch(loader, config.seed), device)
    advice = "give it its sizes, or use it in every forward pass"
    try:
        with torch.no_grad():
            model.eval()
            call(model, batch)
            if find_lazy(model):  # some modules run only in training
                with _unchanged_buffers(model.train()):
                    call(model, batch)
    except Exception as error:
        message = f"{names[0]} is lazy, and the model fails on the batch that gives it its shape"
        message += f": {type(error).__name__}: {one_line(error)}"
        raise UserError(message, key="arch") from error
    finally:
        model.train()
    if names := find_lazy(model):
        message = f"{names[0]} is lazy, and a first batch did not give it its shape; {advice}"
        raise UserError(message, key="arch")


def _read_batch(loader: Any, seed: int) -> Any:
    divided = find_divided_loader(loader)
    position = None if divided is None else divided.state_dict()
    with temporary_seed(seed):
        batch = next(iter(loader), None)
    if divided is not None and position is not None:
        divided.load_state_dict(position)
    if batch is None:
        raise UserError("there was nothing to train on: the data loader gave no batch")
    return batch


@contextlib.contextmanager
def _unchanged_buffers(model: nn.Module) -> Iterator[None]:
    """Restores the buffers, such as the statistics of batch norms, that a forward pass changes."""
    before = {name: b.clone() for name, b in model.named_buffers() if not is_lazy(b)}
    yield
    for name, buffer in model.named_buffers():
        if name in before:
            buffer.copy_(before[name])
