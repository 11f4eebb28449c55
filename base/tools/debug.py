"""``trainer.debug`` looks inside a training: statistics of layers, the first NaN, a profile.

It attaches hooks to modules and to the optimizer from outside, and only if the options ask for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import asdict
from functools import partial, wraps
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from base.feature_options import DebugOptions, ProfileOptions
from base.loop.recomputation import is_recomputing
from base.loop.watcher import WatchedTrainer, Watcher
from base.tools.first_batches import FirstBatches
from base.tools.samples import Samples
from utils.errors import UserError
from utils.util import inf_loop

BATCHES_BETWEEN_STATISTICS = 50
STATISTICS = ("norm", "mean", "zeros", "nan")
SAMPLES_SHOWN = 20
PROFILE_ROWS = 10


class Debug(Watcher):
    """Attaches the probe and the profiler that ``trainer.debug`` asks for."""

    option = "debug"
    sees_all_batches = True

    def __init__(self, trainer: WatchedTrainer, options: DebugOptions) -> None:
        self.trainer, self.options = trainer, options
        self.probe: LayerProbe | None = None
        if options.statistics or options.detect_nan:
            self.probe = LayerProbe(trainer, options)
        self.profiler: Profiler | None = None
        if options.profile is not None:
            self.profiler = Profiler(trainer, options.profile)
        if options.overfit_batches:
            limit_batches(trainer, options.overfit_batches)
        if self.probe is not None and trainer.optimizer is not None:
            register_before_guard(trainer.optimizer, self.probe.end_batch)

    @classmethod
    def make(cls, trainer: WatchedTrainer) -> Debug | None:
        options = trainer.trainer_options.debug
        return None if options is None else cls(trainer, options)

    def train_batch(self, batch: Any) -> None:
        if self.probe is not None:
            self.probe.begin_batch()
        if self.profiler is not None:
            self.profiler.step()

    def after_training(self) -> None:
        if self.profiler is not None:
            self.profiler.close()


def register_before_guard(optimizer: Optimizer, function: Callable[[], None]) -> None:
    """Calls ``function`` before each step of ``optimizer``, while the optimizer lives.

    The guard of the weights refuses a gradient that is not finite in a hook of all optimizers.
    Those run before the hooks of one optimizer, and in the order of their registration.
    """
    watched = weakref.ref(optimizer)

    def call(stepping: Optimizer, *_: Any) -> None:
        if stepping is watched():
            function()

    hook = register_optimizer_step_pre_hook(call)
    weakref.finalize(optimizer, hook.remove)


class Summary(NamedTuple):
    """A summary of one tensor. It stays on the device, so that the step does not wait.

    Attributes:
        layer: the name of the layer.
        statistics: norm, mean, fraction of zeros and of NaN, shape (4,) float; or empty.
        is_finite: whether each row is finite, shape (N,) bool.
    """

    layer: str
    statistics: torch.Tensor
    is_finite: torch.Tensor


class LayerProbe:
    """Summarises the output of every layer without inner layers, and the output's gradient.

    Args:
        trainer: its model gets hooks.
        options: ``statistics`` are written every 50 batches; ``detect_nan`` stops at the first
            layer that gives a number that is not finite.
    """

    def __init__(self, trainer: WatchedTrainer, options: DebugOptions) -> None:
        self.trainer, self.options = trainer, options
        self._measures = False
        self._active = False
        self._outputs: list[Summary] = []
        self._gradients: list[Summary] = []
        model = self._model = trainer.parallel.unwrap(trainer.model)
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                hook = partial(self._after_layer, name or type(module).__name__)
                module.register_forward_hook(hook)
        if options.detect_nan:
            model.register_forward_hook(lambda *_: self._check_outputs())
            trainer.criterion = self._watch_loss(trainer.criterion)

    def begin_batch(self) -> None:
        """Called before each batch."""
        self.end_batch()  # if the last batch led to no step, whose hook calls this
        is_due = self.trainer.progress.batch % BATCHES_BETWEEN_STATISTICS == 1
        self._measures = self.options.statistics and is_due and self.trainer.writer.enabled
        self._active = self._measures or self.options.detect_nan

    def end_batch(self) -> None:
        """Called after the backward pass: checks the numbers, and writes the statistics."""
        if not self._active:
            return
        self._active = False
        self._check_outputs()
        if self.options.detect_nan and self.trainer.trainer_options.precision != "fp16":
            self._check("gradient of the output", self._gradients)  # those of fp16 may overflow
        if self._measures:
            self._write("activation", self._outputs)
            self._write("gradient", self._gradients)
        self._outputs, self._gradients = [], []

    def _after_layer(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        # The trackers trace the graph of the model in eval mode before the first step.
        if not self._active or not self._model.training or is_recomputing():
            return
        candidates = output if isinstance(output, tuple | list) else (output,)  # as of an LSTM
        floats = (v for v in candidates if isinstance(v, torch.Tensor) and v.is_floating_point())
        values = next(floats, None)
        if values is None:
            return
        measures = self._measures
        gradients = self._gradients
        self._outputs.append(summarise(name, values.detach(), measures))
        if values.requires_grad:
            values.register_hook(  # type: ignore[no-untyped-call]
                lambda grad: gradients.append(summarise(name, grad.detach(), measures))
            )

    def _watch_loss(self, criterion: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a criterion that also checks the outputs of the layers, and then the loss."""

        def check(loss: torch.Tensor) -> None:
            if self._active:
                of_loss = summarise("the loss", loss.detach().reshape(-1), measures=False)
                self._check("output", [*self._outputs, of_loss])

        if isinstance(criterion, nn.Module):
            criterion.register_forward_hook(lambda _module, _inputs, loss: check(loss))
            return criterion

        @wraps(criterion)
        def checked(*args: Any, **kwargs: Any) -> Any:
            loss = criterion(*args, **kwargs)
            check(loss)
            return loss

        return checked

    def _check_outputs(self) -> None:
        if self.options.detect_nan:
            self._check("output", self._outputs)

    def _check(self, kind: str, summaries: list[Summary]) -> None:
        """Raises UserError for the first layer that is not finite."""
        if not summaries or bool(torch.stack([s.is_finite.all() for s in summaries]).all()):
            return
        bad = next(summary for summary in summaries if not bool(summary.is_finite.all()))
        subject = f"the {kind} of the layer {bad.layer}"
        if bad.layer == "the loss":
            subject = bad.layer
        progress = self.trainer.progress
        where = f"batch {progress.batch} of epoch {progress.epoch}"
        samples = self._name_samples(bad.is_finite)
        raise UserError(f"detect_nan: {subject} is not finite in {where}{samples}")

    def _name_samples(self, is_finite: torch.Tensor) -> str:
        """Lists the dataset's indices of the bad samples; of the batch if rows are not samples."""
        order = Samples(self.trainer.data_loader).order()
        batch = self.trainer.progress.batch
        if order is None or batch > len(order):
            return ""
        indices = order[batch - 1]
        if len(indices) == len(is_finite) > 1:
            good = is_finite.tolist()
            indices = [i for i, is_good in zip(indices, good, strict=True) if not is_good]
        shown = ", ".join(map(str, indices[:SAMPLES_SHOWN]))
        more = ", …" if len(indices) > SAMPLES_SHOWN else ""
        return f"; its samples in the dataset: {shown}{more}"

    def _write(self, kind: str, summaries: list[Summary]) -> None:
        if not summaries:
            return
        rows = torch.stack([summary.statistics.float() for summary in summaries]).tolist()
        for summary, row in zip(summaries, rows, strict=True):
            for statistic, value in zip(STATISTICS, row, strict=True):
                tag = f"{kind}_{statistic}/{summary.layer}"
                self.trainer.writer.add_scalar(tag, value, per_mode=False)


def summarise(layer: str, values: torch.Tensor, measures: bool) -> Summary:
    """Finds the rows of a tensor that are finite, and its statistics if ``measures``.

    Args:
        layer: the name of the layer that the tensor belongs to.
        values: (N, …) or a scalar.
        measures: whether the statistics are needed.
    """
    is_finite = values.isfinite()
    if values.ndim > 1:
        is_finite = is_finite.flatten(1).all(1)
    if not measures:
        return Summary(layer, is_finite.new_empty(0), is_finite)
    numbers = values.float()
    zeros = (numbers == 0).float().mean()
    nans = numbers.isnan().float().mean()
    return Summary(layer, torch.stack([numbers.norm(), numbers.mean(), zeros, nans]), is_finite)


class Profiler:
    """A torch.profiler trace of some batches, for TensorBoard, and a table in the log."""

    def __init__(self, trainer: WatchedTrainer, options: ProfileOptions) -> None:
        self.trainer, self.options = trainer, options
        self._profiler: Any = None

    def step(self) -> None:
        """Called before each batch."""
        if self._profiler is not None:
            self._profiler.step()
            return
        from torch.profiler import profile, schedule

        steps = schedule(**asdict(self.options), repeat=1)
        self._profiler = profile(schedule=steps, on_trace_ready=self._write)
        self._profiler.start()

    def _write(self, profiler: Any) -> None:
        from torch.profiler import tensorboard_trace_handler

        folder = self.trainer.config.log_dir
        tensorboard_trace_handler(str(folder))(profiler)
        on_cpu = self.trainer.device.type == "cpu"
        key = "self_cpu_time_total" if on_cpu else "self_device_time_total"
        averages = profiler.key_averages()
        table = averages.table(sort_by=key, row_limit=PROFILE_ROWS, max_name_column_width=40)
        self.trainer.logger.info("Profile, also in %s:\n%s", folder, table)

    def close(self) -> None:
        """Ends a profile that is longer than the training."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None


def limit_batches(trainer: WatchedTrainer, count: int) -> None:
    """Makes the trainer train on the first batches only. A correct model can memorise them."""
    loader = trainer.data_loader
    if isinstance(loader, inf_loop):
        trainer.data_loader = inf_loop(FirstBatches(loader.loader, count))
        return
    trainer.data_loader = FirstBatches(loader, count)
    trainer.len_epoch = len(trainer.data_loader)
