"""The writer: pytorch-template's ``self.writer`` by plain methods, to several back ends; it never stops a training."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

from logger.background import Background

PATIENCE = 4.0  # seconds without a sign of life that a training waits for a back end, once


class BackEnd(Background):
    """One place that a Writer writes to, in a thread of its own; its first failure ends it, with one warning.

    Args:
        name: for the warning.
        logger: gets it.
        module: imported before the first call.
        make: opens it: gives an object with methods named as SummaryWriter's; what it lacks is left out.
    """

    def __init__(
        self, name: str, logger: logging.Logger, module: str, make: Callable[[], Any]
    ) -> None:
        super().__init__(name, logger, PATIENCE)
        self.module, self.make = module, make
        self.target: Any = None

    def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        if not self.enabled:
            return
        if self.module not in sys.modules:
            from utils.seed import temporary_seed

            # Here, as a loader's workers, forked in the middle of it, would have half of it. Some draw random numbers.
            with temporary_seed(0):
                self.attempt("import", lambda: importlib.import_module(self.module))
        self.do(method, lambda: self._call(method, args, kwargs))

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.target is None:
            self.target = self.make()
        function = getattr(self.target, method, None)
        if function is not None:
            function(
                *(value() if isinstance(value, partial) else value for value in args), **kwargs
            )

    def close(self) -> None:
        if self.started:
            self.call("close")
            super().close()
        self.target = None


class Writer:
    """Tells every back end what it is told, under the current step and mode; tags are ``loss/train``, ``loss/valid``.

    A back end is opened at the first value, and written to in the background. A ``functools.partial`` in place of a
    value is called there, so that a picture costs the training nothing.

    Args:
        logger: is told of a failure.
        back_ends: where to write.
    """

    def __init__(self, logger: logging.Logger, back_ends: list[BackEnd]) -> None:
        self.logger, self.back_ends = logger, back_ends
        self.step, self.mode = 0, ""
        self._time = time.perf_counter()

    @property
    def enabled(self) -> bool:
        return any(back_end.enabled for back_end in self.back_ends)

    def set_step(self, step: int, mode: str = "train") -> None:
        """Says where the next values belong; from the second call on also writes ``steps_per_sec``."""
        now = time.perf_counter()
        moved = step - self.step if mode == self.mode else 0
        self.step, self.mode = step, mode
        if moved > 0:
            self.add_scalar("steps_per_sec", moved / max(now - self._time, 1e-9))
        self._time = now

    def _add(
        self, method: str, tag: str, data: Any, *args: Any, per_mode: bool = True, **kwargs: Any
    ) -> None:
        tag = f"{tag}/{self.mode}" if per_mode and self.mode else tag
        self._call(method, tag, data, self.step, *args, **kwargs)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        if not self.enabled:
            return
        # A tensor as it is now: the training goes on while it is written.
        values = [
            value.detach().to("cpu", copy=True) if hasattr(value, "detach") else value
            for value in args
        ]
        for back_end in self.back_ends:
            back_end.call(method, *values, **kwargs)
        if method == "add_figure":  # what it looks at may change when the caller goes on
            self._wait()

    def _wait(self) -> None:
        for back_end in self.back_ends:
            if back_end.started:
                back_end.wait()

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

    def add_pr_curve(
        self, tag: str, labels: Any, predictions: Any, *args: Any, **kwargs: Any
    ) -> None:
        """A precision-recall curve of binary ``labels`` and ``predictions`` in [0, 1]."""
        self._call(
            "add_pr_curve", f"{tag}/{self.mode}", labels, predictions, self.step, *args, **kwargs
        )

    # The rest belongs to no step.
    add_hparams = partialmethod(_call, "add_hparams")  # (hparams, metrics): what they led to
    add_custom_scalars = partialmethod(
        _call, "add_custom_scalars"
    )  # {category: {chart: ["Multiline", [tag, …]]}}
    add_artifact = partialmethod(
        _call, "add_artifact"
    )  # (path): a file to keep with the run, where files are kept
    watch = partialmethod(
        _call, "watch"
    )  # (model, what): hooks onto its gradients, parameters or all

    def flush(self) -> None:
        """Writes out what is buffered."""
        if any(back_end.started for back_end in self.back_ends):
            self._call("flush")
            self._wait()

    def close(self) -> None:
        """Ends the files."""
        for back_end in self.back_ends:
            back_end.close()


class TensorboardWriter(Writer):
    """A Writer whose first back end is TensorBoard.

    Args:
        log_dir: the folder of the event files.
        logger: is told of a failure.
        enabled: whether to write TensorBoard's files.
    """

    def __init__(self, log_dir: str | Path, logger: logging.Logger, enabled: bool) -> None:
        self.log_dir = Path(log_dir)
        self._purge_step: int | None = None
        super().__init__(
            logger, [BackEnd("TensorBoard", logger, "torch.utils.tensorboard", self._open)]
        )
        self.back_ends[0].enabled = bool(enabled)

    def resume_at(self, step: int) -> None:
        """Hides what an interrupted run wrote at ``step`` or later, so that curves neither repeat nor fork."""
        self._purge_step = step

    def add_graph(self, model: Any, inputs: Any = None, **kwargs: Any) -> None:
        """The model's graph, traced with ``inputs`` here and now; one that cannot be traced is told in a line."""
        if not self.back_ends[0].enabled:
            return
        from torch.utils.tensorboard import _pytorch_graph

        _pytorch_graph.print = lambda *_: None  # type: ignore[attr-defined]  # a failure is told below, in a line
        modes = [(module, module.training) for module in model.modules()]
        try:
            with warnings.catch_warnings(action="ignore"):  # of what a trace does not follow
                traced = _pytorch_graph.graph(
                    model,
                    inputs,
                    kwargs.get("verbose", False),
                    kwargs.get("use_strict_trace", True),
                )  # type: ignore[no-untyped-call]
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            self.logger.info(
                "TensorBoard gets no graph of the model: it cannot be traced (%s)", first
            )
            return
        finally:
            for module, training in modes:
                module.training = training
        self._call("add_traced_graph", traced)

    def _open(self) -> Any:
        from torch.utils import tensorboard

        writer: Any = tensorboard.SummaryWriter(str(self.log_dir), purge_step=self._purge_step)
        with contextlib.suppress(
            AttributeError
        ):  # what ends its thread is raised by its next call too: that is enough
            writer._get_file_writer().event_writer._async_writer._worker._invoke_excepthook = (
                lambda _: None
            )
        writer.add_traced_graph = lambda traced: writer._get_file_writer().add_graph(traced)
        return writer
