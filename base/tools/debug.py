"""Looking inside a training: statistics of layers, the first bad number, histograms, a profile. All off by default."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from base.options import DebugOptions, ProfileOptions, TrainerOptions
from base.tools.samples import Samples
from logger.visualization import Writer
from utils.errors import UserError

EVERY = 50  # batches between two statistics
STATISTICS = ("norm", "mean", "zeros", "nan")


class Probe:
    """What the loop calls at each batch: ``begin``, ``after_forward``, ``after_backward``; nothing happens when off.

    Args:
        model: whose layers without layers inside are looked at.
        writer: gets statistics and histograms.
        options: debug, histogram_period, precision.
        folder: of the profile's trace.
        logger: gets the profile's table.
    """

    def __init__(
        self,
        model: nn.Module,
        writer: Writer,
        options: TrainerOptions,
        folder: Path,
        logger: logging.Logger,
    ) -> None:
        self.model, self.writer, self.options, self.folder, self.logger = (
            model,
            writer,
            options,
            folder,
            logger,
        )
        self.debug = options.debug or DebugOptions()
        self._epoch, self._place, self._loader = 0, 0, None
        self._measures = self._active = False
        self._outputs: list[
            tuple[str, torch.Tensor, torch.Tensor]
        ] = []  # layer, statistics, which samples are finite
        self._gradients: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        self._profiler: Any = None
        if self.debug.statistics or self.debug.detect_nan:
            for name, module in model.named_modules():
                if next(module.children(), None) is None:
                    module.register_forward_hook(
                        partial(self._after_layer, name or type(module).__name__)
                    )
        self._off = self.debug == DebugOptions() and options.histogram_period is None

    def begin(self, epoch: int, place: int, loader: Any) -> None:
        """Before batch number ``place`` of the epoch, counted from 1."""
        if self._off:
            return
        self._epoch, self._place, self._loader = epoch, place, loader
        self._measures = self.debug.statistics and place % EVERY == 1 and self.writer.enabled
        self._active = self._measures or self.debug.detect_nan
        self._outputs, self._gradients = [], []
        if self.debug.profile is not None:
            self._step_profile(self.debug.profile)

    def _after_layer(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if not self._active:
            return
        several = (
            output if isinstance(output, tuple | list) else (output,)
        )  # an LSTM gives its states too
        values = next(
            (v for v in several if isinstance(v, torch.Tensor) and v.is_floating_point()), None
        )
        if values is None:
            return
        measures, gradients = self._measures, self._gradients
        self._outputs.append((name, *_look(values.detach(), measures)))
        if values.requires_grad:
            values.register_hook(
                lambda grad: gradients.append((name, *_look(grad.detach(), measures)))
            )  # type: ignore[no-untyped-call]

    def after_forward(self, loss: torch.Tensor) -> None:
        """Raises UserError if ``detect_nan`` finds the first layer whose output is not finite, or the loss is not."""
        if self.debug.detect_nan:
            self._check(
                "output", [*self._outputs, ("the loss", *_look(loss.detach().reshape(-1), False))]
            )

    def after_backward(self) -> None:
        """Writes what is due. Raises UserError if ``detect_nan`` finds a gradient that is not finite."""
        if self._off:
            return
        if (
            self.debug.detect_nan and self.options.precision != "fp16"
        ):  # whose scaled gradients may overflow
            self._check("gradient of the output", self._gradients)
        if self._measures:
            self._write("activation", self._outputs)
            self._write("gradient", self._gradients)
        self._active = self._measures = False
        period = self.options.histogram_period
        if (
            period is not None
            and self._place == 1
            and self._epoch % period == 0
            and self.writer.enabled
        ):
            for name, parameter in self.model.named_parameters():
                self.writer.add_histogram(f"weights/{name}", parameter)
                if parameter.grad is not None:
                    self.writer.add_histogram(f"gradients/{name}", parameter.grad)

    def _write(self, what: str, seen: list[tuple[str, torch.Tensor, torch.Tensor]]) -> None:
        if seen:
            rows = torch.stack([values.float() for _, values, _ in seen]).tolist()
            for (name, _, _), row in zip(seen, rows, strict=True):
                for statistic, value in zip(STATISTICS, row, strict=True):
                    self.writer.add_scalar(f"{what}_{statistic}/{name}", value, per_mode=False)

    def _check(self, what: str, seen: list[tuple[str, torch.Tensor, torch.Tensor]]) -> None:
        if not seen or bool(torch.stack([finite.all() for _, _, finite in seen]).all()):
            return
        name, _, finite = next(item for item in seen if not bool(item[2].all()))
        place = f"batch {self._place} of epoch {self._epoch}"
        subject = name if name == "the loss" else f"the {what} of the layer {name}"
        raise UserError(f"detect_nan: {subject} is not finite in {place}{self._samples(finite)}")

    def _samples(self, finite: torch.Tensor) -> str:
        """Which samples of the dataset the batch was of: those that are not finite, if a row tells of one sample."""
        order = Samples(self._loader).order()
        if order is None or self._place > len(order):
            return ""
        indices = order[self._place - 1]
        if len(indices) == len(finite) > 1:
            indices = [
                index for index, good in zip(indices, finite.tolist(), strict=True) if not good
            ]
        shown = ", ".join(map(str, indices[:20])) + (", …" if len(indices) > 20 else "")
        return f"; its samples in the dataset: {shown}"

    def _step_profile(self, steps: ProfileOptions) -> None:
        if self._profiler is not None:
            self._profiler.step()
            return
        from torch.profiler import profile, schedule

        self._profiler = profile(
            schedule=schedule(**asdict(steps), repeat=1), on_trace_ready=self._traced
        )
        self._profiler.start()

    def _traced(self, profiler: Any) -> None:
        from torch.profiler import tensorboard_trace_handler

        tensorboard_trace_handler(str(self.folder))(profiler)
        on = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=on, row_limit=10, max_name_column_width=40)
        self.logger.info("Profile, also in %s:\n%s", self.folder, table)

    def close(self) -> None:
        """Ends a profile that the training did not last for."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None


