"""The same training by hand and in other frameworks, as their guides write it: ``ARMS``.

Each arm trains a model with Adam, and computes the loss and the accuracy. With a folder, it also
validates, writes to TensorBoard, writes a checkpoint after each epoch, and shows the progress. It
returns the seconds of training in each epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

LR = 1e-3


class Clock:
    """Measures the seconds of epochs."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.start = 0.0

    def begin(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def end(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def train_by_hand(
    model: nn.Module, train: Any, valid: Any, epochs: int, folder: Path | None, accelerator: Any
) -> Clock:
    """The loop of torch's tutorials, and Accelerate's three lines if there is an accelerator."""
    clock, writer, progress = Clock(), None, lambda batches: batches
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    if accelerator is not None:
        model, optimizer, train, valid = accelerator.prepare(model, optimizer, train, valid)
    if folder is not None:
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        writer, progress = SummaryWriter(folder), tqdm
    for epoch in range(epochs):
        clock.begin()
        model.train()
        total, right, n = 0.0, 0, 0
        for x, y in progress(train):
            optimizer.zero_grad()
            output = model(x)
            loss = F.cross_entropy(output, y)
            if accelerator is None:
                loss.backward()
            else:
                accelerator.backward(loss)
            optimizer.step()
            total += loss.item() * len(y)
            right += (output.argmax(1) == y).sum().item()
            n += len(y)
            if writer is not None and n % (50 * len(y)) == 0:
                writer.add_scalar("loss/train", loss.item(), epoch * len(train) + n // len(y))
        clock.end()
        if writer is not None:
            writer.add_scalar("accuracy/train", right / n, epoch)
            writer.add_scalar("accuracy/valid", validate(model, valid), epoch)
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
                folder / f"{epoch}.pt",
            )
    return clock


@torch.no_grad()
def validate(model: nn.Module, valid: Iterable[Any]) -> float:
    model.eval()
    right = n = 0
    for x, y in valid:
        right += (model(x).argmax(1) == y).sum().item()
        n += len(y)
    return right / n


def plain(
    model: nn.Module, train: Any, valid: Any, epochs: int, folder: Path | None
) -> list[float]:
    return train_by_hand(model, train, valid, epochs, folder, None).seconds


def accelerate(
    model: nn.Module, train: Any, valid: Any, epochs: int, folder: Path | None
) -> list[float]:
    from accelerate import Accelerator

    return train_by_hand(model, train, valid, epochs, folder, Accelerator(cpu=True)).seconds


def ignite(
    model: nn.Module, train: Any, valid: Any, epochs: int, folder: Path | None
) -> list[float]:
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.handlers import Checkpoint, DiskSaver, ProgressBar, TensorboardLogger
    from ignite.metrics import Accuracy, Loss

    clock, optimizer = Clock(), torch.optim.Adam(model.parameters(), lr=LR)
    trainer = create_supervised_trainer(
        model,
        optimizer,
        F.cross_entropy,
        output_transform=lambda x, y, output, loss: (output.detach(), y),
    )
    Accuracy().attach(trainer, "accuracy")
    Loss(F.cross_entropy).attach(trainer, "loss")
    trainer.add_event_handler(Events.EPOCH_STARTED, clock.begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, clock.end)
    if folder is not None:
        evaluator = create_supervised_evaluator(
            model, {"accuracy": Accuracy(), "loss": Loss(F.cross_entropy)}
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(valid))
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
    trainer.run(train, max_epochs=epochs)
    return clock.seconds


def make_lightning_module(model: nn.Module, clock: Clock, shows_loss: bool) -> Any:
    """Returns a LightningModule; ``shows_loss`` logs the loss of every step, too."""
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def _step(self, batch: Any, mode: str) -> torch.Tensor:
            x, y = batch
            output = self.model(x)
            loss = F.cross_entropy(output, y)
            every_epoch = {"on_epoch": True, "batch_size": len(y)}
            shown = shows_loss and mode == "train"
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

        on_train_epoch_start, on_train_epoch_end = clock.begin, clock.end

    return Module()


def lightning(
    model: nn.Module, train: Any, valid: Any, epochs: int, folder: Path | None
) -> list[float]:
    import logging
    import warnings

    import lightning as pl
    from lightning.pytorch.loggers import TensorBoardLogger

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    clock = Clock()
    module = make_lightning_module(model, clock, shows_loss=folder is not None)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=TensorBoardLogger(folder) if folder is not None else False,
        enable_checkpointing=folder is not None,
        enable_progress_bar=folder is not None,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, train, valid if folder is not None else None)
    return clock.seconds


Arm = Callable[[nn.Module, Any, Any, int, "Path | None"], list[float]]
ARMS: dict[str, Arm] = {
    "plain": plain,
    "Accelerate": accelerate,
    "Ignite": ignite,
    "Lightning": lightning,
}
PACKAGES = {"Accelerate": "accelerate", "Ignite": "ignite", "Lightning": "lightning"}
