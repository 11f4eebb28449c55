"""The writer: pytorch-template's ``self.writer``, for any number of trackers.

It never stops a training: if a tracker fails or hangs, there is a warning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from logger.backends.backend import BackEnd
from logger.backends.tensorboard import TensorboardBackEnd


class Writer:
    """Passes every value on to all back ends, under the current step and mode.

    The mode is the end of a tag: ``loss/train``, ``loss/valid``. A back end opens at its first
    value and writes in the background. A value may be a ``functools.partial``: the back end calls
    it in its own thread, so the training does not wait for a picture.

    Args:
        logger: gets a line if a value cannot be shown.
        back_ends: where to write.
    """

    def __init__(self, logger: logging.Logger, back_ends: Sequence[BackEnd]) -> None:
        self.logger = logger
        self.back_ends = list(back_ends)
        self.step = 0
        self.mode = ""
        self._step_time = time.perf_counter()

    @property
    def enabled(self) -> bool:
        """Whether any back end still works."""
        return any(back_end.enabled for back_end in self.back_ends)

    def set_step(self, step: int, mode: str = "train") -> None:
        """Sets the step and the mode of the values that follow.

        The second and later calls in a mode also write ``steps_per_sec``.
        """
        now = time.perf_counter()
        steps = step - self.step if mode == self.mode else 0
        self.step = step
        self.mode = mode
        if steps > 0:
            self.add_scalar("steps_per_sec", steps / max(now - self._step_time, 1e-9))
        self._step_time = now

    # SummaryWriter's methods, with the step of `set_step` in place of `global_step`.

    def add_scalar(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes a number."""
        self._add("add_scalar", tag, data, *args, **kwargs)

    def add_scalars(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes several numbers by their names into one chart."""
        self._add("add_scalars", tag, data, *args, **kwargs)

    def add_image(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes a picture, (C, H, W) unless ``dataformats`` says otherwise."""
        self._add("add_image", tag, data, *args, **kwargs)

    def add_images(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes pictures, (N, C, H, W)."""
        self._add("add_images", tag, data, *args, **kwargs)

    def add_audio(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes sound, (1, L) in [-1, 1]."""
        self._add("add_audio", tag, data, *args, **kwargs)

    def add_video(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes videos, (N, T, C, H, W)."""
        self._add("add_video", tag, data, *args, **kwargs)

    def add_text(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes text."""
        self._add("add_text", tag, data, *args, **kwargs)

    def add_figure(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes a matplotlib figure. Waits until then, because the caller may change it later."""
        self._add("add_figure", tag, data, *args, **kwargs)
        self._wait()

    def add_histogram(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes the distribution of a tensor's values, under the tag without the mode."""
        self._add("add_histogram", tag, data, *args, per_mode=False, **kwargs)

    def add_embedding(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Writes points for the projector, (N, D)."""
        self._call("add_embedding", data, *args, global_step=self.step, tag=tag, **kwargs)

    def add_pr_curve(
        self, tag: str, labels: Any, predictions: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Writes the precision-recall curve of binary ``labels`` and ``predictions`` in [0, 1]."""
        tag = f"{tag}/{self.mode}"
        self._call("add_pr_curve", tag, labels, predictions, self.step, *args, **kwargs)

    # These methods belong to no step.

    def add_hparams(self, hparams: Any, metrics: Any, *args: Any, **kwargs: Any) -> None:
        """Writes hyperparameters together with the numbers that they led to."""
        self._call("add_hparams", hparams, metrics, *args, **kwargs)

    def add_custom_scalars(self, layout: Any, *args: Any, **kwargs: Any) -> None:
        """Lays out charts: ``{category: {chart: ["Multiline", [tag, …]]}}``."""
        self._call("add_custom_scalars", layout, *args, **kwargs)

    def add_graph(self, model: Any, inputs: Any = None, **kwargs: Any) -> None:
        """Shows the model's graph, traced with ``inputs`` at once."""
        for back_end in self._working():
            back_end.add_graph(model, inputs, **kwargs)

    def watch(self, model: Any) -> None:
        """Lets back ends observe the model's parameters and gradients if their options say so."""
        for back_end in self._working():
            back_end.watch(model)

    def add_artifact(self, path: Path) -> None:
        """Lets back ends store a file with the run if their options say so."""
        for back_end in self._working():
            back_end.add_artifact(path)

    def flush(self) -> None:
        """Writes out the buffered values."""
        if any(back_end.started for back_end in self.back_ends):
            self._call("flush")
            self._wait()

    def close(self) -> None:
        """Writes out the buffered values, and closes the files. The next value opens them again."""
        for back_end in self.back_ends:
            back_end.close()

    def _add(
        self, method: str, tag: str, data: Any, *args: Any, per_mode: bool = True, **kwargs: Any
    ) -> None:
        tag = f"{tag}/{self.mode}" if per_mode and self.mode else tag
        self._call(method, tag, data, self.step, *args, **kwargs)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        working = self._working()
        if working:
            values = [_snapshot(value) for value in args]
            for back_end in working:
                back_end.call(method, *values, **kwargs)

    def _working(self) -> list[BackEnd]:
        return [back_end for back_end in self.back_ends if back_end.enabled]

    def _wait(self) -> None:
        for back_end in self.back_ends:
            if back_end.started:
                back_end.wait()


class TensorboardWriter(Writer):
    """A Writer whose first back end is TensorBoard.

    Args:
        log_dir: the folder of the event files.
        logger: gets the warning of a failure.
        enabled: whether to write event files.
    """

    def __init__(self, log_dir: str | Path, logger: logging.Logger, enabled: bool) -> None:
        self.log_dir = Path(log_dir)
        super().__init__(logger, [TensorboardBackEnd(self.log_dir, logger)] if enabled else [])
        _writers.add(self)

    def resume_at(self, step: int) -> None:
        """Prepares for values from ``step`` on that an interrupted run may have written before."""
        for back_end in self.back_ends:
            back_end.resume_at(step)


_writers: WeakSet[TensorboardWriter] = WeakSet()


def close_writers(log_dir: Path) -> None:
    """Closes the writers whose files lie in ``log_dir``, for example before it is deleted."""
    for writer in list(_writers):
        if writer.log_dir == log_dir:
            writer.close()


def _snapshot(value: Any) -> Any:
    """Copies a tensor to the CPU, because the training may change it before it is written."""
    return value.detach().to("cpu", copy=True) if hasattr(value, "detach") else value
