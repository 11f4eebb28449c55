"""The frozen modules that run first in a model, and how to skip them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.hooks import RemovableHandle

from utils.errors import UserError

KEY = "transfer.cache_features"


class FrozenPrefix:
    """The modules of a model that run before any trained parameter.

    ``compute`` returns the output of the last one. After ``skip``, the model takes such an output
    as its input. The model's own ``forward`` still runs, with the modules of the prefix replaced:
    the last one returns the given output. The others return uninitialised tensors of the right
    shape, which nothing may read.

    Args:
        model: with frozen parameters.
        inputs: an example batch, shape (N, …), on the model's device.

    Attributes:
        output: the prefix's output for the example, shape (N, …).

    Raises:
        UserError: no frozen module runs first, or the rest of the model reads more than the last
            output of the prefix.
    """

    def __init__(self, model: nn.Module, inputs: torch.Tensor) -> None:
        self._model = model
        self._input_shape = inputs.shape[1:]
        self._features: torch.Tensor | None = None  # the input of the current forward pass
        name = type(model).__name__
        calls = self._record_calls(inputs)
        with_parameters = [
            index for index, (module, _) in enumerate(calls) if _has_parameters(module)
        ]
        if not with_parameters:
            raise UserError(f"no frozen module of {name} runs before the trained ones", key=KEY)
        shortest = with_parameters[-1] + 1
        longest = shortest
        while longest < len(calls) and _is_fixed(calls[longest][0]):
            longest += 1  # a pooling layer makes the features small
        for length in dict.fromkeys((longest, shortest)):
            self._calls = calls[:length]
            self.output: torch.Tensor = calls[length - 1][1]
            if self._is_sufficient(inputs):
                return
        raise UserError(f"{name} reads more than the last output of its frozen modules", key=KEY)

    def _record_calls(self, inputs: torch.Tensor) -> list[tuple[nn.Module, torch.Tensor]]:
        """Runs the model and returns the calls of frozen modules before any trained parameter.

        Returns:
            The largest modules without trained parameters that are called once, in the order of
            their calls, each with its output.
        """
        calls: list[tuple[nn.Module, Any]] = []
        hooks: list[RemovableHandle] = []
        is_recording = True

        def record(module: nn.Module, _args: Any, output: Any) -> None:
            if is_recording:
                calls.append((module, output))

        def stop(*_: Any) -> None:
            nonlocal is_recording
            is_recording = False

        def attach(module: nn.Module) -> None:
            if not _is_any_trained(module.parameters()):
                hooks.append(module.register_forward_hook(record))
                return
            if _is_any_trained(module.parameters(recurse=False)):
                hooks.append(module.register_forward_pre_hook(stop))
            for child in module.children():
                attach(child)

        attach(self._model)
        self._run(inputs)
        for hook in hooks:
            hook.remove()
        modules = [module for module, _ in calls]
        return [
            (module, output)
            for module, output in calls
            if modules.count(module) == 1 and isinstance(output, torch.Tensor)
        ]

    @torch.no_grad()
    def _run(self, inputs: torch.Tensor) -> Any:
        was_training = self._model.training
        self._model.eval()
        try:
            return self._model(inputs)
        finally:
            self._model.train(was_training)

    def _is_sufficient(self, inputs: torch.Tensor) -> bool:
        """Whether the model's output stays the same when all earlier outputs are NaN."""
        expected = self._run(inputs)
        if not isinstance(expected, torch.Tensor) or not expected.isfinite().all():
            return False
        features = self.compute(inputs)
        undo = self.skip(filler=float("nan"))
        try:
            return torch.equal(self._run(features), expected)
        except RuntimeError:  # the rest of the model expects another shape
            return False
        finally:
            undo()

    def compute(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the prefix's output for ``inputs``, shape (N, …), without gradients."""
        outputs: list[torch.Tensor] = []
        last_module = self._calls[-1][0]
        with last_module.register_forward_hook(lambda _m, _args, output: outputs.append(output)):
            self._run(inputs)
        return outputs[0]

    def skip(self, filler: float | None = None) -> Callable[[], None]:
        """Makes the model take the outputs of ``compute`` as its input.

        Args:
            filler: a value for the outputs of the earlier modules; None leaves them uninitialised.

        Returns:
            A function that restores the model.
        """

        def return_blank(like: torch.Tensor) -> Callable[..., torch.Tensor]:
            def forward(*_args: Any, **_kwargs: Any) -> torch.Tensor:
                assert self._features is not None
                shape = (len(self._features), *like.shape[1:])
                blank = self._features.new_empty(shape, dtype=like.dtype)
                return blank if filler is None else blank.fill_(filler)

            return forward

        def store_features(_module: nn.Module, args: tuple[Any, ...]) -> tuple[torch.Tensor]:
            self._features = args[0]
            return (args[0].new_empty((len(args[0]), *self._input_shape)),)

        *earlier, (last_module, _) = self._calls
        for module, output in earlier:
            module.forward = return_blank(output)  # type: ignore[method-assign]
        last_module.forward = lambda *_: self._features  # type: ignore[method-assign]
        hook = self._model.register_forward_pre_hook(store_features)

        def undo() -> None:
            hook.remove()
            for module, _ in self._calls:
                vars(module).pop("forward", None)

        return undo


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_any_trained(parameters: Iterable[nn.Parameter]) -> bool:
    return any(parameter.requires_grad for parameter in parameters)


def _is_fixed(module: nn.Module) -> bool:
    """Whether a module is torch's and has no parameters or random numbers, such as pooling."""
    is_torch = type(module).__module__.startswith("torch.nn.modules.")
    is_random = isinstance(module, _DropoutNd | nn.RReLU)
    return is_torch and not is_random and not _has_parameters(module)