def _look(values: torch.Tensor, measure: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Norm, mean, share of zeros and of NaN, if wanted; and of every row whether it is finite. Fetches nothing."""
    finite = values.isfinite().flatten(1).all(1) if values.ndim > 1 else values.isfinite()
    if not measure:
        return finite, finite
    numbers = values.float()
    statistics = (
        numbers.norm(),
        numbers.mean(),
        (numbers == 0).float().mean(),
        numbers.isnan().float().mean(),
    )
    return torch.stack(statistics), finite


class Overfit:
    """The first batches of a loader, the same in every pass: what a model that can learn at all learns by heart.

    Args:
        loader: any.
        number: of batches.
    """

    def __init__(self, loader: Any, number: int) -> None:
        self._inner, self._number = loader, number
        self._batches: list[Any] = []
        self._skip = self._consumed = 0

    def __iter__(self) -> Iterator[Any]:
        self._batches = self._batches or list(itertools.islice(self._inner, self._number))
        self._consumed, self._skip = self._skip, 0
        for batch in self._batches[self._consumed :]:
            self._consumed += 1
            yield batch

    def __len__(self) -> int:
        return min(self._number, len(self._inner))

    def set_epoch(self, epoch: int) -> None:
        """Every pass is the same."""
        self._skip = 0

    def state_dict(self) -> dict[str, int]:
        return {"passes": 0, "consumed": self._consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Lets the next pass be the rest of that one, as a BaseDataLoader's."""
        self._skip = state["consumed"] % max(len(self), 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def memory_mb(device: torch.device) -> float:
    """The most memory in use so far: the device's, or of a CPU the process's; in 10^6 bytes."""
    if device.type != "cpu":
        return torch.accelerator.max_memory_allocated(device) / 1e6
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )
