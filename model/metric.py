"""Metrics: ``metric(output, target)`` returns a number, the mean over the batch.

Return a tensor, without ``.item()``, so that no step waits for the device. A config may also name
metrics of torchmetrics.
"""

import torch

from utils.errors import UserError


def accuracy(
    output: torch.Tensor, target: torch.Tensor, ignore_index: int | None = None
) -> torch.Tensor:
    """The fraction of samples, pixels or tokens whose class has the highest score (N, C, …).

    The target holds classes (N, …) or (N, 1, …), or probabilities of classes (N, C, …), of which
    the highest counts. Scores of tokens may also be (N, T, C).

    Targets of the class ``ignore_index`` do not count; by default -100, as in torch's losses, but
    all samples of targets (N,).
    """
    output = put_classes_second(output, target)
    classes = get_classes(output, target)
    return mean_of_counted(output.argmax(dim=1) == classes, classes, ignore_index)


def top_k_acc(
    output: torch.Tensor, target: torch.Tensor, k: int = 3, ignore_index: int | None = None
) -> torch.Tensor:
    """The fraction of samples whose class is among the ``k`` highest scores; as ``accuracy``."""
    if k < 1:
        raise UserError(f"top_k_acc: k={k} must be at least 1", key="metrics")
    output = put_classes_second(output, target)
    classes = get_classes(output, target)
    top = output.topk(min(k, output.shape[1]), dim=1).indices
    hits = (top == classes.unsqueeze(1)).any(dim=1)
    return mean_of_counted(hits, classes, ignore_index)


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


def mean_of_counted(
    hits: torch.Tensor, classes: torch.Tensor, ignore_index: int | None
) -> torch.Tensor:
    """The mean of ``hits`` over the classes that count; NaN if there are none."""
    if ignore_index is None and classes.ndim == 1:
        return hits.mean(dtype=torch.float32)
    is_counted = classes != (-100 if ignore_index is None else ignore_index)
    return (hits & is_counted).sum(dtype=torch.float32) / is_counted.sum()


def put_classes_second(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Scores (N, C, T) from those of tokens (N, T, C), if the target (N, T) fits only these."""
    if not isinstance(output, torch.Tensor) or output.ndim < 3:
        return output
    fits_last = target.shape == output.shape[:-1]
    fits_second = target.shape == output.shape[:1] + output.shape[2:]
    return output.movedim(-1, 1) if fits_last and not fits_second else output


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


def mae_by_step(output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """The mean absolute error of each step of a forecast (N, H) or (N, H, C), from 1.

    Named ``mae`` in a config, it is logged as ``mae_1``, ``mae_2``, …
    """
    if output.shape != target.shape or output.ndim < 2:
        shapes = f"{tuple(output.shape)} and {tuple(target.shape)}"
        raise UserError(f"mae_by_step needs forecasts and targets (N, H), not {shapes}", "metrics")
    errors = (output - target).abs()
    if errors.ndim > 2:
        errors = errors.flatten(2).mean(-1)  # over the channels
    return {str(step): mean for step, mean in enumerate(errors.mean(0), 1)}
