"""What a frozen part puts out, computed once for every sample: training then runs the rest of the model alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.data import DataLoader, Dataset

from base.base_data_loader import BaseDataLoader
from base.data.cache import free_memory
from base.data.sampler import EpochSampler, as_it_is
from logger.progress import progress
from utils.batch import to_device
from utils.errors import UserError

KEY = "transfer.cache_features"
PROBES = 16  # samples that are read twice, to see whether the transforms are random


class Prefix:
    """The part of a model that runs before anything that is trained.

    ``compute`` gives its output; after ``skip`` the model takes that output in the input's place. The model's own
    ``forward`` still runs: only the modules of the prefix are stood in for, the last of them by the stored output.

    Args:
        model: with all but its last part frozen.
        inputs: an example batch, (N, …).

    Attributes:
        output: the prefix's, for the example.

    Raises:
        UserError: nothing frozen runs first, or the rest of the model looks at more than the prefix's last output.
    """

    def __init__(self, model: nn.Module, inputs: torch.Tensor) -> None:
        self.model, self._shape = model, inputs.shape[1:]
        self._stored: torch.Tensor | None = None
        calls = self._record(inputs)
        frozen = [
            place
            for place, (module, _) in enumerate(calls)
            if next(module.parameters(), None) is not None
        ]
        if not frozen:
            raise UserError(
                f"{KEY}: no frozen part of {type(model).__name__} runs before what is trained"
            )
        end = frozen[-1] + 1
        while end < len(calls) and _is_plain(calls[end][0]):
            end += 1  # pooling makes what is stored small
        for length in dict.fromkeys((end, frozen[-1] + 1)):
            self._calls, self.output = calls[:length], calls[length - 1][1]
            if self._is_whole(inputs):
                return
        raise UserError(
            f"{KEY}: {type(model).__name__} looks at more than the last output of its frozen part"
        )

    def _record(self, inputs: torch.Tensor) -> list[tuple[nn.Module, Any]]:
        """The largest modules without trained parameters that run before any trained one, in order, with outputs."""
        calls: list[tuple[nn.Module, Any]] = []
        ended: list[bool] = []
        hooks = []

        def watch(module: nn.Module) -> None:
            if not any(parameter.requires_grad for parameter in module.parameters()):
                hooks.append(
                    module.register_forward_hook(
                        lambda m, _, out: None if ended else calls.append((m, out))
                    )
                )
                return
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
                hooks.append(module.register_forward_pre_hook(lambda *_: ended.append(True)))
            for child in module.children():
                watch(child)

        watch(self.model)
        self._run(inputs)
        for hook in hooks:
            hook.remove()
        modules = [module for module, _ in calls]
        return [
            (module, out)
            for module, out in calls
            if modules.count(module) == 1 and isinstance(out, torch.Tensor)
        ]

    @torch.no_grad()
    def _run(self, inputs: torch.Tensor) -> Any:
        training = self.model.training
        self.model.eval()
        try:
            return self.model(inputs)
        finally:
            self.model.train(training)

    def _is_whole(self, inputs: torch.Tensor) -> bool:
        """Whether the output is the same when of the prefix only its last output is known, and all else is NaN."""
        expected = self._run(inputs)
        if not isinstance(expected, torch.Tensor) or not expected.isfinite().all():
            return False
        features, undo = self.compute(inputs), self.skip(float("nan"))
        try:
            return torch.equal(self._run(features), expected)
        except RuntimeError:  # a shape that the rest does not expect
            return False
        finally:
            undo()

    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """The prefix's output for ``inputs``."""
        found: list[torch.Tensor] = []
        with self._calls[-1][0].register_forward_hook(
            lambda _module, _inputs, output: found.append(output)
        ):
            self._run(inputs)
        return found[0]

    def skip(self, filler: float | None = None) -> Callable[[], None]:
        """From now on the model takes ``compute``'s outputs in its inputs' place. Returns what ends that.

        Args:
            filler: what the modules before the last one give; None for whatever is in memory.
        """

        def blank(like: torch.Tensor) -> Callable[..., torch.Tensor]:
            def forward(*_args: Any, **_kwargs: Any) -> torch.Tensor:
                assert self._stored is not None
                made = self._stored.new_empty(
                    (len(self._stored), *like.shape[1:]), dtype=like.dtype
                )
                return made if filler is None else made.fill_(filler)

            return forward

        def take(_module: nn.Module, args: tuple[Any, ...]) -> tuple[torch.Tensor]:
            self._stored = args[0]
            return (args[0].new_empty((len(args[0]), *self._shape)),)

        for module, output in self._calls[:-1]:
            module.forward = blank(output)  # type: ignore[method-assign]
        self._calls[-1][0].forward = lambda *_: self._stored  # type: ignore[method-assign]
        hook = self.model.register_forward_pre_hook(take)

        def undo() -> None:
            hook.remove()
            for module, _ in self._calls:
                vars(module).pop("forward", None)

        return undo


