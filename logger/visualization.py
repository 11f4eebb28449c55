"""TensorboardWriter: pytorch-template's ``self.writer``, by plain methods; it never stops a training."""

from __future__ import annotations

import importlib
import logging
import time
from functools import partialmethod
from pathlib import Path
from typing import Any

from .background import Background

_IN_STEP = ("add_graph", "add_figure")  # what they look at may change when the caller goes on


class TensorboardWriter:
    """Writes to TensorBoard under the current step and mode; tags are ``loss/train``, ``loss/valid``.

    The files are opened at the first value, and written in the background. The first failure ends the writing, with one
    warning; so does a disk that hangs.

    Args:
        log_dir: the folder of the event files.
        logger: is told of a failure.
        enabled: otherwise every method does nothing.
    """

    def __init__(self, log_dir: str | Path, logger: logging.Logger, enabled: bool) -> None:
        self.log_dir, self.logger = Path(log_dir), logger
        self._background = Background("TensorBoard", logger)
        self._background.enabled = bool(enabled)
        self.writer: Any = None
        self.step, self.mode = 0, ""
        self._purge_step: int | None = None
        self._time = time.perf_counter()

    @property
    def enabled(self) -> bool:
        return self._background.enabled

    def set_step(self, step: int, mode: str = "train") -> None:
        """Says where the next values belong; from the second call on also writes ``steps_per_sec``."""
        now = time.perf_counter()
        moved = step - self.step if mode == self.mode else 0
        self.step, self.mode = step, mode
        if moved > 0:
            self.add_scalar("steps_per_sec", moved / max(now - self._time, 1e-9))
        self._time = now

    def resume_at(self, step: int) -> None:
        """Hides what an interrupted run wrote at ``step`` or later, so that curves neither repeat nor fork."""
        self._purge_step = step

    def _add(self, method: str, tag: str, data: Any, *args: Any, per_mode: bool = True, **kwargs: Any) -> None:
        tag = f"{tag}/{self.mode}" if per_mode and self.mode else tag
        self._call(method, tag, data, self.step, *args, **kwargs)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        if not self.enabled:
            return
        # Imported here, as a loader's workers, forked in the middle of it, would have half of it.
        self._background.attempt("import", lambda: importlib.import_module("torch.utils.tensorboard"))
        values = [_copy(value) for value in args]
        self._background.do(method, lambda: getattr(self._opened(), method)(*values, **kwargs))
        if method in _IN_STEP:
            self._background.wait()

    def _opened(self) -> Any:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.log_dir), purge_step=self._purge_step)
        return self.writer

    # SummaryWriter's methods, as `add_scalar(tag, data, …)`: without its `global_step`, which `set_step` has told.
    add_scalar = partialmethod(_add, "add_scalar")  # a number
    add_scalars = partialmethod(_add, "add_scalars")  # {name: number}, in one chart
    add_image = partialmethod(_add, "add_image")  # (C, H, W)
    add_images = partialmethod(_add, "add_images")  # (N, C, H, W)
    add_audio = partialmethod(_add, "add_audio")  # (1, L), in [-1, 1]
    add_video = partialmethod(_add, "add_video")  # (N, T, C, H, W)
    add_text = partialmethod(_add, "add_text")
    add_figure = partialmethod(_add, "add_figure")  # matplotlib's
    add_histogram = partialmethod(_add, "add_histogram", per_mode=False)  # of a tensor's values

    def add_embedding(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        """Points for the projector, (N, D)."""
        self._call("add_embedding", data, *args, global_step=self.step, tag=tag, **kwargs)

    def add_pr_curve(self, tag: str, labels: Any, predictions: Any, *args: Any, **kwargs: Any) -> None:
        """A precision-recall curve of binary ``labels`` and ``predictions`` in [0, 1]."""
        self._call("add_pr_curve", f"{tag}/{self.mode}", labels, predictions, self.step, *args, **kwargs)

    def add_graph(self, model: Any, inputs: Any = None, **kwargs: Any) -> None:
        """The model's graph, traced with ``inputs``."""
        self._call("add_graph", model, inputs, **kwargs)

    def add_hparams(self, hparams: dict[str, Any], metrics: dict[str, Any], **kwargs: Any) -> None:
        """Hyperparameters with the metrics they led to."""
        self._call("add_hparams", hparams, metrics, **kwargs)

    def flush(self) -> None:
        """Writes out what is buffered."""
        if self._background.started:
            self._call("flush")
            self._background.wait()

    def close(self) -> None:
        """Ends the files."""
        if self._background.started:
            self._call("close")
            self._background.close()
        self.writer = None


def _copy(value: Any) -> Any:
    """A tensor as it is now: the training goes on while it is written."""
    return value.detach().to("cpu", copy=True) if hasattr(value, "detach") else value
