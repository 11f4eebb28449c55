"""The same training by hand and in other frameworks, as their guides write it: ``ARMS``.

Each arm does a ``Job``: it trains a model with Adam, and computes the loss and the accuracy. With a
folder, it also validates, writes to TensorBoard, writes a checkpoint after each epoch, and shows
the progress. The job's clock has the seconds of training in each epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

LR = 1e-3
CPU = torch.device("cpu")


class Clock:
    """Measures the seconds of epochs."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.start = 0.0

    def begin(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def watch(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Returns ``batches``. A subclass may call ``restart`` when the first one arrives."""
        return batches

    def restart(self) -> None:
        """Called at the first batch of an epoch by arms that cannot ``watch``."""

    def end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


@dataclass
class Job:
    """A training, which every arm does in its way.

    Attributes:
        model: on the CPU.
        train, valid: give batches ``(input, target)`` on the CPU.
        epochs: their number.
        folder: None trains only.
        device: where to train.
        bf16: whether the arms that can do so train in mixed precision. The tutorial's does not.
        transform: changes an input that is on the device, before the model sees it.
        clock: measures the epochs.
    """

    model: nn.Module
    train: Any
    valid: Any = None
    epochs: int = 1
    folder: Path | None = None
    device: torch.device = CPU
    bf16: bool = False
    transform: Callable[[Any], Any] | None = None
    clock: Clock = field(default_factory=Clock)


def train_by_hand(job: Job, accelerator: Any) -> None:
    """The loop of torch's tutorials, and Accelerate's lines if there is an accelerator.

    Tutorials fetch the loss in each step; Accelerate's examples sum it on the device.
    """
    clock, writer, progress = job.clock, None, lambda batches: batches
    get_value = torch.Tensor.item if accelerator is None else torch.Tensor.detach
    model, train, valid, folder = job.model.to(job.device), job.train, job.valid, job.folder
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    if accelerator is not None:
        model, optimizer, train, valid = accelerator.prepare(model, optimizer, train, valid)
    if folder is not None:
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        writer, progress = SummaryWriter(folder), tqdm
    for epoch in range(job.epochs):
        clock.begin()
        model.train()
        total, right, n = 0.0, 0, 0
        for x, y in progress(clock.watch(train)):
            x, y = x.to(job.device), y.to(job.device)
            x = x if job.transform is None else job.transform(x)
            optimizer.zero_grad()
            output = model(x)
            loss = F.cross_entropy(output, y)
            if accelerator is None:
                loss.backward()
            else:
                accelerator.backward(loss)
            optimizer.step()
            total += get_value(loss) * len(y)
            right += get_value((output.argmax(1) == y).sum())
            n += len(y)
            if writer is not None and n % (50 * len(y)) == 0:
                writer.add_scalar("loss/train", loss.item(), epoch * len(train) + n // len(y))
        clock.end()
        if writer is not None:
            writer.add_scalar("accuracy/train", right / n, epoch)
            writer.add_scalar("accuracy/valid", validate(model, valid, job.device), epoch)
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
                folder / f"{epoch}.pt",
            )


@torch.no_grad()
def validate(model: nn.Module, valid: Iterable[Any], device: torch.device) -> float:
    model.eval()
    right = n = 0
    for x, y in valid:
        right += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
        n += len(y)
    return right / n


def plain(job: Job) -> None:
    train_by_hand(job, None)


def accelerate(job: Job) -> None:
    from accelerate import Accelerator

    precision = "bf16" if job.bf16 else "no"
    train_by_hand(job, Accelerator(cpu=job.device.type == "cpu", mixed_precision=precision))


def ignite(job: Job) -> None:
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.handlers import Checkpoint, DiskSaver, ProgressBar, TensorboardLogger
    from ignite.metrics import Accuracy, Loss

    model, folder = job.model.to(job.device), job.folder
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    trainer = create_supervised_trainer(
        model,
        optimizer,
        F.cross_entropy,
        device=job.device,
        output_transform=lambda x, y, output, loss: (output.detach(), y),
    )
    Accuracy().attach(trainer, "accuracy")
    Loss(F.cross_entropy).attach(trainer, "loss")
    trainer.add_event_handler(Events.EPOCH_STARTED, job.clock.begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, job.clock.end)
    if folder is not None:
        evaluator = create_supervised_evaluator(
            model, {"accuracy": Accuracy(), "loss": Loss(F.cross_entropy)}, device=job.device
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(job.valid))
        logger = TensorboardLogger(log_dir=folder)
        for tag, engine in (("train", trainer), ("valid", evaluator)):
            logger.attach_output_handler(
                engine, Events.EPOCH_COMPLETED, tag=tag, metric_names="all"
            )
        kept = Checkpoint(
            {"model": model, "optimizer": optimizer}, DiskSaver(folder, require_empty=False)
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, kept)
        ProgressBar().attach(trainer)
    trainer.run(job.train, max_epochs=job.epochs)


def make_lightning_module(job: Job) -> Any:
    """Returns a LightningModule. With a folder, it also logs the loss of every step."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model

        def _step(self, batch: Any, mode: str) -> torch.Tensor:
            x, y = batch
            output = self.model(x)
            loss = F.cross_entropy(output, y)
            every_epoch = {"on_epoch": True, "batch_size": len(y)}
            shown = job.folder is not None and mode == "train"
            self.log(f"loss/{mode}", loss, prog_bar=shown, on_step=shown, **every_epoch)
            accuracy = (output.argmax(1) == y).float().mean()
            self.log(f"accuracy/{mode}", accuracy, on_step=False, **every_epoch)
            return loss

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self._step(batch, "train")

        def validation_step(self, batch: Any, _: int) -> None:
            self._step(batch, "valid")

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=LR)

        on_train_epoch_start, on_train_epoch_end = job.clock.begin, job.clock.end

        def on_after_batch_transfer(self, batch: Any, _: int) -> Any:
            x, y = batch
            return (x if job.transform is None else job.transform(x)), y

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                job.clock.restart()

    return Module()


def lightning(job: Job) -> None:
    import logging
    import warnings

    import lightning as pl
    from lightning.pytorch.loggers import TensorBoardLogger

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    folder = job.folder
    trainer = pl.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu" if job.device.type == "cpu" else "auto",
        devices=1,
        precision="bf16-mixed" if job.bf16 else None,
        logger=TensorBoardLogger(folder) if folder is not None else False,
        enable_checkpointing=folder is not None,
        enable_progress_bar=folder is not None,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    valid = job.valid if folder is not None else None
    trainer.fit(make_lightning_module(job), job.train, valid)


ARMS: dict[str, Callable[[Job], None]] = {
    "plain": plain,
    "Accelerate": accelerate,
    "Ignite": ignite,
    "Lightning": lightning,
}
PACKAGES = {"Accelerate": "accelerate", "Ignite": "ignite", "Lightning": "lightning"}
