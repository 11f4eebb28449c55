"""Metrics that fail: their name, arguments and line of code; and those without a value."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

from config.check.project import locate_in_project
from utils.describe import describe_values
from utils.errors import UserError, is_out_of_memory, name_error

TOO_FEW = "at least two samples"  # in the error of R2Score
NO_NEGATIVES, NO_POSITIVES = "No negative samples in targets", "No positive samples in targets"


def blame_metric(
    error: Exception, name: str, output: Any, target: Any, key: str = "metrics"
) -> NoReturn:
    """Raises a UserError that names the metric, its arguments and the line of the project.

    Args:
        error: of the metric.
        name: under which the metric is logged.
        output, target: its arguments.
        key: of the config.
    """
    if isinstance(error, UserError) or is_out_of_memory(error):
        raise error
    found = f"output {describe_values(output)} and target {describe_values(target)}"
    reason = f"{name_error(error)}{locate_in_project(error)}"
    raise UserError(f"the metric '{name}' failed on {found}: {reason}", key=key) from error


def compute_value(metric: Any) -> tuple[Any, str]:
    """Computes a torchmetrics object.

    For targets of one class only, torchmetrics gives an AUROC of 0, which looks like the worst one.

    Returns:
        The value and an empty text; NaN and the reason if one number has no value for the samples.
    """
    kind = type(metric).__name__
    undefined = {"BinaryAUROC": [NO_NEGATIVES, NO_POSITIVES], "MulticlassAUROC": [NO_NEGATIVES]}
    averages = [getattr(metric, name, "") for name in ("average", "multioutput")]
    if any(average in (None, "none", "raw_values") for average in averages):
        return metric.compute(), ""  # a number for each class or target
    with warnings.catch_warnings():
        for message in undefined.get(kind, []):
            warnings.filterwarnings("error", message)
        try:
            return metric.compute(), ""
        except UserWarning:
            if kind not in undefined:
                raise
            return float("nan"), "the targets have one class only"
        except ValueError as error:
            if TOO_FEW not in str(error):
                raise
            return float("nan"), "it needs at least two samples"
