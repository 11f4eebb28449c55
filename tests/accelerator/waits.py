"""The functions in which a training may wait for the device. All other waiting is a fault."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from traceback import extract_stack
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.accelerator.device import ON_CPU, ON_CUDA, ON_SIMULATED
from tests.accelerator.simulated import load as simulated
from tests.helpers import ROOT

MESSAGE = "called a synchronizing"


class Wait(NamedTuple):
    """A function that may wait for the device.

    Attributes:
        name: ``module:Class.method`` or ``module:function``.
        reason: why, and how often.
    """

    name: str
    reason: str


WAITS = (
    Wait("base.loop.update:Update.check_losses", "NaN in losses: at logged steps, saves, the end"),
    Wait("base.loop.step_writer:StepWriter.after_step", "numbers of steps: 5 times a second"),
    Wait("base.loop.metrics:MetricSet.summary", "the progress display: 10 times a second"),
    Wait("utils.util:MetricTracker._fetch", "a mean keeps 1,000 numbers on the device"),
    Wait("utils.util:MetricTracker.result", "the numbers of a pass, at its end"),
    Wait("utils.util:MetricTracker.state_dict", "the means so far, for a checkpoint"),
    Wait("base.loop.batch_norms:recompute_statistics", "random states, after an epoch of SWA"),
    Wait("base.checkpoint.manager:CheckpointManager.save", "a checkpoint in an epoch"),
    Wait("base.tools.display:Display.train_batch", "pictures of the first batch of a run"),
    Wait("base.tools.display:Display.after_validation", "pictures of predictions, each epoch"),
    Wait("base.tools.histograms:Histograms._before_step", "histograms, if the config has them"),
    Wait("base.loop.stateful_metric:StatefulMetric.update", "torchmetrics counts with bincount"),
    Wait("torch.amp:GradScaler._maybe_opt_step", "fp16 without a fused optimizer: each step"),
    Wait("base.loop.lr_schedule:LRSchedule.after_step", "fp16 with a schedule of steps"),
    Wait("torchvision.transforms.v2:Normalize.transform", "torchvision copies mean and std"),
)
# On the CPU, tensors that a GPU run would also have on the CPU look the same as the others.
STAND_IN_WAITS = (
    Wait("base.loop.averaging:EMA.update_parameters", "its counter is always on the CPU"),
    Wait("base.loop.averaging:SWA.update_parameters", "its counters are always on the CPU"),
    Wait("base.loop.averaging:SWA.end_epoch", "its counters are always on the CPU"),
    Wait("base.loop.averaging:SWA.is_ready", "its counters are always on the CPU"),
    Wait("base.loop.targets:ignores_all", "looks at targets that are on the CPU only"),
    Wait("utils.util:MetricTracker.add", "adds up numbers that are on the CPU at once"),
    Wait("torch.utils.data:DataLoader.__iter__", "the seed of a pass is a tensor on the CPU"),
    Wait("torch.nn.functional:one_hot", "checks the range of its input on the CPU only"),
    Wait("torch.distributions:Beta.__init__", "random numbers of transforms are on the CPU"),
    Wait("torch.distributions:Beta.rsample", "random numbers of transforms are on the CPU"),
)


class NoItems(TorchDispatchMode):
    """Raises where a tensor becomes a number, as an accelerator does in its mode for this."""

    enabled = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.enabled and func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError(f"{MESSAGE} operation (stand-in on the CPU)")
        return func(*args, **(kwargs or {}))


class Watch:
    """Forbids waiting, or allows it for a while.

    Args:
        mode: ``error`` raises at the first wait. ``warn`` collects all of them; only on CUDA.

    Attributes:
        found: the innermost lines of this project that have waited.
    """

    def __init__(self, mode: str = "error") -> None:
        self.mode = mode
        self.found: list[str] = []
        self.items = NoItems()

    def set_forbidden(self, is_forbidden: bool) -> None:
        if ON_CUDA:
            torch.cuda.set_sync_debug_mode(self.mode if is_forbidden else "default")
        if ON_SIMULATED:
            simulated.load().forbid_waiting(is_forbidden)
        self.items.enabled = is_forbidden

    def note(self, message: Any, *_: Any, **__: Any) -> None:
        if MESSAGE not in str(message):
            return
        frames = [f for f in extract_stack() if f.filename.startswith(str(ROOT))]
        outside = [f for f in frames if "tests/accelerator" not in f.filename]
        last = (outside or frames)[-1]
        self.found.append(f"{last.filename.removeprefix(str(ROOT))}:{last.lineno} {last.line}")

    @contextlib.contextmanager
    def forbidding(self) -> Iterator[None]:
        """Inside, only the listed functions may wait."""
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            for wait in WAITS + STAND_IN_WAITS if ON_CPU else WAITS:
                owner, method = find(wait)
                patch.setattr(owner, method, self.allow(vars(owner)[method]))
            warnings.simplefilter("always")
            patch.setattr(warnings, "showwarning", self.note)
            self.set_forbidden(True)
            try:
                with self.items if ON_CPU else contextlib.nullcontext():
                    yield
            finally:
                self.set_forbidden(False)

    def allow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns ``function``, which may wait."""

        @wraps(function)
        def allowed(*args: Any, **kwargs: Any) -> Any:
            was_forbidden = self.items.enabled
            self.set_forbidden(False)
            try:
                return function(*args, **kwargs)
            finally:
                self.set_forbidden(was_forbidden)

        return allowed


def find(wait: Wait) -> tuple[Any, str]:
    """The class or module that defines the function, and the function's name."""
    module_name, _, path = wait.name.partition(":")
    module = importlib.import_module(module_name)
    class_name, _, method = path.rpartition(".")
    if not class_name:
        return module, path
    return next(
        kind for kind in getattr(module, class_name).__mro__ if method in vars(kind)
    ), method