def _is_plain(module: nn.Module) -> bool:
    """Whether it is one of torch's without parameters or random numbers: pooling, an activation."""
    random = isinstance(module, _DropoutNd | nn.RReLU)
    return (
        type(module).__module__.startswith("torch.nn.modules.")
        and not random
        and not list(module.parameters())
    )


class Features(Dataset[Any]):
    """Stored outputs and their targets, under the indices of the dataset that they were computed from."""

    def __init__(self, features: torch.Tensor, targets: torch.Tensor, places: torch.Tensor) -> None:
        self.features, self.targets, self.places = features, targets, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, indices: list[int]) -> Any:
        places = self.places[indices]
        return self.features[places], self.targets[places]


def cache_features(
    model: nn.Module, loaders: list[Any], device: torch.device, logger: logging.Logger
) -> list[Any]:
    """Computes the frozen part's output for all samples of ``loaders``; the model takes those in place of its inputs.

    Returns:
        Loaders of the outputs, in the order of batches that the given ones have.

    Raises:
        UserError: the transforms are random, the batches are no (input, target) pairs of tensors, the model does not
            come apart, or the outputs do not fit into memory.
    """
    start = time.perf_counter()
    prefix = prepare(model, loaders, device)
    made = [
        None if loader is None else _cached(loader, prefix, device, logger) for loader in loaders
    ]
    prefix.skip()
    data: list[Any] = [loader.dataset for loader in made if loader is not None]
    size = sum(part.features.nbytes for part in data) / 1e6
    counts = " + ".join(str(len(part.features)) for part in data)
    logger.info(
        "Features cached: %s samples, %.1f MB, %.1f s.", counts, size, time.perf_counter() - start
    )
    return made


def prepare(model: nn.Module, loaders: list[Any], device: torch.device) -> Prefix:
    """Looks whether features can be cached. Raises UserError as ``cache_features`` does."""
    if getattr(model, "_compiled_call_impl", None) is not None:
        raise UserError(f"{KEY}: excludes trainer.compile")
    for loader in loaders:
        if loader is None:
            continue
        if (
            not isinstance(loader, BaseDataLoader)
            or loader._batches is None
            or not loader.batch_size
        ):
            raise UserError(
                f"{KEY}: needs loaders made from base.BaseDataLoader, of a dataset with indices"
            )
        _check_fixed(loader, len(loader.dataset))  # type: ignore[arg-type]
    inputs, _ = _pair(loaders[0].batch_of(list(range(min(2, len(loaders[0].dataset)))), 0))
    return Prefix(model, to_device(inputs, device))


def _check_fixed(loader: BaseDataLoader, n_samples: int) -> None:
    probes = np.linspace(0, n_samples - 1, min(PROBES, n_samples)).astype(int).tolist()
    one, other = (_pair(loader.batch_of(probes, seed)) for seed in (1, 2))
    for index, *values in zip(probes, *one, *other, strict=True):
        if not all(map(torch.equal, values[:2], values[2:])):
            raise UserError(
                f"{KEY}: the transforms of the data are random: sample {index} is never twice the same"
            )


def _pair(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if (
        isinstance(batch, list | tuple)
        and len(batch) == 2
        and all(isinstance(part, torch.Tensor) for part in batch)
    ):
        return batch[0], batch[1]
    raise UserError(f"{KEY}: the batches must be pairs of an input and a target tensor")


def _cached(
    loader: BaseDataLoader, prefix: Prefix, device: torch.device, logger: logging.Logger
) -> BaseDataLoader:
    dataset: Any = loader.dataset
    indices = list(
        loader.sampler.indices if isinstance(loader.sampler, EpochSampler) else range(len(dataset))
    )
    features, targets, done = _room(len(indices), prefix.output), [], 0
    options = {key: getattr(loader, key) for key in ("batch_size", "num_workers", "collate_fn")}
    batches: DataLoader[Any] = DataLoader(
        dataset, sampler=indices, generator=torch.Generator(), **options
    )
    for batch in progress(batches, len(batches), "features", logger):
        inputs, target = _pair(loader.transformed(batch, 0))
        output = prefix.compute(to_device(inputs, device)).cpu()
        features[done : done + len(output)] = output
        targets.append(target)
        done += len(output)
    places = torch.zeros(len(dataset), dtype=torch.int64)
    places[torch.as_tensor(indices)] = torch.arange(len(indices))
    data = Features(features, torch.cat(targets), places)
    same = {
        key: value
        for key, value in loader.init_kwargs.items()
        if key in ("batch_size", "drop_last", "pin_memory")
    }
    made = BaseDataLoader(data, sampler=loader.sampler, collate_fn=as_it_is, **same)
    made.seed, made.device = loader.seed, device
    assert loader._batches is not None
    return made if loader._batches.in_step else made.evaluating()


def _room(count: int, like: torch.Tensor) -> torch.Tensor:
    needed = count * like[0].nbytes
    if (free := free_memory()) is not None and needed > 0.8 * free:
        raise UserError(
            f"{KEY}: {count:,} outputs take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        )
    return torch.empty((count, *like.shape[1:]), dtype=like.dtype)
