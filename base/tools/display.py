"""Shows a run in the trackers: pictures, the model's graph, the config, a summary at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial, wraps
from html import escape
from typing import Any

import torch

from base.data.loader import list_sets
from base.loop.box_metric import get_chart_name
from base.loop.collector import Collection
from base.loop.evaluate import computes_loss
from base.loop.logged_names import has_training_objective
from base.loop.metrics import MetricSet, select
from base.loop.targets import find_ignore_index, ignores_all
from base.loop.task import TaskFacts, is_zero_or_one
from base.loop.watcher import WatchedTrainer, Watcher
from base.tools.box_pictures import draw_targets
from base.tools.charts import import_matplotlib
from base.tools.collectors.boxes import have_boxes
from base.tools.page import Sample
from base.tools.samples import Samples
from base.tools.views.register import make_view
from base.tools.views.view import draw_samples
from config.read.text import flatten
from config.read.tree import join_keys
from utils.batch import split_target, to_device
from utils.checkpoints import BEST
from utils.distributed import world_size
from utils.errors import UserError, name_error
from utils.seed import get_random_state, set_random_state

SAMPLES_SHOWN = 16
MAX_NUMBERS_KEPT = 20_000_000  # outputs and targets of a validation, on the device


def never_fails(show: Callable[..., None]) -> Callable[..., None]:
    """Decorates a method of Display. If it fails, as on unexpected data, it logs a warning."""

    @wraps(show)
    def shown(self: Display, *args: Any) -> None:
        try:
            show(self, *args)
        except Exception as error:
            message = "Display.%s failed: %s"
            self.trainer.logger.warning(message, show.__name__, name_error(error))

    return shown


class Display(Watcher):
    """Shows a run in the trackers. It leaves out what does not fit a batch or a model.

    Args:
        trainer: its writer gets the pictures.
    """

    def __init__(self, trainer: WatchedTrainer) -> None:
        self.trainer, self.writer = trainer, trainer.writer
        self.options = trainer.trainer_options
        self._is_watched = False
        self._set_name = ""  # of the validation set that is read
        self._inputs: dict[str, list[torch.Tensor]] = {}  # the first ones of each validation set
        facts = TaskFacts(trainer.criterion, trainer.config.get("task"), MAX_NUMBERS_KEPT)
        if world_size() == 1:  # each of several ranks sees only some samples
            for _, _, metrics in self._list_sets():
                metrics.rows = Collection(facts)

    @classmethod
    def make(cls, trainer: WatchedTrainer) -> Display | None:
        return cls(trainer) if trainer.writer.enabled else None

    # -- during training ------------------------------------------------------------------------

    def train_batch(self, batch: Any) -> None:
        if not self._is_watched:
            self._is_watched = True
            self.watch_model()
        if self.trainer.progress.epoch == self.trainer.progress.batch == 1:
            self.show_first_batch(batch)

    @never_fails
    def watch_model(self) -> None:
        """Lets trackers observe the model, if their options say so."""
        self.writer.watch(self.trainer.parallel.unwrap(self.trainer.model))

    @never_fails
    def show_first_batch(self, batch: Any) -> None:
        """Shows the first batch as the model gets it, the model's graph, and the config.

        For each number of the validation, training and validation are in one chart.
        """
        if not self.writer.enabled:
            return
        trained, validated = (
            [get_chart_name(metric) for metric in select(self.trainer.metric_ftns, phase)]
            for phase in ("train", "valid")
        )
        names = ["loss", *validated]
        sets = [name for name, *_ in self._list_sets()] or [""]
        charts = {}
        if has_training_objective(self.trainer.__class__):  # `type` gives that of the proxy
            names.remove("loss")
            charts["loss, training objective"] = ["Multiline", ["loss/train"]]
            of_sets = [f"{key}_loss/valid" if key else "loss/valid" for key in sets]
            charts["loss, validation"] = ["Multiline", of_sets]
        for name in names:
            tags = [f"{name}/train"] if name in ("loss", *trained) else []
            for stem in (f"{key}_{name}" if key else name for key in sets):
                # A tag is a pattern. The second one is for a metric that gives several numbers.
                tags += [f"{stem}/valid", rf"{stem}/\d+/valid"]
            charts[name] = ["Multiline", tags]
        self.writer.add_custom_scalars({"training and validation": charts})
        text = json.dumps(self.trainer.config.plain(), indent=4)
        self.writer.add_text("config", "    " + text.replace("\n", "\n    "))
        inputs, target = split_if_possible(batch)
        samples = Samples(self.trainer.data_loader)
        if have_boxes(target):
            self._show_targets(samples, inputs, target)
        elif are_pictures(inputs):
            captions = [samples.name(label) for label in list_labels(target)]
            self._show("input", samples, inputs, captions or [""] * len(inputs))
        self._show_graph(inputs)

    def _show_graph(self, inputs: Any) -> None:
        """Traces the model with two samples; a sharded model would need the other ranks."""
        model = self.trainer.model
        needs_target = computes_loss(model)
        is_traceable = isinstance(inputs, torch.Tensor | tuple) and not needs_target
        if not is_traceable or not self.trainer.parallel.is_local(model):
            return
        state = get_random_state()  # tracing draws random numbers
        example = inputs[:2] if isinstance(inputs, torch.Tensor) else inputs
        with torch.no_grad():
            self.writer.add_graph(self.trainer.parallel.unwrap(model), example)
        set_random_state(state)

    # -- validation -----------------------------------------------------------------------------

    def begin_validation(self, name: str) -> None:
        self._set_name, self._inputs[name] = name, []

    def valid_batch(self, batch: Any) -> None:
        kept = self._inputs[self._set_name]
        if not self.writer.enabled or len(kept) >= SAMPLES_SHOWN:
            return
        inputs, target = split_if_possible(batch)
        ignore_index = find_ignore_index(self.trainer.criterion)
        if ignore_index is not None and ignores_all(ignore_index, target):
            return  # the batch counts nowhere
        if are_pictures(inputs) or is_list_of_pictures(inputs):
            kept += inputs[: SAMPLES_SHOWN - len(kept)]

    def after_validation(self, epoch: int) -> None:
        period = self.options.image_period
        if period is None or (epoch > 1 and epoch % period != 0):
            return
        for name, loader, metrics in self._list_sets():
            self.show_predictions(name, loader, metrics, self._inputs.get(name, []))

    @never_fails
    def show_predictions(
        self, name: str, loader: Any, metrics: MetricSet, inputs: list[torch.Tensor]
    ) -> None:
        """Shows what the model predicts for the first samples of a set."""
        samples = Samples(loader)
        if not inputs and not callable(getattr(samples.inner, "describe", None)):
            return
        view = make_view(metrics.rows, samples)
        if view is not None and not inputs:
            self._show_texts(_tag("predictions", name), view.list_samples(SAMPLES_SHOWN))
            return
        picture = None if view is None else view.draw(inputs)
        if picture is not None:
            self.writer.add_image(_tag("predictions", name), picture, dataformats="HWC")

    def _show_texts(self, tag: str, samples: list[Sample]) -> None:
        """Shows texts with their predictions as a table of Markdown."""
        lines = ["| prediction | text |", "| --- | --- |"]
        for sample in samples:
            caption, text = (_escape(cell) for cell in (sample.caption, sample.text))
            lines.append(f"| {caption} | {text} |")
        if samples:
            self.writer.add_text(tag, "\n".join(lines))

    def _list_sets(self) -> list[tuple[Any, ...]]:
        """The name, the loader and the MetricSet of each validation set."""
        return list_sets(self.trainer.valid_data_loader, self.trainer.valid_metrics)

    def _show(self, tag: str, samples: Samples, inputs: Any, captions: list[str]) -> None:
        # A copy, because training goes on while the picture is drawn.
        inputs = inputs[:SAMPLES_SHOWN].detach().clone().cpu()
        captions = captions[:SAMPLES_SHOWN]
        if len(inputs) == len(captions) > 0 and samples.picture(inputs[0]) is not None:
            picture = partial(draw_samples, samples, inputs, captions)
            self.writer.add_image(tag, picture, dataformats="HWC")

    def _show_targets(self, samples: Samples, inputs: Any, targets: Any) -> None:
        inputs = to_device(list(inputs[:SAMPLES_SHOWN]), torch.device("cpu"))
        targets = to_device(list(targets[:SAMPLES_SHOWN]), torch.device("cpu"))
        picture = partial(draw_targets, samples, inputs, targets)
        self.writer.add_image("input", picture, dataformats="HWC")

    # -- the end --------------------------------------------------------------------------------

    def after_training(self) -> None:
        self.show_end()
        for name, loader, metrics in self._list_sets():
            self.show_confusion(name, loader, metrics)

    @never_fails
    def show_end(self) -> None:
        """Shows the hyperparameters with their scores. Trackers may upload the best checkpoint."""
        log = self.trainer.last_log
        monitoring = self.trainer.monitoring
        scores = {f"final/{name}": value for name, value in log.items() if isinstance(value, float)}
        if monitoring.is_on:
            scores[f"best/{monitoring.metric}"] = monitoring.best
        if scores:
            hparams = list_hyperparameters(self.trainer.config.plain())
            step = self.writer.step
            self.writer.add_hparams(hparams, scores, run_name=".", global_step=step)
        checkpoint = self.trainer.checkpoint_dir / BEST
        if checkpoint.is_file():
            self.writer.add_artifact(checkpoint)

    @never_fails
    def show_confusion(self, set_name: str, loader: Any, metrics: MetricSet) -> None:
        """Shows a classification's confusion matrix and its precision-recall curves."""
        view = make_view(metrics.rows, Samples(loader))
        picture = None if view is None else view.draw_matrix()
        if view is None or picture is None:
            return
        import_matplotlib()  # its first import is so slow that the writer's thread seems to hang
        self.writer.add_image(_tag("confusion_matrix", set_name), picture, dataformats="HWC")
        tag = _tag("precision_recall", set_name)
        for name, is_class, probability in view.list_curves():
            self.writer.add_pr_curve(f"{tag}/{name}", is_class, probability)


