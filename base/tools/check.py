"""A trial (``train.py --check``): everything that a config makes, tried on one batch, and nothing left behind."""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any

import torch

from base.loop.update import Update
from base.run import RunFolder
from config.check.slots import own_frames
from config.read.source import ConfigError, Finding, Keys
from utils.batch import num_batches, to_device
from utils.errors import UserError, one_line
from utils.util import inf_loop

STEPS = 4  # on the one batch; the first pays for what is set up once


class FirstBatch:
    """Gives the first batch of ``loader``, several times over; all else is the loader's own.

    Attributes:
        batch: that batch, once it was given.
        seconds: what its user did with it each time.
    """

    def __init__(self, loader: Any, times: int) -> None:
        self.loader, self.times = loader, times
        self.batch: Any = None
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            self.batch = batch
            for _ in range(self.times):
                start = time.perf_counter()
                try:
                    yield batch
                finally:
                    self.seconds.append(time.perf_counter() - start)
            break

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class Trial(RunFolder):
    """Stands in a RunFolder's place, in a folder that goes away again.

    Raises:
        UserError: anything at all went wrong; with the part of the config that was at work, and the user's own frames.
    """

    def __init__(self, config: Any) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="trial-")
        super().__init__(config, Path(self._temporary.name))

    def __enter__(self) -> Trial:
        self.home = self.save_dir.parent  # of the runs of this name
        self.config["trainer"].update(tensorboard=False, wandb=None)  # there is nobody to look
        self._parts: list[tuple[Keys, Any]] = []
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        error = raised[1]
        try:
            super().__exit__(*raised)
        finally:
            self._temporary.cleanup()
        if (
            isinstance(error, ConfigError)
            and error.__cause__ is not None
            and own_frames(error.__cause__)
        ):
            error.__cause__.config_keys = error.findings[0].keys  # type: ignore[attr-defined]
            raise UserError(self._blame(error.__cause__)) from None
        if isinstance(error, Exception) and not isinstance(error, UserError):
            raise UserError(self._blame(error)) from None

    def first(self, loader: Any, name: str) -> FirstBatch | None:
        """``loader`` with its first batch only; None stays None."""
        if loader is None:
            return None
        self._parts += [((name,), loader), ((name,), getattr(loader, "dataset", None))]
        run = self.config["trainer"]["epochs"] * (
            num_batches(loader) or STEPS
        )  # a schedule may have no step beyond it
        return FirstBatch(loader, min(STEPS, run) if name == "data_loader" else 1)

    def bill(self, trainer: Any) -> str:
        """Runs an epoch of what the loaders still give, saves a checkpoint, and tells what it found as a table."""
        model, config = trainer.model, self.config
        self._parts += [(("arch",), model), (("loss",), trainer.criterion), (("trainer",), trainer)]
        self._parts += [
            (("metrics", index), metric) for index, metric in enumerate(trainer.metric_ftns)
        ]
        loader = getattr(trainer, "data_loader", None)
        loader = loader.loader if isinstance(loader, inf_loop) else loader
        n_batches = getattr(trainer, "len_epoch", None) or num_batches(loader)
        if hasattr(trainer, "len_epoch"):
            trainer.len_epoch = min(n_batches or STEPS, STEPS)
        outputs: list[Any] = []
        start = time.perf_counter()
        with model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)):
            trainer._train_epoch(1)
        trainer._save_checkpoint(1)
        trainer.writer.close()
        sizes = [path.stat().st_size for path in self.save_dir.glob("checkpoint*")]
        counts = [
            sum(p.numel() for p in model.parameters() if p.requires_grad is wanted)
            for wanted in (True, False)
        ]
        window = config["trainer"].get("accumulation_steps", 1)
        steps, epochs = "as many as the data has", config["trainer"]["epochs"]
        if n_batches:
            epoch = math.ceil(n_batches / window)
            steps = f"{epoch:,} an epoch, {epochs * epoch:,} in {epochs} epochs"
        cheap = {"fused optimizer": trainer.optimizer.defaults.get("fused")}
        cheap |= {key: config["trainer"].get(key) for key in ("channels_last", "compile")}
        seconds = getattr(loader, "seconds", []) or [time.perf_counter() - start]
        rows = {
            "model": f"{type(model).__name__} on {trainer.device}",
            "parameters": f"{sum(counts):,} in all, {counts[0]:,} trainable, {counts[1]:,} frozen",
            "batch": describe(getattr(loader, "batch", None)),
            "output": describe(outputs[0]) if outputs else "the model was not called as a whole",
            "steps": steps,
            "checkpoint": f"{max(sizes, default=0) / 1e6:,.2f} MB",
            "cheaper": ", ".join(name for name, on in cheap.items() if on) or "nothing",
            "seconds": f"{min(seconds[1:] or seconds):.4f} a batch, without loading it",
        }
        if config.get("parallel"):
            rows["parallel"] = (
                f"{config['parallel']['type']}, tried in one process; a batch is that of all together"
            )
        return "\n".join(
            ["All of it works:", *(f"  {name:<11} {text}" for name, text in rows.items())]
        )

    def _blame(self, error: BaseException) -> str:
        """The part of the config whose object the innermost frame belongs to, the error, and the user's own frames."""
        keys: Keys = getattr(error, "config_keys", ())
        for frame, _ in reversed(list(walk_tb(error.__traceback__))):
            keys = keys or next((keys for keys, part in self._parts if _belongs(frame, part)), ())
        if not keys and "DataLoader worker" in str(error):
            keys = ("data_loader",)
        message = f"{type(error).__name__}: {one_line(error)}"
        if "Original Traceback" in str(error):  # of a loader's worker, as text
            message = one_line(ValueError(str(error).strip().splitlines()[-1]))
        lines = [str(Finding(self.config.tree.mark(keys) if keys else None, keys, message))]
        return "\n".join(
            lines
            + [f"  {path}:{line} in {name}: {text}" for path, line, name, text in own_frames(error)]
        )


