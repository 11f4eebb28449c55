"""Finds gradients that are not finite, without waiting for an accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

READ_AT_ONCE = ("cpu",)  # devices that nothing has to wait for


class GradientCheck:
    """A hook before the steps of optimizers: finds gradients with NaN or infinity.

    Reading the result would wait for an accelerator, so there such steps are counted. A fused
    optimizer leaves them out on the device, as torch's GradScaler lets it, by ``found_inf``.

    Args:
        refuse: is called on a CPU, before the step of the optimizer.
    """

    def __init__(self, refuse: Callable[[Optimizer], None]) -> None:
        self.refuse = refuse
        self._one, self._found = torch.ones(()), torch.zeros(())
        self._read = self._found.numpy()  # its memory: quicker than `item`
        # Whether all parameters have gradients of a usual kind, on a CPU.
        self._is_plain = "cpu" in READ_AT_ONCE
        self._count: torch.Tensor | None = None
        self._were_left_out = True

    def check(self, optimizer: Optimizer, *_: Any) -> None:
        """Looks at the gradient of the next step of ``optimizer``."""
        grads: Any = [p.grad for group in optimizer.param_groups for p in group["params"]]
        if self._is_plain:
            try:  # one pass, which multiplies by 1 in place
                torch._amp_foreach_non_finite_check_and_unscale_(grads, self._found, self._one)
            except (TypeError, RuntimeError):  # a gradient is None, or of another kind or device
                self._is_plain = False
                self._found.zero_()
            else:
                if self._read:
                    self._found.zero_()
                    if not has_scaler(optimizer):
                        self.refuse(optimizer)
                return
        if not has_scaler(optimizer):
            self._check_any([grad for grad in grads if grad is not None], optimizer)

    def _check_any(self, grads: list[torch.Tensor], optimizer: Optimizer) -> None:
        """Looks at gradients of any kind on any device."""
        if not grads:
            return
        found = find_in_gradients(grads)
        if found.device.type in READ_AT_ONCE:
            if found.item():
                self.refuse(optimizer)
            return
        self._count = found.clone() if self._count is None else self._count.to(found.device) + found
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            self._leave_out(optimizer, found)
        else:
            self._were_left_out = False

    @staticmethod
    def _leave_out(optimizer: Any, found: torch.Tensor) -> None:
        """Lets the kernel of a fused optimizer change nothing in its next step if ``found``."""

        def forget(*_: Any) -> None:
            del optimizer.found_inf
            hook.remove()

        optimizer.found_inf = found
        hook = optimizer.register_step_post_hook(forget)

    def take_count(self) -> tuple[int, bool]:
        """Returns the number of counted steps since the last call, and whether all were left out.

        It waits for the accelerator.
        """
        if self._count is None:
            return 0, True
        taken = int(self._count.item()), self._were_left_out
        self._count, self._were_left_out = None, True
        return taken


def has_scaler(optimizer: Any) -> bool:
    """Whether a GradScaler has looked at the gradient and lets a fused step be left out."""
    return getattr(optimizer, "found_inf", None) is not None


def find_in_gradients(grads: list[torch.Tensor]) -> torch.Tensor:
    """Returns 1.0 if a value is NaN or infinite, otherwise 0.0, as a tensor of shape ().

    If a gradient is on an accelerator, the tensor is too: a copy to the CPU would wait.
    """
    far = (grad.device for grad in grads if grad.device.type not in READ_AT_ONCE)
    found = torch.zeros((), device=next(far, grads[0].device))
    try:
        torch._amp_foreach_non_finite_check_and_unscale_(grads, found, torch.ones_like(found))
    except RuntimeError:  # sparse, complex, or on several devices
        for grad in grads:
            values = grad._values() if grad.is_sparse else grad  # type: ignore[operator]
            found = torch.maximum(found, (~values.isfinite().all()).to(found))
    return found
