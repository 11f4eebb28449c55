"""TensorBoard as a back end of the writer."""

from __future__ import annotations

import contextlib
import logging
import warnings
from pathlib import Path
from typing import Any

from logger.backends.backend import BackEnd, RunFacts
from utils.checkpoints import belongs_to_search

MAX_IN_HISTOGRAM = 9e19  # the last bin ends there
NUM_ARRAYS = {"add_histogram": 1, "add_pr_curve": 2}  # after the tag; each value must be finite


class TensorboardBackEnd(BackEnd):
    """Writes event files.

    Args:
        log_dir: their folder.
        logger: gets the warning of a failure.
    """

    option = "tensorboard"
    title = "TensorBoard"
    module = "torch.utils.tensorboard"

    def __init__(self, log_dir: Path, logger: logging.Logger) -> None:
        super().__init__(logger)
        self.log_dir = log_dir
        self._purge_step: int | None = None

    @classmethod
    def from_run(cls, run: RunFacts, options: Any) -> TensorboardBackEnd | None:
        return cls(run.log_dir, run.logger) if options else None

    def open(self) -> Any:
        from torch.utils import tensorboard

        # Pictures may hold NaN.
        warnings.filterwarnings(
            "ignore", "invalid value", RuntimeWarning, r"torch\.utils\.tensorboard"
        )
        writer: Any = tensorboard.SummaryWriter(str(self.log_dir), purge_step=self._purge_step)
        # The writer's next call raises an error of its file thread again, so the traceback that
        # Python prints at the end of the thread is not needed.
        with contextlib.suppress(AttributeError):
            worker = writer._get_file_writer().event_writer._async_writer._worker
            worker._invoke_excepthook = lambda _: None
        return writer

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Changes what torch's histograms and curves would fail on.

        NaN and infinity are left out. Numbers beyond all bins of a histogram go into the last ones.
        A trial of a search gets its row of the HPARAMS table from the search.
        """
        is_row = method == "add_hparams" and kwargs.get("run_name") == "."
        if is_row and belongs_to_search(self.log_dir.parent):
            return
        num_arrays = NUM_ARRAYS.get(method, 0)
        if num_arrays:
            tag, arrays, rest = args[0], args[1 : num_arrays + 1], args[num_arrays + 1 :]
            arrays = keep_finite(*arrays)
            if len(arrays[0]) == 0:
                return
            if method == "add_histogram" and arrays[0].is_floating_point():
                arrays = (arrays[0].clamp(-MAX_IN_HISTOGRAM, MAX_IN_HISTOGRAM),)
            args = (tag, *arrays, *rest)
        super()._call(method, args, kwargs)

    def resume_at(self, step: int) -> None:
        """Hides what an interrupted run wrote at ``step`` or later.

        Otherwise a curve would have two values at these steps.
        """
        self._purge_step = step

    def add_graph(self, model: Any, inputs: Any = None, **kwargs: Any) -> None:
        """Traces the model in the thread of the caller and shows its graph.

        If the model cannot be traced, there is only a line in the log.

        Args:
            model: its training and evaluation modes are restored after the trace.
            inputs: its arguments: a tensor or a tuple.
            kwargs: ``verbose`` and ``use_strict_trace``, as SummaryWriter's. By default the trace
                is not strict, because a strict one refuses outputs that are dicts.
        """
        self.import_module()
        from torch.utils.tensorboard import _pytorch_graph

        # The module prints an error before it raises it. One line in the log is enough.
        _pytorch_graph.print = lambda *_: None  # type: ignore[attr-defined]
        verbose = kwargs.get("verbose", False)
        strict = kwargs.get("use_strict_trace", False)
        modes = [(module, module.training) for module in model.modules()]
        try:
            with warnings.catch_warnings(action="ignore"):  # about what a trace cannot follow
                graph = _pytorch_graph.graph(  # type: ignore[no-untyped-call]
                    model, inputs, verbose, strict
                )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            self.logger.info("TensorBoard gets no graph: the model cannot be traced (%s)", reason)
            return
        finally:
            for module, is_training in modes:
                module.training = is_training
        self.submit("add_graph", lambda: self.tracker._get_file_writer().add_graph(graph))


def keep_finite(*arrays: Any) -> tuple[Any, ...]:
    """Returns flat arrays of equal sizes without the items where one of them is not finite."""
    import torch

    flat = [torch.as_tensor(array).flatten() for array in arrays]
    finite = torch.stack([values.isfinite() for values in flat]).all(dim=0)
    return tuple(flat) if bool(finite.all()) else tuple(values[finite] for values in flat)
