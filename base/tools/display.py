"""What a run shows of itself beside its numbers: pictures, the graph, the config, the summary at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base.options import TrainerOptions
from base.parallel.sharding import is_sharded
from base.tools.charts import draw_confusion_matrix, import_matplotlib, to_pixels
from base.tools.pictures import draw_grid
from base.tools.recorder import Recorder
from base.tools.results import Results
from base.tools.samples import Samples
from config.read.source import dotted
from config.read.text import flatten
from logger.visualization import TensorboardWriter
from utils.batch import split_target
from utils.errors import UserError, one_line
from utils.seed import get_random_state, set_random_state

SHOWN = 16  # samples in a picture
CURVES = 20  # classes that get a precision-recall curve each


def harmless(show: Callable[..., None]) -> Callable[..., None]:
    """A method of a Display whose failure, on data of a kind that nobody thought of, costs a line and no training."""

    @wraps(show)
    def shown(self: Display, *args: Any) -> None:
        try:
            show(self, *args)
        except Exception as error:
            told = f"{type(error).__name__}: {one_line(error)}"
            self.writer.logger.warning("Display.%s failed: %s", show.__name__, told)

    return shown


class Display:
    """Tells the writer what a run looks like. Whatever a batch or a model does not allow is left out.

    Args:
        writer: where to; while it is off nothing is done.
        options: image_period.
    """

    def __init__(self, writer: TensorboardWriter, options: TrainerOptions) -> None:
        self.writer, self.options = writer, options
        self._watched = False
        self._inputs: list[torch.Tensor] = []  # the first ones of a validation

    @harmless
    def first_batch(
        self, batch: Any, loader: Any, model: Any, config: dict[str, Any], metrics: list[str]
    ) -> None:
        """Shows the first batch that is trained on, as it is after augmentation, the model's graph, and the config.

        Training and validation of each of the ``metrics`` get a chart together.
        """
        if not self.writer.enabled:
            return
        pairs = {
            name: ["Multiline", [f"{name}/train", f"{name}/valid"]] for name in ["loss", *metrics]
        }
        self.writer.add_custom_scalars({"training and validation": pairs})
        self.writer.add_text(
            "config", "    " + json.dumps(config, indent=4).replace("\n", "\n    ")
        )
        inputs, target = _split(batch)
        samples = Samples(loader)
        if _are_pictures(inputs):
            captions = [samples.name(label) for label in labels_of(target)]
            self._show("input", samples, inputs, captions or [""] * len(inputs))
        if isinstance(inputs, torch.Tensor | tuple) and not is_sharded(
            model
        ):  # the other ranks do not take part
            state = get_random_state()  # of which tracing, and what it imports, draw
            with torch.no_grad():
                self.writer.add_graph(
                    model, inputs[:2] if isinstance(inputs, torch.Tensor) else inputs
                )
            set_random_state(state)

    @harmless
    def watch(self, model: nn.Module) -> None:
        """Lets back ends observe the model, once."""
        if not self._watched:
            self._watched = True
            self.writer.watch(model)

    def watched(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of a validation; keeps their first inputs for ``predictions``."""
        self._inputs = []
        for batch in batches:
            if (
                sum(map(len, self._inputs)) < SHOWN
                and self.writer.enabled
                and _are_pictures(_split(batch)[0])
            ):
                self._inputs.append(_split(batch)[0])
            yield batch

    @harmless
    def predictions(self, epoch: int, loader: Any, recorder: Recorder, loss: str) -> None:
        """Shows what the model made of the first samples of the validation that ``recorder`` measured."""
        inputs, self._inputs = self._inputs, []
        period = self.options.image_period
        due = period is not None and (epoch == 1 or epoch % period == 0)
        rows = recorder.recorded() if inputs and due else None
        if rows is None or len({values.shape[1:] for values in inputs}) > 1:
            return
        samples = Samples(loader)
        results = Results(rows[0][:SHOWN], rows[1][:SHOWN], samples.classes, loss)
        if results.confidence is None:
            return
        captions, right = [], (results.target == results.prediction).tolist()
        for label, guess, sure in zip(
            results.target, results.prediction, results.confidence, strict=True
        ):
            told = results.describe(guess)
            captions.append(
                f"{told} {sure:.0%}" if guess == label else f"{told}, is {results.describe(label)}"
            )
        self._show(
            "predictions", samples, torch.cat([values.cpu() for values in inputs]), captions, right
        )

    def _show(
        self,
        tag: str,
        samples: Samples,
        inputs: Any,
        captions: list[str],
        right: list[bool] | None = None,
    ) -> None:
        inputs, captions = (
            inputs[:SHOWN].detach().clone().cpu(),
            captions[:SHOWN],
        )  # the training goes on
        if len(inputs) == len(captions) > 0 and samples.picture(inputs[0]) is not None:
            self.writer.add_image(
                tag, partial(_draw, samples, inputs, captions, right), dataformats="HWC"
            )

    @harmless
    def end(
        self,
        config: dict[str, Any],
        log: dict[str, Any],
        best: tuple[str, float] | None,
        checkpoint: Path,
    ) -> None:
        """Shows the hyperparameters with what they led to; keeps the best checkpoint where that is wanted."""
        numbers = {
            f"final/{name}": value for name, value in log.items() if isinstance(value, float)
        }
        numbers |= {} if best is None else {f"best/{best[0]}": best[1]}
        if numbers:
            self.writer.add_hparams(
                hyperparameters(config), numbers, run_name=".", global_step=self.writer.step
            )
        if checkpoint.is_file():
            self.writer.add_artifact(checkpoint)

    @harmless
    def confusion(self, loader: Any, recorder: Recorder, loss: str) -> None:
        """Shows of a classification what the last validation took for what, and its precision-recall curves."""
        rows = recorder.recorded()
        results = Results(*rows, Samples(loader).classes, loss) if rows else None
        if results is None or results.confusion is None or len(results.names) > 50:
            return
        import_matplotlib()  # here, as a back end that takes too long is given up
        picture = partial(_draw_confusion, results)
        self.writer.add_image("confusion_matrix", picture, dataformats="HWC")
        assert results.probability is not None
        for label, name in enumerate(results.names[:CURVES]):
            self.writer.add_pr_curve(
                f"precision_recall/{name}", results.target == label, results.probability[:, label]
            )