def rounds(trainer: Any, option: str) -> inf_loop:
    """The batches of a trainer, round and round, for ``steps_of``.

    Raises:
        UserError: its steps are not ``train_step`` and an ``Update``.
    """
    loop = next(kind for kind in type(trainer).__mro__ if "_train_epoch" in vars(kind))
    if "train_step" not in vars(loop):
        raise UserError(f"{option}: {loop.__name__} trains by a loop of its own")
    return (
        trainer.data_loader
        if isinstance(trainer.data_loader, inf_loop)
        else inf_loop(trainer.data_loader)
    )


def steps_of(trainer: Any, **changed: Any) -> Callable[[Any], torch.Tensor | None]:
    """A trainer's way to learn from a batch, aside from the run; gives the loss if the batch has made a step.

    Args:
        changed: options that differ from the trainer's.
    """
    options = replace(
        trainer._options, warmup_steps=0, ema_decay=None, nan_policy="ignore", **changed
    )
    update = Update(trainer.model, trainer.optimizer, options, trainer.device)
    trainer.model.train()

    def learn(batch: Any) -> torch.Tensor | None:
        with update.autocast():
            loss: torch.Tensor = trainer.train_step(to_device(batch, trainer.device))[0]
        update.backward(loss)
        return loss if update.step() else None

    return learn


def _belongs(frame: FrameType, part: Any) -> bool:
    """Whether a frame runs ``part``: one of its methods, one of its modules', or the function itself."""
    while isinstance(part, functools.partial):
        part = part.func
    if getattr(part, "__code__", None) is frame.f_code:
        return True
    owner = frame.f_locals.get("self")
    return owner is not None and (
        owner is part or (isinstance(part, torch.nn.Module) and owner in part.modules())
    )


def describe(value: Any) -> str:
    """The shapes and dtypes in a batch or an output: ``float32 (64, 1, 8, 8), int64 (64,)``."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {describe(item)}" for key, item in value.items())
    if isinstance(value, list | tuple) and len(value) <= 8:
        return ", ".join(map(describe, value))
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, list | tuple) else "")
