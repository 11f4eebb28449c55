"""The statistics of batch norms for averaged weights, computed anew from training batches."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from base.base_data_loader import BaseDataLoader
from base.data.loader import find_divided_loader, set_position, unwrap_loader
from utils.batch import is_empty, to_device
from utils.seed import get_random_state, mix_seed, set_random_state
from utils.util import inf_loop

if TYPE_CHECKING:
    from base.loop.averaging import Forward
    from base.loop.update import Update


@torch.no_grad()
def recompute_statistics(
    model: nn.Module, update: Update, loader: Any, forward: Forward, max_batches: int
) -> None:
    """Gives the batch norms of ``model`` the mean statistics of training batches.

    Those of the training belong to other weights. Norms that the model keeps in eval mode, such as
    frozen ones, stay as they are. With several processes, those of the main process count, as in
    training. The data, its order and all random numbers stay as they are.
    Source: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2, and torch's
    ``torch.optim.swa_utils.update_bn``.

    Args:
        model: without a wrapper. A model without batch norms is left as it is.
        update: has the device, the precision and the counters of the training.
        loader: gives the training batches.
        forward: ``forward(model, batch)`` calls the model.
        max_batches: the largest number of batches to use.
    """
    model.train()
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    state = get_random_state()
    if norms:
        with contextlib.closing(_read_again(loader, update.progress.epoch, max_batches)) as batches:
            _gather(model, norms, batches, update, forward)
    set_random_state(state)
    model.eval()


def _gather(
    model: nn.Module, norms: list[Any], batches: Iterator[Any], update: Update, forward: Forward
) -> None:
    first = next(batches, None)
    if first is None:
        logging.getLogger("trainer").warning(
            "trainer.swa: the batches of this epoch cannot be read again, because it is a part of "
            "a pass over the data. The average has the model's statistics of batch norms."
        )
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in chain([first], batches):
        with update.autocast():
            forward(model, to_device(batch, update.device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _read_again(loader: Any, epoch: int, max_batches: int) -> Generator[Any, None, None]:
    """Reads the first batches of an epoch that has ended, and restores the loader's position.

    Yields nothing if the epoch is a part of a pass, and the samples have no indices.
    """
    divided = find_divided_loader(loader)
    if isinstance(loader, inf_loop):  # it is in the middle of a pass, which must go on
        plain = unwrap_loader(loader)
        if isinstance(plain, BaseDataLoader):
            for number, indices in enumerate(islice(plain.list_batches(), max_batches)):
                yield plain.read_batch(indices, mix_seed(plain.seed, epoch, number))
        return
    position = None if divided is None else divided.state_dict()
    set_position(loader, epoch)
    yield from (batch for batch in islice(loader, max_batches) if not is_empty(batch))
    if divided is not None and position is not None:
        divided.load_state_dict(position)