def _escape(cell: str) -> str:
    """Escapes what Markdown or HTML would read as more than text."""
    return re.sub(r"([\\`*_{}\[\]|#~$])", r"\\\1", escape(cell))


def _tag(tag: str, set_name: str) -> str:
    return f"{tag}/{set_name}" if set_name else tag


def split_if_possible(batch: Any) -> tuple[Any, Any]:
    """Returns inputs and target of a batch; ``(None, None)`` if it has another form."""
    try:
        return split_target(batch)
    except UserError:
        return None, None


def are_pictures(inputs: Any) -> bool:
    return isinstance(inputs, torch.Tensor) and inputs.ndim in (3, 4)


def is_list_of_pictures(inputs: Any) -> bool:
    """Whether these are the inputs of a detector, which may have different sizes."""
    return isinstance(inputs, list | tuple) and all(
        isinstance(values, torch.Tensor) and values.ndim == 3 for values in inputs
    )


def list_labels(target: Any) -> list[int]:
    """Returns the classes of a batch's first samples; empty if its target is not classes."""
    if not isinstance(target, torch.Tensor) or target.ndim != 1:
        return []
    if target.is_floating_point() and not is_zero_or_one(target):
        return []
    return [int(label) for label in target[:SAMPLES_SHOWN].tolist()]


def list_hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the numbers, names and switches that people vary, by their dotted keys."""
    sections = ("seed", "arch", "optimizer", "lr_scheduler")
    varied = {key: config[key] for key in sections if config.get(key)}
    loader_args = (config.get("data_loader") or {}).get("args") or {}
    varied |= {
        "batch_size": loader_args.get("batch_size"),
        "epochs": config["trainer"].get("epochs"),
    }
    values = flatten(varied)
    plain = bool | int | float | str
    return {join_keys(keys): value for keys, value in values.items() if isinstance(value, plain)}
