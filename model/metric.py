"""Metrics: ``metric(output, target)`` returns a number, the mean over the batch.

Return a tensor, without ``.item()``, so that no step waits for the device. A config may also name
metrics of torchmetrics.
"""

import torch

from utils.errors import UserError


def accuracy(
    output: torch.Tensor, target: torch.Tensor, ignore_index: int | None = None
) -> torch.Tensor:
    """The fraction of samples or pixels whose class has the highest score (N, C, …).

    The target holds classes (N, …) or (N, 1, …), or probabilities of classes (N, C, …), of which
    the highest counts. Targets that are ``ignore_index`` are left out; if all of them are, the
    accuracy is 0. A mean over all pixels that count, however many a batch has, is torchmetrics'
    ``{type: Accuracy, args: {task: multiclass, num_classes: C, ignore_index: 255}}``.
    """
    classes = get_classes(output, target)
    if ignore_index is not None:
        counts = classes != ignore_index
        is_right = (output.argmax(dim=1) == classes) & counts
        return is_right.sum() / counts.sum().clamp(min=1)
    return (output.argmax(dim=1) == classes).mean(dtype=torch.float32)


def top_k_acc(output: torch.Tensor, target: torch.Tensor, k: int = 3) -> torch.Tensor:
    """The fraction of samples whose class is among the ``k`` highest scores; as ``accuracy``."""
    if k < 1:
        raise UserError(f"top_k_acc: k={k} must be at least 1", key="metrics")
    classes = get_classes(output, target).unsqueeze(1)
    top = output.topk(min(k, output.shape[1]), dim=1).indices
    return (top == classes).any(dim=1).mean(dtype=torch.float32)


def binary_accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The fraction of logits with the right sign for their targets, 0 or 1.

    Both have the shape (N,) or (N, K); (N, 1) and (N,) fit each other.
    """
    if output.shape != target.shape:
        if output.squeeze(-1).shape != target.squeeze(-1).shape:
            shapes = f"{tuple(output.shape)} and targets {tuple(target.shape)}"
            raise UserError(f"binary_accuracy: the logits {shapes} must have the same shape")
        target = target.reshape(output.shape)
    return ((output > 0) == (target > 0.5)).mean(dtype=torch.float32)


def get_classes(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The classes (N, …) in a target for scores (N, C, …).

    Raises:
        UserError: the shapes do not fit, there is only one score, or these are no tensors.
    """
    try:
        scores, found = output.shape, target.shape
    except AttributeError:  # a check of the types would take time in each step
        kinds = f"{type(output).__name__} and {type(target).__name__}"
        message = f"accuracy needs tensors, not {kinds}; write a metric that takes them out"
        raise UserError(message, key="metrics") from None
    if len(scores) == 2 and len(found) == 1 and scores[0] == found[0] and scores[1] > 1:
        return target  # the usual case, in which a step should lose no time
    if len(scores) > 1 and scores[1] > 1:
        classes = scores[:1] + scores[2:]
        if found == classes:
            return target
        if found == scores:
            return target.argmax(dim=1)
        if found == (scores[0], 1, *scores[2:]) or found == (*classes, 1):
            return target.reshape(classes)
    raise UserError(
        f"accuracy needs scores (N, C, …) of two or more classes, and classes (N, …); these are "
        f"scores {tuple(scores)} and targets {tuple(found)}. For one logit, use binary_accuracy"
    )
