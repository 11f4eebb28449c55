"""Distillation: a model learns from the outputs of a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from base.evaluation import load_trained_model
from base.loop.evaluate import add_up
from base.loop.losses import take_out_predictions
from base.parallel.strategy import move_to_device
from trainer.trainer import Trainer
from utils.errors import UserError, is_out_of_memory, name_error
from utils.seed import temporary_seed


class Distill(Trainer):
    """Trains on the targets, and on the probabilities that a trained model, the teacher, gives.

    The loss is ``(1 - soft_weight) * loss + soft_weight * soft``, where ``loss`` is the config's,
    and ``soft`` compares the outputs at a higher temperature. Both terms are logged with their
    weights. The validation measures the config's loss only.
    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2.

    Args:
        teacher: the folder of a run, or a checkpoint in it.
        temperature: divides the logits of both models; above 1, unlikely classes count for more.
        soft_weight: the weight of the teacher, from 0 to 1.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Path,
        temperature: float = 4.0,
        soft_weight: float = 0.9,
        **kwargs: Any,
    ) -> None:
        if not temperature > 0:
            raise UserError(f"{temperature} must be above 0", key="trainer.temperature")
        if not 0 <= soft_weight <= 1:
            message = f"{soft_weight} must lie between 0 and 1"
            raise UserError(message, key="trainer.soft_weight")
        super().__init__(*args, **kwargs)
        self.temperature, self.soft_weight = temperature, soft_weight
        self.teacher = self._load_teacher(teacher)

    def _load_teacher(self, source: Path) -> nn.Module:
        try:
            with temporary_seed(0):  # the training draws the same random numbers as without
                model, description = load_trained_model(source, self.config.get_schema())
        except UserError as error:
            raise UserError(f"{error}", key="trainer.teacher") from None
        self.logger.info("The teacher: %s, %s.", type(model).__name__, description)
        return move_to_device(model, self.device)[0].eval().requires_grad_(False)

    def train_step(self, batch: Any) -> tuple[dict[str, torch.Tensor], Any, Any]:
        loss, output, target = super().train_step(batch)
        logits = take_out_predictions(output)
        soft = distillation_loss(logits, self._ask_teacher(batch, logits), self.temperature)
        weight = self.soft_weight
        return {"hard": (1 - weight) * add_up(loss), "soft": weight * soft}, output, target

    @torch.no_grad()
    def _ask_teacher(self, batch: Any, logits: Any) -> torch.Tensor:
        """Returns the teacher's logits, of the shape of the student's."""
        try:
            taught, _ = self.forward(self.teacher, batch)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            message = f"the teacher cannot run on a batch: {name_error(error)}"
            raise UserError(message, key="trainer.teacher") from error
        given, needed = describe_shape(taught), describe_shape(logits)
        if given != needed or not isinstance(taught, torch.Tensor) or taught.ndim < 2:
            message = f"the teacher gives {given}, and the model {needed}"
            advice = "both must give logits (N, C, …) of the same classes"
            raise UserError(f"{message}; {advice}", key="trainer.teacher")
        return taught


def describe_shape(output: Any) -> str:
    """The shape of an output, or its type if it is not a tensor."""
    is_tensor = isinstance(output, torch.Tensor)
    return str(tuple(output.shape)) if is_tensor else f"a {type(output).__name__}"


def distillation_loss(
    logits: torch.Tensor, taught: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The divergence of softened probabilities from those of the teacher, a mean over the batch.

    ``T² KL(softmax(taught / T) || softmax(logits / T))``. With the factor, the size of its gradient
    hardly depends on the temperature. Without the entropy of the teacher, which is a constant, it
    is the cross entropy of the paper.

    Args:
        logits, taught: (N, C, …) of the student and the teacher.
        temperature: T.
    """
    found = F.log_softmax(logits.float() / temperature, dim=1)
    expected = F.log_softmax(taught.float() / temperature, dim=1)
    divergence = F.kl_div(found, expected, reduction="none", log_target=True).sum(1)
    return divergence.mean() * temperature**2
