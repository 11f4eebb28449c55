"""A device whose memory is too small for some training batches."""

from __future__ import annotations

from typing import Any

import torch

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB"


def limit_memory(
    trainer: Any, max_samples: int, in_backward: bool = False, after_step: int = 0
) -> Any:
    """Lets training, but not validation, fail for batches of more than ``max_samples`` samples.

    Args:
        trainer: whose model is limited. Its inputs are flattened, as an MLP needs it.
        max_samples: that fit.
        in_backward: fail at the end of the backward pass, not in the forward pass.
        after_step: the number of optimizer steps that are done before memory gets small.

    Returns:
        The trainer.
    """

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError(MESSAGE)

    def before_forward(_: Any, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        x = inputs[0].flatten(1) if type(trainer.model).__name__ == "MLP" else inputs[0]
        is_small = trainer.progress.step >= after_step and torch.is_grad_enabled()
        if is_small and len(x) > max_samples:
            if not in_backward:
                fail()
            x.requires_grad_().register_hook(fail)  # the last gradient to be computed
        return x

    trainer.model.register_forward_pre_hook(before_forward)
    return trainer
