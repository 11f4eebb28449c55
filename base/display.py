"""What a run shows of itself beside its numbers: pictures, the graph, the config, the summary at the end."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from logger.pictures import confusion, grid
from logger.visualization import BackEnd, Writer
from utils.batch import split_target
from utils.errors import UserError
from utils.seed import seeded

from .options import TrainerOptions
from .results import Recorder, Results
from .samples import Samples

SHOWN = 16  # samples in a picture
CURVES = 20  # classes that get a precision-recall curve each


class Display:
    """Tells the writer what a run looks like. Whatever a batch or a model does not allow is left out.

    Args:
        writer: where to; while it is off nothing is done.
        options: image_period.
    """

    def __init__(self, writer: Writer, options: TrainerOptions) -> None:
        self.writer, self.options = writer, options
        self._valid: Any = None

    def first_batch(self, batch: Any, loader: Any, model: Any, config: dict[str, Any]) -> None:
        """Shows the first batch that is trained on, as it is after augmentation, the model's graph, and the config."""
        if not self.writer.enabled:
            return
        self.writer.add_text("config", "    " + json.dumps(config, indent=4).replace("\n", "\n    "))
        try:
            inputs, target = split_target(batch)
        except UserError:
            return
        samples, labels = Samples(loader), labels_of(target)
        self._show("input", samples, inputs, [samples.name(label) for label in labels])
        if isinstance(inputs, torch.Tensor | tuple):
            with seeded(0):  # of which tracing, and what it imports, draw
                self.writer.add_graph(model, inputs)

    def valid_batch(self, batch: Any) -> Any:
        """Keeps the first batch of a validation, for ``predictions``; gives it back."""
        self._valid = batch if self._valid is None else self._valid
        return batch

    def predictions(self, epoch: int, loader: Any, recorder: Recorder, loss: str) -> None:
        """Shows what the model made of the first samples of the validation that ``recorder`` measured."""
        batch, self._valid = self._valid, None
        period = self.options.image_period
        if batch is None or not self.writer.enabled or period is None or (epoch % period and epoch > 1):
            return
        samples, rows = Samples(loader), recorder.recorded()
        results = Results(rows[0][:SHOWN], rows[1][:SHOWN], samples.classes, loss) if rows else None
        if results is None or results.confidence is None:
            return
        right = (results.target == results.prediction).tolist()
        told = zip(results.target, results.prediction, results.confidence, right, strict=True)
        captions = [
            f"{results.told(guess)} {sure:.0%}" if is_right else f"{results.told(guess)}, is {results.told(label)}"
            for label, guess, sure, is_right in told
        ]
        self._show("predictions", samples, split_target(batch)[0], captions, right)

    def _show(
        self, tag: str, samples: Samples, inputs: Any, captions: list[str], right: list[bool] | None = None
    ) -> None:
        if not isinstance(inputs, torch.Tensor) or inputs.ndim not in (3, 4):
            return
        inputs = inputs[: min(SHOWN, len(captions) or SHOWN)].detach().cpu()
        captions = captions[:SHOWN] or [""] * len(inputs)
        if len(inputs) and samples.picture(inputs[0]) is not None:
            self.writer.add_image(tag, partial(_draw, samples, inputs, captions, right), dataformats="HWC")

    def end(
        self, config: dict[str, Any], log: dict[str, Any], best: tuple[str, float] | None, checkpoint: Path
    ) -> None:
        """Shows the hyperparameters with what they led to; keeps the best checkpoint where that is wanted."""
        numbers = {f"final/{name}": value for name, value in log.items() if isinstance(value, float)}
        numbers |= {} if best is None else {f"best/{best[0]}": best[1]}
        if numbers:
            self.writer.add_hparams(hyperparameters(config), numbers, run_name=".", global_step=self.writer.step)
        if self.options.wandb is not None and self.options.wandb.artifact and checkpoint.is_file():
            self.writer.add_artifact(checkpoint)

    def confusion(self, loader: Any, recorder: Recorder, loss: str) -> None:
        """Shows of a classification what the last validation took for what, and its precision-recall curves."""
        rows = recorder.recorded()
        results = Results(*rows, Samples(loader).classes, loss) if rows else None
        if results is None or results.confusion is None or len(results.names) > 50:
            return
        self.writer.add_image(
            "confusion_matrix", partial(confusion, results.confusion, results.names), dataformats="HWC"
        )
        assert results.probability is not None
        for label, name in enumerate(results.names[:CURVES]):
            self.writer.add_pr_curve(f"precision_recall/{name}", results.target == label, results.probability[:, label])


def _draw(samples: Samples, inputs: Any, captions: list[str], right: list[bool] | None) -> Any:
    pictures = [samples.picture(values) for values in inputs]
    return grid([picture for picture in pictures if picture is not None], captions, right)


def labels_of(target: Any) -> list[int]:
    """The classes of a batch; empty if its target is something else."""
    if not isinstance(target, torch.Tensor) or target.ndim != 1:
        return []
    if target.is_floating_point() and not bool(((target == 0) | (target == 1)).all()):
        return []
    return [int(label) for label in target[:SHOWN].tolist()]


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """The numbers, names and switches of the parts that people vary, by their key path."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}.{key}" if path else key)
        elif isinstance(value, bool | int | float | str):
            found[path] = value

    walk({key: config[key] for key in ("seed", "arch", "optimizer", "lr_scheduler") if config.get(key)}, "")
    walk(config.get("data_loader", {}).get("args", {}).get("batch_size"), "batch_size")
    walk(config["trainer"].get("epochs"), "epochs")
    return found


def wandb_back_end(config: Any, options: TrainerOptions, logger: Any) -> list[BackEnd]:
    """Weights & Biases, where the config wants it."""
    wandb = options.wandb
    if wandb is None or wandb.mode == "disabled":
        return []
    values = {name: getattr(wandb, name) for name in ("project", "mode", "entity", "group", "tags")}

    def make() -> Any:
        from logger.wandb_run import WandbRun

        return WandbRun(Path(config.log_dir), config.plain(), values, config.resume is not None)

    return [BackEnd("Weights & Biases", logger, "wandb", make)]