def _draw_confusion(results: Results) -> Any:
    assert results.confusion is not None
    return to_pixels(draw_confusion_matrix(results.confusion, results.names))


def _draw(samples: Samples, inputs: Any, captions: list[str], right: list[bool] | None) -> Any:
    pictures = [samples.picture(values) for values in inputs]
    return draw_grid([picture for picture in pictures if picture is not None], captions, right)


def _split(batch: Any) -> tuple[Any, Any]:
    """Inputs and target of a batch; None where it has another form."""
    try:
        return split_target(batch)
    except UserError:
        return None, None


def _are_pictures(inputs: Any) -> bool:
    return isinstance(inputs, torch.Tensor) and inputs.ndim in (3, 4)


def labels_of(target: Any) -> list[int]:
    """The classes of a batch; empty if its target is something else."""
    if not isinstance(target, torch.Tensor) or target.ndim != 1:
        return []
    if target.is_floating_point() and not bool(((target == 0) | (target == 1)).all()):
        return []
    return [int(label) for label in target[:SHOWN].tolist()]


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """The numbers, names and switches of the parts that people vary, by their key path."""
    varied = {
        key: config[key] for key in ("seed", "arch", "optimizer", "lr_scheduler") if config.get(key)
    }
    varied["batch_size"] = ((config.get("data_loader") or {}).get("args") or {}).get("batch_size")
    values = flatten(varied | {"epochs": config["trainer"].get("epochs")})
    return {
        dotted(keys): value
        for keys, value in values.items()
        if isinstance(value, bool | int | float | str)
    }
